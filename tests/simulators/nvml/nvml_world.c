/*
 * The simulated machine: its settings, its clock, its power curve, its sensors, and the functions that tests
 * call to drive it (`gpuprof_nvml_*`). The entry points of NVML itself are in nvml_simulator.c.
 */
#define _GNU_SOURCE
#include "nvml_world.h"

#include "nvml_card.h"

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

struct world world;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

void lock_world(void)
{
    pthread_mutex_lock(&mutex);
}

void unlock_world(void)
{
    pthread_mutex_unlock(&mutex);
}

/* ------------------------------------------------------------------------------------------------ problems */

static char problem[256]; /* why the last settings or fault were refused, for the caller to show */

__attribute__((format(printf, 1, 2))) static bool refuse(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(problem, sizeof problem, format, arguments);
    va_end(arguments);
    return false;
}

/* --------------------------------------------------------------------------------------------------- clock */

static struct {
    bool is_virtual;
    int64_t epoch_ns;    /* the monotonic clock at time zero, for the real clock */
    int64_t advanced_ns; /* what advance() has added so far, on either clock */
} simulated_clock;

static int64_t read_clock_ns(clockid_t id)
{
    struct timespec time;
    clock_gettime(id, &time);
    return (int64_t)time.tv_sec * NS_PER_S + time.tv_nsec;
}

int64_t now_ns(void)
{
    int64_t elapsed_ns = simulated_clock.is_virtual ? 0 : read_clock_ns(CLOCK_MONOTONIC) - simulated_clock.epoch_ns;
    return elapsed_ns + simulated_clock.advanced_ns;
}

/* The calendar time NVML puts on its samples; on the virtual clock it starts at a fixed date. */
int64_t timestamp_us(int64_t time_ns)
{
    const int64_t fixed_start_us = 1767225600LL * 1000000; /* 2026-01-01 00:00:00 UTC */
    if (simulated_clock.is_virtual)
        return fixed_start_us + time_ns / 1000;
    return read_clock_ns(CLOCK_REALTIME) / 1000;
}

void wait_for_the_answer(void)
{
    lock_world();
    int64_t latency_ns = world.latency_ns;
    bool is_virtual = simulated_clock.is_virtual;
    if (is_virtual)
        simulated_clock.advanced_ns += latency_ns;
    unlock_world();
    if (!is_virtual && latency_ns > 0) {
        struct timespec pause = {.tv_sec = latency_ns / NS_PER_S, .tv_nsec = latency_ns % NS_PER_S};
        nanosleep(&pause, NULL);
    }
}

/* --------------------------------------------------------------------------------------------- power curve */

#define BUSY_MW (-1) /* a load that draws the card's `busy_w`, whatever that is set to */

static int64_t extra_mw(const struct device *device, const struct load *load)
{
    int64_t total_mw = load->total_mw == BUSY_MW ? device->busy_mw : load->total_mw;
    return total_mw - device->idle_mw;
}

int64_t power_mw(const struct device *device, int64_t time_ns)
{
    int64_t total_mw = device->idle_mw;
    for (size_t i = 0; i < device->load_count; i++) {
        const struct load *load = &device->loads[i];
        if (load->begin_ns <= time_ns && time_ns < load->end_ns)
            total_mw += extra_mw(device, load);
    }
    return total_mw;
}

/* The energy drawn from time zero to `time_ns`; negative before time zero, when the card was idle. */
static picojoules energy_since_zero_pj(const struct device *device, int64_t time_ns)
{
    picojoules total = (picojoules)device->idle_mw * time_ns;
    for (size_t i = 0; i < device->load_count; i++) {
        const struct load *load = &device->loads[i];
        int64_t end_ns = load->end_ns < time_ns ? load->end_ns : time_ns;
        if (end_ns > load->begin_ns)
            total += (picojoules)extra_mw(device, load) * (end_ns - load->begin_ns);
    }
    return total;
}

picojoules energy_pj(const struct device *device, int64_t begin_ns, int64_t end_ns)
{
    return energy_since_zero_pj(device, end_ns) - energy_since_zero_pj(device, begin_ns);
}

bool is_busy(const struct device *device, int64_t time_ns)
{
    return power_mw(device, time_ns) > device->idle_mw;
}

static int64_t add_load(struct device *device, int64_t begin_ns, int64_t end_ns, int64_t total_mw)
{
    if (device->load_count == device->load_capacity) {
        size_t capacity = device->load_capacity ? 2 * device->load_capacity : 64;
        struct load *loads = realloc(device->loads, capacity * sizeof *loads);
        if (!loads)
            return -1;
        device->loads = loads;
        device->load_capacity = capacity;
    }
    device->loads[device->load_count] = (struct load){begin_ns, end_ns, total_mw};
    return (int64_t)device->load_count++;
}

/* ------------------------------------------------------------------------------------------------- sensors */

/* The last moment at which a sensor with this period published a value. */
static int64_t last_publication_ns(int64_t time_ns, int64_t period_ns, int64_t offset_ns)
{
    if (period_ns <= 0)
        return time_ns;
    int64_t since_ns = time_ns - offset_ns;
    int64_t into_period_ns = ((since_ns % period_ns) + period_ns) % period_ns; /* never negative */
    return time_ns - into_period_ns;
}

