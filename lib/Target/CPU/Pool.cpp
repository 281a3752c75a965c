// A sequence becomes one vector: its first token, its last, or the mean of all; and, where the region goes on, that vector of length one.
#include "KernelRegion.h"
#include "RowRegion.h"
#include "dialects/DS/DSDialect.h"
#include "ds/Analysis/FusionLegality.h"

using namespace ds;
using mlir::Value;

/// Vectors of a mean that are summed side by side: the mask of a token is asked once for all of them.
static constexpr int64_t vectorsAtOnce = 4;

namespace {
/// Emits the kernel of one pool and, maybe, an L2 norm.
class PoolKernel {
public:
  PoolKernel(KernelContext &context, PoolOp op)
      : context(context), e(context.e), op(op), input(operandOf(context, op.getInput())), mask(operandOf(context, op.getMask())),
        width(context.outs[0].width()), lanes(context.level.lanes) {}

  llvm::Error check();
  void emit();

private:
  L2NormalizeOp norm() const { return mlir::dyn_cast<L2NormalizeOp>(op->getNextNode()); }
  /// The first element of sequence `b` of a result; null when `value` is none.
  Value rowOf(Value value, Value b);
  Value lastToken(Value firstRow);
  /// The row of the input that sequence `b` is pooled from; its first one for a mean.
  Value rowToPool(Value b);
  Emitter::Values mean(Value firstRow, Value from, llvm::ArrayRef<Value> masks);
  /// Pools the vectors from `column` on to `out`.
  void pool(Value row, Value column, Value out);
  void normalize(L2NormalizeOp norm, Value from, Value to);

  KernelContext &context;
  Emitter &e;
  PoolOp op;
  const KernelOperand *input, *mask;
  int64_t width, lanes;
};
} // namespace

llvm::Error PoolKernel::check() {
  llvm::SmallVector<mlir::Operation *> ops;
  for (mlir::Operation &each : context.kernel.getBody().front().without_terminator())
    ops.push_back(&each);
  if (std::optional<std::string> why = whyNotOneKernel(ops))
    return context.error("pool cannot serve the region: " + *why);
  if (!isF32Rows(input) || (op.getKind() != PoolKind::cls && !isI32Rows(mask)) ||
      !llvm::all_of(context.outs, [&](const KernelOperand &out) { return isF32Rows(&out) && out.width() == input->width(); }))
    return context.error("expects one pool of f32 rows, with an i32 mask for mean and last");
  return llvm::Error::success();
}

Value PoolKernel::rowOf(Value value, Value b) {
  mlir::Operation *results = context.kernel.getBody().front().getTerminator();
  for (auto [index, result] : llvm::enumerate(results->getOperands()))
    if (result == value)
      return e.element(context.outs[index].pointer, e.f32(), e.mul(b, width));
  return {};
}

/// The last token of the mask (its row of a sequence) that is not 0, or 0.
Value PoolKernel::lastToken(Value firstRow) {
  return e.forRange(e.constant(0), context.tokens, 1, mlir::ValueRange(e.constant(0)), [&](Value t, mlir::ValueRange last) {
    return Emitter::Values{e.select(e.ne(loadIndex(e, *mask, e.add(firstRow, t)), 0), t, last[0])};
  })[0];
}

Value PoolKernel::rowToPool(Value b) {
  Value firstRow = e.mul(b, context.tokens);
  return op.getKind() == PoolKind::last ? e.add(firstRow, lastToken(firstRow)) : firstRow;
}

