// A cuBLASLt for tests, beside the fake driver: it holds every argument to what the library documents, and multiplies on host memory. What
// it is called for is noted. The environment says what fails: FAKE_CUBLASLT_FAIL (function=status).
#include "FakeModel.h"
#include "runtime/lib/CublasLt.h"
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <functional>
#include <string>

using namespace dsrt;
using namespace dsrt::cublaslt;

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace dsrt::cublaslt {
struct HandleData {};
struct DescriptionData {
  int isTransposed = 0;
};
struct LayoutData {
  int type;
  uint64_t down, across;
  int64_t stride;
};
struct PreferenceData {
  uint64_t workspace = 0;
};
} // namespace dsrt::cublaslt

namespace {
std::string calls;
int live = 0;
constexpr uint64_t algorithmMark = 0x616c676f;

Result note(const std::string &name, const std::string &details = "") {
  calls += name + (details.empty() ? "" : " " + details) + "\n";
  const char *fail = std::getenv("FAKE_CUBLASLT_FAIL");
  return fail && std::string(fail).rfind(name + "=", 0) == 0 ? std::atoi(fail + name.size() + 1) : success;
}

template <typename T> Result make(T *&made, const std::string &name, T value) {
  if (Result result = note(name); result != success)
    return result;
  made = new T(value);
  ++live;
  return success;
}

template <typename T> Result drop(T *made) {
  delete made;
  --live;
  return success;
}

void require(bool holds, const char *what) {
  if (holds)
    return;
  std::fprintf(stderr, "cuBLASLt: %s\n", what);
  abort();
}

/// Weights [depth, columns] are transposed, x is [depth, rows], sums are [columns, rows]; all go down columns.
void checkLayouts(Description description, Layout weights, Layout x, Layout sums) {
  require(description->isTransposed, "expects the weights transposed");
  require(weights->type == x->type && (x->type == realBf16 || x->type == realF16), "expects factors of bf16 or f16");
  require(sums->type == realF32, "expects sums of f32");
  require(weights->down == x->down && weights->across == sums->down && x->across == sums->across, "sizes do not fit");
  for (Layout layout : {weights, x, sums})
    require(layout->stride == static_cast<int64_t>(layout->down), "expects columns side by side");
}
} // namespace

/// The calls since the last time, one a line.
EXPORT const char *fakeCublasLtCalls() {
  static std::string given;
  given.swap(calls);
  calls.clear();
  return given.c_str();
}
/// What was made and not destroyed.
EXPORT int fakeCublasLtLive() { return live; }

EXPORT Result cublasLtCreate(Handle *handle) { return make(*handle, "cublasLtCreate", HandleData()); }
EXPORT Result cublasLtDestroy(Handle handle) { return drop(handle); }
EXPORT Result cublasLtMatmulDescCreate(Description *description, int compute, int scale) {
  require(compute == computeF32 && scale == realF32, "expects sums and factors in f32");
  return make(*description, "cublasLtMatmulDescCreate", DescriptionData());
}
EXPORT Result cublasLtMatmulDescSetAttribute(Description description, int attribute, const void *value, size_t bytes) {
  require(attribute == transposeA && bytes == 4, "expects CUBLASLT_MATMUL_DESC_TRANSA of 4 bytes");
  std::memcpy(&description->isTransposed, value, bytes);
  return success;
}
EXPORT Result cublasLtMatmulDescDestroy(Description description) { return drop(description); }
EXPORT Result cublasLtMatrixLayoutCreate(Layout *layout, int type, uint64_t down, uint64_t across, int64_t stride) {
  return make(*layout, "cublasLtMatrixLayoutCreate", LayoutData{type, down, across, stride});
}
EXPORT Result cublasLtMatrixLayoutDestroy(Layout layout) { return drop(layout); }
EXPORT Result cublasLtMatmulPreferenceCreate(Preference *preference) {
  return make(*preference, "cublasLtMatmulPreferenceCreate", PreferenceData());
}
EXPORT Result cublasLtMatmulPreferenceSetAttribute(Preference preference, int attribute, const void *value, size_t bytes) {
  require(attribute == mostWorkspace && bytes == 8, "expects CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES of 8 bytes");
  std::memcpy(&preference->workspace, value, bytes);
  return success;
}
EXPORT Result cublasLtMatmulPreferenceDestroy(Preference preference) { return drop(preference); }
EXPORT Result cublasLtMatmulAlgoGetHeuristic(Handle, Description description, Layout weights, Layout x, Layout c, Layout d,
                                             Preference preference, int wanted, Heuristic *results, int *count) {
  checkLayouts(description, weights, x, d);
  require(c == d && wanted == 1 && preference->workspace == 32 << 20, "expects one algorithm within the workspace");
  Result result =
      note("cublasLtMatmulAlgoGetHeuristic", std::to_string(d->across) + "x" + std::to_string(d->down) + "x" + std::to_string(x->down));
  *results = Heuristic();
  results->algorithm.data[0] = algorithmMark + d->across;
  *count = std::getenv("FAKE_CUBLASLT_NONE") ? 0 : 1;
  return result;
}
EXPORT Result cublasLtMatmul(Handle handle, Description description, const void *alpha, const void *a, Layout weights, const void *b,
                             Layout x, const void *beta, const void *c, Layout cLayout, void *d, Layout sums, const Algorithm *algorithm,
                             void *workspace, size_t workspaceBytes, cuda::Stream stream) {
  checkLayouts(description, weights, x, sums);
  require(handle && *static_cast<const float *>(alpha) == 1 && *static_cast<const float *>(beta) == 0, "expects 1 and 0");
  require(c == d && cLayout == sums, "expects the sums in place");
  require(algorithm->data[0] == algorithmMark + sums->across, "expects the algorithm of these sizes");
  require(workspaceBytes == 32 << 20, "expects the workspace of the preference");
  for (const void *place : {a, b, static_cast<const void *>(d), static_cast<const void *>(workspace)})
    require(place && reinterpret_cast<uint64_t>(place) % 256 == 0, "expects addresses that 256 divides");
  if (Result result = note("cublasLtMatmul"); result != success)
    return result;
  static_cast<uint8_t *>(workspace)[workspaceBytes - 1] = 1;
  const LayoutData of = *weights;
  const uint64_t rows = sums->across;
  const std::function<void()> run = [=] {
    for (uint64_t row = 0; row < rows; ++row)
      for (uint64_t column = 0; column < of.across; ++column) {
        float sum = 0;
        for (uint64_t k = 0; k < of.down; ++k)
          sum += fake::ofBf16(static_cast<const uint16_t *>(b)[row * of.down + k]) *
                 fake::ofBf16(static_cast<const uint16_t *>(a)[column * of.down + k]);
        static_cast<float *>(d)[row * of.across + column] = sum;
      }
  };
  void *driver = dlopen(std::getenv("DS_CUDA_LIBRARY"), RTLD_NOW | RTLD_NOLOAD);
  require(driver, "expects the fake driver");
  reinterpret_cast<void (*)(cuda::Stream, const char *, const std::function<void()> &)>(dlsym(driver, "fakeCudaEnqueue"))(stream, "product",
                                                                                                                          run);
  dlclose(driver);
  return success;
}