int64_t reported_power_mw(const struct device *device, int64_t time_ns, int64_t window_ns)
{
    int64_t published_ns = last_publication_ns(time_ns, device->power_period_ns, 0);
    if (window_ns <= 0)
        return power_mw(device, published_ns);
    return (int64_t)(energy_pj(device, published_ns - window_ns, published_ns) / window_ns);
}

/* The energy counter: the integral of the power curve as this card's counter sees and publishes it. */
uint64_t reported_energy_mj(const struct device *device, int64_t time_ns)
{
    int64_t published_ns = last_publication_ns(time_ns, device->energy_period_ns, device->energy_offset_ns);
    if (published_ns > device->energy_freeze_ns)
        published_ns = device->energy_freeze_ns;

    int64_t counting_since_ns = 0, start_mj = device->energy_base_mj;
    if (published_ns >= device->energy_reset_ns) {
        counting_since_ns = device->energy_reset_ns;
        start_mj = 0;
    }
    const picojoules pj_per_mj = 1000000000;
    picojoules counted = energy_pj(device, counting_since_ns, published_ns) * device->energy_gain_ppm / 1000000;
    picojoules total_mj = (start_mj * pj_per_mj + counted) / pj_per_mj;
    return total_mj > 0 ? (uint64_t)total_mj : 0;
}

/* The board warms with its average power over the last ten seconds. */
int64_t reported_temperature_c(const struct device *device, int64_t time_ns)
{
    const int64_t memory_ns = 10 * NS_PER_S;
    double average_mw = (double)energy_pj(device, time_ns - memory_ns, time_ns) / (double)memory_ns;
    double above_idle_w = (average_mw - (double)device->idle_mw) / 1000;
    return llround(device->temperature_c + device->temperature_rise * above_idle_w);
}

/* The part of the last second in which the card was busy, looked at every ten milliseconds. */
unsigned int utilization_percent(const struct device *device, int64_t time_ns)
{
    unsigned int busy = 0;
    for (int64_t i = 1; i <= 100; i++)
        busy += is_busy(device, time_ns - i * NS_PER_S / 100);
    return busy;
}

static bool is_throttled(const struct device *device, int64_t time_ns)
{
    for (size_t i = 0; i < device->throttle_count; i++) {
        const struct throttle *throttle = &device->throttles[i];
        if (throttle->begin_ns <= time_ns && time_ns < throttle->end_ns)
            return true;
    }
    return false;
}

uint64_t event_reasons(const struct device *device, int64_t time_ns)
{
    uint64_t reasons = 0;
    if (!is_busy(device, time_ns))
        reasons |= nvmlClocksEventReasonGpuIdle;
    for (size_t i = 0; i < device->throttle_count; i++) {
        const struct throttle *throttle = &device->throttles[i];
        if (throttle->begin_ns <= time_ns && time_ns < throttle->end_ns)
            reasons |= throttle->reasons;
    }
    return reasons;
}

/* How long the clocks have been held back for any of `reasons` since time zero. */
uint64_t throttled_ns(const struct device *device, uint64_t reasons, int64_t time_ns)
{
    double total_ns = 0;
    for (size_t i = 0; i < device->throttle_count; i++) {
        const struct throttle *throttle = &device->throttles[i];
        int64_t end_ns = throttle->end_ns < time_ns ? throttle->end_ns : time_ns;
        if ((throttle->reasons & reasons) && end_ns > throttle->begin_ns)
            total_ns += throttle->fraction * (double)(end_ns - throttle->begin_ns);
    }
    return (uint64_t)llround(total_ns);
}

int64_t sm_clock_mhz(const struct device *device, int64_t time_ns)
{
    if (!is_busy(device, time_ns))
        return device->idle_sm_clock_mhz;
    return is_throttled(device, time_ns) ? device->throttled_sm_clock_mhz : device->sm_clock_mhz;
}

int64_t memory_clock_mhz(const struct device *device, int64_t time_ns)
{
    return is_throttled(device, time_ns) ? device->throttled_mem_clock_mhz : device->mem_clock_mhz;
}

/* ------------------------------------------------------------------------------------ memory and processes */

bool is_visible(const struct process *process, int instance, int64_t time_ns)
{
    return process->begin_ns <= time_ns && (instance == WHOLE_GPU || process->instance == instance);
}

uint64_t used_bytes(const struct device *device, int instance, int64_t time_ns)
{
    uint64_t used = instance == WHOLE_GPU ? (uint64_t)device->memory_used : 0;
    for (size_t i = 0; i < device->process_count; i++)
        if (is_visible(&device->processes[i], instance, time_ns))
            used += device->processes[i].bytes;
    return used;
}

static struct process *find_process(struct device *device, uint32_t pid, enum process_kind kind)
{
    for (size_t i = 0; i < device->process_count; i++)
        if (device->processes[i].pid == pid && device->processes[i].kind == kind)
            return &device->processes[i];
    return NULL;
}

/* Adds a process, or gives a known one (same pid, same kind) its new description. */
static bool put_process(struct device *device, struct process process)
{
    struct process *slot = find_process(device, process.pid, process.kind);
    if (!slot) {
        if (device->process_count == MAX_PROCESSES)
            return refuse("a device holds at most %d processes", MAX_PROCESSES);
        slot = &device->processes[device->process_count++];
    }
    *slot = process;
    return true;
}

static void remove_processes(struct device *device, uint32_t pid)
{
    size_t kept = 0;
    for (size_t i = 0; i < device->process_count; i++)
        if (device->processes[i].pid != pid)
            device->processes[kept++] = device->processes[i];
    device->process_count = kept;
}

