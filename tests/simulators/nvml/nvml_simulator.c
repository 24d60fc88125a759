/*
 * A simulated libnvidia-ml.so.1: the entry points of NVML, answered from the simulated machine of nvml_world.c.
 *
 * Each entry point opens a call, answers it, and closes it:
 *
 *     struct call call = open_device_call(__func__, handle, CARD_ONLY);
 *     if (call.status == NVML_SUCCESS)
 *         call.status = ...
 *     return close_call(&call);
 *
 * Opening counts the call, waits for the simulated latency, takes the lock, and settles every error that does not
 * depend on the entry point: not initialized, an unknown handle, an injected fault, a lost card. Entry points that
 * differ in one value only are made by the macros below.
 */
#define _GNU_SOURCE
#include "nvml_world.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ----------------------------------------------------------------------------------------------- one call */

/* A handle is the address of one of these bytes: column 0 is the card, column 1 + n its MIG instance n. */
static char handles[MAX_DEVICES][1 + MAX_MIG_INSTANCES];

static int initialized; /* how often nvmlInit succeeded, less nvmlShutdown */

enum target_kind {
    CARD_OR_INSTANCE, /* the query also works on a MIG instance */
    CARD_ONLY,        /* NVML has no such reading for an instance: NOT_SUPPORTED */
};

struct call {
    nvmlReturn_t status;
    int64_t now_ns;
    int index;             /* NVML index of the card, or ANY_DEVICE */
    int instance;          /* MIG instance, or WHOLE_GPU */
    struct device *device; /* NULL for calls that are not about a device */
};

static nvmlDevice_t handle_of(int index, int instance)
{
    return (nvmlDevice_t)(void *)&handles[index][1 + instance];
}

/* Finds the card and the instance that a handle stands for; false for anything this library never gave out. */
static bool find_target(nvmlDevice_t handle, int *index, int *instance)
{
    for (int i = 0; i < (int)world.device_count; i++) {
        *index = i;
        for (*instance = WHOLE_GPU; *instance < (int)world.devices[i].mig_count; ++*instance)
            if (handle == handle_of(*index, *instance))
                return true;
    }
    return false;
}

static nvmlReturn_t settle_common_errors(const char *function, int device)
{
    return initialized > 0 ? injected_fault(function, device) : NVML_ERROR_UNINITIALIZED;
}

/* Opens a call that is not about a device. */
static struct call open_call(const char *function)
{
    wait_for_the_answer();
    lock_world();
    count_call(function);
    struct call call = {.now_ns = now_ns(), .index = ANY_DEVICE, .instance = WHOLE_GPU};
    call.status = settle_common_errors(function, ANY_DEVICE);
    return call;
}

/* Opens a call about the device at an index, known (INVALID_ARGUMENT otherwise) but not yet by a handle. */
static struct call open_index_call(const char *function, unsigned int index)
{
    wait_for_the_answer();
    lock_world();
    count_call(function);
    struct call call = {.now_ns = now_ns(), .index = ANY_DEVICE, .instance = WHOLE_GPU};
    bool known = (int64_t)index < world.device_count;
    if (known) {
        call.index = (int)index;
        call.device = &world.devices[index];
    }
    call.status = settle_common_errors(function, call.index);
    if (call.status == NVML_SUCCESS && !known)
        call.status = NVML_ERROR_INVALID_ARGUMENT;
    return call;
}

/* Opens a call about the device behind a handle. */
static struct call open_device_call(const char *function, nvmlDevice_t handle, enum target_kind kind)
{
    wait_for_the_answer();
    lock_world();
    count_call(function);
    struct call call = {.now_ns = now_ns(), .index = ANY_DEVICE, .instance = WHOLE_GPU};
    bool known = find_target(handle, &call.index, &call.instance);
    if (!known)
        call.index = ANY_DEVICE;
    call.device = known ? &world.devices[call.index] : NULL;
    call.status = settle_common_errors(function, call.index);
    if (call.status != NVML_SUCCESS)
        return call;
    if (!known)
        call.status = NVML_ERROR_INVALID_ARGUMENT;
    else if (kind == CARD_ONLY && call.instance != WHOLE_GPU)
        call.status = NVML_ERROR_NOT_SUPPORTED;
    return call;
}

static nvmlReturn_t close_call(const struct call *call)
{
    unlock_world();
    return call->status;
}

/* Copies text out the way NVML does: all of it or nothing. */
static nvmlReturn_t give_text(char *buffer, unsigned int length, const char *text)
{
    if (!buffer)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (strlen(text) + 1 > length)
        return NVML_ERROR_INSUFFICIENT_SIZE;
    strcpy(buffer, text);
    return NVML_SUCCESS;
}

static nvmlReturn_t give_handle(nvmlDevice_t *handle, int index, int instance)
{
    if (!handle)
        return NVML_ERROR_INVALID_ARGUMENT;
    *handle = handle_of(index, instance);
    return NVML_SUCCESS;
}

/*
 * Makes an entry point that gives one value of a device. `support` is an expression: where it is false, the card
 * answers NOT_SUPPORTED. Both expressions may use `device` and `now`.
 */
