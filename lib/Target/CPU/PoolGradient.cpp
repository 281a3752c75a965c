// Gradient of pooling: the tokens of a sequence that were pooled get its gradient, or their part of it, the others zero.
#include "KernelRegion.h"
#include "RowRegion.h"

using namespace ds;
using mlir::Value;

namespace {
class PoolGradientKernel {
public:
  PoolGradientKernel(KernelContext &context, PoolGradOp op)
      : context(context), e(context.e), op(op), grad(operandOf(context, op.getGrad())), mask(operandOf(context, op.getMask())),
        width(context.outs[0].width()) {}

  llvm::Error check();
  void emit();

private:
  Value isSeen(Value row) { return e.ne(loadIndex(e, *mask, row), int64_t(0)); }
  /// What one pass over the mask of the sequence that begins at `firstRow` says: the token that was pooled; of a mean, one over their
  /// count.
  Value lookAtMask(Value firstRow);
  /// Row `row` of the result gets `from`, times `factor` if there is one, where it `counts`.
  void write(Value row, Value counts, Value from, Value factor);

  KernelContext &context;
  Emitter &e;
  PoolGradOp op;
  const KernelOperand *grad, *mask;
  int64_t width;
};
} // namespace

llvm::Error PoolGradientKernel::check() {
  if (!isF32Rows(grad) || grad->width() != width || !isF32Rows(&context.outs[0]) || (op.getKind() != PoolKind::cls && !isI32Rows(mask)))
    return context.error("expects one gradient of a pool of f32 rows, with an i32 mask for mean and last");
  return llvm::Error::success();
}

Value PoolGradientKernel::lookAtMask(Value firstRow) {
  if (op.getKind() == PoolKind::cls)
    return e.constant(0);
  const bool isMean = op.getKind() == PoolKind::mean;
  Value found = e.forRange(e.constant(0), context.tokens, 1, mlir::ValueRange(e.constant(0)), [&](Value t, mlir::ValueRange before) {
    return Emitter::Values{e.select(isSeen(e.add(firstRow, t)), isMean ? e.add(before[0], int64_t(1)) : t, before[0])};
  })[0];
  return isMean ? e.div(e.constantF32(1), e.max(e.toF32(found), e.constantF32(1e-9f))) : found;
}

void PoolGradientKernel::write(Value row, Value counts, Value from, Value factor) {
  Value to = e.element(context.outs[0].pointer, e.f32(), e.mul(row, width));
  auto fill = [&](bool isZero) {
    forEachSpan(e, width, [&](const RowSpan &span) {
      Value value = isZero ? e.zero(e.vec()) : e.loadFirst(e.element(from, e.f32(), span.index), span.count, context.level.lanes);
      e.storeFirst(factor && !isZero ? e.mul(value, factor) : value, e.element(to, e.f32(), span.index), span.count);
    });
  };
  e.ifElse(counts, [&] { fill(false); }, [&] { fill(true); });
}

/// Threads share the rows of the result; each looks at the masks of the sequences that it has rows of.
void PoolGradientKernel::emit() {
  auto [begin, end] = context.tilesOfThread(context.rows);
  Value first = begin, behind = end, tokens = context.tokens;
  // No rows, or no tokens to divide by: nothing to do.
  e.ifThen(e.lt(first, behind), [&] {
    Value last = e.add(e.div(e.sub(behind, int64_t(1)), tokens), int64_t(1));
    e.forRange(e.div(first, tokens), last, 1, [&](Value b) {
      Value firstRow = e.mul(b, tokens), look = lookAtMask(firstRow), from = e.element(grad->pointer, e.f32(), e.mul(b, width));
      e.forRange(e.max(first, firstRow), e.min(behind, e.add(firstRow, tokens)), 1, [&](Value row) {
        if (op.getKind() == PoolKind::mean)
          write(row, isSeen(row), from, look);
        else
          write(row, e.eq(e.sub(row, firstRow), look), from, Value());
      });
    });
  });
}

llvm::Error ds::buildPoolGradient(KernelContext &context) {
  auto op = onlyOp<PoolGradOp>(context);
  if (!op)
    return context.error("expects a gradient of a pool");
  PoolGradientKernel kernel(context, op);
  if (llvm::Error error = kernel.check())
    return error;
  kernel.emit();
  return llvm::Error::success();
}
