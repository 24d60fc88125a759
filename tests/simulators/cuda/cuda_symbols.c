/*
 * How callers find the driver's entry points: cuGetProcAddress, by the name without its version and the CUDA version
 * that the caller was written for.
 */
#define _GNU_SOURCE
#include "cuda_machine.h"

#include <dlfcn.h>
#include <string.h>

/* Each entry point by its name, its symbol, and the CUDA version that brought it (cudaTypedefs.h has them all). */
static const struct {
    const char *name, *symbol;
    int since;
} entry_points[] = {
    {"cuInit", "cuInit", 2000},
    {"cuDriverGetVersion", "cuDriverGetVersion", 2020},
    {"cuDeviceGetCount", "cuDeviceGetCount", 2000},
    {"cuDeviceGet", "cuDeviceGet", 2000},
    {"cuDeviceGetName", "cuDeviceGetName", 2000},
    {"cuDeviceGetUuid", "cuDeviceGetUuid_v2", 11040},
    {"cuDeviceTotalMem", "cuDeviceTotalMem_v2", 3020},
    {"cuDeviceGetPCIBusId", "cuDeviceGetPCIBusId", 4010},
    {"cuDeviceGetByPCIBusId", "cuDeviceGetByPCIBusId", 4010},
    {"cuDeviceCanAccessPeer", "cuDeviceCanAccessPeer", 4000},
    {"cuDeviceGetAttribute", "cuDeviceGetAttribute", 2000},
    {"cuDevicePrimaryCtxRetain", "cuDevicePrimaryCtxRetain", 7000},
    {"cuDevicePrimaryCtxRelease", "cuDevicePrimaryCtxRelease_v2", 11000},
    {"cuDevicePrimaryCtxGetState", "cuDevicePrimaryCtxGetState", 7000},
    {"cuDevicePrimaryCtxSetFlags", "cuDevicePrimaryCtxSetFlags_v2", 11000},
    {"cuDevicePrimaryCtxReset", "cuDevicePrimaryCtxReset_v2", 11000},
    {"cuCtxSetCurrent", "cuCtxSetCurrent", 4000},
    {"cuCtxGetCurrent", "cuCtxGetCurrent", 4000},
    {"cuCtxPushCurrent", "cuCtxPushCurrent_v2", 4000},
    {"cuCtxPopCurrent", "cuCtxPopCurrent_v2", 4000},
    {"cuCtxGetDevice", "cuCtxGetDevice_v2", 13000},
    {"cuCtxGetDevice", "cuCtxGetDevice", 2000},
    {"cuCtxGetFlags", "cuCtxGetFlags", 7000},
    {"cuCtxGetId", "cuCtxGetId", 12000},
    {"cuCtxGetApiVersion", "cuCtxGetApiVersion", 3020},
    {"cuCtxGetStreamPriorityRange", "cuCtxGetStreamPriorityRange", 5050},
    {"cuCtxSynchronize", "cuCtxSynchronize", 2000},
    {"cuCtxSynchronize", "cuCtxSynchronize_v2", 13000},
    {"cuStreamCreateWithPriority", "cuStreamCreateWithPriority", 5050},
    {"cuStreamCreate", "cuStreamCreate", 2000},
    {"cuStreamDestroy", "cuStreamDestroy_v2", 4000},
    {"cuStreamGetPriority", "cuStreamGetPriority", 5050},
    {"cuStreamGetFlags", "cuStreamGetFlags", 5050},
    {"cuStreamGetId", "cuStreamGetId", 12000},
    {"cuStreamGetCtx", "cuStreamGetCtx", 9020},
    {"cuStreamGetDevice", "cuStreamGetDevice", 12080},
    {"cuStreamIsCapturing", "cuStreamIsCapturing", 10000},
    {"cuStreamSynchronize", "cuStreamSynchronize", 2000},
    {"cuStreamQuery", "cuStreamQuery", 2000},
    {"cuStreamWaitEvent", "cuStreamWaitEvent", 3020},
    {"cuEventCreate", "cuEventCreate", 2000},
    {"cuEventDestroy", "cuEventDestroy_v2", 4000},
    {"cuEventRecord", "cuEventRecord", 2000},
    {"cuEventRecordWithFlags", "cuEventRecordWithFlags", 11010},
    {"cuEventQuery", "cuEventQuery", 2000},
    {"cuEventSynchronize", "cuEventSynchronize", 2000},
    {"cuEventElapsedTime", "cuEventElapsedTime_v2", 12080},
    {"cuEventElapsedTime", "cuEventElapsedTime", 2000},
    {"cuLibraryLoadData", "cuLibraryLoadData", 12000},
    {"cuLibraryUnload", "cuLibraryUnload", 12000},
    {"cuLibraryGetKernel", "cuLibraryGetKernel", 12000},
    {"cuModuleLoadData", "cuModuleLoadData", 2000},
    {"cuModuleLoadDataEx", "cuModuleLoadDataEx", 2010},
    {"cuModuleUnload", "cuModuleUnload", 2000},
    {"cuModuleGetFunction", "cuModuleGetFunction", 2000},
    {"cuKernelGetFunction", "cuKernelGetFunction", 12000},
    {"cuKernelGetName", "cuKernelGetName", 12030},
    {"cuFuncGetName", "cuFuncGetName", 12030},
    {"cuKernelGetAttribute", "cuKernelGetAttribute", 12000},
    {"cuFuncGetAttribute", "cuFuncGetAttribute", 2020},
    {"cuLaunchKernelEx", "cuLaunchKernelEx", 11060},
    {"cuLaunchKernel", "cuLaunchKernel", 4000},
    {"cuMemAlloc", "cuMemAlloc_v2", 3020},
    {"cuMemFree", "cuMemFree_v2", 3020},
    {"cuMemAllocAsync", "cuMemAllocAsync", 11020},
    {"cuMemAllocFromPoolAsync", "cuMemAllocFromPoolAsync", 11020},
    {"cuMemFreeAsync", "cuMemFreeAsync", 11020},
    {"cuMemHostAlloc", "cuMemHostAlloc", 2020},
    {"cuMemAllocHost", "cuMemAllocHost_v2", 3020},
    {"cuMemFreeHost", "cuMemFreeHost", 2000},
    {"cuMemGetInfo", "cuMemGetInfo_v2", 3020},
    {"cuMemGetAddressRange", "cuMemGetAddressRange_v2", 3020},
    {"cuPointerGetAttribute", "cuPointerGetAttribute", 4000},
    {"cuPointerGetAttributes", "cuPointerGetAttributes", 7000},
    {"cuDeviceGetDefaultMemPool", "cuDeviceGetDefaultMemPool", 11020},
    {"cuDeviceGetMemPool", "cuDeviceGetMemPool", 11020},
    {"cuMemGetDefaultMemPool", "cuMemGetDefaultMemPool", 13000},
    {"cuMemGetMemPool", "cuMemGetMemPool", 13000},
    {"cuDeviceSetMemPool", "cuDeviceSetMemPool", 11020},
    {"cuMemPoolCreate", "cuMemPoolCreate", 11020},
    {"cuMemPoolDestroy", "cuMemPoolDestroy", 11020},
    {"cuMemPoolTrimTo", "cuMemPoolTrimTo", 11020},
    {"cuMemPoolGetAttribute", "cuMemPoolGetAttribute", 11020},
    {"cuMemPoolSetAttribute", "cuMemPoolSetAttribute", 11020},
    {"cuMemPoolSetAccess", "cuMemPoolSetAccess", 11020},
    {"cuMemPoolGetAccess", "cuMemPoolGetAccess", 11020},
    {"cuMemcpy", "cuMemcpy", 4000},
    {"cuMemcpyAsync", "cuMemcpyAsync", 4000},
    {"cuMemcpyHtoD", "cuMemcpyHtoD_v2", 3020},
    {"cuMemcpyHtoDAsync", "cuMemcpyHtoDAsync_v2", 3020},
    {"cuMemcpyDtoH", "cuMemcpyDtoH_v2", 3020},
    {"cuMemcpyDtoHAsync", "cuMemcpyDtoHAsync_v2", 3020},
    {"cuMemcpyDtoD", "cuMemcpyDtoD_v2", 3020},
    {"cuMemcpyDtoDAsync", "cuMemcpyDtoDAsync_v2", 3020},
    {"cuMemsetD8", "cuMemsetD8_v2", 3020},
    {"cuMemsetD8Async", "cuMemsetD8Async", 3020},
    {"cuMemsetD16Async", "cuMemsetD16Async", 3020},
    {"cuMemsetD32Async", "cuMemsetD32Async", 3020},
    {"cuGetErrorName", "cuGetErrorName", 6000},
    {"cuGetErrorString", "cuGetErrorString", 6000},
    {"cuGetProcAddress", "cuGetProcAddress", 11030},
    {"cuGetProcAddress", "cuGetProcAddress_v2", 12000},
    {"cuGetExportTable", "cuGetExportTable", 3000},
};

