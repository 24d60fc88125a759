/*
 * A simulated libcuda.so.1: the documented entry points of the CUDA driver that cuda.core and cuda.bindings.driver need
 * for devices, primary contexts, streams, events, modules and launches. Memory is in cuda_memory.c.
 *
 * There is nothing here for the CUDA runtime (libcudart): that asks for an undocumented table first, and gets none.
 */
#define _GNU_SOURCE
#include "cuda_machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a handle points to begins with its word; memory of handles is never given back, so that a stale one is read. */
enum { STREAM = 0x5354524d, EVENT = 0x45564e54, MODULE = 0x4d4f4455, FUNCTION = 0x46554e43 };

/* ---------------------------------------------------------------------------------------- start and devices */

CUresult CUDAAPI cuInit(unsigned int flags)
{
    lock_machine();
    CUresult status = note_call(__func__);
    if (!status)
        status = flags ? CUDA_ERROR_INVALID_VALUE : start_machine();
    unlock_machine();
    return status;
}

CUresult CUDAAPI cuDriverGetVersion(int *version)
{
    lock_machine(); /* it may be asked before cuInit */
    CUresult status = version ? note_call(__func__) : CUDA_ERROR_INVALID_VALUE;
    if (!status)
        *version = (int)machine.version;
    unlock_machine();
    return status;
}

CUresult CUDAAPI cuDeviceGetCount(int *count)
{
    struct call call = open_call(__func__);
    if (!call.status)
        *count = machine.device_count;
    return close_call(&call);
}

CUresult CUDAAPI cuDeviceGet(CUdevice *device, int ordinal)
{
    struct call call = open_call(__func__);
    if (!call.status && !device_of(ordinal))
        call.status = CUDA_ERROR_INVALID_DEVICE;
    if (!call.status)
        *device = ordinal;
    return close_call(&call);
}

/* Opens a call about a device, which needs no context. */
static struct call open_device_call(const char *function, CUdevice ordinal, struct device **device)
{
    struct call call = open_call(function);
    *device = device_of(ordinal);
    if (!call.status && !*device)
        call.status = CUDA_ERROR_INVALID_DEVICE;
    return call;
}

CUresult CUDAAPI cuDeviceGetName(char *name, int length, CUdevice ordinal)
{
    struct device *device;
    struct call call = open_device_call(__func__, ordinal, &device);
    if (!call.status && length > 0)
        snprintf(name, (size_t)length, "%s", device->card.name);
    return close_call(&call);
}

CUresult CUDAAPI cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice ordinal)
{
    struct device *device;
    struct call call = open_device_call(__func__, ordinal, &device);
    if (call.status)
        return close_call(&call);
    size_t digits = 0;
    memset(uuid, 0, sizeof *uuid);
    const char *text = strchr(device->card.uuid, '-'); /* behind "GPU" */
    for (; text && *text && digits < 2 * sizeof uuid->bytes; text++) {
        static const char hexadecimal[] = "0123456789abcdef";
        const char *digit = strchr(hexadecimal, *text | 0x20);
        if (*text == '-' || !digit)
            continue;
        unsigned char *byte = (unsigned char *)&uuid->bytes[digits++ / 2];
        *byte = (unsigned char)(*byte << 4 | (digit - hexadecimal));
    }
    return close_call(&call);
}

CUresult CUDAAPI cuDeviceTotalMem_v2(size_t *bytes, CUdevice ordinal)
{
    struct device *device;
    struct call call = open_device_call(__func__, ordinal, &device);
    if (!call.status)
        *bytes = device->card.memory_bytes;
    return close_call(&call);
}

CUresult CUDAAPI cuDeviceGetPCIBusId(char *text, int length, CUdevice ordinal)
{
    struct device *device;
    struct call call = open_device_call(__func__, ordinal, &device);
    if (!call.status && length > 0) {
        const struct gpuprof_card *card = &device->card;
        snprintf(text, (size_t)length, "%04X:%02X:%02X.0", (unsigned int)card->pci_domain,
                 (unsigned int)card->pci_bus, (unsigned int)card->pci_device);
    }
    return close_call(&call);
}

