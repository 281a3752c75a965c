// A sequence becomes one vector: its first token, its last, or the mean of all.
#include "KernelRegion.h"
#include "dialects/DS/DSDialect.h"

using namespace ds;
using mlir::Value;

/// The last token of `mask` (its row of a sequence) that is not 0, or 0.
static Value lastToken(KernelContext &context, const KernelOperand &mask, Value firstRow) {
  Emitter &e = context.e;
  return e.forRange(e.constant(0), context.tokens, 1, mlir::ValueRange(e.constant(0)), [&](Value t, mlir::ValueRange last) {
    return Emitter::Values{e.select(e.ne(loadIndex(e, mask, e.add(firstRow, t)), 0), t, last[0])};
  })[0];
}

/// Means of one vector of columns, `columns` from `from` on.
static Value mean(KernelContext &context, const KernelOperand &mask, Value firstRow, Value from, Value columns) {
  Emitter &e = context.e;
  int64_t width = context.outs[0].width(), lanes = context.level.lanes;
  Emitter::Values begin = {e.zero(e.vec()), e.constant(0)};
  Emitter::Values end = e.forRange(e.constant(0), context.tokens, 1, begin, [&](Value t, mlir::ValueRange carried) {
    Value seen = e.ne(loadIndex(e, mask, e.add(firstRow, t)), 0);
    // A branch, so that values of padding have no say, not even NaN.
    return e.ifElse(
        seen, {carried[0].getType(), carried[1].getType()},
        [&] {
          Value x = e.maskedLoad(e.vec(), e.element(from, e.f32(), e.mul(t, width)), columns);
          return Emitter::Values{e.add(carried[0], x), e.add(carried[1], 1)};
        },
        [&] { return Emitter::Values{carried[0], carried[1]}; });
  });
  return e.div(end[0], e.splat(e.max(e.toF32(end[1]), e.constantF32(1e-9f)), lanes));
}

llvm::Error ds::buildPool(KernelContext &context) {
  Emitter &e = context.e;
  auto op = onlyOp<PoolOp>(context);
  const KernelOperand *input = op ? operandOf(context, op.getInput()) : nullptr;
  const KernelOperand *mask = op ? operandOf(context, op.getMask()) : nullptr;
  if (!isF32Rows(input) || !isF32Rows(&context.outs[0]) || (op.getKind() != PoolKind::cls && !isI32Rows(mask)))
    return context.error("expects one pool of f32 rows, with an i32 mask for mean and last");
  int64_t width = input->width(), lanes = context.level.lanes, pieces = llvm::divideCeil(width, lanes);
  context.forTiles(e.mul(context.batch, pieces), [&](Value tile) {
    Value b = e.div(tile, pieces), column = e.mul(e.rem(tile, pieces), lanes), firstRow = e.mul(b, context.tokens);
    Value columns = e.laneMask(e.sub(e.constant(width), column), lanes);
    Value row = op.getKind() == PoolKind::last ? e.add(firstRow, lastToken(context, *mask, firstRow)) : firstRow;
    Value from = e.element(input->pointer, e.f32(), e.add(e.mul(row, width), column));
    Value result = op.getKind() == PoolKind::mean ? mean(context, *mask, firstRow, from, columns) : e.maskedLoad(e.vec(), from, columns);
    e.maskedStore(result, e.element(context.outs[0].pointer, e.f32(), e.add(e.mul(b, width), column)), columns);
  });
  return llvm::Error::success();
}
