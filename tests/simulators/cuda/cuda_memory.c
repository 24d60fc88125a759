/*
 * The simulated driver's memory: allocations, pools, copies and sets.
 *
 * Memory of a device is memory of the host, reserved but not touched, so that 80 GB can be had. Bytes are moved when
 * the call is made; on the device's timeline the copy takes its bytes over the bandwidth. With `move_bytes=0` none are
 * moved, so that the host is not held up by a large copy as no real one is.
 */
#define _GNU_SOURCE
#include "cuda_machine.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { POOL = 0x504f4f4c };

struct allocation {
    uint64_t address, size;
    int device; /* HOST for page-locked memory */
    struct pool *pool;
    struct allocation *next;
};

#define HOST (-1)

static struct allocation *allocations;

static struct pool *pools[64]; /* those that were made, besides the devices' own */

/* A pool takes memory from the device in pieces of this size. */
#define PIECE (2ULL << 20)

static uint64_t in_pieces(uint64_t bytes)
{
    return (bytes + PIECE - 1) / PIECE * PIECE;
}

uint64_t reserved_bytes(const struct device *device)
{
    uint64_t reserved = device->default_pool.reserved;
    for (size_t i = 0; i < LENGTH(pools); i++)
        if (pools[i] && pools[i]->device == device->context.device)
            reserved += pools[i]->reserved;
    return reserved;
}

static void reserve(struct pool *pool, uint64_t bytes)
{
    pool->reserved = bytes;
    if (pool->reserved > pool->reserved_high)
        pool->reserved_high = pool->reserved;
    tell_memory(&machine.devices[pool->device]);
}

static void trim(struct pool *pool, uint64_t kept_bytes)
{
    uint64_t needed = pool->used > kept_bytes ? pool->used : kept_bytes;
    if (needed < pool->reserved) /* a threshold may be as large as a number can be */
        reserve(pool, in_pieces(needed));
}

/* What a pool has above its threshold goes back when the device is waited for. */
void trim_pools(int device)
{
    trim(&machine.devices[device].default_pool, machine.devices[device].default_pool.release_threshold);
    for (size_t i = 0; i < LENGTH(pools); i++)
        if (pools[i] && pools[i]->device == device)
            trim(pools[i], pools[i]->release_threshold);
}

static struct pool *pool_of(CUmemoryPool handle)
{
    for (int i = 0; i < machine.device_count; i++)
        if ((void *)handle == &machine.devices[i].default_pool)
            return &machine.devices[i].default_pool;
    for (size_t i = 0; i < LENGTH(pools); i++)
        if (pools[i] && (void *)handle == pools[i])
            return pools[i];
    return NULL;
}

/* --------------------------------------------------------------------------------------------- allocations */

static CUresult take_from_device(struct device *device, struct pool *pool, uint64_t size)
{
    if (!pool) {
        if (size > free_bytes(device))
            return CUDA_ERROR_OUT_OF_MEMORY;
        device->allocated += size;
        tell_memory(device);
        return CUDA_SUCCESS;
    }
    uint64_t needed = in_pieces(pool->used + size);
    if (pool->most_bytes && needed > pool->most_bytes)
        return CUDA_ERROR_OUT_OF_MEMORY;
    if (needed > pool->reserved) {
        if (needed - pool->reserved > free_bytes(device))
            return CUDA_ERROR_OUT_OF_MEMORY;
        reserve(pool, needed);
    }
    pool->used += size;
    if (pool->used > pool->used_high)
        pool->used_high = pool->used;
    return CUDA_SUCCESS;
}

static void give_to_device(const struct allocation *allocation)
{
    if (allocation->pool) {
        allocation->pool->used -= allocation->size;
    } else if (allocation->device != HOST) {
        machine.devices[allocation->device].allocated -= allocation->size;
        tell_memory(&machine.devices[allocation->device]);
    }
}

static CUresult allocate(int device, struct pool *pool, uint64_t size, void **address)
{
    if (size == 0)
        return CUDA_ERROR_INVALID_VALUE;
    struct allocation *allocation = malloc(sizeof *allocation);
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CUresult status = !allocation || memory == MAP_FAILED ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
    if (!status && device != HOST)
        status = take_from_device(&machine.devices[device], pool, size);
    if (status) {
        if (memory != MAP_FAILED)
            munmap(memory, size);
        free(allocation);
        return status;
    }
    *allocation = (struct allocation){(uintptr_t)memory, size, device, pool, allocations};
    allocations = allocation;
    *address = memory;
    return CUDA_SUCCESS;
}