CUresult CUDAAPI cuDeviceGetByPCIBusId(CUdevice *ordinal, const char *text)
{
    struct call call = open_call(__func__);
    unsigned int domain = 0, bus = 0, slot = 0;
    if (!call.status && sscanf(text, "%x:%x:%x", &domain, &bus, &slot) != 3)
        call.status = CUDA_ERROR_INVALID_VALUE;
    if (call.status)
        return close_call(&call);
    for (int i = 0; i < machine.device_count; i++) {
        const struct gpuprof_card *card = &machine.devices[i].card;
        if ((int)domain == card->pci_domain && (int)bus == card->pci_bus && (int)slot == card->pci_device) {
            *ordinal = i;
            return close_call(&call);
        }
    }
    return close_call_as(&call, CUDA_ERROR_INVALID_DEVICE);
}

CUresult CUDAAPI cuDeviceCanAccessPeer(int *can, CUdevice ordinal, CUdevice peer)
{
    struct device *device;
    struct call call = open_device_call(__func__, ordinal, &device);
    if (!call.status && !device_of(peer))
        call.status = CUDA_ERROR_INVALID_DEVICE;
    if (!call.status)
        *can = 0;
    return close_call(&call);
}

static int attribute_of(const struct gpuprof_card *card, CUdevice_attribute attribute)
{
    switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: return card->cc_major;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: return card->cc_minor;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: return card->multiprocessors;
    case CU_DEVICE_ATTRIBUTE_CLOCK_RATE: return card->sm_clock_mhz * 1000; /* kHz */
    case CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE: return card->memory_clock_mhz * 1000;
    case CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH: return card->bus_width_bits;
    case CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID: return card->pci_domain;
    case CU_DEVICE_ATTRIBUTE_PCI_BUS_ID: return card->pci_bus;
    case CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID: return card->pci_device;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X:
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y: return 1024;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z: return 64;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X: return 2147483647;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y:
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z: return 65535;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK: return 48 << 10;
    case CU_DEVICE_ATTRIBUTE_WARP_SIZE: return 32;
    case CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS:
    case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
    case CU_DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED: return 1;
    default: return 0; /* whatever it is, this device does not have it */
    }
}

CUresult CUDAAPI cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice ordinal)
{
    struct device *device;
    struct call call = open_device_call(__func__, ordinal, &device);
    if (!call.status)
        *value = attribute_of(&device->card, attribute);
    return close_call(&call);
}

/* ------------------------------------------------------------------------------------------------ contexts */

/* The calling thread's stack of contexts. */
static __thread struct context *stack[16];
static __thread size_t stacked;

struct context *current_context(void)
{
    return stacked ? stack[stacked - 1] : NULL;
}

static struct context *context_of(CUcontext handle)
{
    for (int i = 0; i < machine.device_count; i++)
        if (handle == (CUcontext)(void *)&machine.devices[i].context)
            return &machine.devices[i].context;
    return NULL;
}

static CUcontext handle_of(struct context *context)
{
    return (CUcontext)(void *)context;
}

CUresult CUDAAPI cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice ordinal)
{
    struct device *device;
    struct call call = open_device_call(__func__, ordinal, &device);
    if (!call.status) {
        if (!device->legacy.magic) {
            start_stream(&device->legacy, &device->context, CU_STREAM_DEFAULT, 0);
            device->legacy.is_legacy = true;
        }
        device->context.retained++;
        tell_memory(device);
        *context = handle_of(&device->context);
    }
    return close_call(&call);
}

CUresult CUDAAPI cuDevicePrimaryCtxRelease_v2(CUdevice ordinal)
{
    struct device *device;
    struct call call = open_device_call(__func__, ordinal, &device);
    if (!call.status && device->context.retained == 0)
        call.status = CUDA_ERROR_INVALID_CONTEXT;
    if (!call.status && --device->context.retained == 0)
        tell_memory(device);
    return close_call(&call);
}

CUresult CUDAAPI cuDevicePrimaryCtxGetState(CUdevice ordinal, unsigned int *flags, int *active)
{
    struct device *device;
    struct call call = open_device_call(__func__, ordinal, &device);
    if (!call.status) {
        *flags = device->context.flags;
        *active = device->context.retained > 0;
    }
    return close_call(&call);
}

CUresult CUDAAPI cuDevicePrimaryCtxSetFlags_v2(CUdevice ordinal, unsigned int flags)
{
    struct device *device;
    struct call call = open_device_call(__func__, ordinal, &device);
    if (!call.status)
        device->context.flags = flags;
    return close_call(&call);
}