#define DEVICE_VALUE(function, kind, type, support, expression)               \
    nvmlReturn_t function(nvmlDevice_t handle, type *value)                   \
    {                                                                         \
        struct call call = open_device_call(__func__, handle, kind);          \
        const struct device *device = call.device;                            \
        const int64_t now = call.now_ns;                                      \
        (void)device, (void)now;                                              \
        if (call.status == NVML_SUCCESS && !value)                            \
            call.status = NVML_ERROR_INVALID_ARGUMENT;                        \
        if (call.status == NVML_SUCCESS && !(support))                        \
            call.status = NVML_ERROR_NOT_SUPPORTED;                           \
        if (call.status == NVML_SUCCESS)                                      \
            *value = (type)(expression);                                      \
        return close_call(&call);                                             \
    }

/* Makes an entry point that gives two values of a device. */
#define DEVICE_PAIR(function, type, support, first_value, second_value)       \
    nvmlReturn_t function(nvmlDevice_t handle, type *first, type *second)     \
    {                                                                         \
        struct call call = open_device_call(__func__, handle, CARD_ONLY);     \
        const struct device *device = call.device;                            \
        if (call.status == NVML_SUCCESS && (!first || !second))               \
            call.status = NVML_ERROR_INVALID_ARGUMENT;                        \
        if (call.status == NVML_SUCCESS && !(support))                        \
            call.status = NVML_ERROR_NOT_SUPPORTED;                           \
        if (call.status == NVML_SUCCESS) {                                    \
            *first = (type)(first_value);                                     \
            *second = (type)(second_value);                                   \
        }                                                                     \
        return close_call(&call);                                             \
    }

/* Makes an entry point that gives one text of a device; the expression may use `device` and `instance`. */
#define DEVICE_TEXT(function, kind, expression)                                       \
    nvmlReturn_t function(nvmlDevice_t handle, char *buffer, unsigned int length)     \
    {                                                                                 \
        struct call call = open_device_call(__func__, handle, kind);                  \
        const struct device *device = call.device;                                    \
        const int instance = call.instance;                                           \
        (void)instance;                                                               \
        if (call.status == NVML_SUCCESS)                                              \
            call.status = give_text(buffer, length, expression);                      \
        return close_call(&call);                                                     \
    }

/* Makes an entry point that gives one text of the whole system. */
#define SYSTEM_TEXT(function, text)                                   \
    nvmlReturn_t function(char *buffer, unsigned int length)          \
    {                                                                 \
        struct call call = open_call(__func__);                       \
        if (call.status == NVML_SUCCESS)                              \
            call.status = give_text(buffer, length, text);            \
        return close_call(&call);                                     \
    }

/* Makes an entry point that gives one number of the whole system. */
#define SYSTEM_VALUE(function, type, expression)                      \
    nvmlReturn_t function(type *value)                                \
    {                                                                 \
        struct call call = open_call(__func__);                       \
        if (call.status == NVML_SUCCESS && !value)                    \
            call.status = NVML_ERROR_INVALID_ARGUMENT;                \
        if (call.status == NVML_SUCCESS)                              \
            *value = (type)(expression);                              \
        return close_call(&call);                                     \
    }

/* ------------------------------------------------------------------------------------------ initialization */

/* The only calls that work before initialization; a fault injected here stands for a broken driver. */
static nvmlReturn_t initialize(const char *function)
{
    wait_for_the_answer();
    lock_world();
    count_call(function);
    nvmlReturn_t status = world.valid ? injected_fault(function, ANY_DEVICE) : NVML_ERROR_UNKNOWN;
    if (status == NVML_SUCCESS)
        initialized++;
    unlock_world();
    return status;
}

nvmlReturn_t nvmlInit(void)
{
    return initialize(__func__);
}

nvmlReturn_t nvmlInit_v2(void)
{
    return initialize(__func__);
}

nvmlReturn_t nvmlInitWithFlags(unsigned int flags)
{
    (void)flags;
    return initialize(__func__);
}

nvmlReturn_t nvmlShutdown(void)
{
    struct call call = open_call(__func__);
    if (call.status == NVML_SUCCESS)
        initialized--;
    return close_call(&call);
}

/* -------------------------------------------------------------------------------------------------- system */

SYSTEM_TEXT(nvmlSystemGetDriverVersion, world.driver)
SYSTEM_TEXT(nvmlSystemGetNVMLVersion, world.nvml)
SYSTEM_VALUE(nvmlSystemGetCudaDriverVersion, int, world.cuda_version)
SYSTEM_VALUE(nvmlSystemGetCudaDriverVersion_v2, int, world.cuda_version)
SYSTEM_VALUE(nvmlDeviceGetCount, unsigned int, world.device_count)
SYSTEM_VALUE(nvmlDeviceGetCount_v2, unsigned int, world.device_count)

/* ------------------------------------------------------------------------------------------------- handles */

static nvmlReturn_t handle_by_index(const char *function, unsigned int index, nvmlDevice_t *handle)
{
    struct call call = open_index_call(function, index);
    if (call.status == NVML_SUCCESS)
        call.status = give_handle(handle, call.index, WHOLE_GPU);
    return close_call(&call);
}

nvmlReturn_t nvmlDeviceGetHandleByIndex(unsigned int index, nvmlDevice_t *handle)
{
    return handle_by_index(__func__, index, handle);
}

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvmlDevice_t *handle)
{
    return handle_by_index(__func__, index, handle);
}

static nvmlReturn_t find_uuid(const char *uuid, nvmlDevice_t *handle)
{
    if (!uuid)
        return NVML_ERROR_INVALID_ARGUMENT;
    for (int index = 0; index < (int)world.device_count; index++) {
        const struct device *device = &world.devices[index];
        if (strcmp(uuid, device->uuid) == 0)
            return give_handle(handle, index, WHOLE_GPU);
        for (int instance = 0; instance < (int)device->mig_count; instance++)
            if (strcmp(uuid, device->mig_uuids[instance]) == 0)
                return give_handle(handle, index, instance);
    }
    return NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *handle)
{
    struct call call = open_call(__func__);
    if (call.status == NVML_SUCCESS)
        call.status = find_uuid(uuid, handle);
    return close_call(&call);
}

