// The tokens whose logits are wanted.
#include "KernelRegion.h"
#include "dialects/DS/DSDialect.h"

using namespace ds;
using mlir::Value;

llvm::Error ds::buildGpuGather(GpuKernel &kernel) {
  auto op = onlyOp<GatherRowsOp>(kernel);
  const KernelOperand *input = op ? operandOf(kernel, op.getInput()) : nullptr;
  const KernelOperand *rows = op ? operandOf(kernel, op.getRows()) : nullptr;
  if (!isF32Rows(input) || !isI32Rows(rows) || !isF32Rows(&kernel.outs[0]))
    return kernel.error("expects one gather of f32 rows, by i32 indices");
  const int64_t lanes = lanesOfRow(input->width());
  addStageOfItems(kernel, "gather", input->width() / lanes, [=](GpuBody &b, Value row, Value item) mutable {
    GpuEmitter &e = b.e;
    Value column = e.mul(item, lanes), from = loadIndex(e, *operandOf(b, op.getRows()), row);
    Value values = loadLanes(e, elementOfRow(e, *operandOf(b, op.getInput()), from, column), lanes);
    storeLanes(e, values, elementOfRow(e, b.outs[0], row, column));
  });
  return llvm::Error::success();
}
