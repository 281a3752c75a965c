// Kernels in which each row stands alone: norms with element-wise ops around them, or element-wise ops alone.
#include "../CPU/RowRegion.h"
#include "RowRegion.h"
#include "dialects/DS/DSDialect.h"

using namespace ds;
using mlir::Value;

llvm::Error ds::buildGpuRow(GpuKernel &kernel) {
  if (llvm::Error error = GpuRowRegion::check(kernel))
    return error;
  ds_plan::KernelOp op = kernel.kernel;
  const int64_t width = kernel.outs[0].width(), lanes = lanesOfRow(width);
  if (mlir::Operation *norm = RowRegion::norm(op))
    addNormStage(kernel, norm);
  else if (llvm::any_of(op.getBody().front(), llvm::IsaPred<EmbeddingOp>)) // indices belong to rows
    addStageOfItems(kernel, "rows", width / lanes, [=](GpuBody &b, Value row, Value item) {
      GpuRowRegion(b, op, row, {b.e.mul(item, lanes), lanes, Value()}).storeResults();
    });
  else
    addStageOfElements(kernel, "elements", width, [=](GpuBody &b, Value first, int64_t count) {
      GpuRowRegion(b, op, Value(), {first, count, Value()}).storeResults();
    });
  return llvm::Error::success();
}