static nvmlReturn_t find_serial(const char *serial, nvmlDevice_t *handle)
{
    if (!serial)
        return NVML_ERROR_INVALID_ARGUMENT;
    for (int index = 0; index < (int)world.device_count; index++)
        if (strcmp(serial, world.devices[index].serial) == 0)
            return give_handle(handle, index, WHOLE_GPU);
    return NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t nvmlDeviceGetHandleBySerial(const char *serial, nvmlDevice_t *handle)
{
    struct call call = open_call(__func__);
    if (call.status == NVML_SUCCESS)
        call.status = find_serial(serial, handle);
    return close_call(&call);
}

static nvmlReturn_t find_pci_bus_id(const char *text, nvmlDevice_t *handle)
{
    int64_t domain, bus, slot;
    if (!text || !parse_pci_bus_id(text, &domain, &bus, &slot))
        return NVML_ERROR_INVALID_ARGUMENT;
    for (int index = 0; index < (int)world.device_count; index++) {
        const struct device *device = &world.devices[index];
        if (device->pci_domain == domain && device->pci_bus == bus && device->pci_device == slot)
            return give_handle(handle, index, WHOLE_GPU);
    }
    return NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t nvmlDeviceGetHandleByPciBusId(const char *text, nvmlDevice_t *handle)
{
    struct call call = open_call(__func__);
    if (call.status == NVML_SUCCESS)
        call.status = find_pci_bus_id(text, handle);
    return close_call(&call);
}

nvmlReturn_t nvmlDeviceGetHandleByPciBusId_v2(const char *text, nvmlDevice_t *handle)
{
    struct call call = open_call(__func__);
    if (call.status == NVML_SUCCESS)
        call.status = find_pci_bus_id(text, handle);
    return close_call(&call);
}

/* ------------------------------------------------------------------------------------------------ identity */

DEVICE_TEXT(nvmlDeviceGetName, CARD_OR_INSTANCE, device->name)
DEVICE_TEXT(nvmlDeviceGetUUID, CARD_OR_INSTANCE,
            instance == WHOLE_GPU ? device->uuid : device->mig_uuids[instance])
DEVICE_TEXT(nvmlDeviceGetSerial, CARD_ONLY, device->serial)
DEVICE_TEXT(nvmlDeviceGetVbiosVersion, CARD_ONLY, device->vbios)
DEVICE_VALUE(nvmlDeviceGetIndex, CARD_OR_INSTANCE, unsigned int, true,
             call.instance == WHOLE_GPU ? call.index : call.instance)
DEVICE_VALUE(nvmlDeviceGetMinorNumber, CARD_ONLY, unsigned int, true, call.index)
DEVICE_VALUE(nvmlDeviceGetArchitecture, CARD_OR_INSTANCE, nvmlDeviceArchitecture_t, true, device->architecture)
DEVICE_VALUE(nvmlDeviceGetNumGpuCores, CARD_ONLY, unsigned int, true, device->cores)
DEVICE_VALUE(nvmlDeviceGetMemoryBusWidth, CARD_ONLY, unsigned int, true, device->bus_width_bits)

nvmlReturn_t nvmlDeviceGetCudaComputeCapability(nvmlDevice_t handle, int *major, int *minor)
{
    struct call call = open_device_call(__func__, handle, CARD_OR_INSTANCE);
    if (call.status == NVML_SUCCESS && (!major || !minor))
        call.status = NVML_ERROR_INVALID_ARGUMENT;
    if (call.status == NVML_SUCCESS) {
        *major = (int)call.device->cc_major;
        *minor = (int)call.device->cc_minor;
    }
    return close_call(&call);
}

static nvmlPciInfo_t pci_info(const struct device *device)
{
    nvmlPciInfo_t info = {
        .domain = (unsigned int)device->pci_domain,
        .bus = (unsigned int)device->pci_bus,
        .device = (unsigned int)device->pci_device,
        .pciDeviceId = 0x233010DE,
        .pciSubSystemId = 0x16C110DE,
    };
    unsigned int domain = info.domain & 0xffff, bus = info.bus & 0xff, slot = info.device & 0x1f;
    snprintf(info.busIdLegacy, sizeof info.busIdLegacy, "%04X:%02X:%02X.0", domain, bus, slot);
    snprintf(info.busId, sizeof info.busId, "%08X:%02X:%02X.0", info.domain, bus, slot);
    return info;
}

nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t handle, nvmlPciInfo_t *info)
{
    struct call call = open_device_call(__func__, handle, CARD_ONLY);
    if (call.status == NVML_SUCCESS && !info)
        call.status = NVML_ERROR_INVALID_ARGUMENT;
    if (call.status == NVML_SUCCESS)
        *info = pci_info(call.device);
    return close_call(&call);
}

/* ------------------------------------------------------------------------------------------------- modes */

DEVICE_VALUE(nvmlDeviceGetPersistenceMode, CARD_ONLY, nvmlEnableState_t, device->persistence >= 0, device->persistence)
DEVICE_VALUE(nvmlDeviceGetComputeMode, CARD_ONLY, nvmlComputeMode_t, device->compute_mode >= 0, device->compute_mode)
DEVICE_VALUE(nvmlDeviceGetPerformanceState, CARD_ONLY, nvmlPstates_t, device->pstate >= 0, device->pstate)
DEVICE_VALUE(nvmlDeviceGetPowerState, CARD_ONLY, nvmlPstates_t, device->pstate >= 0, device->pstate)
DEVICE_VALUE(nvmlDeviceGetVirtualizationMode, CARD_ONLY, nvmlGpuVirtualizationMode_t, device->virtualization >= 0,
             device->virtualization)
DEVICE_PAIR(nvmlDeviceGetEccMode, nvmlEnableState_t, device->ecc >= 0, device->ecc, device->ecc)
DEVICE_VALUE(nvmlDeviceGetCurrPcieLinkGeneration, CARD_ONLY, unsigned int, true, device->pcie_generation)
DEVICE_VALUE(nvmlDeviceGetCurrPcieLinkWidth, CARD_ONLY, unsigned int, true, device->pcie_width)
DEVICE_VALUE(nvmlDeviceGetMaxPcieLinkGeneration, CARD_ONLY, unsigned int, true, device->max_pcie_generation)
DEVICE_VALUE(nvmlDeviceGetMaxPcieLinkWidth, CARD_ONLY, unsigned int, true, device->max_pcie_width)

nvmlReturn_t nvmlDeviceGetC2cModeInfoV(nvmlDevice_t handle, nvmlC2cModeInfo_v1_t *info)
{
    struct call call = open_device_call(__func__, handle, CARD_ONLY);
    if (call.status == NVML_SUCCESS && !info)
        call.status = NVML_ERROR_INVALID_ARGUMENT;
    if (call.status == NVML_SUCCESS)
        info->isC2cEnabled = (unsigned int)call.device->c2c;
    return close_call(&call);
}

/* --------------------------------------------------------------------------- multi-instance GPU (MIG) */

#define FIRST_MIG_ARCHITECTURE 7 /* Ampere */

static bool has_mig(const struct device *device)
{
    return device->architecture >= FIRST_MIG_ARCHITECTURE;
}

DEVICE_PAIR(nvmlDeviceGetMigMode, unsigned int, has_mig(device), device->mig_count > 0, device->mig_count > 0)
DEVICE_VALUE(nvmlDeviceGetMaxMigDeviceCount, CARD_ONLY, unsigned int, true, has_mig(device) ? MAX_MIG_INSTANCES : 0)
DEVICE_VALUE(nvmlDeviceIsMigDeviceHandle, CARD_OR_INSTANCE, unsigned int, true, call.instance != WHOLE_GPU)

nvmlReturn_t nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t handle, unsigned int instance, nvmlDevice_t *found)
{
    struct call call = open_device_call(__func__, handle, CARD_ONLY);
    if (call.status == NVML_SUCCESS && instance >= MAX_MIG_INSTANCES)
        call.status = NVML_ERROR_INVALID_ARGUMENT;
    if (call.status == NVML_SUCCESS && (int64_t)instance >= call.device->mig_count)
        call.status = NVML_ERROR_NOT_FOUND;
    if (call.status == NVML_SUCCESS)
        call.status = give_handle(found, call.index, (int)instance);
    return close_call(&call);
}