/* The only cure for a broken context in a running process: all that was made in it is lost. */
CUresult CUDAAPI cuDevicePrimaryCtxReset_v2(CUdevice ordinal)
{
    struct device *device;
    struct call call = open_device_call(__func__, ordinal, &device);
    if (!call.status) {
        device->context.error = CUDA_SUCCESS;
        device->context.flags = 0;
        device->legacy.tail_ns = 0;
        for (struct stream *stream = device->streams; stream; stream = stream->next)
            stream->magic = 0;
        device->streams = NULL;
        release_all_memory(ordinal);
        tell_memory(device);
    }
    return close_call(&call);
}

CUresult CUDAAPI cuCtxSetCurrent(CUcontext handle)
{
    struct call call = open_call(__func__);
    struct context *context = context_of(handle);
    if (!call.status && handle && !context)
        call.status = CUDA_ERROR_INVALID_CONTEXT;
    if (call.status)
        return close_call(&call);
    if (!context)
        stacked -= stacked > 0;
    else if (stacked)
        stack[stacked - 1] = context;
    else
        stack[stacked++] = context;
    return close_call(&call);
}

CUresult CUDAAPI cuCtxGetCurrent(CUcontext *handle)
{
    struct call call = open_call(__func__);
    if (!call.status)
        *handle = handle_of(current_context());
    return close_call(&call);
}

CUresult CUDAAPI cuCtxPushCurrent_v2(CUcontext handle)
{
    struct call call = open_call(__func__);
    struct context *context = context_of(handle);
    if (!call.status && (!context || stacked == LENGTH(stack)))
        call.status = CUDA_ERROR_INVALID_CONTEXT;
    if (!call.status)
        stack[stacked++] = context;
    return close_call(&call);
}

CUresult CUDAAPI cuCtxPopCurrent_v2(CUcontext *handle)
{
    struct call call = open_call(__func__);
    if (!call.status && !stacked)
        call.status = CUDA_ERROR_INVALID_CONTEXT;
    if (!call.status) {
        stacked--;
        if (handle)
            *handle = handle_of(stack[stacked]);
    }
    return close_call(&call);
}

/* A context by its handle, the current one for none. */
static struct call open_named_context_call(const char *function, CUcontext handle)
{
    struct call call = open_context_call(function);
    if (!handle || call.status == CUDA_ERROR_NOT_INITIALIZED)
        return call;
    call.context = context_of(handle);
    call.status = call.context ? health_of(call.context, call.now_ns) : CUDA_ERROR_INVALID_CONTEXT;
    return call;
}

static CUresult device_of_context(const char *function, CUdevice *ordinal, CUcontext handle)
{
    struct call call = open_call(function);
    const struct context *context = handle ? context_of(handle) : current_context();
    if (!call.status && !context)
        call.status = CUDA_ERROR_INVALID_CONTEXT;
    if (!call.status)
        *ordinal = context->device;
    return close_call(&call);
}

CUresult CUDAAPI cuCtxGetDevice_v2(CUdevice *ordinal, CUcontext handle)
{
    return device_of_context(__func__, ordinal, handle);
}

CUresult CUDAAPI cuCtxGetDevice(CUdevice *ordinal)
{
    return device_of_context(__func__, ordinal, NULL);
}

CUresult CUDAAPI cuCtxGetFlags(unsigned int *flags)
{
    struct call call = open_context_call(__func__);
    if (!call.status)
        *flags = call.context->flags;
    return close_call(&call);
}

CUresult CUDAAPI cuCtxGetId(CUcontext handle, unsigned long long *id)
{
    struct call call = open_named_context_call(__func__, handle);
    if (!call.status)
        *id = (unsigned long long)call.context->device + 1;
    return close_call(&call);
}

CUresult CUDAAPI cuCtxGetApiVersion(CUcontext handle, unsigned int *version)
{
    struct call call = open_named_context_call(__func__, handle);
    if (!call.status)
        *version = (unsigned int)machine.version;
    return close_call(&call);
}

CUresult CUDAAPI cuCtxGetStreamPriorityRange(int *least, int *greatest)
{
    struct call call = open_context_call(__func__);
    if (!call.status) {
        *least = 0;
        *greatest = -5;
    }
    return close_call(&call);
}

/* Waits for all streams; then the pools give back what they need not keep. */
static CUresult synchronize(struct call call)
{
    if (call.status)
        return close_call(&call);
    int ordinal = call.context->device;
    CUresult status = close_and_wait(&call, device_idle_at(&machine.devices[ordinal]));
    lock_machine();
    trim_pools(ordinal);
    unlock_machine();
    return status;
}

CUresult CUDAAPI cuCtxSynchronize(void)
{
    return synchronize(open_context_call(__func__));
}