static void *address_of(const char *symbol)
{
    Dl_info ourselves;
    void *library = dladdr((const void *)&machine, &ourselves) ? dlopen(ourselves.dli_fname, RTLD_NOW | RTLD_NOLOAD) : NULL;
    void *address = library ? dlsym(library, symbol) : NULL;
    if (library)
        dlclose(library);
    return address;
}

/* Of several with one name, the newest that neither caller nor driver is too old for. */
CUresult CUDAAPI cuGetProcAddress_v2(const char *name, void **function, int version, cuuint64_t flags,
                                     CUdriverProcAddressQueryResult *result)
{
    CUdriverProcAddressQueryResult found = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    const char *symbol = NULL;
    int newest = 0;
    if (!name || !function)
        return CUDA_ERROR_INVALID_VALUE;
    if (flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM)
        return CUDA_ERROR_NOT_SUPPORTED; /* entry points for which stream 0 is the thread's own */
    for (size_t i = 0; i < LENGTH(entry_points); i++) {
        if (strcmp(entry_points[i].name, name) != 0)
            continue;
        int since = entry_points[i].since;
        if (since > version || since > machine.version) {
            if (!symbol)
                found = CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT;
        } else if (since > newest) {
            symbol = entry_points[i].symbol;
            newest = since;
            found = CU_GET_PROC_ADDRESS_SUCCESS;
        }
    }
    *function = symbol ? address_of(symbol) : NULL;
    if (result)
        *result = found;
    return *function ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

CUresult CUDAAPI cuGetProcAddress(const char *name, void **function, int version, cuuint64_t flags)
{
    return cuGetProcAddress_v2(name, function, version, flags, NULL);
}

/* Undocumented tables, which the CUDA runtime is built on, are not simulated: it stops here. */
CUresult CUDAAPI cuGetExportTable(const void **table, const CUuuid *id)
{
    (void)id;
    *table = NULL;
    return CUDA_ERROR_NOT_FOUND;
}
