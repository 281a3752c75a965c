// The cross-entropy of rows of logits and its gradient. A row is read from memory once: each lane keeps the largest value it has seen and
// the sum of powers relative to it (Milakov and Gimelshein 2018, arXiv:1805.02867); the gradient reads the row again from the caches.
#include "KernelRegion.h"
#include "RowRegion.h"
#include "ds/Analysis/FusionLegality.h"
#include "ds/Target/CPU/VectorMath.h"
#include <limits>

using namespace ds;
using mlir::Value;

/// Vectors between two looks at the largest value.
static constexpr int64_t vectorsAtOnce = 8;

namespace {
/// Emits a kernel of the loss, its gradient, or both.
class LossKernel {
public:
  explicit LossKernel(KernelContext &context) : context(context), e(context.e), lanes(context.level.lanes) {}

  llvm::Error check();
  void emit();

private:
  /// What is known of a row behind the first pass; scalars.
  struct Row {
    Value largest;
    Value powers; // sum of e^(logit - largest), 1 or more
    Value apart;  // sum of largest - logit; null without smoothing
  };
  Row summarize(Value row);
  /// Largest, powers and, with smoothing, the sum of the logits less `origin`: vectors, which go on with the lanes of `logits` that exist.
  Emitter::Values goOn(llvm::ArrayRef<Value> logits, Value exists, Value origin, mlir::ValueRange soFar);
  Value lossOf(const Row &row, Value logit);
  void gradient(const Row &row, Value from, Value label, Value to);
  /// The operand that an op of the region writes, null where nobody reads its result.
  const KernelOperand *resultOf(mlir::Operation *op) const;
  Value placeOf(const KernelOperand &operand, Value row) {
    return e.element(operand.pointer, operand.element(), e.mul(row, operand.width()));
  }
  /// Logit `index` of the row at `row`, and `count` from there on, in a vector.
  Value logitAt(Value row, Value index) { return e.extract(logitsAt(row, index, 1), 0); }
  Value logitsAt(Value row, Value index, int64_t count) {
    return e.loadRow(logits->element(), e.element(row, logits->element(), index), count, lanes);
  }
  /// Stores values of the gradient, rounded where that is asked for.
  void storeGradient(Value values, Value row, Value index, int64_t count) {
    e.storeRow(grad->element(), rounded ? e.roundTo(rounded, values) : values, e.element(row, grad->element(), index), count);
  }

  KernelContext &context;
  Emitter &e;
  int64_t lanes, width = 0;
  double smoothing = 0;
  mlir::Type rounded; // what the gradient is rounded to, or null
  const KernelOperand *logits = nullptr, *labels = nullptr, *loss = nullptr, *grad = nullptr;
  Value scale; // of the gradient
};
} // namespace

const KernelOperand *LossKernel::resultOf(mlir::Operation *op) const {
  mlir::Operation *results = ds_plan::KernelOp(context.kernel).getBody().front().getTerminator();
  for (auto [index, value] : llvm::enumerate(results->getOperands()))
    if (value.getDefiningOp() == op)
      return &context.outs[index];
  return nullptr;
}

llvm::Error LossKernel::check() {
  llvm::SmallVector<mlir::Operation *> ops;
  for (mlir::Operation &op : context.kernel.getBody().front().without_terminator())
    ops.push_back(&op);
  if (std::optional<std::string> why = whyNotOneKernel(ops))
    return context.error("row cannot serve the region: " + *why);
  const KernelOperand *scales = nullptr;
  for (mlir::Operation *op : ops) {
    if (auto round = mlir::dyn_cast<RoundOp>(op)) {
      grad = resultOf(op);
      rounded = round.getTarget();
      continue;
    }
    logits = operandOf(context, op->getOperand(0));
    labels = operandOf(context, op->getOperand(1));
    smoothing = op->getAttrOfType<mlir::FloatAttr>("smoothing").getValueAsDouble();
    if (auto gradient = mlir::dyn_cast<CrossEntropyGradOp>(op)) {
      grad = resultOf(op);
      scales = operandOf(context, gradient.getScale());
    } else {
      loss = resultOf(op);
    }
  }
  if (!isFloatRows(logits) || !isI32Rows(labels) || (loss && (!isF32Rows(loss) || loss->width() != 1)))
    return context.error("expects rows of logits, an i32 label and an f32 loss for each");
  width = logits->width();
  if (grad && (!isFloatRows(grad) || (!rounded && !isF32Rows(grad)) || grad->width() != width || !scales || !isControl(*scales, 0)))
    return context.error("expects a gradient of rows, of f32 or rounded, and its scale in a single row");
  if (grad)
    scale = e.load(e.f32(), scales->pointer);
  return llvm::Error::success();
}

