#include "ds/Target/CUDA/Kernel.h"
#include "llvm/ADT/StringSwitch.h"

using namespace ds;

llvm::Error GpuKernel::error(const llvm::Twine &message) const {
  return llvm::createStringError("kernel '" + ds_plan::KernelOp(kernel).getSymName() + "' on CUDA: " + message);
}

int64_t GpuKernel::scratchBytes(int64_t rows) const {
  constexpr int64_t padding = 128;
  int64_t most = 0;
  for (const Scratch &one : scratch)
    if (one.leastRows <= rows)
      most = std::max<int64_t>(most, one.size.bytesPerRow * llvm::alignTo(rows, padding) + one.size.bytes);
  return most;
}

GpuKernelBuilder ds::findGpuKernelBuilder(llvm::StringRef family) {
  return llvm::StringSwitch<GpuKernelBuilder>(family)
      .Case("attention", buildGpuAttention)
      .Case("copy", buildGpuCopy)
      .Case("embed", buildGpuEmbed)
      .Case("gather", buildGpuGather)
      .Case("gemm", buildGpuGemm)
      .Case("pool", buildGpuPool)
      .Case("rope", buildGpuRope)
      .Case("row", buildGpuRow)
      .Case("store_cache", buildGpuStoreCache)
      .Default(nullptr);
}