CUresult CUDAAPI cuCtxSynchronize_v2(CUcontext handle)
{
    return synchronize(open_named_context_call(__func__, handle));
}

/* ------------------------------------------------------------------------------------------------- streams */

void start_stream(struct stream *stream, struct context *context, unsigned int flags, int priority)
{
    static uint64_t last_id;
    *stream = (struct stream){
        .magic = STREAM, .context = context, .flags = flags, .priority = priority, .id = ++last_id,
        .depth = (size_t)machine.queue_depth,
    };
    stream->ends_ns = calloc(stream->depth, sizeof *stream->ends_ns);
    if (!stream->ends_ns)
        abort();
}

/* The per-thread default stream is an ordinary one that is made when a thread first uses it. */
static struct stream *per_thread_stream(struct context *context)
{
    static __thread struct stream *streams[MAX_DEVICES];
    struct device *device = &machine.devices[context->device];
    struct stream **stream = &streams[context->device];
    if (!*stream || !(*stream)->magic) {
        *stream = malloc(sizeof **stream);
        if (!*stream)
            abort();
        start_stream(*stream, context, CU_STREAM_DEFAULT, 0);
        (*stream)->next = device->streams;
        device->streams = *stream;
    }
    return *stream;
}

struct stream *stream_of(CUstream handle, struct context *current)
{
    if (!handle || handle == CU_STREAM_LEGACY)
        return current ? &machine.devices[current->device].legacy : NULL;
    if (handle == CU_STREAM_PER_THREAD)
        return current ? per_thread_stream(current) : NULL;
    struct stream *stream = (struct stream *)(void *)handle;
    return stream->magic == STREAM ? stream : NULL;
}

static CUresult create_stream(const char *function, CUstream *handle, unsigned int flags, int priority)
{
    struct call call = open_context_call(function);
    if (!call.status && flags > CU_STREAM_NON_BLOCKING)
        call.status = CUDA_ERROR_INVALID_VALUE;
    if (call.status)
        return close_call(&call);
    struct stream *stream = malloc(sizeof *stream);
    if (!stream)
        return close_call_as(&call, CUDA_ERROR_OUT_OF_MEMORY);
    struct device *device = &machine.devices[call.context->device];
    start_stream(stream, call.context, flags, priority);
    stream->next = device->streams;
    device->streams = stream;
    *handle = (CUstream)(void *)stream;
    return close_call(&call);
}

CUresult CUDAAPI cuStreamCreateWithPriority(CUstream *handle, unsigned int flags, int priority)
{
    return create_stream(__func__, handle, flags, priority);
}

CUresult CUDAAPI cuStreamCreate(CUstream *handle, unsigned int flags)
{
    return create_stream(__func__, handle, flags, 0);
}

/* Its work goes on: the device is idle only when that is over. */
CUresult CUDAAPI cuStreamDestroy_v2(CUstream handle)
{
    struct call call = open_call(__func__);
    struct stream *stream = call.status ? NULL : stream_of(handle, NULL);
    if (!call.status && !stream)
        call.status = CUDA_ERROR_INVALID_HANDLE;
    if (call.status)
        return close_call(&call);
    struct device *device = &machine.devices[stream->context->device];
    for (struct stream **link = &device->streams; *link; link = &(*link)->next)
        if (*link == stream) {
            *link = stream->next;
            break;
        }
    if (stream->tail_ns > device->legacy.tail_ns && !(stream->flags & CU_STREAM_NON_BLOCKING))
        device->legacy.tail_ns = stream->tail_ns;
    stream->magic = 0;
    free(stream->ends_ns);
    return close_call(&call);
}

CUresult CUDAAPI cuStreamGetPriority(CUstream handle, int *priority)
{
    struct call call = open_stream_call(__func__, handle);
    if (!call.status)
        *priority = call.stream->priority;
    return close_call(&call);
}

CUresult CUDAAPI cuStreamGetFlags(CUstream handle, unsigned int *flags)
{
    struct call call = open_stream_call(__func__, handle);
    if (!call.status)
        *flags = call.stream->flags;
    return close_call(&call);
}

CUresult CUDAAPI cuStreamGetId(CUstream handle, unsigned long long *id)
{
    struct call call = open_stream_call(__func__, handle);
    if (!call.status)
        *id = call.stream->id;
    return close_call(&call);
}

CUresult CUDAAPI cuStreamGetCtx(CUstream handle, CUcontext *context)
{
    struct call call = open_stream_call(__func__, handle);
    if (!call.status)
        *context = handle_of(call.context);
    return close_call(&call);
}