/* ------------------------------------------------------------------------------------------------ settings */

static bool parse_number(const char *text, double *number)
{
    char *end;
    *number = strtod(text, &end);
    return end != text && *end == '\0' && !isnan(*number);
}

static int64_t scaled(double number, double scale)
{
    return isinf(number) ? NEVER : llround(number * scale);
}

/* Settings that hold one whole number, in the unit of the field after scaling. */
static const struct {
    const char *key;
    size_t offset;
    double scale;
} numbers[] = {
    {"architecture", offsetof(struct device, architecture), 1},
    {"multiprocessors", offsetof(struct device, multiprocessors), 1},
    {"cores", offsetof(struct device, cores), 1},
    {"bus_width_bits", offsetof(struct device, bus_width_bits), 1},
    {"idle_w", offsetof(struct device, idle_mw), 1e3},
    {"busy_w", offsetof(struct device, busy_mw), 1e3},
    {"limit_w", offsetof(struct device, limit_mw), 1e3},
    {"default_limit_w", offsetof(struct device, default_limit_mw), 1e3},
    {"min_limit_w", offsetof(struct device, min_limit_mw), 1e3},
    {"max_limit_w", offsetof(struct device, max_limit_mw), 1e3},
    {"power_period_ms", offsetof(struct device, power_period_ns), 1e6},
    {"power_window_ms", offsetof(struct device, power_window_ns), 1e6},
    {"energy_period_ms", offsetof(struct device, energy_period_ns), 1e6},
    {"energy_offset_ms", offsetof(struct device, energy_offset_ns), 1e6},
    {"energy_base_j", offsetof(struct device, energy_base_mj), 1e3},
    {"energy_gain", offsetof(struct device, energy_gain_ppm), 1e6},
    {"energy_freeze_s", offsetof(struct device, energy_freeze_ns), 1e9},
    {"energy_reset_s", offsetof(struct device, energy_reset_ns), 1e9},
    {"sm_clock_mhz", offsetof(struct device, sm_clock_mhz), 1},
    {"idle_sm_clock_mhz", offsetof(struct device, idle_sm_clock_mhz), 1},
    {"throttled_sm_clock_mhz", offsetof(struct device, throttled_sm_clock_mhz), 1},
    {"max_sm_clock_mhz", offsetof(struct device, max_sm_clock_mhz), 1},
    {"mem_clock_mhz", offsetof(struct device, mem_clock_mhz), 1},
    {"throttled_mem_clock_mhz", offsetof(struct device, throttled_mem_clock_mhz), 1},
    {"max_mem_clock_mhz", offsetof(struct device, max_mem_clock_mhz), 1},
    {"memory_total_mb", offsetof(struct device, memory_total), (double)MIB},
    {"memory_reserved_mb", offsetof(struct device, memory_reserved), (double)MIB},
    {"memory_used_mb", offsetof(struct device, memory_used), (double)MIB},
    {"mig", offsetof(struct device, mig_count), 1},
    {"mig_memory_mb", offsetof(struct device, mig_memory), (double)MIB},
    {"ecc", offsetof(struct device, ecc), 1},
    {"persistence", offsetof(struct device, persistence), 1},
    {"compute_mode", offsetof(struct device, compute_mode), 1},
    {"pstate", offsetof(struct device, pstate), 1},
    {"virtualization", offsetof(struct device, virtualization), 1},
    {"c2c", offsetof(struct device, c2c), 1},
    {"pcie_generation", offsetof(struct device, pcie_generation), 1},
    {"pcie_width", offsetof(struct device, pcie_width), 1},
    {"max_pcie_generation", offsetof(struct device, max_pcie_generation), 1},
    {"max_pcie_width", offsetof(struct device, max_pcie_width), 1},
};

/* Settings that hold a fraction. */
static const struct {
    const char *key;
    size_t offset;
} fractions[] = {
    {"temperature_c", offsetof(struct device, temperature_c)},
    {"temperature_rise", offsetof(struct device, temperature_rise)},
};

/* Settings that hold text. */
static const struct {
    const char *key;
    size_t offset, size;
    bool is_identity; /* two devices must not share it */
} texts[] = {
    {"name", offsetof(struct device, name), sizeof((struct device *)0)->name, false},
    {"uuid", offsetof(struct device, uuid), sizeof((struct device *)0)->uuid, true},
    {"serial", offsetof(struct device, serial), sizeof((struct device *)0)->serial, true},
    {"vbios", offsetof(struct device, vbios), sizeof((struct device *)0)->vbios, false},
};

#define LENGTH(array) (sizeof(array) / sizeof *(array))

/* NVML's number for the architecture of a compute capability. */
static int64_t architecture_of(int64_t major, int64_t minor)
{
    switch (major) {
    case 3: return 2;                               /* Kepler */
    case 5: return 3;                               /* Maxwell */
    case 6: return 4;                               /* Pascal */
    case 7: return minor >= 5 ? 6 : 5;              /* Turing, Volta */
    case 8: return minor == 9 ? 8 : 7;              /* Ada, Ampere */
    case 9: return 9;                               /* Hopper */
    case 10: case 11: case 12: return 10;           /* Blackwell */
    default: return 0xffffffff;                     /* unknown */
    }
}

