/*
 * The simulated machine: its settings, its clock, its devices' timelines, its faults, and the functions that tests call
 * (`gpuprof_cuda_*`). The entry points of the driver itself are in cuda_simulator.c and cuda_memory.c.
 */
#define _GNU_SOURCE
#include "cuda_machine.h"

#include <dlfcn.h>
#include <fnmatch.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NS_PER_S 1000000000LL
#define MIB (1LL << 20)
#define MAX_RULES 64

struct machine machine;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

void lock_machine(void)
{
    pthread_mutex_lock(&mutex);
}

void unlock_machine(void)
{
    pthread_mutex_unlock(&mutex);
}

/* --------------------------------------------------------------------------------------------------- clock */

int64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * NS_PER_S + time.tv_nsec;
}

/* Sleeps while there is long to wait, and looks at the clock at the end, as a driver that polls does. */
void wait_until(int64_t time_ns)
{
    const int64_t polled_ns = 60000; /* longer than the kernel needs to wake a thread */
    for (int64_t left_ns; (left_ns = time_ns - now_ns()) > 0;)
        if (left_ns > polled_ns) {
            int64_t slept_ns = left_ns - polled_ns;
            struct timespec pause = {.tv_sec = slept_ns / NS_PER_S, .tv_nsec = slept_ns % NS_PER_S};
            nanosleep(&pause, NULL);
        }
}

/* ---------------------------------------------------------------------------------------- settings: problems */

static char problem[256]; /* why the last settings were refused, for the caller to show */

__attribute__((format(printf, 1, 2))) static bool refuse(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(problem, sizeof problem, format, arguments);
    va_end(arguments);
    return false;
}

static bool parse_number(const char *text, double *number)
{
    char *end;
    *number = strtod(text, &end);
    return end != text && *end == '\0' && isfinite(*number);
}

/* ------------------------------------------------------------------------------- settings: kernels and faults */

/* How long kernels whose name matches take. */
static struct duration_rule {
    char pattern[96];
    int64_t ns;
} durations[MAX_RULES];
static size_t duration_count;

/* The launch of a matching kernel that fails while it runs, and how. */
static struct crash_rule {
    char pattern[96];
    long long launch, seen;
    CUresult error;
} crashes[MAX_RULES];
static size_t crash_count;

/* Calls that fail: `count` of them from the `first` on. */
static struct fault_rule {
    char function[96];
    CUresult error;
    long long first, count, seen;
} faults[MAX_RULES];
static size_t fault_count;