CUresult CUDAAPI cuStreamGetDevice(CUstream handle, CUdevice *ordinal)
{
    struct call call = open_stream_call(__func__, handle);
    if (!call.status)
        *ordinal = call.context->device;
    return close_call(&call);
}

CUresult CUDAAPI cuStreamIsCapturing(CUstream handle, CUstreamCaptureStatus *capturing)
{
    struct call call = open_stream_call(__func__, handle);
    if (!call.status)
        *capturing = CU_STREAM_CAPTURE_STATUS_NONE; /* there are no graphs here */
    return close_call(&call);
}

/* When a stream is done with what it has; the legacy default stream, with what it would wait for as well. */
static int64_t done_at(const struct stream *stream)
{
    int64_t done_ns = stream->tail_ns;
    if (stream->is_legacy)
        for (const struct stream *other = machine.devices[stream->context->device].streams; other; other = other->next)
            if (!(other->flags & CU_STREAM_NON_BLOCKING) && other->tail_ns > done_ns)
                done_ns = other->tail_ns;
    return done_ns;
}

CUresult CUDAAPI cuStreamSynchronize(CUstream handle)
{
    struct call call = open_stream_call(__func__, handle);
    return close_and_wait(&call, call.status ? 0 : done_at(call.stream));
}

CUresult CUDAAPI cuStreamQuery(CUstream handle)
{
    struct call call = open_stream_call(__func__, handle);
    bool done = call.status || done_at(call.stream) <= call.now_ns;
    return close_call_as(&call, done ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY);
}

static struct event *event_of(CUevent handle)
{
    struct event *event = (struct event *)(void *)handle;
    return event && event->magic == EVENT ? event : NULL;
}

CUresult CUDAAPI cuStreamWaitEvent(CUstream handle, CUevent event_handle, unsigned int flags)
{
    struct call call = open_stream_call(__func__, handle);
    const struct event *event = event_of(event_handle);
    if (!call.status && (!event || flags > 1))
        call.status = event ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_INVALID_HANDLE;
    if (!call.status && event->recorded && event->when_ns > call.stream->tail_ns)
        call.stream->tail_ns = event->when_ns;
    return close_call(&call);
}

/* -------------------------------------------------------------------------------------------------- events */

/* Destroyed events, the oldest first. A measurement makes very many, so they are used again, but late. */
static struct {
    struct event *first, *last;
    size_t count;
} destroyed;

static struct event *new_event(void)
{
    if (destroyed.count < 256)
        return calloc(1, sizeof(struct event));
    struct event *event = destroyed.first;
    destroyed.first = event->next;
    destroyed.count--;
    return event;
}

static void keep_destroyed(struct event *event)
{
    event->magic = 0;
    event->next = NULL;
    if (destroyed.count++)
        destroyed.last->next = event;
    else
        destroyed.first = event;
    destroyed.last = event;
}

CUresult CUDAAPI cuEventCreate(CUevent *handle, unsigned int flags)
{
    struct call call = open_context_call(__func__);
    bool untimed = flags & CU_EVENT_DISABLE_TIMING;
    if (!call.status && (flags > 7 || ((flags & CU_EVENT_INTERPROCESS) && !untimed)))
        call.status = CUDA_ERROR_INVALID_VALUE;
    if (call.status)
        return close_call(&call);
    struct event *event = new_event();
    if (!event)
        return close_call_as(&call, CUDA_ERROR_OUT_OF_MEMORY);
    *event = (struct event){.magic = EVENT, .context = call.context, .flags = flags};
    *handle = (CUevent)(void *)event;
    return close_call(&call);
}

CUresult CUDAAPI cuEventDestroy_v2(CUevent handle)
{
    struct call call = open_call(__func__);
    struct event *event = event_of(handle);
    if (!call.status && !event)
        call.status = CUDA_ERROR_INVALID_HANDLE;
    if (!call.status)
        keep_destroyed(event);
    return close_call(&call);
}

static CUresult record(const char *function, CUevent event_handle, CUstream handle)
{
    struct call call = open_queue_call(function, handle);
    struct event *event = event_of(event_handle);
    if (!call.status && (!event || event->context != call.context))
        call.status = CUDA_ERROR_INVALID_HANDLE;
    if (!call.status) {
        event->when_ns = enqueue(call.stream, call.now_ns, 0);
        event->recorded = true;
    }
    return close_call(&call);
}

CUresult CUDAAPI cuEventRecord(CUevent event, CUstream stream)
{
    return record(__func__, event, stream);
}

