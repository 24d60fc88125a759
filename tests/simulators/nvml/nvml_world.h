/*
 * The simulated machine behind the simulated library: a clock, up to eight graphics cards and a list of faults.
 *
 * Units are fixed: nanoseconds since the simulation's time zero, milliwatts, bytes. Energy is held in picojoules
 * (milliwatts times nanoseconds) in 128-bit integers, so that the energy of a window is exact.
 */
#ifndef GPUPROF_NVML_WORLD_H
#define GPUPROF_NVML_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nvml_abi.h"

#define MAX_DEVICES 8
#define MAX_MIG_INSTANCES 7
#define MAX_PROCESSES 32
#define MAX_THROTTLES 16
#define MAX_FAULTS 32

#define NEVER INT64_MAX
#define ANY_DEVICE (-1)
#define WHOLE_GPU (-1) /* an instance number that stands for the card itself */
#define SELF_PID 0u    /* stored for "self": whichever process asks */

__extension__ typedef __int128 picojoules;

/* Work that lifts the card from its idle power to `total_mw` from `begin_ns` up to `end_ns`. What loads that
 * overlap add to the idle power adds up. */
struct load {
    int64_t begin_ns, end_ns, total_mw;
};

/* A phase in which the clocks are held back, during `fraction` of the time. */
struct throttle {
    uint64_t reasons;
    int64_t begin_ns, end_ns;
    double fraction;
};

enum process_kind { PROCESS_COMPUTE, PROCESS_GRAPHICS, PROCESS_MPS };

/* A process on the card, seen from `begin_ns` on; `instance` is the MIG instance it lives in. */
struct process {
    uint32_t pid;
    enum process_kind kind;
    uint64_t bytes;
    int64_t begin_ns;
    int64_t instance;
};

struct device {
    /* identity */
    char name[64], uuid[80], serial[32], vbios[32];
    int64_t pci_domain, pci_bus, pci_device;
    int64_t cc_major, cc_minor, architecture;
    int64_t multiprocessors, cores, bus_width_bits;

    /* power and energy */
    int64_t idle_mw, busy_mw, limit_mw, default_limit_mw, min_limit_mw, max_limit_mw;
    int64_t power_period_ns, power_window_ns;
    int64_t energy_period_ns, energy_offset_ns, energy_base_mj, energy_gain_ppm;
    int64_t energy_freeze_ns, energy_reset_ns;
    struct load *loads;
    size_t load_count, load_capacity;

    /* temperature and clocks */
    double temperature_c, temperature_rise;
    int64_t sm_clock_mhz, idle_sm_clock_mhz, throttled_sm_clock_mhz, max_sm_clock_mhz;
    int64_t mem_clock_mhz, throttled_mem_clock_mhz, max_mem_clock_mhz;
    struct throttle throttles[MAX_THROTTLES];
    size_t throttle_count;

    /* memory and processes */
    int64_t memory_total, memory_reserved, memory_used;
    struct process processes[MAX_PROCESSES];
    size_t process_count;

    /* modes */
    int64_t mig_count, mig_memory;
    char mig_uuids[MAX_MIG_INSTANCES][80];
    int64_t ecc, persistence, compute_mode, pstate, virtualization, c2c;
    int64_t pcie_generation, pcie_width, max_pcie_generation, max_pcie_width;

    bool lost; /* fell off the bus: every call for it fails from now on */
};

/* Fails the calls of `function` (a shell pattern) for one device or any, from the `first` matching call on. */
struct fault {
    char function[96];
    int device;
    nvmlReturn_t code;
    int64_t first, count, seen;
};

struct world {
    struct device devices[MAX_DEVICES];
    int64_t device_count;
    char driver[64], nvml[64];
    int64_t cuda_version;
    int64_t latency_ns;
    struct fault faults[MAX_FAULTS];
    size_t fault_count;
    bool valid; /* false after settings that could not be understood */
};

extern struct world world;

/* Everything below is called with the lock held. */
void lock_world(void);
void unlock_world(void);

/* clock */
int64_t now_ns(void);
int64_t timestamp_us(int64_t time_ns);
void wait_for_the_answer(void); /* the latency of one call; the only one to call without the lock */

/* power curve: what the card really draws */
int64_t power_mw(const struct device *device, int64_t time_ns);
picojoules energy_pj(const struct device *device, int64_t begin_ns, int64_t end_ns);
bool is_busy(const struct device *device, int64_t time_ns);

/* sensors: what the card reports of it */
int64_t reported_power_mw(const struct device *device, int64_t time_ns, int64_t window_ns);
uint64_t reported_energy_mj(const struct device *device, int64_t time_ns);
int64_t reported_temperature_c(const struct device *device, int64_t time_ns);
unsigned int utilization_percent(const struct device *device, int64_t time_ns);
uint64_t event_reasons(const struct device *device, int64_t time_ns);
uint64_t throttled_ns(const struct device *device, uint64_t reasons, int64_t time_ns);
int64_t sm_clock_mhz(const struct device *device, int64_t time_ns);
int64_t memory_clock_mhz(const struct device *device, int64_t time_ns);

/* memory and processes, of the card (WHOLE_GPU) or of one MIG instance */
bool is_visible(const struct process *process, int instance, int64_t time_ns);
uint64_t used_bytes(const struct device *device, int instance, int64_t time_ns);

/* The numbers of a PCI address, domain:bus:device.function; the domain and the function may be left out. */
bool parse_pci_bus_id(const char *text, int64_t *domain, int64_t *bus, int64_t *device);

/* faults and bookkeeping */
nvmlReturn_t injected_fault(const char *function, int device);
void count_call(const char *function);

#endif
