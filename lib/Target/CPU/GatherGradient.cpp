// Gradient of the choice of tokens: zero, and the rows of the gradient at the tokens that were chosen.
#include "KernelRegion.h"
#include "RowRegion.h"
#include "dsrt/package.h"

using namespace ds;
using mlir::Value;

/// How many rows an operand has in this step.
static Value countRows(const KernelContext &context, const KernelOperand &operand) {
  Emitter &e = context.e;
  if (operand.rows == ds_plan::Rows::selected)
    return e.toI64(e.load(e.i32(), e.at(context.step, static_cast<int64_t>(offsetof(DsStep, rows)))));
  return operand.rows == ds_plan::Rows::batch ? context.batch : e.mul(context.batch, context.tokens);
}

llvm::Error ds::buildGatherGradient(KernelContext &context) {
  Emitter &e = context.e;
  auto op = onlyOp<GatherRowsGradOp>(context);
  const KernelOperand *rows = op ? operandOf(context, op.getRows()) : nullptr;
  const KernelOperand *grad = op ? operandOf(context, op.getGrad()) : nullptr;
  if (!isI32Rows(rows) || !isF32Rows(grad) || !isF32Rows(&context.outs[0]) || context.outs[0].width() != grad->width())
    return context.error("expects one gradient of a gather of f32 rows, by i32 indices");
  const int64_t width = grad->width();
  auto rowOf = [&](const KernelOperand &operand, Value row) { return e.element(operand.pointer, e.f32(), e.mul(row, width)); };
  auto place = [&](Value row, const RowSpan &span) { return e.element(row, e.f32(), span.index); };
  // Each thread has rows of the result, and looks for those among all indices: a row gets its sum in one order, from one thread.
  auto [begin, end] = context.tilesOfThread(context.rows);
  Value first = begin, behind = end;
  e.forRange(first, behind, 1, [&](Value row) {
    Value to = rowOf(context.outs[0], row);
    forEachSpan(e, width, [&](const RowSpan &span) { e.storeFirst(e.zero(e.vec()), place(to, span), span.count); });
  });
  e.forRange(e.constant(0), countRows(context, *rows), 1, [&](Value index) {
    Value row = loadIndex(e, *rows, index);
    e.ifThen(e.bitAnd(e.ge(row, first), e.lt(row, behind)), [&] {
      Value from = rowOf(*grad, index), to = rowOf(context.outs[0], row);
      forEachSpan(e, width, [&](const RowSpan &span) {
        Value more = e.loadFirst(place(from, span), span.count, context.level.lanes);
        e.storeFirst(e.add(e.loadFirst(place(to, span), span.count, context.level.lanes), more), place(to, span), span.count);
      });
    });
  });
  return llvm::Error::success();
}