static const struct {
    CUresult code;
    const char *name, *text;
    bool sticks; /* the context is of no use after it */
} errors[] = {
    {CUDA_SUCCESS, "CUDA_SUCCESS", "no error", false},
    {CUDA_ERROR_INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument", false},
    {CUDA_ERROR_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory", false},
    {CUDA_ERROR_NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "initialization error", false},
    {CUDA_ERROR_DEINITIALIZED, "CUDA_ERROR_DEINITIALIZED", "driver shutting down", false},
    {CUDA_ERROR_NO_DEVICE, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected", false},
    {CUDA_ERROR_INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal", false},
    {CUDA_ERROR_INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid", false},
    {CUDA_ERROR_INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context", false},
    {CUDA_ERROR_NO_BINARY_FOR_GPU, "CUDA_ERROR_NO_BINARY_FOR_GPU", "no kernel image for the device", false},
    {CUDA_ERROR_ECC_UNCORRECTABLE, "CUDA_ERROR_ECC_UNCORRECTABLE", "uncorrectable ECC error encountered", true},
    {CUDA_ERROR_INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle", false},
    {CUDA_ERROR_NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found", false},
    {CUDA_ERROR_NOT_READY, "CUDA_ERROR_NOT_READY", "device not ready", false},
    {CUDA_ERROR_ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered", true},
    {CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", "too many resources requested", false},
    {CUDA_ERROR_LAUNCH_TIMEOUT, "CUDA_ERROR_LAUNCH_TIMEOUT", "the launch timed out and was terminated", true},
    {CUDA_ERROR_CONTEXT_IS_DESTROYED, "CUDA_ERROR_CONTEXT_IS_DESTROYED", "context is destroyed", false},
    {CUDA_ERROR_ASSERT, "CUDA_ERROR_ASSERT", "device-side assert triggered", true},
    {CUDA_ERROR_HARDWARE_STACK_ERROR, "CUDA_ERROR_HARDWARE_STACK_ERROR", "hardware stack error", true},
    {CUDA_ERROR_ILLEGAL_INSTRUCTION, "CUDA_ERROR_ILLEGAL_INSTRUCTION", "an illegal instruction was encountered", true},
    {CUDA_ERROR_MISALIGNED_ADDRESS, "CUDA_ERROR_MISALIGNED_ADDRESS", "misaligned address", true},
    {CUDA_ERROR_INVALID_ADDRESS_SPACE, "CUDA_ERROR_INVALID_ADDRESS_SPACE", "invalid address space", true},
    {CUDA_ERROR_INVALID_PC, "CUDA_ERROR_INVALID_PC", "invalid program counter", true},
    {CUDA_ERROR_LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure", true},
    {CUDA_ERROR_NOT_PERMITTED, "CUDA_ERROR_NOT_PERMITTED", "operation not permitted", false},
    {CUDA_ERROR_NOT_SUPPORTED, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported", false},
    {CUDA_ERROR_SYSTEM_DRIVER_MISMATCH, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", "driver and display driver differ", false},
    {CUDA_ERROR_UNKNOWN, "CUDA_ERROR_UNKNOWN", "unknown error", false},
};

static bool sticks(CUresult error)
{
    for (size_t i = 0; i < LENGTH(errors); i++)
        if (errors[i].code == error)
            return errors[i].sticks;
    return false;
}

/* An error by its name, with or without "CUDA_ERROR_". */
static bool parse_error(const char *text, CUresult *error)
{
    for (size_t i = 0; i < LENGTH(errors); i++)
        if (strcmp(text, errors[i].name) == 0 || strcmp(text, errors[i].name + strlen("CUDA_ERROR_")) == 0) {
            *error = errors[i].code;
            return true;
        }
    return refuse("unknown CUDA error \"%s\"", text);
}

static const char *text_of(CUresult error, bool name)
{
    for (size_t i = 0; i < LENGTH(errors); i++)
        if (errors[i].code == error)
            return name ? errors[i].name : errors[i].text;
    return NULL;
}

CUresult CUDAAPI cuGetErrorName(CUresult error, const char **text)
{
    *text = text_of(error, true);
    return *text ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult CUDAAPI cuGetErrorString(CUresult error, const char **text)
{
    *text = text_of(error, false);
    return *text ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

/* PATTERN:MICROSECONDS; a later rule goes before an earlier one. */
static bool add_duration(const char *value)
{
    double microseconds;
    struct duration_rule rule;
    if (sscanf(value, "%95[^:]:%lf", rule.pattern, &microseconds) != 2 || microseconds < 0)
        return refuse("kernel must look like PATTERN:MICROSECONDS, not \"%s\"", value);
    if (duration_count == MAX_RULES)
        return refuse("at most %d kernels", MAX_RULES);
    rule.ns = llround(microseconds * 1e3);
    durations[duration_count++] = rule;
    return true;
}

/* PATTERN[:LAUNCH[:ERROR]] */
static bool add_crash(const char *value)
{
    char error[64] = "ILLEGAL_ADDRESS";
    struct crash_rule rule = {.launch = 1};
    if (sscanf(value, "%95[^:]:%lld:%63s", rule.pattern, &rule.launch, error) < 1 || !parse_error(error, &rule.error))
        return refuse("crash must look like PATTERN[:LAUNCH[:ERROR]], not \"%s\"", value);
    if (!sticks(rule.error))
        return refuse("a kernel cannot fail with %s", error);
    if (crash_count == MAX_RULES)
        return refuse("at most %d crashes", MAX_RULES);
    crashes[crash_count++] = rule;
    return true;
}

/* FUNCTION:ERROR[:FROM_CALL[:COUNT]] */
static bool add_fault(const char *value)
{
    char error[64];
    struct fault_rule rule = {.first = 1, .count = INT64_MAX};
    if (sscanf(value, "%95[^:]:%63[^:]:%lld:%lld", rule.function, error, &rule.first, &rule.count) < 2)
        return refuse("a fault looks like FUNCTION:ERROR[:FROM_CALL[:COUNT]], not \"%s\"", value);
    if (!parse_error(error, &rule.error))
        return false;
    if (fault_count == MAX_RULES)
        return refuse("at most %d faults", MAX_RULES);
    faults[fault_count++] = rule;
    return true;
}

/* A name of the form ...sim_busy_<N>{ns|us|ms|s}..., as it is or mangled by a compiler. */
static bool duration_in_name(const char *name, int64_t *ns)
{
    static const struct {
        const char *unit;
        double ns;
    } units[] = {{"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}};
    static const char prefix[] = "sim_busy_";
    const char *found = strstr(name, prefix);
    if (!found)
        return false;
    char *rest;
    double number = strtod(found + strlen(prefix), &rest);
    for (size_t i = 0; i < LENGTH(units); i++)
        if (strncmp(rest, units[i].unit, strlen(units[i].unit)) == 0) {
            *ns = llround(number * units[i].ns);
            return true;
        }
    return false;
}

int64_t kernel_duration_ns(const char *name, void *const *arguments)
{
    int64_t ns;
    for (size_t i = duration_count; i-- > 0;)
        if (fnmatch(durations[i].pattern, name, 0) == 0)
            return durations[i].ns;
    if (duration_in_name(name, &ns))
        return ns;
    if (strstr(name, "spin_ns") && arguments && arguments[0]) {
        uint64_t asked;
        memcpy(&asked, arguments[0], sizeof asked);
        return asked < (uint64_t)INT64_MAX ? (int64_t)asked : INT64_MAX;
    }
    return machine.kernel_ns;
}

static struct {
    char name[96];
    long long count;
} counts[512]; /* calls by entry point, and launches by kernel */

static void count(const char *name)
{
    for (size_t i = 0; i < LENGTH(counts); i++) {
        if (!*counts[i].name)
            snprintf(counts[i].name, sizeof counts[i].name, "%s", name);
        if (strncmp(counts[i].name, name, sizeof counts[i].name - 1) == 0) {
            counts[i].count++;
            return;
        }
    }
}

CUresult due_crash(const char *name)
{
    CUresult due = CUDA_SUCCESS;
    count(name);
    for (size_t i = 0; i < crash_count; i++)
        if (fnmatch(crashes[i].pattern, name, 0) == 0 && ++crashes[i].seen == crashes[i].launch && !due)
            due = crashes[i].error;
    return due;
}

CUresult note_call(const char *function)
{
    CUresult due = CUDA_SUCCESS;
    count(function);
    for (size_t i = 0; i < fault_count; i++) {
        struct fault_rule *fault = &faults[i];
        if (fnmatch(fault->function, function, 0) != 0)
            continue;
        long long call = ++fault->seen;
        if (!due && call >= fault->first && call - fault->first < fault->count)
            due = fault->error;
    }
    return due;
}

/* --------------------------------------------------------------------------------- settings: the machine's own */

static int order[MAX_DEVICES]; /* the NVML index of each device */
static int ordered;            /* how many are in `order`, 0 for the usual order */

/* I,J,...: the NVML index of the devices 0, 1, ... */
static bool set_order(const char *value)
{
    ordered = 0;
    for (const char *rest = value; *rest;) {
        char *end;
        long index = strtol(rest, &end, 10);
        if (end == rest || index < 0 || index >= MAX_DEVICES || ordered == MAX_DEVICES)
            return refuse("order must look like 1,0, not \"%s\"", value);
        order[ordered++] = (int)index;
        rest = *end == ',' ? end + 1 : end;
    }
    return true;
}

static bool set_number(const char *key, double number)
{
    static const struct {
        const char *key;
        int64_t *field;
        double scale;
    } integers[] = {
        {"devices", &machine.lone_devices, 1},
        {"version", &machine.version, 1},
        {"queue_depth", &machine.queue_depth, 1},
        {"latency_us", &machine.latency_ns, 1e3},
        {"launch_host_us", &machine.launch_host_ns, 1e3},
        {"kernel_us", &machine.kernel_ns, 1e3},
        {"event_resolution_ns", &machine.event_resolution_ns, 1},
        {"memory_mb", &machine.memory_bytes, (double)MIB},
        {"context_mb", &machine.context_bytes, (double)MIB},
        {"move_bytes", &machine.move_bytes, 1},
    };
    static const struct {
        const char *key;
        double *field;
    } rates[] = {
        {"host_gb_s", &machine.host_bytes_per_ns},     /* 1 GB/s is 1 byte per nanosecond */
        {"device_gb_s", &machine.device_bytes_per_ns},
    };
    if (number < 0)
        return refuse("%s must not be negative", key);
    for (size_t i = 0; i < LENGTH(integers); i++)
        if (strcmp(key, integers[i].key) == 0) {
            *integers[i].field = llround(number * integers[i].scale);
            if (machine.lone_devices > MAX_DEVICES || machine.queue_depth < 1 || machine.event_resolution_ns < 1)
                return refuse("%s cannot be %g", key, number);
            return true;
        }
    for (size_t i = 0; i < LENGTH(rates); i++)
        if (strcmp(key, rates[i].key) == 0) {
            *rates[i].field = number;
            return number > 0 || refuse("%s must be above 0", key);
        }
    return refuse("unknown setting \"%s\"", key);
}

static bool apply_setting(char *setting)
{
    double number;
    char *value = strchr(setting, '=');
    if (!value)
        return refuse("a setting looks like key=value, not \"%s\"", setting);
    *value++ = '\0';
    if (strcmp(setting, "kernel") == 0)
        return add_duration(value);
    if (strcmp(setting, "crash") == 0)
        return add_crash(value);
    if (strcmp(setting, "fault") == 0)
        return add_fault(value);
    if (strcmp(setting, "order") == 0)
        return set_order(value);
    if (!parse_number(value, &number))
        return refuse("%s must be a number, not \"%s\"", setting, value);
    return set_number(setting, number);
}

static bool apply_settings(const char *settings)
{
    char *copy = strdup(settings), *rest = NULL;
    if (!copy)
        return refuse("no memory for the settings");
    bool applied = true;
    for (char *one = strtok_r(copy, ";", &rest); one && applied; one = strtok_r(NULL, ";", &rest))
        applied = apply_setting(one);
    free(copy);
    return applied;
}

static void set_defaults(void)
{
    machine.lone_devices = 1;
    machine.version = 13000;
    machine.queue_depth = 1024; /* about what a driver queues before a launch has to wait */
    machine.latency_ns = 4000;
    machine.launch_host_ns = 2000;
    machine.kernel_ns = 10000;
    machine.event_resolution_ns = 500;
    machine.host_bytes_per_ns = 25;
    machine.device_bytes_per_ns = 1500;
    machine.memory_bytes = (81559 - 600) * MIB;
    machine.context_bytes = 256 * MIB;
    machine.move_bytes = 1;
}

/* ------------------------------------------------------------------------------------- the simulated NVML */

/* The other simulator's functions; all NULL where it is not there. */
static struct {
    bool (*card)(unsigned int, struct gpuprof_card *);
    bool (*work)(unsigned int, int64_t, int64_t);
    bool (*hold)(unsigned int, uint64_t);
    uint64_t (*used_bytes)(unsigned int);
    bool (*is_virtual)(void);
    int64_t (*now_ns)(void);
} nvml;

static bool find(void *library, const char *name, void *function)
{
    void *address = dlsym(library, name);
    memcpy(function, &address, sizeof address); /* ISO C has no cast from an object to a function */
    return address != NULL;
}

/* Finds the simulated NVML by the name that everybody uses for NVML; a real one is left alone. */
static void find_nvml(void)
{
    void *library = dlopen("libnvidia-ml.so.1", RTLD_NOW);
    if (!library)
        return;
    bool found = find(library, "gpuprof_nvml_card", &nvml.card) && find(library, "gpuprof_nvml_work", &nvml.work) &&
                 find(library, "gpuprof_nvml_hold", &nvml.hold) &&
                 find(library, "gpuprof_nvml_used_bytes", &nvml.used_bytes) &&
                 find(library, "gpuprof_nvml_is_virtual", &nvml.is_virtual) &&
                 find(library, "gpuprof_nvml_now_ns", &nvml.now_ns);
    if (!found) {
        memset(&nvml, 0, sizeof nvml);
        dlclose(library);
    }
}

/* A card for a machine without NVML, with the name and the addresses that the simulated NVML gives by default. */
static bool lone_card(unsigned int index, struct gpuprof_card *card)
{
    if (index >= (unsigned int)machine.lone_devices)
        return false;
    *card = (struct gpuprof_card){
        .name = "Simulated H100",
        .pci_bus = 0x17 + 0x10 * (int)index,
        .cc_major = 9, .multiprocessors = 132,
        .sm_clock_mhz = 1980, .memory_clock_mhz = 2619, .bus_width_bits = 5120,
        .memory_bytes = (uint64_t)machine.memory_bytes,
    };
    snprintf(card->uuid, sizeof card->uuid, "GPU-51510000-0000-4000-8000-%012u", index);
    return true;
}

/* --------------------------------------------------------------------------------------------------- start */

CUresult start_machine(void)
{
    if (machine.initialized)
        return CUDA_SUCCESS;
    if (!machine.valid)
        return CUDA_ERROR_UNKNOWN;
    find_nvml();
    if (nvml.is_virtual && nvml.is_virtual()) {
        fprintf(stderr, "simulated CUDA: the simulated NVML is on its virtual clock, and a device runs on the real one\n");
        return CUDA_ERROR_UNKNOWN;
    }
    bool (*card_at)(unsigned int, struct gpuprof_card *) = nvml.card ? nvml.card : lone_card;
    struct gpuprof_card card;
    int there = 0;
    while (there < MAX_DEVICES && card_at((unsigned int)there, &card))
        there++;
    machine.device_count = ordered ? ordered : there;
    for (int i = 0; i < machine.device_count; i++) {
        struct device *device = &machine.devices[i];
        /* CUDA counts the fastest device first, NVML by PCI address: unlike on purpose. */
        device->nvml_index = ordered ? order[i] : (i + 1) % there;
        if (!card_at((unsigned int)device->nvml_index, &device->card)) {
            fprintf(stderr, "simulated CUDA: order names the card %d, which NVML does not have\n", device->nvml_index);
            return CUDA_ERROR_UNKNOWN;
        }
        device->context.device = i;
        device->pool = &device->default_pool;
        device->default_pool.device = i;
    }
    if (machine.device_count == 0)
        return CUDA_ERROR_NO_DEVICE;
    machine.initialized = true;
    return CUDA_SUCCESS;
}

struct device *device_of(CUdevice ordinal)
{
    return ordinal >= 0 && ordinal < machine.device_count ? &machine.devices[ordinal] : NULL;
}

/* -------------------------------------------------------------------------------------------- the timeline */

CUresult health_of(const struct context *context, int64_t time_ns)
{
    return context->error && time_ns >= context->breaks_at_ns ? context->error : CUDA_SUCCESS;
}

void break_context(struct context *context, CUresult error, int64_t time_ns)
{
    if (context->error && context->breaks_at_ns <= time_ns)
        return;
    context->error = error;
    context->breaks_at_ns = time_ns;
}

static bool insert_stretch(struct device *device, size_t place, struct stretch stretch)
{
    if (device->work_count == device->work_capacity) {
        size_t capacity = device->work_capacity ? 2 * device->work_capacity : 64;
        struct stretch *work = realloc(device->work, capacity * sizeof *work);
        if (!work)
            return false;
        device->work = work;
        device->work_capacity = capacity;
    }
    memmove(device->work + place + 1, device->work + place, (device->work_count - place) * sizeof *device->work);
    device->work[place] = stretch;
    device->work_count++;
    return true;
}

/* Adds a stretch of work, less what other streams' work covers already: a busy device is busy once. */
static void add_work(struct device *device, int64_t now, int64_t begin_ns, int64_t end_ns)
{
    size_t over = 0; /* what ended before now can meet no new work */
    while (over < device->work_count && device->work[over].end_ns < now)
        over++;
    memmove(device->work, device->work + over, (device->work_count - over) * sizeof *device->work);
    device->work_count -= over;

    int64_t to_nvml_ns = nvml.now_ns ? nvml.now_ns() - now_ns() : 0;
    for (size_t i = 0; begin_ns < end_ns; i++) {
        bool is_last = i == device->work_count;
        int64_t until_ns = is_last || device->work[i].begin_ns > end_ns ? end_ns : device->work[i].begin_ns;
        if (begin_ns < until_ns) {
            if (!insert_stretch(device, i, (struct stretch){begin_ns, until_ns}))
                return;
            device->busy_ns += until_ns - begin_ns;
            if (nvml.work)
                nvml.work((unsigned int)device->nvml_index, begin_ns + to_nvml_ns, until_ns + to_nvml_ns);
            begin_ns = until_ns;
        } else if (device->work[i].end_ns > begin_ns) {
            begin_ns = device->work[i].end_ns;
        }
    }
}

/*
 * The rules of order: after what is in the stream; the legacy default stream also after all that was queued to the
 * streams that have not opted out, and they after the legacy default stream.
 */
int64_t enqueue(struct stream *stream, int64_t now, int64_t duration_ns)
{
    struct device *device = &machine.devices[stream->context->device];
    int64_t begin_ns = now + machine.latency_ns;
    if (stream->tail_ns > begin_ns)
        begin_ns = stream->tail_ns;
    if (stream->is_legacy) {
        for (struct stream *other = device->streams; other; other = other->next)
            if (!(other->flags & CU_STREAM_NON_BLOCKING) && other->tail_ns > begin_ns)
                begin_ns = other->tail_ns;
    } else if (!(stream->flags & CU_STREAM_NON_BLOCKING) && device->legacy.tail_ns > begin_ns) {
        begin_ns = device->legacy.tail_ns;
    }
    stream->tail_ns = begin_ns + duration_ns;
    stream->ends_ns[stream->entries++ % stream->depth] = stream->tail_ns;
    if (duration_ns > 0)
        add_work(device, now, begin_ns, stream->tail_ns);
    return stream->tail_ns;
}

int64_t device_idle_at(const struct device *device)
{
    int64_t idle_ns = device->legacy.tail_ns;
    for (const struct stream *stream = device->streams; stream; stream = stream->next)
        if (stream->tail_ns > idle_ns)
            idle_ns = stream->tail_ns;
    return idle_ns;
}

void tell_memory(struct device *device)
{
    uint64_t context_bytes = device->context.retained ? (uint64_t)machine.context_bytes : 0;
    if (nvml.hold)
        nvml.hold((unsigned int)device->nvml_index, context_bytes + device->allocated + reserved_bytes(device));
}

uint64_t free_bytes(const struct device *device)
{
    uint64_t used = device->allocated + reserved_bytes(device);
    if (nvml.used_bytes)
        used = nvml.used_bytes((unsigned int)device->nvml_index);
    else if (device->context.retained)
        used += (uint64_t)machine.context_bytes;
    return used < device->card.memory_bytes ? device->card.memory_bytes - used : 0;
}

/* -------------------------------------------------------------------------------------------------- a call */

struct call open_call(const char *function)
{
    lock_machine();
    struct call call = {.status = note_call(function), .now_ns = now_ns()};
    if (!machine.initialized)
        call.status = CUDA_ERROR_NOT_INITIALIZED;
    return call;
}

/* Settles what the context says; an injected error that sticks breaks it. */
static void settle(struct call *call)
{
    if (!call->context) {
        if (!call->status)
            call->status = CUDA_ERROR_INVALID_CONTEXT;
        return;
    }
    if (sticks(call->status))
        break_context(call->context, call->status, call->now_ns);
    CUresult broken = health_of(call->context, call->now_ns);
    if (broken)
        call->status = broken;
}

struct call open_context_call(const char *function)
{
    struct call call = open_call(function);
    if (call.status == CUDA_ERROR_NOT_INITIALIZED)
        return call;
    call.context = current_context();
    settle(&call);
    return call;
}

struct call open_stream_call(const char *function, CUstream handle)
{
    struct call call = open_call(function);
    if (call.status == CUDA_ERROR_NOT_INITIALIZED)
        return call;
    struct context *current = current_context();
    call.stream = stream_of(handle, current);
    call.context = call.stream ? call.stream->context : current;
    settle(&call);
    if (!call.status && !call.stream)
        call.status = CUDA_ERROR_INVALID_HANDLE;
    return call;
}

struct call open_queue_call(const char *function, CUstream handle)
{
    struct call call = open_stream_call(function, handle);
    while (!call.status) {
        const struct stream *stream = call.stream;
        int64_t room_ns = stream->entries < stream->depth ? 0 : stream->ends_ns[stream->entries % stream->depth];
        if (room_ns <= call.now_ns)
            break;
        unlock_machine();
        wait_until(room_ns); /* the queue is full: the host is held up */
        lock_machine();
        call.now_ns = now_ns();
        call.status = health_of(call.context, call.now_ns);
    }
    return call;
}

CUresult close_call(const struct call *call)
{
    unlock_machine();
    return call->status;
}

CUresult close_call_as(const struct call *call, CUresult status)
{
    unlock_machine();
    return call->status ? call->status : status;
}

CUresult close_and_wait(const struct call *call, int64_t time_ns)
{
    struct context *context = call->context;
    if (!call->status && context->error && context->breaks_at_ns < time_ns)
        time_ns = context->breaks_at_ns;
    unlock_machine();
    if (call->status)
        return call->status;
    wait_until(time_ns);
    lock_machine();
    CUresult health = health_of(context, now_ns());
    unlock_machine();
    return health;
}

/* ------------------------------------------------------------------------------------- what tests call */

/* Changes settings of the running machine: those that make the devices hold for what is started after. */
bool gpuprof_cuda_apply(const char *settings)
{
    lock_machine();
    bool applied = apply_settings(settings);
    unlock_machine();
    return applied;
}

const char *gpuprof_cuda_problem(void)
{
    return problem;
}

/* Forgets kernels' lengths, crashes and faults; a broken context stays broken. */
void gpuprof_cuda_clear_rules(void)
{
    lock_machine();
    duration_count = crash_count = fault_count = 0;
    unlock_machine();
}

/* How often an entry point was called, or a kernel launched. */
int64_t gpuprof_cuda_count(const char *name)
{
    lock_machine();
    int64_t counted = 0;
    for (size_t i = 0; i < LENGTH(counts) && *counts[i].name; i++)
        if (strcmp(counts[i].name, name) == 0)
            counted = counts[i].count;
    unlock_machine();
    return counted;
}

/* How long a device has been given work for, all its streams together; -1 for no device. */
int64_t gpuprof_cuda_busy_ns(int ordinal)
{
    lock_machine();
    const struct device *device = device_of(ordinal);
    int64_t busy_ns = device ? device->busy_ns : -1;
    unlock_machine();
    return busy_ns;
}

__attribute__((constructor)) static void start_from_the_environment(void)
{
    const char *settings = getenv("GPUPROF_SIM_CUDA");
    set_defaults();
    machine.valid = apply_settings(settings ? settings : "");
    if (!machine.valid)
        fprintf(stderr, "simulated CUDA: GPUPROF_SIM_CUDA: %s; cuInit will fail\n", problem);
}