/* Frees what begins at an address; CUDA_ERROR_INVALID_VALUE for anything that was not given out for that. */
static CUresult release(uint64_t address, bool on_host)
{
    for (struct allocation **link = &allocations; *link; link = &(*link)->next) {
        struct allocation *allocation = *link;
        if (allocation->address != address || (allocation->device == HOST) != on_host)
            continue;
        *link = allocation->next;
        give_to_device(allocation);
        munmap((void *)(uintptr_t)allocation->address, allocation->size);
        free(allocation);
        return CUDA_SUCCESS;
    }
    return CUDA_ERROR_INVALID_VALUE;
}

void release_all_memory(int device)
{
    for (struct allocation *next, *each = allocations; each; each = next) {
        next = each->next;
        if (each->device == device)
            release(each->address, false);
    }
    trim(&machine.devices[device].default_pool, 0);
}

static const struct allocation *allocation_at(uint64_t address)
{
    for (const struct allocation *each = allocations; each; each = each->next)
        if (each->address <= address && address < each->address + each->size)
            return each;
    return NULL;
}

CUresult CUDAAPI cuMemAlloc_v2(CUdeviceptr *address, size_t size)
{
    struct call call = open_context_call(__func__);
    void *memory = NULL;
    if (!call.status)
        call.status = allocate(call.context->device, NULL, size, &memory);
    if (!call.status)
        *address = (uintptr_t)memory;
    return close_call(&call);
}

/* Waits for the device first, as the real one does. */
CUresult CUDAAPI cuMemFree_v2(CUdeviceptr address)
{
    struct call call = open_context_call(__func__);
    if (call.status || !address)
        return close_call(&call);
    const struct allocation *allocation = allocation_at(address);
    int64_t idle_ns = allocation && allocation->device != HOST ? device_idle_at(&machine.devices[allocation->device]) : 0;
    CUresult status = close_and_wait(&call, idle_ns);
    if (status)
        return status;
    lock_machine();
    status = release(address, false);
    unlock_machine();
    return status;
}

static CUresult allocate_in_order(struct call *call, struct pool *pool, size_t size, CUdeviceptr *address)
{
    void *memory = NULL;
    if (!call->status)
        call->status = allocate(pool->device, pool, size, &memory);
    if (!call->status)
        *address = (uintptr_t)memory;
    return close_call(call);
}

CUresult CUDAAPI cuMemAllocAsync(CUdeviceptr *address, size_t size, CUstream stream)
{
    struct call call = open_stream_call(__func__, stream);
    return allocate_in_order(&call, call.status ? NULL : machine.devices[call.context->device].pool, size, address);
}

CUresult CUDAAPI cuMemAllocFromPoolAsync(CUdeviceptr *address, size_t size, CUmemoryPool handle, CUstream stream)
{
    struct call call = open_stream_call(__func__, stream);
    struct pool *pool = call.status ? NULL : pool_of(handle);
    if (!call.status && !pool)
        call.status = CUDA_ERROR_INVALID_VALUE;
    return allocate_in_order(&call, pool, size, address);
}

CUresult CUDAAPI cuMemFreeAsync(CUdeviceptr address, CUstream stream)
{
    struct call call = open_stream_call(__func__, stream);
    return close_call_as(&call, call.status ? call.status : release(address, false));
}

static CUresult allocate_on_host(const char *function, void **address, size_t size, unsigned int flags)
{
    struct call call = open_context_call(function);
    if (!call.status && flags > 7)
        call.status = CUDA_ERROR_INVALID_VALUE;
    return close_call_as(&call, call.status ? call.status : allocate(HOST, NULL, size, address));
}

CUresult CUDAAPI cuMemHostAlloc(void **address, size_t size, unsigned int flags)
{
    return allocate_on_host(__func__, address, size, flags);
}

CUresult CUDAAPI cuMemAllocHost_v2(void **address, size_t size)
{
    return allocate_on_host(__func__, address, size, 0);
}

CUresult CUDAAPI cuMemFreeHost(void *address)
{
    struct call call = open_context_call(__func__);
    return close_call_as(&call, call.status ? call.status : release((uintptr_t)address, true));
}

CUresult CUDAAPI cuMemGetInfo_v2(size_t *free_size, size_t *total)
{
    struct call call = open_context_call(__func__);
    if (!call.status) {
        const struct device *device = &machine.devices[call.context->device];
        *total = device->card.memory_bytes;
        *free_size = free_bytes(device);
    }
    return close_call(&call);
}