CUresult CUDAAPI cuEventRecordWithFlags(CUevent event, CUstream stream, unsigned int flags)
{
    return flags > 1 ? CUDA_ERROR_INVALID_VALUE : record(__func__, event, stream);
}

/* Opens a call about an event; one that was never recorded counts as done. */
static struct call open_event_call(const char *function, CUevent handle, int64_t *done_ns)
{
    struct call call = open_call(function);
    const struct event *event = event_of(handle);
    if (!call.status && !event)
        call.status = CUDA_ERROR_INVALID_HANDLE;
    if (call.status)
        return call;
    call.context = event->context;
    call.status = health_of(call.context, call.now_ns);
    *done_ns = event->recorded ? event->when_ns : 0;
    return call;
}

CUresult CUDAAPI cuEventQuery(CUevent handle)
{
    int64_t done_ns = 0;
    struct call call = open_event_call(__func__, handle, &done_ns);
    return close_call_as(&call, done_ns <= call.now_ns ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY);
}

CUresult CUDAAPI cuEventSynchronize(CUevent handle)
{
    int64_t done_ns = 0;
    struct call call = open_event_call(__func__, handle, &done_ns);
    return close_and_wait(&call, done_ns);
}

static bool has_time(const struct event *event)
{
    return event && event->recorded && !(event->flags & CU_EVENT_DISABLE_TIMING);
}

static CUresult elapsed(const char *function, float *milliseconds, CUevent start_handle, CUevent end_handle)
{
    struct call call = open_call(function);
    const struct event *start = event_of(start_handle), *end = event_of(end_handle);
    if (!call.status && (!has_time(start) || !has_time(end) || start->context != end->context))
        call.status = CUDA_ERROR_INVALID_HANDLE;
    if (!call.status)
        call.status = health_of(start->context, call.now_ns);
    if (!call.status && (start->when_ns > call.now_ns || end->when_ns > call.now_ns))
        call.status = CUDA_ERROR_NOT_READY;
    if (!call.status) {
        int64_t tick_ns = machine.event_resolution_ns;
        *milliseconds = (float)((double)((end->when_ns / tick_ns - start->when_ns / tick_ns) * tick_ns) * 1e-6);
    }
    return close_call(&call);
}

CUresult CUDAAPI cuEventElapsedTime_v2(float *milliseconds, CUevent start, CUevent end)
{
    return elapsed(__func__, milliseconds, start, end);
}

CUresult CUDAAPI cuEventElapsedTime(float *milliseconds, CUevent start, CUevent end)
{
    return elapsed(__func__, milliseconds, start, end);
}

/* ------------------------------------------------------------------------------------ modules and kernels */

struct function {
    uint32_t magic;
    struct module *module;
    struct function *next;
    char name[256];
};

struct module {
    uint32_t magic;
    char *image; /* a copy; PTX as text, or an ELF file; NULL for formats that are not looked into */
    size_t size;
    bool is_text;
    struct function *functions;
};

/* The length of an ELF file for 64 bits: its section headers come last. */
static size_t elf_size(const unsigned char *image)
{
    uint64_t sections_at;
    uint16_t section_size, sections;
    memcpy(&sections_at, image + 40, sizeof sections_at);
    memcpy(&section_size, image + 58, sizeof section_size);
    memcpy(&sections, image + 60, sizeof sections);
    return sections_at + (size_t)section_size * sections;
}

/* PTX begins with a comment or a directive; a fat binary with one of two magic numbers. */
static bool take_image(struct module *module, const void *image)
{
    static const unsigned char fat[][4] = {{0x50, 0xed, 0x55, 0xba}, {0xb1, 0x43, 0x62, 0x46}};
    const char *text = image;
    if (memcmp(image, fat[0], 4) == 0 || memcmp(image, fat[1], 4) == 0)
        return true;
    if (memcmp(image, "\177ELF", 4) == 0) {
        module->size = elf_size(image);
    } else if (strstr(text, ".version") && strstr(text, ".target")) {
        module->is_text = true;
        module->size = strlen(text) + 1;
    } else {
        return false;
    }
    module->image = malloc(module->size);
    if (module->image)
        memcpy(module->image, image, module->size);
    return module->image != NULL;
}

