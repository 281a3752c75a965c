// Gradients of norms and softmax. The sums over a row are taken first, then the row, which is in L1, is read once more.
#include "NormRow.h"
#include "dialects/DS/DSDialect.h"

using namespace ds;
using mlir::Value;

/// 1 / sqrt(squares / width + eps), a scalar.
static Value emitScale(NormRow &row, Value squares, double eps) {
  Emitter &e = row.emitter();
  Value mean = e.div(squares, e.constantF32(row.rowWidth()));
  return e.div(e.constantF32(1), e.sqrt(e.add(mean, e.constantF32(eps))));
}

static void emitGradient(NormRow &row, LayerNormGradOp op) {
  Emitter &e = row.emitter();
  Value width = e.constantF32(row.rowWidth());
  Value mean = e.splat(e.div(row.sumOf([&](const RowSpan &span, Value sum) { return e.add(sum, row.at(span)); }), width));
  auto centered = [&](const RowSpan &span) { return row.masked(e.sub(row.at(span), mean), span, e.zero(e.vec())); };
  auto gained = [&](const RowSpan &span) { return e.mul(row.at(span, 1), row.vectorAt(op.getGain(), span)); };
  Emitter::Values sums = sumSpans(e, row.rowWidth(), 3, [&](const RowSpan &span, mlir::ValueRange so) {
    Value apart = centered(span), d = gained(span);
    return Emitter::Values{e.fma(apart, apart, so[0]), e.add(so[1], d), e.fma(apart, d, so[2])};
  });
  Value factor = emitScale(row, sums[0], op.getEps().convertToDouble());
  Value scale = e.splat(factor), meanGrad = e.splat(e.div(sums[1], width));
  // n * mean(d * n) of the formula is `apart` times this.
  Value slope = e.splat(e.neg(e.mul(e.mul(e.div(sums[2], width), factor), factor)));
  row.epilogue([&](const RowSpan &span) {
    Value apart = centered(span), grad = e.fma(apart, slope, e.sub(gained(span), meanGrad));
    return Emitter::Values{e.mul(grad, scale), e.mul(apart, scale)};
  });
}

static void emitGradient(NormRow &row, RmsNormGradOp op) {
  Emitter &e = row.emitter();
  auto gained = [&](const RowSpan &span) { return e.mul(row.at(span, 1), row.vectorAt(op.getGain(), span)); };
  Emitter::Values sums = sumSpans(e, row.rowWidth(), 2, [&](const RowSpan &span, mlir::ValueRange so) {
    Value x = row.at(span);
    return Emitter::Values{e.fma(x, x, so[0]), e.fma(x, gained(span), so[1])};
  });
  Value factor = emitScale(row, sums[0], op.getEps().convertToDouble()), scale = e.splat(factor);
  Value slope = e.splat(e.neg(e.mul(e.mul(e.div(sums[1], e.constantF32(row.rowWidth())), factor), factor)));
  row.epilogue([&](const RowSpan &span) {
    Value x = row.at(span);
    return Emitter::Values{e.mul(e.fma(x, slope, gained(span)), scale), e.mul(x, scale)};
  });
}

static void emitGradient(NormRow &row, L2NormalizeGradOp op) {
  Emitter &e = row.emitter();
  Emitter::Values sums = sumSpans(e, row.rowWidth(), 2, [&](const RowSpan &span, mlir::ValueRange so) {
    Value x = row.at(span);
    return Emitter::Values{e.fma(x, x, so[0]), e.fma(x, row.at(span, 1), so[1])};
  });
  Value eps = e.constantF32(op.getEps().convertToDouble()), length = e.sqrt(sums[0]);
  Value isShort = e.le(length, eps);
  // In this order a NaN length stays.
  Value factor = e.div(e.constantF32(1), e.max(eps, length));
  // Below eps the divisor is no function of the row.
  Value along = e.select(isShort, e.constantF32(0), e.mul(e.mul(sums[1], factor), factor));
  Value scale = e.splat(factor), slope = e.splat(e.neg(along));
  row.epilogue([&](const RowSpan &span) { return Emitter::Values{e.mul(e.fma(row.at(span), slope, row.at(span, 1)), scale)}; });
}

static void emitGradient(NormRow &row, SoftmaxGradOp) {
  Emitter &e = row.emitter();
  Value along = e.splat(row.sumOf([&](const RowSpan &span, Value sum) { return e.fma(row.at(span), row.at(span, 1), sum); }));
  row.epilogue([&](const RowSpan &span) { return Emitter::Values{e.mul(row.at(span), e.sub(row.at(span, 1), along))}; });
}

void ds::emitNormGradient(NormRow &row, mlir::Operation *gradient) {
  if (auto op = mlir::dyn_cast<LayerNormGradOp>(gradient))
    emitGradient(row, op);
  else if (auto op = mlir::dyn_cast<RmsNormGradOp>(gradient))
    emitGradient(row, op);
  else if (auto op = mlir::dyn_cast<L2NormalizeGradOp>(gradient))
    emitGradient(row, op);
  else
    emitGradient(row, mlir::cast<SoftmaxGradOp>(gradient));
}