CUresult CUDAAPI cuMemGetAddressRange_v2(CUdeviceptr *base, size_t *size, CUdeviceptr address)
{
    struct call call = open_context_call(__func__);
    const struct allocation *allocation = allocation_at(address);
    if (!call.status && !allocation)
        call.status = CUDA_ERROR_NOT_FOUND;
    if (!call.status && base)
        *base = allocation->address;
    if (!call.status && size)
        *size = allocation->size;
    return close_call(&call);
}

/* One attribute of an address; false where the driver has no answer. */
static bool pointer_attribute(CUpointer_attribute attribute, const struct allocation *allocation, uint64_t address,
                              void *value)
{
    bool on_host = allocation->device == HOST;
    switch (attribute) {
    case CU_POINTER_ATTRIBUTE_CONTEXT: {
        void *context = on_host ? NULL : &machine.devices[allocation->device].context;
        memcpy(value, &context, sizeof context);
        return true;
    }
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
        *(unsigned int *)value = on_host ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
        return true;
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
        memcpy(value, &address, sizeof address);
        return true;
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
        if (on_host)
            memcpy(value, &address, sizeof address);
        return on_host;
    case CU_POINTER_ATTRIBUTE_IS_MANAGED:
        *(unsigned int *)value = 0;
        return true;
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
        *(int *)value = on_host ? 0 : allocation->device;
        return true;
    default:
        return false;
    }
}

CUresult CUDAAPI cuPointerGetAttribute(void *value, CUpointer_attribute attribute, CUdeviceptr address)
{
    struct call call = open_call(__func__);
    const struct allocation *allocation = allocation_at(address);
    if (!call.status && (!allocation || !pointer_attribute(attribute, allocation, address, value)))
        call.status = CUDA_ERROR_INVALID_VALUE;
    return close_call(&call);
}

/* What is not known of an address, or of any that is not ours, is zero. */
CUresult CUDAAPI cuPointerGetAttributes(unsigned int count, CUpointer_attribute *attributes, void **values,
                                        CUdeviceptr address)
{
    struct call call = open_call(__func__);
    const struct allocation *allocation = allocation_at(address);
    for (unsigned int i = 0; !call.status && i < count; i++)
        if (!allocation || !pointer_attribute(attributes[i], allocation, address, values[i]))
            memset(values[i], 0, attributes[i] == CU_POINTER_ATTRIBUTE_CONTEXT ? sizeof(void *) : sizeof(int));
    return close_call(&call);
}

/* -------------------------------------------------------------------------------------------------- pools */

static CUresult own_pool(const char *function, CUdevice ordinal, bool the_default, CUmemoryPool *handle)
{
    struct call call = open_call(function);
    struct device *device = device_of(ordinal);
    if (!call.status && !device)
        call.status = CUDA_ERROR_INVALID_DEVICE;
    if (!call.status)
        *handle = (CUmemoryPool)(void *)(the_default ? &device->default_pool : device->pool);
    return close_call(&call);
}

CUresult CUDAAPI cuDeviceGetDefaultMemPool(CUmemoryPool *pool, CUdevice ordinal)
{
    return own_pool(__func__, ordinal, true, pool);
}

CUresult CUDAAPI cuDeviceGetMemPool(CUmemoryPool *pool, CUdevice ordinal)
{
    return own_pool(__func__, ordinal, false, pool);
}

CUresult CUDAAPI cuMemGetDefaultMemPool(CUmemoryPool *pool, CUmemLocation *location, CUmemAllocationType type)
{
    (void)type;
    bool is_device = location->type == CU_MEM_LOCATION_TYPE_DEVICE;
    return is_device ? own_pool(__func__, location->id, true, pool) : CUDA_ERROR_NOT_SUPPORTED;
}

CUresult CUDAAPI cuMemGetMemPool(CUmemoryPool *pool, CUmemLocation *location, CUmemAllocationType type)
{
    (void)type;
    bool is_device = location->type == CU_MEM_LOCATION_TYPE_DEVICE;
    return is_device ? own_pool(__func__, location->id, false, pool) : CUDA_ERROR_NOT_SUPPORTED;
}

CUresult CUDAAPI cuDeviceSetMemPool(CUdevice ordinal, CUmemoryPool handle)
{
    struct call call = open_call(__func__);
    struct device *device = device_of(ordinal);
    struct pool *pool = pool_of(handle);
    if (!call.status && (!device || !pool || pool->device != ordinal))
        call.status = CUDA_ERROR_INVALID_VALUE;
    if (!call.status)
        device->pool = pool;
    return close_call(&call);
}