static bool set_compute_capability(struct device *device, const char *value)
{
    int major, minor;
    if (sscanf(value, "%d.%d", &major, &minor) != 2)
        return refuse("cc must look like 9.0, not \"%s\"", value);
    device->cc_major = major;
    device->cc_minor = minor;
    device->architecture = architecture_of(major, minor);
    return true;
}

bool parse_pci_bus_id(const char *text, int64_t *domain, int64_t *bus, int64_t *device)
{
    unsigned int a, b, c;
    if (sscanf(text, "%x:%x:%x", &a, &b, &c) == 3) {
        *domain = a, *bus = b, *device = c;
        return true;
    }
    if (sscanf(text, "%x:%x", &a, &b) == 2) {
        *domain = 0, *bus = a, *device = b;
        return true;
    }
    return false;
}

static bool set_pci_bus_id(struct device *device, const char *value)
{
    if (!parse_pci_bus_id(value, &device->pci_domain, &device->pci_bus, &device->pci_device))
        return refuse("pci_bus_id must look like 00000000:17:00.0, not \"%s\"", value);
    return true;
}

/* BEGIN_S:END_S[:WATTS] */
static bool set_load(struct device *device, const char *value)
{
    double begin_s, end_s, watts;
    int given = sscanf(value, "%lf:%lf:%lf", &begin_s, &end_s, &watts);
    if (given < 2)
        return refuse("load must look like BEGIN_S:END_S[:WATTS], not \"%s\"", value);
    int64_t total_mw = given == 3 ? scaled(watts, 1e3) : BUSY_MW;
    if (add_load(device, scaled(begin_s, 1e9), scaled(end_s, 1e9), total_mw) < 0)
        return refuse("no memory for another load");
    return true;
}

/* REASONS[:BEGIN_S[:END_S[:FRACTION]]] */
static bool set_throttle(struct device *device, const char *value)
{
    double begin_s = 0, end_s = INFINITY, fraction = 1;
    char *rest;
    uint64_t reasons = strtoull(value, &rest, 0);
    bool understood = rest != value && (*rest == '\0' || sscanf(rest, ":%lf:%lf:%lf", &begin_s, &end_s, &fraction) > 0);
    if (!understood)
        return refuse("throttle must look like REASONS[:BEGIN_S[:END_S[:FRACTION]]], not \"%s\"", value);
    if (device->throttle_count == MAX_THROTTLES)
        return refuse("a device has at most %d throttle phases", MAX_THROTTLES);
    device->throttles[device->throttle_count++] =
        (struct throttle){reasons, scaled(begin_s, 1e9), scaled(end_s, 1e9), fraction};
    return true;
}

static bool parse_pid(const char *text, uint32_t *pid)
{
    double number;
    if (strcmp(text, "self") == 0) {
        *pid = SELF_PID;
        return true;
    }
    if (!parse_number(text, &number) || number < 1)
        return refuse("a process id is a positive number or \"self\", not \"%s\"", text);
    *pid = (uint32_t)number;
    return true;
}

static bool parse_process_kind(const char *text, enum process_kind *kind)
{
    if (strcmp(text, "compute") == 0)
        *kind = PROCESS_COMPUTE;
    else if (strcmp(text, "graphics") == 0)
        *kind = PROCESS_GRAPHICS;
    else if (strcmp(text, "mps") == 0)
        *kind = PROCESS_MPS;
    else
        return refuse("a process is \"compute\", \"graphics\" or \"mps\", not \"%s\"", text);
    return true;
}

/* PID:MEBIBYTES[:KIND[:BEGIN_S[:INSTANCE]]] */
static bool set_process(struct device *device, const char *value)
{
    char pid_text[16], kind_text[16] = "compute";
    double mebibytes, begin_s = 0;
    int instance = WHOLE_GPU;
    struct process process;
    if (sscanf(value, "%15[^:]:%lf:%15[^:]:%lf:%d", pid_text, &mebibytes, kind_text, &begin_s, &instance) < 2)
        return refuse("process must look like PID:MEBIBYTES[:KIND[:BEGIN_S[:INSTANCE]]], not \"%s\"", value);
    if (!parse_pid(pid_text, &process.pid) || !parse_process_kind(kind_text, &process.kind))
        return false;
    process.bytes = (uint64_t)scaled(mebibytes, (double)MIB);
    process.begin_ns = scaled(begin_s, 1e9);
    process.instance = instance;
    return put_process(device, process);
}

/* UUID[,UUID...], one for each MIG instance. */
static bool set_mig_uuids(struct device *device, const char *value)
{
    char list[640], *rest = NULL;
    size_t count = 0;
    snprintf(list, sizeof list, "%s", value);
    for (char *uuid = strtok_r(list, ",", &rest); uuid; uuid = strtok_r(NULL, ",", &rest)) {
        if (count == MAX_MIG_INSTANCES)
            return refuse("a device has at most %d MIG instances", MAX_MIG_INSTANCES);
        snprintf(device->mig_uuids[count++], sizeof *device->mig_uuids, "%s", uuid);
    }
    device->mig_count = (int64_t)count;
    return true;
}

/* Settings with a format of their own. */
static const struct {
    const char *key;
    bool (*set)(struct device *device, const char *value);
    bool is_identity;
} structured[] = {
    {"cc", set_compute_capability, false},
    {"pci_bus_id", set_pci_bus_id, true},
    {"load", set_load, false},
    {"throttle", set_throttle, false},
    {"process", set_process, false},
    {"mig_uuids", set_mig_uuids, true},
};