nvmlReturn_t nvmlDeviceGetDeviceHandleFromMigDeviceHandle(nvmlDevice_t handle, nvmlDevice_t *card)
{
    struct call call = open_device_call(__func__, handle, CARD_OR_INSTANCE);
    if (call.status == NVML_SUCCESS && call.instance == WHOLE_GPU)
        call.status = NVML_ERROR_INVALID_ARGUMENT;
    if (call.status == NVML_SUCCESS)
        call.status = give_handle(card, call.index, WHOLE_GPU);
    return close_call(&call);
}

/* NVML numbers GPU instances from 1 in practice; each of ours holds one compute instance, number 0. */
static unsigned int gpu_instance_id(int64_t instance)
{
    return instance == WHOLE_GPU ? 0xFFFFFFFFu : (unsigned int)instance + 1;
}

static unsigned int compute_instance_id(int64_t instance)
{
    return instance == WHOLE_GPU ? 0xFFFFFFFFu : 0;
}

#define INSTANCE_ID(function, identifier)                                                 \
    DEVICE_VALUE(function, CARD_OR_INSTANCE, unsigned int, call.instance != WHOLE_GPU,    \
                 identifier(call.instance))

INSTANCE_ID(nvmlDeviceGetGpuInstanceId, gpu_instance_id)
INSTANCE_ID(nvmlDeviceGetComputeInstanceId, compute_instance_id)

/* What a MIG instance owns: an equal share of the multiprocessors, and its memory. */
nvmlReturn_t nvmlDeviceGetAttributes_v2(nvmlDevice_t handle, nvmlDeviceAttributes_t *attributes)
{
    struct call call = open_device_call(__func__, handle, CARD_OR_INSTANCE);
    if (call.status == NVML_SUCCESS && !attributes)
        call.status = NVML_ERROR_INVALID_ARGUMENT;
    if (call.status == NVML_SUCCESS && call.instance == WHOLE_GPU)
        call.status = NVML_ERROR_NOT_SUPPORTED;
    if (call.status == NVML_SUCCESS)
        *attributes = (nvmlDeviceAttributes_t){
            .multiprocessorCount = (unsigned int)call.device->multiprocessors / MAX_MIG_INSTANCES,
            .gpuInstanceSliceCount = 1,
            .computeInstanceSliceCount = 1,
            .memorySizeMB = (unsigned long long)call.device->mig_memory >> 20,
        };
    return close_call(&call);
}

