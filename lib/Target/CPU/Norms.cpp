// Norms and softmax of rows. A row is read from memory once; later passes find it in L1.
#include "NormRow.h"
#include "dialects/DS/DSDialect.h"
#include "ds/Analysis/FusionLegality.h"
#include "ds/Target/CPU/VectorMath.h"

using namespace ds;
using mlir::Operation;
using mlir::Value;

void ds::emitNormOfRow(Emitter &e, Operation *norm, int64_t width, llvm::function_ref<Value(const RowSpan &)> at,
                       llvm::function_ref<Value(Value, const RowSpan &)> vectorAt, llvm::function_ref<void(const RowSpan &, Value)> sink) {
  int64_t lanes = e.getLevel().lanes;
  auto sumOf = [&](llvm::function_ref<Value(const RowSpan &, Value)> body) {
    return e.reduceAdd(reduceSpans(e, width, e.zero(e.vec()), body, [&](Value a, Value b) { return e.add(a, b); }));
  };
  Value count = e.constantF32(width);
  auto scaleBy = [&](Value squares, double eps) {
    return e.splat(e.div(e.constantF32(1), e.sqrt(e.add(e.div(squares, count), e.constantF32(eps)))));
  };
  if (auto op = mlir::dyn_cast<RmsNormOp>(norm)) {
    Value squares = sumOf([&](const RowSpan &span, Value sum) { return e.fma(at(span), at(span), sum); });
    Value scale = scaleBy(squares, op.getEps().convertToDouble());
    forEachSpan(e, width, [&](const RowSpan &span) { sink(span, e.mul(e.mul(at(span), scale), vectorAt(op.getGain(), span))); });
    return;
  }
  auto op = mlir::cast<LayerNormOp>(norm);
  Value mean = e.splat(e.div(sumOf([&](const RowSpan &span, Value sum) { return e.add(sum, at(span)); }), count));
  // The second pass loses nothing where the mean is large against the spread.
  Value squares = sumOf([&](const RowSpan &span, Value sum) {
    Value apart = e.sub(at(span), mean);
    if (span.count < lanes) // lanes that do not exist
      apart = e.select(e.laneMask(span.count, lanes), apart, e.zero(e.vec()));
    return e.fma(apart, apart, sum);
  });
  Value scale = scaleBy(squares, op.getEps().convertToDouble());
  forEachSpan(e, width, [&](const RowSpan &span) {
    Value unit = e.mul(e.sub(at(span), mean), scale), gain = vectorAt(op.getGain(), span);
    sink(span, op.getBias() ? e.fma(unit, gain, vectorAt(op.getBias(), span)) : e.mul(unit, gain));
  });
}

NormRow::NormRow(KernelContext &context, Operation *norm, llvm::ArrayRef<Value> scratch, Value row)
    : e(context.e), norm(norm), width(context.outs[0].width()), lanes(context.level.lanes), region(context, row, width),
      rows(rowsOfNorm(norm)), inputs(scratch), elements(scratch.size(), e.f32()) {
  for (auto [value, input, element] : llvm::zip_equal(rows, inputs, elements)) {
    if (auto argument = mlir::dyn_cast<mlir::BlockArgument>(value)) {
      const KernelOperand &operand = context.ins[argument.getArgNumber()];
      input = region.start(operand), element = operand.element();
    } else {
      hasPrologue = true;
    }
  }
  if (hasPrologue)
    prologue();
}

Value NormRow::vectorAt(Value vector, const RowSpan &span) {
  region.begin(span);
  return region.get(vector);
}

Value NormRow::masked(Value value, const RowSpan &span, Value outside) {
  return span.count < lanes ? e.select(e.laneMask(span.count, lanes), value, outside) : value;
}

Value NormRow::sumOf(llvm::function_ref<Value(const RowSpan &, Value)> body) {
  return e.reduceAdd(reduceSpans(e, width, e.zero(e.vec()), body, [&](Value a, Value b) { return e.add(a, b); }));
}