/* Whether the image has a kernel of this name: ".entry NAME" in PTX, the section ".text.NAME" in an ELF file. */
static bool has_kernel(const struct module *module, const char *name)
{
    char section[300];
    if (!module->image)
        return true;
    if (!module->is_text) {
        int length = snprintf(section, sizeof section, ".text.%s", name);
        return memmem(module->image, module->size, section, (size_t)length + 1) != NULL;
    }
    for (const char *entry = module->image; (entry = strstr(entry, ".entry")) != NULL;) {
        entry += strlen(".entry");
        entry += strspn(entry, " \t\r\n");
        size_t length = strcspn(entry, " \t\r\n({");
        if (length == strlen(name) && strncmp(entry, name, length) == 0)
            return true;
    }
    return false;
}

static CUresult load(const void *image, struct module **loaded)
{
    struct module *module = calloc(1, sizeof *module);
    if (!module)
        return CUDA_ERROR_OUT_OF_MEMORY;
    if (!image || !take_image(module, image)) {
        free(module);
        return image ? CUDA_ERROR_INVALID_IMAGE : CUDA_ERROR_INVALID_VALUE;
    }
    module->magic = MODULE;
    *loaded = module;
    return CUDA_SUCCESS;
}

static struct module *module_of(void *handle)
{
    struct module *module = handle;
    return module && module->magic == MODULE ? module : NULL;
}

static CUresult unload(void *handle)
{
    struct module *module = module_of(handle);
    if (!module)
        return CUDA_ERROR_INVALID_HANDLE;
    module->magic = 0;
    for (struct function *function = module->functions; function; function = function->next)
        function->magic = 0;
    free(module->image);
    return CUDA_SUCCESS;
}

static CUresult find_kernel(void *handle, const char *name, struct function **found)
{
    struct module *module = module_of(handle);
    if (!module)
        return CUDA_ERROR_INVALID_HANDLE;
    for (struct function *function = module->functions; function; function = function->next)
        if (strcmp(function->name, name) == 0) {
            *found = function;
            return CUDA_SUCCESS;
        }
    if (strlen(name) >= sizeof (*found)->name || !has_kernel(module, name))
        return CUDA_ERROR_NOT_FOUND;
    struct function *function = calloc(1, sizeof *function);
    if (!function)
        return CUDA_ERROR_OUT_OF_MEMORY;
    function->magic = FUNCTION;
    function->module = module;
    function->next = module->functions;
    module->functions = function;
    strcpy(function->name, name);
    *found = function;
    return CUDA_SUCCESS;
}

/* A kernel of a library and a function of a module are the same thing here. */
static struct function *function_of(void *handle)
{
    struct function *function = handle;
    return function && function->magic == FUNCTION ? function : NULL;
}

CUresult CUDAAPI cuLibraryLoadData(CUlibrary *library, const void *code, CUjit_option *options, void **values,
                                   unsigned int count, CUlibraryOption *library_options, void **library_values,
                                   unsigned int library_count)
{
    (void)options, (void)values, (void)count, (void)library_options, (void)library_values, (void)library_count;
    struct call call = open_call(__func__);
    struct module *module = NULL;
    if (!call.status)
        call.status = load(code, &module);
    if (!call.status)
        *library = (CUlibrary)(void *)module;
    return close_call(&call);
}

CUresult CUDAAPI cuLibraryUnload(CUlibrary library)
{
    struct call call = open_call(__func__);
    return close_call_as(&call, call.status ? call.status : unload(library));
}

CUresult CUDAAPI cuLibraryGetKernel(CUkernel *kernel, CUlibrary library, const char *name)
{
    struct call call = open_call(__func__);
    struct function *function = NULL;
    if (!call.status)
        call.status = find_kernel(library, name, &function);
    if (!call.status)
        *kernel = (CUkernel)(void *)function;
    return close_call(&call);
}

static CUresult load_module(const char *function, CUmodule *handle, const void *image)
{
    struct call call = open_context_call(function);
    struct module *module = NULL;
    if (!call.status)
        call.status = load(image, &module);
    if (!call.status)
        *handle = (CUmodule)(void *)module;
    return close_call(&call);
}

CUresult CUDAAPI cuModuleLoadData(CUmodule *handle, const void *image)
{
    return load_module(__func__, handle, image);
}

CUresult CUDAAPI cuModuleLoadDataEx(CUmodule *handle, const void *image, unsigned int count, CUjit_option *options,
                                    void **values)
{
    (void)count, (void)options, (void)values;
    return load_module(__func__, handle, image);
}

CUresult CUDAAPI cuModuleUnload(CUmodule handle)
{
    struct call call = open_context_call(__func__);
    return close_call_as(&call, call.status ? call.status : unload(handle));
}

