// The tokens whose logits are wanted.
#include "KernelRegion.h"
#include "dialects/DS/DSDialect.h"

using namespace ds;
using mlir::Value;

llvm::Error ds::buildGather(KernelContext &context) {
  Emitter &e = context.e;
  auto op = onlyOp<GatherRowsOp>(context);
  const KernelOperand *input = op ? operandOf(context, op.getInput()) : nullptr;
  const KernelOperand *rows = op ? operandOf(context, op.getRows()) : nullptr;
  if (!isF32Rows(input) || !isI32Rows(rows) || !isF32Rows(&context.outs[0]))
    return context.error("expects one gather of f32 rows, by i32 indices");
  int64_t width = input->width();
  context.forTiles(context.rows, [&](Value row) {
    Value from = e.element(input->pointer, e.f32(), e.mul(loadIndex(e, *rows, row), width));
    copyValues(e, from, e.element(context.outs[0].pointer, e.f32(), e.mul(row, width)), width);
  });
  return llvm::Error::success();
}