/* ------------------------------------------------------------------------------------- energy and power */

#define FIRST_ENERGY_COUNTER_ARCHITECTURE 5 /* Volta */
#define FIRST_AVERAGE_POWER_ARCHITECTURE 7  /* Ampere */
#define AVERAGE_POWER_WINDOW_NS 1000000000LL

static bool has_energy_counter(const struct device *device)
{
    return device->architecture >= FIRST_ENERGY_COUNTER_ARCHITECTURE;
}

DEVICE_VALUE(nvmlDeviceGetTotalEnergyConsumption, CARD_ONLY, unsigned long long, has_energy_counter(device),
             reported_energy_mj(device, now))
DEVICE_VALUE(nvmlDeviceGetPowerUsage, CARD_ONLY, unsigned int, true,
             reported_power_mw(device, now, device->power_window_ns))
DEVICE_VALUE(nvmlDeviceGetPowerManagementMode, CARD_ONLY, nvmlEnableState_t, true, NVML_FEATURE_ENABLED)
DEVICE_VALUE(nvmlDeviceGetPowerManagementLimit, CARD_ONLY, unsigned int, true, device->limit_mw)
DEVICE_VALUE(nvmlDeviceGetEnforcedPowerLimit, CARD_ONLY, unsigned int, true, device->limit_mw)
DEVICE_VALUE(nvmlDeviceGetPowerManagementDefaultLimit, CARD_ONLY, unsigned int, true, device->default_limit_mw)
DEVICE_PAIR(nvmlDeviceGetPowerManagementLimitConstraints, unsigned int, true, device->min_limit_mw,
            device->max_limit_mw)

/* ----------------------------------------------------------------------------------- temperature and clocks */

static nvmlReturn_t read_temperature(const struct call *call, nvmlTemperatureSensors_t sensor, int *celsius)
{
    if (sensor != NVML_TEMPERATURE_GPU)
        return NVML_ERROR_INVALID_ARGUMENT;
    *celsius = (int)reported_temperature_c(call->device, call->now_ns);
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t handle, nvmlTemperatureSensors_t sensor, unsigned int *celsius)
{
    struct call call = open_device_call(__func__, handle, CARD_ONLY);
    if (call.status == NVML_SUCCESS && !celsius)
        call.status = NVML_ERROR_INVALID_ARGUMENT;
    if (call.status == NVML_SUCCESS)
        call.status = read_temperature(&call, sensor, (int *)celsius);
    return close_call(&call);
}

nvmlReturn_t nvmlDeviceGetTemperatureV(nvmlDevice_t handle, nvmlTemperature_t *reading)
{
    struct call call = open_device_call(__func__, handle, CARD_ONLY);
    if (call.status == NVML_SUCCESS && !reading)
        call.status = NVML_ERROR_INVALID_ARGUMENT;
    if (call.status == NVML_SUCCESS && reading->version != NVML_VERSION_STAMP(nvmlTemperature_t, 1))
        call.status = NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    if (call.status == NVML_SUCCESS)
        call.status = read_temperature(&call, reading->sensorType, &reading->temperature);
    return close_call(&call);
}

static nvmlReturn_t read_threshold(nvmlTemperatureThresholds_t kind, unsigned int *celsius)
{
    switch (kind) {
    case NVML_TEMPERATURE_THRESHOLD_SHUTDOWN: *celsius = 92; return NVML_SUCCESS;
    case NVML_TEMPERATURE_THRESHOLD_SLOWDOWN: *celsius = 89; return NVML_SUCCESS;
    case NVML_TEMPERATURE_THRESHOLD_MEM_MAX: *celsius = 95; return NVML_SUCCESS;
    case NVML_TEMPERATURE_THRESHOLD_GPU_MAX: *celsius = 87; return NVML_SUCCESS;
    default: return NVML_ERROR_NOT_SUPPORTED;
    }
}

nvmlReturn_t nvmlDeviceGetTemperatureThreshold(nvmlDevice_t handle, nvmlTemperatureThresholds_t kind,
                                               unsigned int *celsius)
{
    struct call call = open_device_call(__func__, handle, CARD_ONLY);
    if (call.status == NVML_SUCCESS && !celsius)
        call.status = NVML_ERROR_INVALID_ARGUMENT;
    if (call.status == NVML_SUCCESS)
        call.status = read_threshold(kind, celsius);
    return close_call(&call);
}

/* Makes an entry point that gives a clock by its type: the graphics, SM and video clocks move together here. */
#define CLOCK_VALUE(function, memory_clock, other_clock)                                              \
    nvmlReturn_t function(nvmlDevice_t handle, nvmlClockType_t type, unsigned int *megahertz)         \
    {                                                                                                 \
        struct call call = open_device_call(__func__, handle, CARD_ONLY);                             \
        if (call.status == NVML_SUCCESS && (!megahertz || (unsigned int)type >= NVML_CLOCK_COUNT))    \
            call.status = NVML_ERROR_INVALID_ARGUMENT;                                                \
        if (call.status == NVML_SUCCESS)                                                              \
            *megahertz = (unsigned int)(type == NVML_CLOCK_MEM ? (memory_clock) : (other_clock));     \
        return close_call(&call);                                                                     \
    }

CLOCK_VALUE(nvmlDeviceGetClockInfo, memory_clock_mhz(call.device, call.now_ns),
            sm_clock_mhz(call.device, call.now_ns))