CUresult CUDAAPI cuModuleGetFunction(CUfunction *handle, CUmodule module, const char *name)
{
    struct call call = open_context_call(__func__);
    struct function *function = NULL;
    if (!call.status)
        call.status = find_kernel(module, name, &function);
    if (!call.status)
        *handle = (CUfunction)(void *)function;
    return close_call(&call);
}

CUresult CUDAAPI cuKernelGetFunction(CUfunction *handle, CUkernel kernel)
{
    struct call call = open_context_call(__func__);
    if (!call.status && !function_of(kernel))
        call.status = CUDA_ERROR_INVALID_HANDLE;
    if (!call.status)
        *handle = (CUfunction)(void *)kernel;
    return close_call(&call);
}

static CUresult name_of(const char *function, void *handle, const char **name)
{
    struct call call = open_call(function);
    if (!call.status && !function_of(handle))
        call.status = CUDA_ERROR_INVALID_HANDLE;
    if (!call.status)
        *name = function_of(handle)->name;
    return close_call(&call);
}

CUresult CUDAAPI cuKernelGetName(const char **name, CUkernel kernel)
{
    return name_of(__func__, kernel, name);
}

CUresult CUDAAPI cuFuncGetName(const char **name, CUfunction function)
{
    return name_of(__func__, function, name);
}

static CUresult function_attribute(const char *function, void *handle, CUfunction_attribute attribute, int *value)
{
    struct call call = open_call(function);
    if (!call.status && !function_of(handle))
        call.status = CUDA_ERROR_INVALID_HANDLE;
    if (!call.status) {
        bool is_limit = attribute == CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK;
        *value = is_limit ? 1024 : attribute == CU_FUNC_ATTRIBUTE_NUM_REGS ? 32 : 0;
    }
    return close_call(&call);
}

CUresult CUDAAPI cuKernelGetAttribute(int *value, CUfunction_attribute attribute, CUkernel kernel, CUdevice ordinal)
{
    (void)ordinal;
    return function_attribute(__func__, kernel, attribute, value);
}

CUresult CUDAAPI cuFuncGetAttribute(int *value, CUfunction_attribute attribute, CUfunction function)
{
    return function_attribute(__func__, function, attribute, value);
}

static bool is_launchable(const CUlaunchConfig *shape)
{
    uint64_t blocks = (uint64_t)shape->gridDimX * shape->gridDimY * shape->gridDimZ;
    uint64_t threads = (uint64_t)shape->blockDimX * shape->blockDimY * shape->blockDimZ;
    return blocks > 0 && threads > 0 && threads <= 1024 && shape->sharedMemBytes <= 227 << 10;
}

/* The host pays for the launch; a kernel that is to crash does so when it is over. */
static CUresult launch(const char *name, const CUlaunchConfig *shape, CUfunction handle, void **arguments)
{
    struct call call = open_queue_call(name, shape->hStream);
    const struct function *function = function_of(handle);
    if (!call.status && !function)
        call.status = CUDA_ERROR_INVALID_HANDLE;
    if (!call.status && !is_launchable(shape))
        call.status = CUDA_ERROR_INVALID_VALUE;
    if (call.status)
        return close_call(&call);
    int64_t end_ns = enqueue(call.stream, call.now_ns, kernel_duration_ns(function->name, arguments));
    CUresult crash = due_crash(function->name);
    if (crash)
        break_context(call.context, crash, end_ns);
    int64_t return_ns = call.now_ns + machine.launch_host_ns;
    close_call(&call);
    while (now_ns() < return_ns)
        ;
    return CUDA_SUCCESS;
}

CUresult CUDAAPI cuLaunchKernelEx(const CUlaunchConfig *shape, CUfunction function, void **arguments, void **extra)
{
    (void)extra;
    return shape ? launch(__func__, shape, function, arguments) : CUDA_ERROR_INVALID_VALUE;
}

CUresult CUDAAPI cuLaunchKernel(CUfunction function, unsigned int grid_x, unsigned int grid_y, unsigned int grid_z,
                                unsigned int block_x, unsigned int block_y, unsigned int block_z,
                                unsigned int shared_bytes, CUstream stream, void **arguments, void **extra)
{
    (void)extra;
    CUlaunchConfig shape = {
        .gridDimX = grid_x, .gridDimY = grid_y, .gridDimZ = grid_z,
        .blockDimX = block_x, .blockDimY = block_y, .blockDimZ = block_z,
        .sharedMemBytes = shared_bytes, .hStream = stream,
    };
    return launch(__func__, &shape, function, arguments);
}
