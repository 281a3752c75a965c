#include "runtime/lib/CublasLt.h"
#include <cstdlib>
#include <dlfcn.h>

using namespace dsrt;
using namespace dsrt::cublaslt;

static constexpr size_t plansMost = 4096; // a prompt of another length has plans of its own

/// cublasStatus_t
static std::string nameOfResult(Result result) {
  static constexpr std::pair<Result, const char *> names[] = {{1, "NOT_INITIALIZED"}, {3, "ALLOC_FAILED"},   {7, "INVALID_VALUE"},
                                                              {8, "ARCH_MISMATCH"},   {11, "MAPPING_ERROR"}, {13, "EXECUTION_FAILED"},
                                                              {14, "INTERNAL_ERROR"}, {15, "NOT_SUPPORTED"}, {16, "LICENSE_ERROR"}};
  for (const auto &[known, name] : names)
    if (known == result)
      return concat("CUBLAS_STATUS_", name);
  return concat("status ", result);
}

/// Opens the file that is asked for, or the library of the driver's CUDA or of an older one.
static void *openLibrary(int driverVersion, std::string &name) {
  constexpr int oldestMajor = 11;
  const char *wanted = std::getenv("DS_CUBLASLT_LIBRARY");
  if (wanted && *wanted) {
    name = wanted;
    return dlopen(wanted, RTLD_NOW | RTLD_LOCAL);
  }
  for (int major = driverVersion / 1000; major >= oldestMajor; --major) {
    const std::string file = concat("libcublasLt.so.", major);
    if (name.empty())
      name = file;
    if (void *opened = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL)) {
      name = file;
      return opened;
    }
  }
  return nullptr;
}

bool Library::open(int driverVersion, const std::string &deviceText, std::string &why) {
  device = deviceText;
  std::string name;
  void *library = openLibrary(driverVersion, name);
  if (!library) {
    why = concat("there is no ", name);
    return false;
  }
  const char *missing = nullptr;
#define DSRT_CUBLASLT_FIND(member, function, parameters)                                                                                   \
  member = reinterpret_cast<Result(*) parameters>(dlsym(library, function));                                                               \
  if (!member && !missing)                                                                                                                 \
    missing = function;
  DSRT_CUBLASLT_FUNCTIONS(DSRT_CUBLASLT_FIND)
#undef DSRT_CUBLASLT_FIND
  if (missing) {
    why = concat(name, " has no ", missing);
    return false;
  }
  if (Result result = create(&handle); result != success) {
    handle = nullptr;
    why = concat(name, " does not start: cublasLtCreate: ", nameOfResult(result));
    return false;
  }
  why.clear();
  return true;
}

void Library::close() {
  for (const auto &[key, plan] : plans)
    drop(plan);
  plans.clear();
  if (handle)
    destroy(handle);
  handle = nullptr;
}

void Library::drop(const Plan &plan) {
  if (plan.description)
    descriptionDestroy(plan.description);
  for (Layout layout : {plan.weights, plan.x, plan.sums})
    if (layout)
      layoutDestroy(layout);
}

Status Library::check(Result result, const char *call, const GpuProduct &product) const {
  if (result == success)
    return Status();
  return Status::internal(device, ": cuBLASLt: ", call, ": ", nameOfResult(result), " for ", product.rows, " rows, ", product.columns,
                          " columns and depth ", product.depth, " in ", nameOf(product.type));
}

/// Matrices of the library go down columns: weights are [depth, columns], x is [depth, rows], sums are [columns, rows].
Status Library::choose(const GpuProduct &product, Plan &plan) {
  const int type = product.type == HalfType::bf16 ? realBf16 : realF16, transpose = transposed;
  auto layout = [&](Layout &made, int element, int64_t down, int64_t across) {
    return check(layoutCreate(&made, element, static_cast<uint64_t>(down), static_cast<uint64_t>(across), down),
                 "cublasLtMatrixLayoutCreate", product);
  };
  DSRT_TRY(check(descriptionCreate(&plan.description, computeF32, realF32), "cublasLtMatmulDescCreate", product));
  DSRT_TRY(check(descriptionSet(plan.description, transposeA, &transpose, sizeof(transpose)), "cublasLtMatmulDescSetAttribute", product));
  DSRT_TRY(layout(plan.weights, type, product.depth, product.columns));
  DSRT_TRY(layout(plan.x, type, product.depth, product.rows));
  DSRT_TRY(layout(plan.sums, realF32, product.columns, product.rows));
  Preference preference = nullptr;
  DSRT_TRY(check(preferenceCreate(&preference), "cublasLtMatmulPreferenceCreate", product));
  Status chosen = chooseAlgorithm(product, preference, plan);
  preferenceDestroy(preference);
  return chosen;
}

Status Library::chooseAlgorithm(const GpuProduct &product, Preference preference, Plan &plan) {
  const uint64_t most = workspaceBytes;
  Heuristic best = {};
  int count = 0;
  DSRT_TRY(check(preferenceSet(preference, mostWorkspace, &most, sizeof(most)), "cublasLtMatmulPreferenceSetAttribute", product));
  DSRT_TRY(check(heuristic(handle, plan.description, plan.weights, plan.x, plan.sums, plan.sums, preference, 1, &best, &count),
                 "cublasLtMatmulAlgoGetHeuristic", product));
  constexpr Result notSupported = 15;
  plan.algorithm = best.algorithm;
  return check(count < 1 ? notSupported : best.state, "cublasLtMatmulAlgoGetHeuristic", product);
}

Status Library::multiply(const GpuProduct &product, uint64_t workspace, cuda::Stream stream) {
  auto found = plans.find(keyOf(product));
  if (found == plans.end()) {
    if (plans.size() >= plansMost) {
      for (const auto &[key, plan] : plans)
        drop(plan);
      plans.clear();
    }
    Plan made;
    if (Status chosen = choose(product, made); !chosen.ok()) {
      drop(made);
      return chosen;
    }
    found = plans.emplace(keyOf(product), made).first;
  }
  Plan &plan = found->second;
  const float one = 1, zero = 0;
  auto *sums = reinterpret_cast<void *>(product.sums);
  DSRT_TRY(check(matmul(handle, plan.description, &one, reinterpret_cast<const void *>(product.weights), plan.weights,
                        reinterpret_cast<const void *>(product.x), plan.x, &zero, sums, plan.sums, sums, plan.sums, &plan.algorithm,
                        reinterpret_cast<void *>(workspace), workspaceBytes, stream),
                 "cublasLtMatmul", product));
  plan.hasRun = true;
  return Status();
}
