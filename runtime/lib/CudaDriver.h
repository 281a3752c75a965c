// The part of the CUDA driver API that the runtime calls, found in libcuda.so.1 when a device is asked for: nothing links against CUDA and
// no header of it is needed. Types and numbers are those of cuda.h, which keeps them for good.
#ifndef DSRT_LIB_CUDADRIVER_H
#define DSRT_LIB_CUDADRIVER_H

#include "runtime/lib/Status.h"
#include <cstddef>
#include <cstdint>

namespace dsrt::cuda {

using Result = int;
using DeviceId = int;
using Address = unsigned long long; // CUdeviceptr
struct ContextData;
struct ModuleData;
struct FunctionData;
struct StreamData;
struct EventData;
struct GraphData;
struct GraphExecData;
using Context = ContextData *;
using Module = ModuleData *;
using Function = FunctionData *;
using Stream = StreamData *;
using Event = EventData *;
using Graph = GraphData *;
using GraphExec = GraphExecData *;

enum : Result {
  success = 0,
  outOfMemory = 2,
  noDevice = 100,
  invalidDevice = 101,
  invalidImage = 200,
  noBinaryForGpu = 209,
  invalidPtx = 218,
  jitCompilerNotFound = 221,
  unsupportedPtxVersion = 222,
  notFound = 500,
  notReady = 600,
};

// CUdevice_attribute
constexpr int computeMajor = 75, computeMinor = 76, sharedMemoryOptin = 97;
// CUfunction_attribute
constexpr int maxThreadsPerBlock = 0, staticSharedBytes = 1, maxDynamicSharedBytes = 8;
// CUjit_option
constexpr int jitErrorLog = 5, jitErrorLogBytes = 6;
constexpr unsigned streamNonBlocking = 1;    // CU_STREAM_NON_BLOCKING
constexpr unsigned eventWithoutTime = 2;     // CU_EVENT_DISABLE_TIMING
constexpr int captureThreadLocal = 1;        // CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
constexpr int programmaticSerialization = 6; // CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION
constexpr int oldestVersion = 11040;         // 11.4: the first with all required functions below

/// CUlaunchAttribute
struct LaunchAttribute {
  int id;
  char padding[4];
  union {
    char bytes[64];
    int allowed; // of programmaticSerialization
  } value;
};
static_assert(sizeof(LaunchAttribute) == 72 && offsetof(LaunchAttribute, value) == 8);

/// CUlaunchConfig
struct LaunchConfig {
  unsigned gridX, gridY, gridZ, blockX, blockY, blockZ, sharedBytes;
  Stream stream;
  LaunchAttribute *attributes;
  unsigned attributeCount;
};
static_assert(sizeof(LaunchConfig) == 56 && offsetof(LaunchConfig, stream) == 32);

// The functions, with the names they have in the library. Those of the second list may be missing from older drivers.
#define DSRT_CUDA_FUNCTIONS(X)                                                                                                             \
  X(init, "cuInit", (unsigned))                                                                                                            \
  X(driverGetVersion, "cuDriverGetVersion", (int *))                                                                                       \
  X(getErrorName, "cuGetErrorName", (Result, const char **))                                                                               \
  X(getErrorString, "cuGetErrorString", (Result, const char **))                                                                           \
  X(deviceGetCount, "cuDeviceGetCount", (int *))                                                                                           \
  X(deviceGet, "cuDeviceGet", (DeviceId *, int))                                                                                           \
  X(deviceGetName, "cuDeviceGetName", (char *, int, DeviceId))                                                                             \
  X(deviceGetAttribute, "cuDeviceGetAttribute", (int *, int, DeviceId))                                                                    \
  X(primaryContextRetain, "cuDevicePrimaryCtxRetain", (Context *, DeviceId))                                                               \
  X(primaryContextRelease, "cuDevicePrimaryCtxRelease_v2", (DeviceId))                                                                     \
  X(contextPush, "cuCtxPushCurrent_v2", (Context))                                                                                         \
  X(contextPop, "cuCtxPopCurrent_v2", (Context *))                                                                                         \
  X(moduleLoadDataEx, "cuModuleLoadDataEx", (Module *, const void *, unsigned, int *, void **))                                            \
  X(moduleUnload, "cuModuleUnload", (Module))                                                                                              \
  X(moduleGetFunction, "cuModuleGetFunction", (Function *, Module, const char *))                                                          \
  X(functionGetAttribute, "cuFuncGetAttribute", (int *, int, Function))                                                                    \
  X(functionSetAttribute, "cuFuncSetAttribute", (Function, int, int))                                                                      \
  X(memoryAllocate, "cuMemAlloc_v2", (Address *, size_t))                                                                                  \
  X(memoryFree, "cuMemFree_v2", (Address))                                                                                                 \
  X(memoryGetInfo, "cuMemGetInfo_v2", (size_t *, size_t *))                                                                                \
  X(memoryHostAllocate, "cuMemHostAlloc", (void **, size_t, unsigned))                                                                     \
  X(memoryHostFree, "cuMemFreeHost", (void *))                                                                                             \
  X(memorySet, "cuMemsetD8Async", (Address, unsigned char, size_t, Stream))                                                                \
  X(copyToDevice, "cuMemcpyHtoDAsync_v2", (Address, const void *, size_t, Stream))                                                         \
  X(copyFromDevice, "cuMemcpyDtoHAsync_v2", (void *, Address, size_t, Stream))                                                             \
  X(streamCreate, "cuStreamCreate", (Stream *, unsigned))                                                                                  \
  X(streamDestroy, "cuStreamDestroy_v2", (Stream))                                                                                         \
  X(streamQuery, "cuStreamQuery", (Stream))                                                                                                \
  X(streamBeginCapture, "cuStreamBeginCapture_v2", (Stream, int))                                                                          \
  X(streamEndCapture, "cuStreamEndCapture", (Stream, Graph *))                                                                             \
  X(graphInstantiate, "cuGraphInstantiateWithFlags", (GraphExec *, Graph, unsigned long long))                                             \
  X(graphLaunch, "cuGraphLaunch", (GraphExec, Stream))                                                                                     \
  X(graphDestroy, "cuGraphDestroy", (Graph))                                                                                               \
  X(graphExecDestroy, "cuGraphExecDestroy", (GraphExec))                                                                                   \
  X(eventCreate, "cuEventCreate", (Event *, unsigned))                                                                                     \
  X(eventDestroy, "cuEventDestroy_v2", (Event))                                                                                            \
  X(eventRecord, "cuEventRecord", (Event, Stream))                                                                                         \
  X(eventQuery, "cuEventQuery", (Event))                                                                                                   \
  X(eventElapsedTime, "cuEventElapsedTime", (float *, Event, Event))                                                                       \
  X(launchKernel, "cuLaunchKernel",                                                                                                        \
    (Function, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, Stream, void **, void **))
#define DSRT_CUDA_OPTIONAL_FUNCTIONS(X)                                                                                                    \
  X(launchKernelEx, "cuLaunchKernelEx", (const LaunchConfig *, Function, void **, void **)) /* 11.8 */                                     \
  X(functionGetParameter, "cuFuncGetParamInfo", (Function, size_t, size_t *, size_t *))     /* 12.4 */

struct Driver {
#define DSRT_CUDA_DECLARE(member, name, parameters) Result(*member) parameters = nullptr;
  DSRT_CUDA_FUNCTIONS(DSRT_CUDA_DECLARE)
  DSRT_CUDA_OPTIONAL_FUNCTIONS(DSRT_CUDA_DECLARE)
#undef DSRT_CUDA_DECLARE
  int version = 0; // of the CUDA the driver is for: 12040 of 12.4

  /// Opens libcuda.so.1 (or the file in DS_CUDA_LIBRARY) and initialises it. The library stays open for good.
  /// Fails with unavailable: no library, a function missing, a driver too old, no GPU.
  static Status open(Driver &driver);
  /// "CUDA_ERROR_INVALID_IMAGE (device kernel image is invalid)"
  std::string describe(Result result) const;
  /// "12.4"
  std::string versionText() const { return concat(version / 1000, ".", version % 1000 / 10); }
};

} // namespace dsrt::cuda
#endif // DSRT_LIB_CUDADRIVER_H
