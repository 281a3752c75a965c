// The part of cuBLASLt that the runtime calls, found in libcublasLt.so when a package has products for it: nothing links against it and no
// header of it is needed. Types and numbers are those of cublasLt.h, cublas_api.h and library_types.h, which keep them for good
// (https://docs.nvidia.com/cuda/cublas/#using-the-cublaslt-api).
#ifndef DSRT_LIB_CUBLASLT_H
#define DSRT_LIB_CUBLASLT_H

#include "runtime/lib/CudaDriver.h"
#include "runtime/lib/Device.h"
#include <map>
#include <tuple>

namespace dsrt::cublaslt {

using Result = int; // cublasStatus_t
struct HandleData;
struct DescriptionData;
struct LayoutData;
struct PreferenceData;
using Handle = HandleData *;
using Description = DescriptionData *; // cublasLtMatmulDesc_t
using Layout = LayoutData *;           // cublasLtMatrixLayout_t
using Preference = PreferenceData *;   // cublasLtMatmulPreference_t

constexpr Result success = 0;
constexpr int realF32 = 0, realF16 = 2, realBf16 = 14; // cudaDataType_t: CUDA_R_32F, CUDA_R_16F, CUDA_R_16BF
constexpr int computeF32 = 68;                         // CUBLAS_COMPUTE_32F
constexpr int transposeA = 3, transposed = 1;          // CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T
constexpr int mostWorkspace = 1;                       // CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES

/// cublasLtMatmulAlgo_t
struct Algorithm {
  uint64_t data[8];
};
/// cublasLtMatmulHeuristicResult_t
struct Heuristic {
  Algorithm algorithm;
  size_t workspaceBytes;
  Result state;
  float waves;
  int reserved[4];
};
static_assert(sizeof(Heuristic) == 96 && offsetof(Heuristic, state) == 72);

// The functions, with the names they have in the library.
#define DSRT_CUBLASLT_FUNCTIONS(X)                                                                                                         \
  X(create, "cublasLtCreate", (Handle *))                                                                                                  \
  X(destroy, "cublasLtDestroy", (Handle))                                                                                                  \
  X(descriptionCreate, "cublasLtMatmulDescCreate", (Description *, int, int))                                                              \
  X(descriptionSet, "cublasLtMatmulDescSetAttribute", (Description, int, const void *, size_t))                                            \
  X(descriptionDestroy, "cublasLtMatmulDescDestroy", (Description))                                                                        \
  X(layoutCreate, "cublasLtMatrixLayoutCreate", (Layout *, int, uint64_t, uint64_t, int64_t))                                              \
  X(layoutDestroy, "cublasLtMatrixLayoutDestroy", (Layout))                                                                                \
  X(preferenceCreate, "cublasLtMatmulPreferenceCreate", (Preference *))                                                                    \
  X(preferenceSet, "cublasLtMatmulPreferenceSetAttribute", (Preference, int, const void *, size_t))                                        \
  X(preferenceDestroy, "cublasLtMatmulPreferenceDestroy", (Preference))                                                                    \
  X(heuristic, "cublasLtMatmulAlgoGetHeuristic",                                                                                           \
    (Handle, Description, Layout, Layout, Layout, Layout, Preference, int, Heuristic *, int *))                                            \
  X(matmul, "cublasLtMatmul",                                                                                                              \
    (Handle, Description, const void *, const void *, Layout, const void *, Layout, const void *, const void *, Layout, void *, Layout,    \
     const Algorithm *, void *, size_t, cuda::Stream))

/// The library, on the device whose context is the calling thread's in every call.
class Library {
public:
  static constexpr int64_t workspaceBytes = 32 << 20; // what cuBLAS takes by default on Hopper

  Library() = default;
  Library(const Library &) = delete;
  Library &operator=(const Library &) = delete;

  /// For the device that messages call `device`. Opens the file in DS_CUBLASLT_LIBRARY, else libcublasLt.so of the newest CUDA that a
  /// driver of this version runs. The library stays open for good. False, with the reason in `why`, where there is none, it lacks a
  /// function or it does not start.
  bool open(int driverVersion, const std::string &device, std::string &why);
  bool isOpen() const { return handle != nullptr; }
  void close();

  /// Whether a product of these sizes was multiplied before.
  bool knows(const GpuProduct &product) const {
    auto found = plans.find(keyOf(product));
    return found != plans.end() && found->second.hasRun;
  }
  /// Puts the product on `stream`, by the algorithm that the library's heuristic chose when these sizes came first. `workspace` has
  /// workspaceBytes. Fails with internal, saying what the library calls the error.
  Status multiply(const GpuProduct &product, uint64_t workspace, cuda::Stream stream);

private:
  using Key = std::tuple<HalfType, int64_t, int64_t, int64_t>;
  /// What the library is told of products of some sizes.
  struct Plan {
    Description description = nullptr;
    Layout weights = nullptr, x = nullptr, sums = nullptr;
    Algorithm algorithm = {};
    bool hasRun = false;
  };
  static Key keyOf(const GpuProduct &product) { return {product.type, product.rows, product.columns, product.depth}; }
  Status check(Result result, const char *call, const GpuProduct &product) const;
  Status choose(const GpuProduct &product, Plan &plan);
  Status chooseAlgorithm(const GpuProduct &product, Preference preference, Plan &plan);
  void drop(const Plan &plan);

#define DSRT_CUBLASLT_DECLARE(member, name, parameters) Result(*member) parameters = nullptr;
  DSRT_CUBLASLT_FUNCTIONS(DSRT_CUBLASLT_DECLARE)
#undef DSRT_CUBLASLT_DECLARE
  Handle handle = nullptr;
  std::string device;
  std::map<Key, Plan> plans;
};

} // namespace dsrt::cublaslt
#endif // DSRT_LIB_CUBLASLT_H