CLOCK_VALUE(nvmlDeviceGetMaxClockInfo, call.device->max_mem_clock_mhz, call.device->max_sm_clock_mhz)

/* ------------------------------------------------------------------------------------------- throttling */

#define ALL_EVENT_REASONS 0x1FFu

/* Both names of one query: drivers before 535 know the second name only. */
DEVICE_VALUE(nvmlDeviceGetCurrentClocksEventReasons, CARD_ONLY, unsigned long long, true, event_reasons(device, now))
DEVICE_VALUE(nvmlDeviceGetCurrentClocksThrottleReasons, CARD_ONLY, unsigned long long, true,
             event_reasons(device, now))
DEVICE_VALUE(nvmlDeviceGetSupportedClocksEventReasons, CARD_ONLY, unsigned long long, true, ALL_EVENT_REASONS)
DEVICE_VALUE(nvmlDeviceGetSupportedClocksThrottleReasons, CARD_ONLY, unsigned long long, true, ALL_EVENT_REASONS)

/* Reasons that NVML's event bits have no name for, taken from the unused upper bits. */
#define REASON_BOARD_LIMIT 0x200ULL
#define REASON_RELIABILITY 0x400ULL

/* The event reasons whose time each performance policy counts. */
static const struct {
    nvmlPerfPolicyType_t policy;
    unsigned int field;
    uint64_t reasons;
} policies[] = {
    {NVML_PERF_POLICY_POWER, NVML_FI_DEV_PERF_POLICY_POWER, nvmlClocksEventReasonSwPowerCap},
    {NVML_PERF_POLICY_THERMAL, NVML_FI_DEV_PERF_POLICY_THERMAL,
     nvmlClocksEventReasonSwThermalSlowdown | nvmlClocksThrottleReasonHwThermalSlowdown},
    {NVML_PERF_POLICY_SYNC_BOOST, NVML_FI_DEV_PERF_POLICY_SYNC_BOOST, nvmlClocksEventReasonSyncBoost},
    {NVML_PERF_POLICY_BOARD_LIMIT, NVML_FI_DEV_PERF_POLICY_BOARD_LIMIT,
     nvmlClocksThrottleReasonHwPowerBrakeSlowdown | REASON_BOARD_LIMIT},
    {NVML_PERF_POLICY_LOW_UTILIZATION, NVML_FI_DEV_PERF_POLICY_LOW_UTILIZATION, nvmlClocksEventReasonGpuIdle},
    {NVML_PERF_POLICY_RELIABILITY, NVML_FI_DEV_PERF_POLICY_RELIABILITY, REASON_RELIABILITY},
    {NVML_PERF_POLICY_TOTAL_APP_CLOCKS, NVML_FI_DEV_PERF_POLICY_TOTAL_APP_CLOCKS, ~0ULL},
    {NVML_PERF_POLICY_TOTAL_BASE_CLOCKS, NVML_FI_DEV_PERF_POLICY_TOTAL_BASE_CLOCKS, ~0ULL},
};

#define POLICY_COUNT (sizeof policies / sizeof *policies)

static nvmlReturn_t read_violation(const struct call *call, nvmlPerfPolicyType_t policy, nvmlViolationTime_t *time)
{
    for (size_t i = 0; i < POLICY_COUNT; i++)
        if (policies[i].policy == policy) {
            time->referenceTime = (unsigned long long)timestamp_us(call->now_ns);
            time->violationTime = throttled_ns(call->device, policies[i].reasons, call->now_ns);
            return NVML_SUCCESS;
        }
    return NVML_ERROR_INVALID_ARGUMENT;
}

nvmlReturn_t nvmlDeviceGetViolationStatus(nvmlDevice_t handle, nvmlPerfPolicyType_t policy, nvmlViolationTime_t *time)
{
    struct call call = open_device_call(__func__, handle, CARD_ONLY);
    if (call.status == NVML_SUCCESS && !time)
        call.status = NVML_ERROR_INVALID_ARGUMENT;
    if (call.status == NVML_SUCCESS)
        call.status = read_violation(&call, policy, time);
    return close_call(&call);
}

/* ----------------------------------------------------------------------------------------- field values */

static void give_milliwatts(nvmlFieldValue_t *field, int64_t milliwatts)
{
    field->valueType = NVML_VALUE_TYPE_UNSIGNED_INT;
    field->value.uiVal = (unsigned int)milliwatts;
}

static void give_count(nvmlFieldValue_t *field, uint64_t count)
{
    field->valueType = NVML_VALUE_TYPE_UNSIGNED_LONG_LONG;
    field->value.ullVal = count;
}

static nvmlReturn_t read_energy_field(const struct device *device, int64_t now, nvmlFieldValue_t *field)
{
    if (!has_energy_counter(device))
        return NVML_ERROR_NOT_SUPPORTED;
    give_count(field, reported_energy_mj(device, now));
    return NVML_SUCCESS;
}

static nvmlReturn_t read_average_power_field(const struct device *device, int64_t now, nvmlFieldValue_t *field)
{
    if (device->architecture < FIRST_AVERAGE_POWER_ARCHITECTURE)
        return NVML_ERROR_NOT_SUPPORTED;
    give_milliwatts(field, reported_power_mw(device, now, AVERAGE_POWER_WINDOW_NS));
    return NVML_SUCCESS;
}