static bool is_identity(const char *key)
{
    for (size_t i = 0; i < LENGTH(texts); i++)
        if (strcmp(key, texts[i].key) == 0)
            return texts[i].is_identity;
    for (size_t i = 0; i < LENGTH(structured); i++)
        if (strcmp(key, structured[i].key) == 0)
            return structured[i].is_identity;
    return false;
}

/* A power limit moves the limits it must agree with, unless they are set after it. */
static void follow_the_limit(struct device *device)
{
    device->default_limit_mw = device->limit_mw;
    if (device->max_limit_mw < device->limit_mw)
        device->max_limit_mw = device->limit_mw;
    if (device->min_limit_mw > device->limit_mw)
        device->min_limit_mw = device->limit_mw;
}

static bool set_number(struct device *device, size_t index, const char *value)
{
    double number;
    if (!parse_number(value, &number))
        return refuse("%s must be a number, not \"%s\"", numbers[index].key, value);
    *(int64_t *)((char *)device + numbers[index].offset) = scaled(number, numbers[index].scale);
    if (strcmp(numbers[index].key, "limit_w") == 0)
        follow_the_limit(device);
    if (device->mig_count < 0 || device->mig_count > MAX_MIG_INSTANCES)
        return refuse("mig must be 0 to %d", MAX_MIG_INSTANCES);
    return true;
}

static bool set_device_setting(struct device *device, const char *key, const char *value)
{
    for (size_t i = 0; i < LENGTH(numbers); i++)
        if (strcmp(key, numbers[i].key) == 0)
            return set_number(device, i, value);
    for (size_t i = 0; i < LENGTH(fractions); i++)
        if (strcmp(key, fractions[i].key) == 0)
            return parse_number(value, (double *)((char *)device + fractions[i].offset)) ||
                   refuse("%s must be a number, not \"%s\"", key, value);
    for (size_t i = 0; i < LENGTH(texts); i++)
        if (strcmp(key, texts[i].key) == 0) {
            snprintf((char *)device + texts[i].offset, texts[i].size, "%s", value);
            return true;
        }
    for (size_t i = 0; i < LENGTH(structured); i++)
        if (strcmp(key, structured[i].key) == 0)
            return structured[i].set(device, value);
    return refuse("unknown setting \"%s\"", key);
}

static bool set_device_count(const char *value)
{
    double number;
    if (!parse_number(value, &number) || number < 0 || number > MAX_DEVICES)
        return refuse("devices must be 0 to %d, not \"%s\"", MAX_DEVICES, value);
    world.device_count = (int64_t)number;
    return true;
}

static bool set_clock(const char *value)
{
    if (strcmp(value, "virtual") != 0 && strcmp(value, "real") != 0)
        return refuse("clock must be \"real\" or \"virtual\", not \"%s\"", value);
    simulated_clock.is_virtual = strcmp(value, "virtual") == 0;
    return true;
}

static bool add_fault(const char *specification);

/* A setting of the whole machine; `known` says whether the key is one. */
static bool set_machine_setting(const char *key, const char *value, bool *known)
{
    double number;
    *known = true;
    if (strcmp(key, "devices") == 0)
        return set_device_count(value);
    if (strcmp(key, "clock") == 0)
        return set_clock(value);
    if (strcmp(key, "fault") == 0)
        return add_fault(value);
    if (strcmp(key, "driver") == 0)
        return snprintf(world.driver, sizeof world.driver, "%s", value) >= 0;
    if (strcmp(key, "nvml") == 0)
        return snprintf(world.nvml, sizeof world.nvml, "%s", value) >= 0;
    if (strcmp(key, "cuda") == 0 || strcmp(key, "latency_us") == 0) {
        if (!parse_number(value, &number))
            return refuse("%s must be a number, not \"%s\"", key, value);
        if (*key == 'c')
            world.cuda_version = scaled(number, 1);
        else
            world.latency_ns = scaled(number, 1e3);
        return true;
    }
    *known = false;
    return false;
}

