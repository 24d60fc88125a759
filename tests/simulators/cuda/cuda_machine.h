/*
 * The simulated machine behind the simulated CUDA driver: devices with a timeline each, streams that queue work on it,
 * memory, and what tests set. All times are nanoseconds of the monotonic clock: this machine runs on the real clock.
 *
 * A device does no work: a kernel occupies its stream for a known time, and bytes are moved when the call is made.
 */
#ifndef GPUPROF_CUDA_MACHINE_H
#define GPUPROF_CUDA_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cuda_abi.h"
#include "nvml_card.h"

#define MAX_DEVICES 8
#define LENGTH(array) (sizeof(array) / sizeof *(array))

/* A primary context. What breaks it does so at a moment, when the kernel that is to blame runs. */
struct context {
    int device;
    int retained;
    unsigned int flags;
    CUresult error; /* what every call gets from `breaks_at_ns` on, CUDA_SUCCESS while nothing is wrong */
    int64_t breaks_at_ns;
};

/* A queue of work, done in order. `ends_ns` is a ring of when its last entries are over: that many fit. */
struct stream {
    uint32_t magic;
    struct stream *next;
    struct context *context;
    unsigned int flags;
    int priority;
    uint64_t id;
    bool is_legacy;
    int64_t tail_ns; /* when all that was queued so far is over */
    int64_t *ends_ns;
    size_t depth, entries;
};

struct event {
    uint32_t magic;
    struct event *next; /* among the destroyed ones */
    struct context *context;
    unsigned int flags;
    bool recorded;
    int64_t when_ns;
};

/* Memory from which allocations are made in stream order. */
struct pool {
    uint32_t magic;
    int device;
    uint64_t used, used_high, reserved, reserved_high, release_threshold, most_bytes;
};

/* A stretch of time in which a device works; a device's stretches are apart and in order. */
struct stretch {
    int64_t begin_ns, end_ns;
};

struct device {
    struct gpuprof_card card;
    int nvml_index;
    struct context context;
    struct stream legacy;
    struct stream *streams;
    struct pool default_pool;
    struct pool *pool; /* what cuMemAllocAsync takes from */
    uint64_t allocated; /* besides the context and the pools' reserves */
    struct stretch *work;
    size_t work_count, work_capacity;
    int64_t busy_ns;
};

struct machine {
    struct device devices[MAX_DEVICES];
    int device_count;
    bool initialized, valid;
    /* settings */
    int64_t version, queue_depth;
    int64_t latency_ns, launch_host_ns, kernel_ns, event_resolution_ns;
    double host_bytes_per_ns, device_bytes_per_ns;
    int64_t lone_devices, memory_bytes, context_bytes;
    int64_t move_bytes;
};

extern struct machine machine;

/* ------------------------------------------------------------------------------------- cuda_machine.c */

void lock_machine(void);
void unlock_machine(void);
int64_t now_ns(void);
void wait_until(int64_t time_ns); /* without the lock */
CUresult start_machine(void);     /* finds the devices: those of the simulated NVML if that is there */

/* One call of the driver. It is opened with the lock taken, and closed with it given back. */
struct call {
    CUresult status;
    int64_t now_ns;
    struct context *context; /* the one it is about, NULL if it needs none */
    struct stream *stream;
};

struct call open_call(const char *function);         /* needs nothing but cuInit */
struct call open_context_call(const char *function); /* needs a current context in good order */
struct call open_stream_call(const char *function, CUstream handle);
struct call open_queue_call(const char *function, CUstream handle); /* waits for room in the stream's queue */
CUresult close_call(const struct call *call);
CUresult close_call_as(const struct call *call, CUresult status);

/* Waits, after the call is closed, for a moment on the timeline of its context: until then, or until that breaks. */
CUresult close_and_wait(const struct call *call, int64_t time_ns);

CUresult health_of(const struct context *context, int64_t time_ns);
void break_context(struct context *context, CUresult error, int64_t time_ns);

/* Queues work and returns when it ends. Work of no length only marks a place. */
int64_t enqueue(struct stream *stream, int64_t now, int64_t duration_ns);
int64_t device_idle_at(const struct device *device);
void tell_memory(struct device *device);
uint64_t reserved_bytes(const struct device *device);
uint64_t free_bytes(const struct device *device);

int64_t kernel_duration_ns(const char *name, void *const *arguments);
CUresult due_crash(const char *name); /* counts a launch; the error the kernel is to fail with */
CUresult note_call(const char *function); /* counts a call; the injected error that is due */
struct device *device_of(CUdevice ordinal);

/* --------------------------------------------------------------------------------- shared by the entry points */

struct context *current_context(void); /* of the calling thread, NULL if it has none */
struct stream *stream_of(CUstream handle, struct context *current);
void start_stream(struct stream *stream, struct context *context, unsigned int flags, int priority);
void release_all_memory(int device);
void trim_pools(int device);

#endif