Emitter::Values LossKernel::goOn(llvm::ArrayRef<Value> logits, Value exists, Value origin, mlir::ValueRange soFar) {
  Value largest = soFar[0];
  auto chosen = [&](Value value, Value outside) { return exists ? e.select(exists, value, outside) : value; };
  for (Value x : logits)
    largest = e.max(chosen(x, largest), largest);
  Value powers = e.mul(soFar[1], emitExpNonPositive(e, e.sub(soFar[0], largest))), zero = e.zero(e.vec());
  Emitter::Values next{largest, powers};
  for (Value x : logits)
    next[1] = e.add(next[1], chosen(emitExpNonPositive(e, e.sub(x, largest)), zero));
  if (smoothing > 0) {
    Value sum = soFar[2];
    for (Value x : logits)
      sum = e.add(sum, chosen(e.sub(x, origin), zero));
    next.push_back(sum);
  }
  return next;
}

LossKernel::Row LossKernel::summarize(Value row) {
  // Not minus infinity: differences of the largest are 0 then too.
  Emitter::Values lane{e.constantOf(e.vec(), std::numeric_limits<float>::lowest()), e.zero(e.vec())};
  if (smoothing > 0)
    lane.push_back(e.zero(e.vec()));
  // What all logits have in common would cancel in the end: they are seen from the first one.
  Value first = logitAt(row, e.constant(0)), origin = e.splat(first);
  const int64_t block = vectorsAtOnce * lanes, blocks = width / block * block, whole = width / lanes * lanes;
  lane = e.forRange(e.constant(0), e.constant(blocks), block, lane, [&](Value index, mlir::ValueRange soFar) {
    Emitter::Values x;
    for (int64_t i = 0; i < vectorsAtOnce; ++i)
      x.push_back(logitsAt(row, e.add(index, i * lanes), lanes));
    return goOn(x, Value(), origin, soFar);
  });
  lane = e.forRange(e.constant(blocks), e.constant(whole), lanes, lane,
                    [&](Value index, mlir::ValueRange soFar) { return goOn({logitsAt(row, index, lanes)}, Value(), origin, soFar); });
  if (whole < width)
    lane = goOn({logitsAt(row, e.constant(whole), width - whole)}, e.laneMask(width - whole, lanes), origin, lane);
  Value largest = e.reduceMaxSplat(lane[0]);
  Row found{e.extract(largest, 0), e.reduceAdd(e.mul(lane[1], emitExpNonPositive(e, e.sub(lane[0], largest)))), Value()};
  if (smoothing > 0)
    found.apart = e.sub(e.mul(e.sub(found.largest, first), e.constantF32(width)), e.reduceAdd(lane[2]));
  return found;
}

Value LossKernel::lossOf(const Row &row, Value logit) {
  // -log p of a logit is log(powers) + (largest - logit): without the logits' own size, which would cancel.
  Value apart = e.mul(e.sub(row.largest, logit), e.constantF32(1 - smoothing));
  if (row.apart)
    apart = e.fma(row.apart, e.constantF32(smoothing / width), apart);
  return e.add(emitLog(e, row.powers), apart);
}

void LossKernel::gradient(const Row &row, Value from, Value label, Value to) {
  Value logit = logitAt(from, label);
  Value factor = e.div(scale, row.powers), even = e.mul(scale, e.constantF32(-smoothing / width));
  Value factors = e.splat(factor), largest = e.splat(row.largest), less = e.splat(even);
  // The place of the logits may be that of the gradient.
  forEachSpan(e, width, [&](const RowSpan &span) {
    Value x = logitsAt(from, span.index, span.count);
    Value power = emitExpNonPositive(e, e.sub(x, largest));
    Value result = smoothing > 0 ? e.fma(power, factors, less) : e.mul(power, factors);
    storeGradient(result, to, span.index, span.count);
  });
  Value likely = e.div(emitExpNonPositive(e, e.sub(logit, row.largest)), row.powers);
  Value atLabel = e.fma(e.sub(likely, e.constantF32(1 - smoothing)), scale, even);
  storeGradient(e.splat(atLabel), to, label, 1);
}

void LossKernel::emit() {
  context.forTiles(context.rows, [&](Value index) {
    Value label = loadIndex(e, *labels, index), from = placeOf(*logits, index);
    auto ignored = [&] {
      if (loss)
        e.store(e.constantF32(0), placeOf(*loss, index));
      if (grad)
        forEachSpan(e, width, [&](const RowSpan &span) { storeGradient(e.zero(e.vec()), placeOf(*grad, index), span.index, span.count); });
    };
    auto counted = [&] {
      Row row = summarize(from);
      if (loss)
        e.store(lossOf(row, logitAt(from, label)), placeOf(*loss, index));
      if (grad)
        gradient(row, from, label, placeOf(*grad, index));
    };
    e.ifElse(e.lt(label, int64_t(0)), ignored, counted);
  });
}

bool ds::isLoss(ds_plan::KernelOp kernel) {
  return llvm::any_of(kernel.getBody().front(), llvm::IsaPred<CrossEntropyOp, CrossEntropyGradOp>);
}

llvm::Error ds::buildLoss(KernelContext &context) {
  LossKernel kernel(context);
  if (llvm::Error error = kernel.check())
    return error;
  kernel.emit();
  return llvm::Error::success();
}