/* The time spent under one event reason or one performance policy. */
static nvmlReturn_t read_throttle_field(const struct device *device, int64_t now, nvmlFieldValue_t *field)
{
    uint64_t reasons = 0;
    for (size_t i = 0; i < POLICY_COUNT; i++)
        if (policies[i].field == field->fieldId)
            reasons = policies[i].reasons;
    if (field->fieldId == NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN)
        reasons = nvmlClocksEventReasonSwThermalSlowdown;
    if (field->fieldId == NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN)
        reasons = nvmlClocksThrottleReasonHwThermalSlowdown;
    if (field->fieldId == NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN)
        reasons = nvmlClocksThrottleReasonHwPowerBrakeSlowdown;
    if (!reasons)
        return NVML_ERROR_NOT_SUPPORTED;
    give_count(field, throttled_ns(device, reasons, now));
    return NVML_SUCCESS;
}

static nvmlReturn_t read_field(const struct device *device, int64_t now, nvmlFieldValue_t *field)
{
    if (field->scopeId != 0)
        return NVML_ERROR_NOT_SUPPORTED; /* this card measures itself only, not its module or its memory */
    switch (field->fieldId) {
    case NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION:
    case NVML_FI_DEV_ENERGY: return read_energy_field(device, now, field);
    case NVML_FI_DEV_POWER_AVERAGE: return read_average_power_field(device, now, field);
    case NVML_FI_DEV_POWER_INSTANT: give_milliwatts(field, reported_power_mw(device, now, 0)); break;
    case NVML_FI_DEV_POWER_MIN_LIMIT: give_milliwatts(field, device->min_limit_mw); break;
    case NVML_FI_DEV_POWER_MAX_LIMIT: give_milliwatts(field, device->max_limit_mw); break;
    case NVML_FI_DEV_POWER_DEFAULT_LIMIT: give_milliwatts(field, device->default_limit_mw); break;
    case NVML_FI_DEV_POWER_CURRENT_LIMIT:
    case NVML_FI_DEV_POWER_REQUESTED_LIMIT: give_milliwatts(field, device->limit_mw); break;
    default: return read_throttle_field(device, now, field);
    }
    return NVML_SUCCESS;
}

/* The call succeeds even where single fields do not: each carries its own status. */
static nvmlReturn_t read_fields(const struct call *call, int count, nvmlFieldValue_t *fields)
{
    if (!fields || count < 1)
        return NVML_ERROR_INVALID_ARGUMENT;
    for (int i = 0; i < count; i++) {
        fields[i].timestamp = timestamp_us(call->now_ns);
        fields[i].latencyUsec = 0;
        fields[i].value.ullVal = 0;
        fields[i].nvmlReturn = read_field(call->device, call->now_ns, &fields[i]);
    }
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetFieldValues(nvmlDevice_t handle, int count, nvmlFieldValue_t *fields)
{
    struct call call = open_device_call(__func__, handle, CARD_ONLY);
    if (call.status == NVML_SUCCESS)
        call.status = read_fields(&call, count, fields);
    return close_call(&call);
}

/* ------------------------------------------------------------------------------ memory and utilization */

/* In the first version of the structure `used` includes what the driver reserves. */
static void read_memory(const struct call *call, uint64_t *total, uint64_t *reserved, uint64_t *used, uint64_t *unused)
{
    bool whole = call->instance == WHOLE_GPU;
    *total = (uint64_t)(whole ? call->device->memory_total : call->device->mig_memory);
    *reserved = whole ? (uint64_t)call->device->memory_reserved : 0;
    *used = used_bytes(call->device, call->instance, call->now_ns);
    *unused = *total > *reserved + *used ? *total - *reserved - *used : 0;
}

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t handle, nvmlMemory_t *memory)
{
    struct call call = open_device_call(__func__, handle, CARD_OR_INSTANCE);
    uint64_t total, reserved, used, unused;
    if (call.status == NVML_SUCCESS && !memory)
        call.status = NVML_ERROR_INVALID_ARGUMENT;
    if (call.status == NVML_SUCCESS) {
        read_memory(&call, &total, &reserved, &used, &unused);
        *memory = (nvmlMemory_t){.total = total, .used = used + reserved, .free = unused};
    }
    return close_call(&call);
}

nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t handle, nvmlMemory_v2_t *memory)
{
    struct call call = open_device_call(__func__, handle, CARD_OR_INSTANCE);
    uint64_t total, reserved, used, unused;
    if (call.status == NVML_SUCCESS && !memory)
        call.status = NVML_ERROR_INVALID_ARGUMENT;
    if (call.status == NVML_SUCCESS && memory->version != NVML_VERSION_STAMP(nvmlMemory_v2_t, 2))
        call.status = NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    if (call.status == NVML_SUCCESS) {
        read_memory(&call, &total, &reserved, &used, &unused);
        memory->total = total;
        memory->reserved = reserved;
        memory->used = used;
        memory->free = unused;
    }
    return close_call(&call);
}

nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t handle, nvmlUtilization_t *utilization)
{
    struct call call = open_device_call(__func__, handle, CARD_ONLY);
    if (call.status == NVML_SUCCESS && !utilization)
        call.status = NVML_ERROR_INVALID_ARGUMENT;
    if (call.status == NVML_SUCCESS && call.device->mig_count > 0)
        call.status = NVML_ERROR_NOT_SUPPORTED;
    if (call.status == NVML_SUCCESS) {
        utilization->gpu = utilization_percent(call.device, call.now_ns);
        utilization->memory = utilization->gpu / 2;
    }
    return close_call(&call);
}

/* -------------------------------------------------------------------------------------------- processes */

