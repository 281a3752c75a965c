#include "ds/Target/CUDA/Kernel.h"
#include "llvm/ADT/StringSwitch.h"

using namespace ds;

llvm::Error GpuKernel::error(const llvm::Twine &message) const {
  return llvm::createStringError("kernel '" + ds_plan::KernelOp(kernel).getSymName() + "' on CUDA: " + message);
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
