// Rows as they are, from one place to another.
#include "KernelRegion.h"

using namespace ds;
using mlir::Value;

llvm::Error ds::buildGpuCopy(GpuKernel &kernel) {
  if (kernel.ins.size() != 1 || kernel.outs.size() != 1 || kernel.ins[0].kind == KernelOperand::Kind::cache ||
      kernel.outs[0].kind != KernelOperand::Kind::rows)
    return kernel.error("copy expects rows, to rows");
  const KernelOperand &in = kernel.ins[0], &out = kernel.outs[0];
  if (in.element() != out.element() || !in.element().isF32() || in.width() != out.width())
    return kernel.error("copy expects f32 rows of one width");
  addStageOfElements(kernel, "copy", in.width(), [](GpuBody &b, Value first, int64_t count) {
    GpuEmitter &e = b.e;
    Value values = loadLanes(e, e.element(b.ins[0].pointer, e.f32(), first), count);
    storeLanes(e, values, e.element(b.outs[0].pointer, e.f32(), first));
  });
  return llvm::Error::success();
}