CUresult CUDAAPI cuMemPoolCreate(CUmemoryPool *handle, const CUmemPoolProps *properties)
{
    struct call call = open_call(__func__);
    bool known = properties->location.type == CU_MEM_LOCATION_TYPE_DEVICE && device_of(properties->location.id);
    if (!call.status && !known)
        call.status = CUDA_ERROR_INVALID_VALUE;
    size_t slot = 0;
    while (slot < LENGTH(pools) && pools[slot])
        slot++;
    struct pool *pool = slot < LENGTH(pools) ? calloc(1, sizeof *pool) : NULL;
    if (!call.status && !pool)
        call.status = CUDA_ERROR_OUT_OF_MEMORY;
    if (call.status) {
        free(pool);
        return close_call(&call);
    }
    *pool = (struct pool){.magic = POOL, .device = properties->location.id, .most_bytes = properties->maxSize};
    pools[slot] = pool;
    *handle = (CUmemoryPool)(void *)pool;
    return close_call(&call);
}

/* What is still allocated from it goes with it. */
CUresult CUDAAPI cuMemPoolDestroy(CUmemoryPool handle)
{
    struct call call = open_call(__func__);
    struct pool *pool = pool_of(handle);
    if (!call.status && (!pool || pool->magic != POOL))
        call.status = CUDA_ERROR_INVALID_VALUE; /* a device's default pool cannot be destroyed */
    if (call.status)
        return close_call(&call);
    for (struct allocation *next, *each = allocations; each; each = next) {
        next = each->next;
        if (each->pool == pool)
            release(each->address, false);
    }
    trim(pool, 0);
    struct device *device = &machine.devices[pool->device];
    if (device->pool == pool)
        device->pool = &device->default_pool;
    for (size_t i = 0; i < LENGTH(pools); i++)
        if (pools[i] == pool)
            pools[i] = NULL;
    free(pool);
    return close_call(&call);
}

CUresult CUDAAPI cuMemPoolTrimTo(CUmemoryPool handle, size_t kept_bytes)
{
    struct call call = open_call(__func__);
    struct pool *pool = pool_of(handle);
    if (!call.status && !pool)
        call.status = CUDA_ERROR_INVALID_VALUE;
    if (!call.status)
        trim(pool, kept_bytes);
    return close_call(&call);
}

CUresult CUDAAPI cuMemPoolGetAttribute(CUmemoryPool handle, CUmemPool_attribute attribute, void *value)
{
    struct call call = open_call(__func__);
    const struct pool *pool = pool_of(handle);
    if (!call.status && !pool)
        call.status = CUDA_ERROR_INVALID_VALUE;
    if (call.status)
        return close_call(&call);
    cuuint64_t *bytes = value;
    switch (attribute) {
    case CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES:
    case CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC:
    case CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES: *(int *)value = 1; break;
    case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD: *bytes = pool->release_threshold; break;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT: *bytes = pool->reserved; break;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH: *bytes = pool->reserved_high; break;
    case CU_MEMPOOL_ATTR_USED_MEM_CURRENT: *bytes = pool->used; break;
    case CU_MEMPOOL_ATTR_USED_MEM_HIGH: *bytes = pool->used_high; break;
    default: call.status = CUDA_ERROR_INVALID_VALUE;
    }
    return close_call(&call);
}

/* A high-water mark can only be set to 0, which brings it down to what is current. */
CUresult CUDAAPI cuMemPoolSetAttribute(CUmemoryPool handle, CUmemPool_attribute attribute, void *value)
{
    struct call call = open_call(__func__);
    struct pool *pool = pool_of(handle);
    if (!call.status && !pool)
        call.status = CUDA_ERROR_INVALID_VALUE;
    if (call.status)
        return close_call(&call);
    cuuint64_t bytes = *(const cuuint64_t *)value;
    if (attribute == CU_MEMPOOL_ATTR_RELEASE_THRESHOLD)
        pool->release_threshold = bytes;
    else if (attribute == CU_MEMPOOL_ATTR_USED_MEM_HIGH && bytes == 0)
        pool->used_high = pool->used;
    else if (attribute == CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH && bytes == 0)
        pool->reserved_high = pool->reserved;
    else
        call.status = CUDA_ERROR_INVALID_VALUE;
    return close_call(&call);
}

CUresult CUDAAPI cuMemPoolSetAccess(CUmemoryPool handle, const CUmemAccessDesc *accesses, size_t count)
{
    struct call call = open_call(__func__);
    const struct pool *pool = pool_of(handle);
    for (size_t i = 0; !call.status && i < count; i++)
        if (!pool || accesses[i].location.id != pool->device)
            call.status = CUDA_ERROR_INVALID_DEVICE; /* no device can access another's memory */
    return close_call(&call);
}