/* One `key=value`, or `N.key=value` for the device at NVML index N only. */
static bool apply_setting(char *setting)
{
    char *value = strchr(setting, '=');
    if (!value)
        return refuse("a setting looks like key=value, not \"%s\"", setting);
    *value++ = '\0';

    char *key;
    long index = strtol(setting, &key, 10);
    if (key != setting && *key == '.') {
        if (index < 0 || index >= MAX_DEVICES)
            return refuse("there is no device %ld", index);
        return set_device_setting(&world.devices[index], key + 1, value);
    }

    bool known;
    bool applied = set_machine_setting(setting, value, &known);
    if (known)
        return applied;
    if (is_identity(setting) && world.device_count > 1)
        return refuse("%s differs from device to device: write 0.%s, 1.%s, ...", setting, setting, setting);
    for (int i = 0; i < (is_identity(setting) ? 1 : MAX_DEVICES); i++)
        if (!set_device_setting(&world.devices[i], setting, value))
            return false;
    return true;
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

/* An H100 with one identity per index, and a counter that works. */
static void set_device_defaults(struct device *device, int index)
{
    free(device->loads);
    *device = (struct device){
        .pci_bus = 0x17 + 0x10 * index,
        .cc_major = 9, .cc_minor = 0, .architecture = 9,
        .multiprocessors = 132, .cores = 16896, .bus_width_bits = 5120,
        .idle_mw = 70000, .busy_mw = 450000,
        .limit_mw = 700000, .default_limit_mw = 700000, .min_limit_mw = 200000, .max_limit_mw = 700000,
        .power_period_ns = NS_PER_S / 10, .power_window_ns = NS_PER_S,
        .energy_period_ns = NS_PER_S / 10, .energy_base_mj = 1000000, .energy_gain_ppm = 1000000,
        .energy_freeze_ns = NEVER, .energy_reset_ns = NEVER,
        .temperature_c = 35, .temperature_rise = 0.05,
        .sm_clock_mhz = 1980, .idle_sm_clock_mhz = 345, .throttled_sm_clock_mhz = 1200, .max_sm_clock_mhz = 1980,
        .mem_clock_mhz = 2619, .throttled_mem_clock_mhz = 1593, .max_mem_clock_mhz = 2619,
        .memory_total = 81559 * MIB, .memory_reserved = 600 * MIB,
        .mig_memory = 9984 * MIB,
        .ecc = 1, .persistence = 1,
        .pcie_generation = 5, .pcie_width = 16, .max_pcie_generation = 5, .max_pcie_width = 16,
    };
    snprintf(device->name, sizeof device->name, "Simulated H100");
    snprintf(device->vbios, sizeof device->vbios, "96.00.74.00.01");
    snprintf(device->uuid, sizeof device->uuid, "GPU-51510000-0000-4000-8000-%012d", index);
    snprintf(device->serial, sizeof device->serial, "165002300%04d", index);
    for (int i = 0; i < MAX_MIG_INSTANCES; i++)
        snprintf(device->mig_uuids[i], sizeof device->mig_uuids[i], "MIG-51510000-0000-4000-8000-%08d%04d", index, i);
}

static void set_machine_defaults(void)
{
    world.device_count = 1;
    world.cuda_version = 13000;
    world.latency_ns = 0;
    world.fault_count = 0;
    snprintf(world.driver, sizeof world.driver, "580.65.06");
    snprintf(world.nvml, sizeof world.nvml, "13.580.65.06");
    simulated_clock.is_virtual = false;
    simulated_clock.epoch_ns = read_clock_ns(CLOCK_MONOTONIC);
    simulated_clock.advanced_ns = 0;
    for (int i = 0; i < MAX_DEVICES; i++)
        set_device_defaults(&world.devices[i], i);
}

/* ------------------------------------------------------------------------------- faults and counted calls */

static const struct {
    nvmlReturn_t code;
    const char *name, *text;
} errors[] = {
    {NVML_SUCCESS, "SUCCESS", "Success"},
    {NVML_ERROR_UNINITIALIZED, "UNINITIALIZED", "Uninitialized"},
    {NVML_ERROR_INVALID_ARGUMENT, "INVALID_ARGUMENT", "Invalid Argument"},
    {NVML_ERROR_NOT_SUPPORTED, "NOT_SUPPORTED", "Not Supported"},
    {NVML_ERROR_NO_PERMISSION, "NO_PERMISSION", "Insufficient Permissions"},
    {NVML_ERROR_ALREADY_INITIALIZED, "ALREADY_INITIALIZED", "Already Initialized"},
    {NVML_ERROR_NOT_FOUND, "NOT_FOUND", "Not Found"},
    {NVML_ERROR_INSUFFICIENT_SIZE, "INSUFFICIENT_SIZE", "Insufficient Size"},
    {NVML_ERROR_INSUFFICIENT_POWER, "INSUFFICIENT_POWER", "Insufficient External Power"},
    {NVML_ERROR_DRIVER_NOT_LOADED, "DRIVER_NOT_LOADED", "Driver Not Loaded"},
    {NVML_ERROR_TIMEOUT, "TIMEOUT", "Timeout"},
    {NVML_ERROR_IRQ_ISSUE, "IRQ_ISSUE", "Interrupt Request Issue"},
    {NVML_ERROR_LIBRARY_NOT_FOUND, "LIBRARY_NOT_FOUND", "NVML Shared Library Not Found"},
    {NVML_ERROR_FUNCTION_NOT_FOUND, "FUNCTION_NOT_FOUND", "Function Not Found"},
    {NVML_ERROR_CORRUPTED_INFOROM, "CORRUPTED_INFOROM", "Corrupted infoROM"},
    {NVML_ERROR_GPU_IS_LOST, "GPU_IS_LOST", "GPU is lost"},
    {NVML_ERROR_RESET_REQUIRED, "RESET_REQUIRED", "GPU requires restart"},
    {NVML_ERROR_OPERATING_SYSTEM, "OPERATING_SYSTEM", "The operating system has blocked the request."},
    {NVML_ERROR_LIB_RM_VERSION_MISMATCH, "LIB_RM_VERSION_MISMATCH", "RM has detected an NVML/RM version mismatch."},
    {NVML_ERROR_IN_USE, "IN_USE", "GPU is currently in use"},
    {NVML_ERROR_MEMORY, "MEMORY", "Insufficient Memory"},
    {NVML_ERROR_NO_DATA, "NO_DATA", "No data"},
    {NVML_ERROR_VGPU_ECC_NOT_SUPPORTED, "VGPU_ECC_NOT_SUPPORTED", "vGPU ECC not supported"},
    {NVML_ERROR_INSUFFICIENT_RESOURCES, "INSUFFICIENT_RESOURCES", "Insufficient resources"},
    {NVML_ERROR_FREQ_NOT_SUPPORTED, "FREQ_NOT_SUPPORTED", "Frequency not supported"},
    {NVML_ERROR_ARGUMENT_VERSION_MISMATCH, "ARGUMENT_VERSION_MISMATCH", "Argument version mismatch"},
    {NVML_ERROR_DEPRECATED, "DEPRECATED", "Deprecated"},
    {NVML_ERROR_NOT_READY, "NOT_READY", "Not ready"},
    {NVML_ERROR_GPU_NOT_FOUND, "GPU_NOT_FOUND", "GPU not found"},
    {NVML_ERROR_INVALID_STATE, "INVALID_STATE", "Invalid state"},
    {NVML_ERROR_RESET_TYPE_NOT_SUPPORTED, "RESET_TYPE_NOT_SUPPORTED", "Reset type not supported"},
    {NVML_ERROR_UNKNOWN, "UNKNOWN", "Unknown Error"},
};

/* The one entry point of NVML that needs neither a card nor a call of nvmlInit. */
const char *nvmlErrorString(nvmlReturn_t code)
{
    for (size_t i = 0; i < LENGTH(errors); i++)
        if (errors[i].code == code)
            return errors[i].text;
    return "Unknown Error";
}

/* An error by its name without "NVML_ERROR_", or by its number. */
static bool parse_code(const char *text, nvmlReturn_t *code)
{
    double number;
    for (size_t i = 0; i < LENGTH(errors); i++)
        if (strcmp(text, errors[i].name) == 0) {
            *code = errors[i].code;
            return true;
        }
    if (!parse_number(text, &number))
        return refuse("unknown NVML error \"%s\"", text);
    *code = (nvmlReturn_t)(int)number;
    return true;
}

/* FUNCTION[@DEVICE]:CODE[:FROM_CALL[:COUNT]] */
static bool add_fault(const char *specification)
{
    struct fault fault = {.device = ANY_DEVICE, .first = 1, .count = NEVER};
    char target[128], code[64];
    long long first = 1, count = NEVER;
    if (sscanf(specification, "%127[^:]:%63[^:]:%lld:%lld", target, code, &first, &count) < 2)
        return refuse("a fault looks like FUNCTION[@DEVICE]:CODE[:FROM_CALL[:COUNT]], not \"%s\"", specification);
    if (!parse_code(code, &fault.code))
        return false;
    char *device = strchr(target, '@');
    if (device) {
        *device++ = '\0';
        fault.device = atoi(device);
    }
    if (world.fault_count == MAX_FAULTS)
        return refuse("at most %d faults at once", MAX_FAULTS);
    snprintf(fault.function, sizeof fault.function, "%.95s", target);
    fault.first = first;
    fault.count = count;
    world.faults[world.fault_count++] = fault;
    return true;
}

static void clear_faults(void)
{
    world.fault_count = 0;
    for (int i = 0; i < MAX_DEVICES; i++)
        world.devices[i].lost = false;
}

/* Counts this call against every fault that watches it, and returns the first error that is due. */
static nvmlReturn_t due_fault(const char *function, int device)
{
    nvmlReturn_t due = NVML_SUCCESS;
    for (size_t i = 0; i < world.fault_count; i++) {
        struct fault *fault = &world.faults[i];
        bool watched = fault->device == ANY_DEVICE || fault->device == device;
        if (!watched || fnmatch(fault->function, function, 0) != 0)
            continue;
        int64_t call = ++fault->seen;
        if (due == NVML_SUCCESS && call >= fault->first && call - fault->first < fault->count)
            due = fault->code;
    }
    return due;
}

nvmlReturn_t injected_fault(const char *function, int device)
{
    bool has_device = device != ANY_DEVICE;
    nvmlReturn_t due = due_fault(function, device);
    if (has_device && due == NVML_ERROR_GPU_IS_LOST)
        world.devices[device].lost = true;
    if (has_device && world.devices[device].lost)
        return NVML_ERROR_GPU_IS_LOST;
    return due;
}

static struct {
    const char *function;
    int64_t calls;
} call_counts[512];

/* The names are constants of this library, so that comparing addresses is enough to tell them apart. */
void count_call(const char *function)
{
    for (size_t i = 0; i < LENGTH(call_counts); i++) {
        if (!call_counts[i].function)
            call_counts[i].function = function;
        if (call_counts[i].function == function) {
            call_counts[i].calls++;
            return;
        }
    }
}

/* ------------------------------------------------------------------------- what tests call to drive it all */

static struct device *device_at(unsigned int index)
{
    return index < MAX_DEVICES ? &world.devices[index] : NULL;
}

/* Starts a new simulation at time zero with the defaults and these settings. */
bool gpuprof_nvml_reset(const char *settings)
{
    lock_world();
    set_machine_defaults();
    memset(call_counts, 0, sizeof call_counts);
    bool applied = apply_settings(settings);
    world.valid = applied;
    unlock_world();
    return applied;
}

/* Changes settings of the running simulation. */
bool gpuprof_nvml_apply(const char *settings)
{
    lock_world();
    bool applied = apply_settings(settings);
    unlock_world();
    return applied;
}

const char *gpuprof_nvml_problem(void)
{
    return problem;
}

int64_t gpuprof_nvml_now_ns(void)
{
    lock_world();
    int64_t time_ns = now_ns();
    unlock_world();
    return time_ns;
}

void gpuprof_nvml_advance(int64_t ns)
{
    lock_world();
    simulated_clock.advanced_ns += ns;
    unlock_world();
}

/* Loads the card from now on; returns a number for gpuprof_nvml_end, or -1. Negative watts mean `busy_w`. */
int64_t gpuprof_nvml_begin(unsigned int index, double watts)
{
    lock_world();
    struct device *device = device_at(index);
    int64_t total_mw = watts < 0 ? BUSY_MW : scaled(watts, 1e3);
    int64_t load = device ? add_load(device, now_ns(), NEVER, total_mw) : -1;
    unlock_world();
    return load;
}

bool gpuprof_nvml_end(unsigned int index, int64_t load)
{
    lock_world();
    struct device *device = device_at(index);
    bool known = device && load >= 0 && (size_t)load < device->load_count;
    if (known)
        device->loads[load].end_ns = now_ns();
    unlock_world();
    return known;
}

/* What the card really drew, whatever its counter says. */
double gpuprof_nvml_true_energy_j(unsigned int index, int64_t begin_ns, int64_t end_ns)
{
    lock_world();
    struct device *device = device_at(index);
    double joules = device ? (double)energy_pj(device, begin_ns, end_ns) / 1e12 : NAN;
    unlock_world();
    return joules;
}

bool gpuprof_nvml_fault(const char *specification)
{
    lock_world();
    bool added = add_fault(specification);
    unlock_world();
    return added;
}

void gpuprof_nvml_clear_faults(void)
{
    lock_world();
    clear_faults();
    unlock_world();
}

/* Removes every entry of a process (0: the calling process) from the card's lists. */
bool gpuprof_nvml_remove_process(unsigned int index, uint32_t pid)
{
    lock_world();
    struct device *device = device_at(index);
    if (device)
        remove_processes(device, pid);
    unlock_world();
    return device != NULL;
}

/* How often an entry point of NVML has been called since the last reset. */
int64_t gpuprof_nvml_calls(const char *function)
{
    lock_world();
    int64_t calls = 0;
    for (size_t i = 0; i < LENGTH(call_counts) && call_counts[i].function; i++)
        if (strcmp(call_counts[i].function, function) == 0)
            calls += call_counts[i].calls;
    unlock_world();
    return calls;
}

/* ------------------------------------------------------- what other simulated libraries call: see nvml_card.h */

bool gpuprof_nvml_card(unsigned int index, struct gpuprof_card *card)
{
    lock_world();
    bool known = (int64_t)index < world.device_count;
    if (known) {
        const struct device *device = &world.devices[index];
        *card = (struct gpuprof_card){
            .pci_domain = (int)device->pci_domain,
            .pci_bus = (int)device->pci_bus,
            .pci_device = (int)device->pci_device,
            .cc_major = (int)device->cc_major,
            .cc_minor = (int)device->cc_minor,
            .multiprocessors = (int)device->multiprocessors,
            .sm_clock_mhz = (int)device->max_sm_clock_mhz,
            .memory_clock_mhz = (int)device->max_mem_clock_mhz,
            .bus_width_bits = (int)device->bus_width_bits,
            .memory_bytes = (uint64_t)(device->memory_total - device->memory_reserved),
        };
        snprintf(card->name, sizeof card->name, "%s", device->name);
        snprintf(card->uuid, sizeof card->uuid, "%s", device->uuid);
    }
    unlock_world();
    return known;
}

/* Work that goes on where the last ended is one load with it, so that a long queue of kernels stays a short list. */
bool gpuprof_nvml_work(unsigned int index, int64_t begin_ns, int64_t end_ns)
{
    lock_world();
    struct device *device = device_at(index);
    struct load *last = device && device->load_count ? &device->loads[device->load_count - 1] : NULL;
    bool goes_on = last && last->total_mw == BUSY_MW && last->end_ns == begin_ns;
    if (goes_on)
        last->end_ns = end_ns;
    bool added = device && (goes_on || add_load(device, begin_ns, end_ns, BUSY_MW) >= 0);
    unlock_world();
    return added;
}

bool gpuprof_nvml_hold(unsigned int index, uint64_t bytes)
{
    lock_world();
    struct device *device = device_at(index);
    bool held = device != NULL;
    if (held && bytes > 0)
        held = put_process(device, (struct process){SELF_PID, PROCESS_COMPUTE, bytes, 0, WHOLE_GPU});
    else if (held)
        remove_processes(device, SELF_PID);
    unlock_world();
    return held;
}

uint64_t gpuprof_nvml_used_bytes(unsigned int index)
{
    lock_world();
    const struct device *device = device_at(index);
    uint64_t used = device ? used_bytes(device, WHOLE_GPU, now_ns()) : 0;
    unlock_world();
    return used;
}

bool gpuprof_nvml_is_virtual(void)
{
    lock_world();
    bool is_virtual = simulated_clock.is_virtual;
    unlock_world();
    return is_virtual;
}

/* The library configures itself from the environment, so that it works where nobody calls it by hand. */
__attribute__((constructor)) static void start_from_the_environment(void)
{
    const char *settings = getenv("GPUPROF_SIM_NVML");
    if (!gpuprof_nvml_reset(settings ? settings : ""))
        fprintf(stderr, "simulated NVML: GPUPROF_SIM_NVML: %s; every nvmlInit will fail\n", problem);
}