/// Means of vectors of columns, one for each of `masks`, from `from` on.
Emitter::Values PoolKernel::mean(Value firstRow, Value from, llvm::ArrayRef<Value> masks) {
  Emitter::Values begin(vectorsAtOnce, e.zero(e.vec()));
  begin.push_back(e.constant(0));
  Emitter::Values sums = e.forRange(e.constant(0), context.tokens, 1, begin, [&](Value t, mlir::ValueRange carried) {
    Value seen = e.ne(loadIndex(e, *mask, e.add(firstRow, t)), 0), row = e.element(from, e.f32(), e.mul(t, width));
    // A branch, so that values of padding have no say, not even NaN.
    return e.ifElse(
        seen, carried.getTypes(),
        [&] {
          Emitter::Values next;
          for (int64_t i = 0; i < vectorsAtOnce; ++i) {
            Value x = e.maskedLoad(e.vec(), e.at(row, i * lanes * 4), masks[i]);
            next.push_back(e.add(carried[i], x));
          }
          next.push_back(e.add(carried[vectorsAtOnce], 1));
          return next;
        },
        [&] { return Emitter::Values(carried.begin(), carried.end()); });
  });
  Value count = e.splat(e.max(e.toF32(sums.pop_back_val()), e.constantF32(1e-9f)), lanes);
  for (Value &sum : sums)
    sum = e.div(sum, count);
  return sums;
}

void PoolKernel::pool(Value row, Value column, Value out) {
  Emitter::Values masks;
  for (int64_t i = 0; i < vectorsAtOnce; ++i)
    masks.push_back(e.laneMask(e.sub(e.sub(e.constant(width), column), i * lanes), lanes));
  Value from = e.element(input->pointer, e.f32(), e.add(e.mul(row, width), column)), to = e.element(out, e.f32(), column);
  Emitter::Values means = op.getKind() == PoolKind::mean ? mean(row, from, masks) : Emitter::Values();
  for (int64_t i = 0; i < vectorsAtOnce; ++i) {
    Value result = means.empty() ? e.maskedLoad(e.vec(), e.at(from, i * lanes * 4), masks[i]) : means[i];
    e.maskedStore(result, e.at(to, i * lanes * 4), masks[i]);
  }
}

/// In place where `from` is `to`.
void PoolKernel::normalize(L2NormalizeOp norm, Value from, Value to) {
  auto at = [&](const RowSpan &span) { return e.loadFirst(e.element(from, e.f32(), span.index), span.count, lanes); };
  Value squares = e.reduceAdd(reduceSpans(
      e, width, e.zero(e.vec()), [&](const RowSpan &span, Value sum) { return e.fma(at(span), at(span), sum); },
      [&](Value a, Value b) { return e.add(a, b); }));
  // In this order a NaN length stays.
  Value divisor = e.splat(e.max(e.constantF32(norm.getEps().convertToDouble()), e.sqrt(squares)));
  forEachSpan(e, width,
              [&](const RowSpan &span) { e.storeFirst(e.div(at(span), divisor), e.element(to, e.f32(), span.index), span.count); });
}

/// Threads share columns of sequences; with a norm, which needs whole rows, sequences.
void PoolKernel::emit() {
  const int64_t block = vectorsAtOnce * lanes, pieces = llvm::divideCeil(width, block);
  L2NormalizeOp norm = this->norm();
  if (!norm)
    return context.forTiles(e.mul(context.batch, pieces), [&](Value tile) {
      Value b = e.div(tile, pieces);
      pool(rowToPool(b), e.mul(e.rem(tile, pieces), block), rowOf(op.getOutput(), b));
    });
  context.forTiles(context.batch, [&](Value b) {
    Value out = rowOf(norm.getOutput(), b), pooled = rowOf(op.getOutput(), b);
    if (!pooled)
      pooled = out;
    Value row = rowToPool(b);
    e.forRange(e.constant(0), e.constant(width), block, [&](Value column) { pool(row, column, pooled); });
    normalize(norm, pooled, out);
  });
}

llvm::Error ds::buildPool(KernelContext &context) {
  mlir::Block &body = context.kernel.getBody().front();
  auto op = mlir::dyn_cast<PoolOp>(&body.front());
  if (!op || context.outs.empty())
    return context.error("expects a pool");
  PoolKernel kernel(context, op);
  if (llvm::Error error = kernel.check())
    return error;
  kernel.emit();
  return llvm::Error::success();
}