CUresult CUDAAPI cuMemPoolGetAccess(CUmemAccess_flags *flags, CUmemoryPool handle, CUmemLocation *location)
{
    struct call call = open_call(__func__);
    const struct pool *pool = pool_of(handle);
    if (!call.status && !pool)
        call.status = CUDA_ERROR_INVALID_VALUE;
    if (!call.status)
        *flags = location->id == pool->device ? CU_MEM_ACCESS_FLAGS_PROT_READWRITE : 0;
    return close_call(&call);
}

/* --------------------------------------------------------------------------------------- copies and sets */

/* A copy or a set starts up in this time before the first byte moves. */
#define START_NS 1000

static bool is_on_device(uint64_t address)
{
    const struct allocation *allocation = allocation_at(address);
    return allocation && allocation->device != HOST;
}

/* The place on the timeline is taken before the bytes move, so that the host's own speed is not in it. */
static CUresult copy(const char *function, uint64_t to, uint64_t from, size_t size, CUstream stream, bool waits)
{
    struct call call = open_queue_call(function, stream);
    if (!call.status && size && (!to || !from))
        call.status = CUDA_ERROR_INVALID_VALUE;
    if (call.status)
        return close_call(&call);
    bool inside = is_on_device(to) && is_on_device(from);
    double bytes_per_ns = inside ? machine.device_bytes_per_ns : machine.host_bytes_per_ns;
    int64_t end_ns = enqueue(call.stream, call.now_ns, START_NS + (int64_t)((double)size / bytes_per_ns));
    bool moves = machine.move_bytes;
    if (!waits)
        close_call(&call);
    else
        call.status = close_and_wait(&call, end_ns);
    if (moves && !call.status)
        memmove((void *)(uintptr_t)to, (const void *)(uintptr_t)from, size);
    return call.status;
}

CUresult CUDAAPI cuMemcpy(CUdeviceptr to, CUdeviceptr from, size_t size)
{
    return copy(__func__, to, from, size, NULL, true);
}

CUresult CUDAAPI cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t size, CUstream stream)
{
    return copy(__func__, to, from, size, stream, false);
}

CUresult CUDAAPI cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t size)
{
    return copy(__func__, to, (uintptr_t)from, size, NULL, true);
}

CUresult CUDAAPI cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t size, CUstream stream)
{
    return copy(__func__, to, (uintptr_t)from, size, stream, false);
}

CUresult CUDAAPI cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t size)
{
    return copy(__func__, (uintptr_t)to, from, size, NULL, true);
}

CUresult CUDAAPI cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t size, CUstream stream)
{
    return copy(__func__, (uintptr_t)to, from, size, stream, false);
}

CUresult CUDAAPI cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t size)
{
    return copy(__func__, to, from, size, NULL, false); /* inside a device the host does not wait */
}

CUresult CUDAAPI cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t size, CUstream stream)
{
    return copy(__func__, to, from, size, stream, false);
}

/* Sets `count` elements of 1, 2 or 4 bytes. */
static CUresult set(const char *function, uint64_t to, const void *element, size_t width, size_t count, CUstream stream)
{
    struct call call = open_queue_call(function, stream);
    if (!call.status && (!is_on_device(to) || to % width))
        call.status = CUDA_ERROR_INVALID_VALUE;
    if (call.status)
        return close_call(&call);
    enqueue(call.stream, call.now_ns, START_NS + (int64_t)((double)(width * count) / machine.device_bytes_per_ns));
    bool moves = machine.move_bytes;
    close_call(&call);
    for (size_t i = 0; moves && i < count; i++)
        memcpy((char *)(uintptr_t)to + i * width, element, width);
    return CUDA_SUCCESS;
}

CUresult CUDAAPI cuMemsetD8_v2(CUdeviceptr to, unsigned char value, size_t count)
{
    return set(__func__, to, &value, sizeof value, count, NULL);
}

CUresult CUDAAPI cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t count, CUstream stream)
{
    return set(__func__, to, &value, sizeof value, count, stream);
}

CUresult CUDAAPI cuMemsetD16Async(CUdeviceptr to, unsigned short value, size_t count, CUstream stream)
{
    return set(__func__, to, &value, sizeof value, count, stream);
}

CUresult CUDAAPI cuMemsetD32Async(CUdeviceptr to, unsigned int value, size_t count, CUstream stream)
{
    return set(__func__, to, &value, sizeof value, count, stream);
}