bool NormRow::followsNorm(Value value) const {
  Operation *op = value.getDefiningOp();
  return op && (op == norm || llvm::any_of(op->getOperands(), [&](Value operand) { return followsNorm(operand); }));
}

void NormRow::prologue() {
  forEachSpan(e, width, [&](const RowSpan &span) {
    region.begin(span);
    for (auto [value, input] : llvm::zip_equal(rows, inputs))
      if (RowRegion::isComputed(value))
        region.store(region.get(value), input, span);
    region.storeResults([&](Value value) { return !followsNorm(value); });
  });
}

void NormRow::epilogue(llvm::function_ref<Emitter::Values(const RowSpan &)> values) {
  forEachSpan(e, width, [&](const RowSpan &span) { finish(span, values(span)); });
}

void NormRow::finish(const RowSpan &span, mlir::ValueRange values) {
  region.begin(span);
  for (auto [which, value] : llvm::enumerate(rows))
    region.set(value, at(span, static_cast<int64_t>(which)));
  for (auto [result, value] : llvm::zip_equal(norm->getResults(), values))
    region.set(result, value);
  region.storeResults([&](Value result) { return !hasPrologue || followsNorm(result); });
}

void NormRow::affineNorm() {
  auto vector = [&](Value value, const RowSpan &span) { return vectorAt(value, span); };
  auto input = [&](const RowSpan &span) { return at(span); };
  emitNormOfRow(e, norm, width, input, vector, [&](const RowSpan &span, Value value) { finish(span, value); });
}

void NormRow::l2Normalize(L2NormalizeOp op) {
  Value squares = sumOf([&](const RowSpan &span, Value sum) { return e.fma(at(span), at(span), sum); });
  // In this order a NaN length stays.
  Value length = e.max(e.constantF32(op.getEps().convertToDouble()), e.sqrt(squares));
  Value divisor = e.splat(length);
  epilogue([&](const RowSpan &span) { return Emitter::Values{e.div(at(span), divisor)}; });
}

void NormRow::softmax(Value scratch) {
  Value lowest = e.infinity(e.vec(), /*negative=*/true);
  auto larger = [&](Value a, Value b) { return e.max(a, b); };
  Value largest = e.reduceMaxSplat(
      reduceSpans(e, width, lowest, [&](const RowSpan &span, Value most) { return e.max(masked(at(span), span, lowest), most); }, larger));
  Value sum = e.splat(sumOf([&](const RowSpan &span, Value total) {
    Value power = masked(emitExpNonPositive(e, e.sub(at(span), largest)), span, e.zero(e.vec()));
    region.store(power, scratch, span);
    return e.add(total, power);
  }));
  Value scale = e.div(e.splat(e.constantF32(1)), sum);
  epilogue([&](const RowSpan &span) { return Emitter::Values{e.mul(region.load(scratch, span), scale)}; });
}

void ds::emitNormRows(KernelContext &context, Operation *norm) {
  Emitter &e = context.e;
  int64_t bytes = context.outs[0].width() * 4;
  llvm::SmallVector<Value, 2> scratch;
  for (Value value : rowsOfNorm(norm))
    scratch.push_back(RowRegion::isComputed(value) ? e.stack(bytes) : Value());
  Value powers = mlir::isa<SoftmaxOp>(norm) ? e.stack(bytes) : Value();
  context.forTiles(context.rows, [&](Value row) {
    NormRow rows(context, norm, scratch, row);
    if (mlir::isa<LayerNormOp, RmsNormOp>(norm))
      rows.affineNorm();
    else if (auto op = mlir::dyn_cast<L2NormalizeOp>(norm))
      rows.l2Normalize(op);
    else if (mlir::isa<SoftmaxOp>(norm))
      rows.softmax(powers);
    else
      emitNormGradient(rows, norm);
  });
}