static unsigned int pid_of(const struct process *process)
{
    return process->pid == SELF_PID ? (unsigned int)getpid() : process->pid;
}

static bool is_listed(const struct call *call, const struct process *process, enum process_kind kind)
{
    return process->kind == kind && is_visible(process, call->instance, call->now_ns);
}

static unsigned int count_processes(const struct call *call, enum process_kind kind)
{
    unsigned int count = 0;
    for (size_t i = 0; i < call->device->process_count; i++)
        count += is_listed(call, &call->device->processes[i], kind);
    return count;
}

/* Callers ask with a buffer that is too small, learn the size from `count`, and ask again. */
static nvmlReturn_t list_processes(const struct call *call, enum process_kind kind, unsigned int *count,
                                   nvmlProcessInfo_t *infos)
{
    if (!count)
        return NVML_ERROR_INVALID_ARGUMENT;
    unsigned int capacity = infos ? *count : 0;
    *count = count_processes(call, kind);
    if (*count > capacity)
        return NVML_ERROR_INSUFFICIENT_SIZE;
    for (size_t i = 0, next = 0; i < call->device->process_count; i++) {
        const struct process *process = &call->device->processes[i];
        if (is_listed(call, process, kind))
            infos[next++] = (nvmlProcessInfo_t){
                .pid = pid_of(process),
                .usedGpuMemory = process->bytes,
                .gpuInstanceId = gpu_instance_id(process->instance),
                .computeInstanceId = compute_instance_id(process->instance),
            };
    }
    return NVML_SUCCESS;
}

/* The second and the third version of the lists share one layout. */
#define PROCESS_LIST(function, info_type, kind)                                             \
    nvmlReturn_t function(nvmlDevice_t handle, unsigned int *count, info_type *infos)       \
    {                                                                                       \
        struct call call = open_device_call(__func__, handle, CARD_OR_INSTANCE);            \
        if (call.status == NVML_SUCCESS)                                                    \
            call.status = list_processes(&call, kind, count, (nvmlProcessInfo_t *)infos);   \
        return close_call(&call);                                                           \
    }

PROCESS_LIST(nvmlDeviceGetComputeRunningProcesses_v2, nvmlProcessInfo_v2_t, PROCESS_COMPUTE)
PROCESS_LIST(nvmlDeviceGetComputeRunningProcesses_v3, nvmlProcessInfo_t, PROCESS_COMPUTE)
PROCESS_LIST(nvmlDeviceGetGraphicsRunningProcesses_v2, nvmlProcessInfo_v2_t, PROCESS_GRAPHICS)
PROCESS_LIST(nvmlDeviceGetGraphicsRunningProcesses_v3, nvmlProcessInfo_t, PROCESS_GRAPHICS)
PROCESS_LIST(nvmlDeviceGetMPSComputeRunningProcesses_v2, nvmlProcessInfo_v2_t, PROCESS_MPS)
PROCESS_LIST(nvmlDeviceGetMPSComputeRunningProcesses_v3, nvmlProcessInfo_t, PROCESS_MPS)

/* One sample per process; the card's work belongs to the compute processes, graphics processes do nothing. */
static nvmlReturn_t sample_processes(const struct call *call, nvmlProcessUtilizationSample_t *samples,
                                     unsigned int *count, unsigned long long last_seen_us)
{
    unsigned long long sampled_us = (unsigned long long)timestamp_us(call->now_ns);
    unsigned int percent = utilization_percent(call->device, call->now_ns), listed = 0;
    if (!count)
        return NVML_ERROR_INVALID_ARGUMENT;
    for (size_t i = 0; i < call->device->process_count; i++)
        listed += is_visible(&call->device->processes[i], WHOLE_GPU, call->now_ns);
    if (listed == 0 || sampled_us <= last_seen_us)
        return NVML_ERROR_NOT_FOUND;
    unsigned int capacity = samples ? *count : 0;
    *count = listed;
    if (listed > capacity)
        return NVML_ERROR_INSUFFICIENT_SIZE;
    for (size_t i = 0, next = 0; i < call->device->process_count; i++) {
        const struct process *process = &call->device->processes[i];
        if (is_visible(process, WHOLE_GPU, call->now_ns))
            samples[next++] = (nvmlProcessUtilizationSample_t){
                .pid = pid_of(process),
                .timeStamp = sampled_us,
                .smUtil = process->kind == PROCESS_GRAPHICS ? 0 : percent,
            };
    }
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetProcessUtilization(nvmlDevice_t handle, nvmlProcessUtilizationSample_t *samples,
                                             unsigned int *count, unsigned long long last_seen_us)
{
    struct call call = open_device_call(__func__, handle, CARD_ONLY);
    if (call.status == NVML_SUCCESS && call.device->mig_count > 0)
        call.status = NVML_ERROR_NOT_SUPPORTED;
    if (call.status == NVML_SUCCESS)
        call.status = sample_processes(&call, samples, count, last_seen_us);
    return close_call(&call);
}

/* ---------------------------------------------------------------------------------------- everything else */

/*
 * Answers for the entry points that are exported and not simulated. Their first argument need not be a device, so
 * that a handle this library does not know is no error here.
 */
nvmlReturn_t unsupported_entry_point(const char *function, nvmlDevice_t handle)
{
    struct call call = open_device_call(function, handle, CARD_OR_INSTANCE);
    if (call.status == NVML_SUCCESS || call.status == NVML_ERROR_INVALID_ARGUMENT)
        call.status = NVML_ERROR_NOT_SUPPORTED;
    return close_call(&call);
}
