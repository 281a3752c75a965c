// Norms and softmax of rows. A warp or a block has a row and keeps it in registers: it is read once.
#include "RowRegion.h"
#include "dialects/DS/DSDialect.h"
#include "ds/Target/CPU/VectorMath.h"

using namespace ds;
using mlir::Operation;
using mlir::Value;

namespace {
/// How threads share rows.
struct RowSharing {
  int64_t threads; // of a row: a warp, or a whole block
  int64_t rows;    // of a block
  int64_t lanes;   // of a vector
  int64_t spans;   // vectors of a thread, in registers; 0: too many, each pass reads them again

  explicit RowSharing(int64_t width);
  bool isWarp() const { return threads == GpuEmitter::warpThreads; }
};

/// One row of a kernel with a norm.
class NormKernel {
public:
  NormKernel(GpuBody &body, ds_plan::KernelOp kernel, Operation *norm, const RowSharing &sharing);
  void emit();

private:
  void loadVectors(GpuRowRegion &region);
  void loadOperands();
  void affineNorm();
  void l2Normalize(L2NormalizeOp op);
  void softmax();

  void forSpans(llvm::function_ref<void(GpuRowRegion &)> each);
  Value reduceSpans(Value identity, llvm::function_ref<Value(GpuRowRegion &, Value)> each);
  /// Over all threads of the row.
  Value sumOf(llvm::function_ref<Value(GpuRowRegion &, Value)> each);
  Value sumOfSquares();
  /// Computes what follows the norm, whose value `value` gives, and stores the results.
  void finish(llvm::function_ref<Value(GpuRowRegion &)> value);
  Value input(GpuRowRegion &region) { return region.get(norm->getOperand(0)); }
  /// `value`, and `outside` where the row has ended.
  Value inRow(GpuRowRegion &region, Value value, Value outside) {
    return region.span().valid ? e.select(region.span().valid, value, outside) : value;
  }

  GpuBody &body;
  GpuEmitter &e;
  ds_plan::KernelOp kernel;
  Operation *norm;
  RowSharing sharing;
  int64_t width;
  mlir::Type type; // of a vector
  Value row, thread;
  std::vector<GpuRowRegion> kept; // of `sharing.spans`
};
} // namespace

RowSharing::RowSharing(int64_t width) : threads(GpuEmitter::warpThreads), rows(4), lanes(lanesOfRow(width)) {
  constexpr int64_t longestOfWarp = 1024, valuesOfThread = 8, mostInRegisters = 32;
  if (width > longestOfWarp) {
    threads = std::clamp<int64_t>(llvm::alignTo(llvm::divideCeil(width, valuesOfThread), GpuEmitter::warpThreads), 128, 512);
    rows = 1;
  }
  spans = llvm::divideCeil(width, lanes * threads);
  if (spans * lanes > mostInRegisters)
    spans = 0;
}

NormKernel::NormKernel(GpuBody &body, ds_plan::KernelOp kernel, Operation *norm, const RowSharing &sharing)
    : body(body), e(body.e), kernel(kernel), norm(norm), sharing(sharing), width(body.outs[0].width()),
      type(sharing.lanes == 1 ? e.f32() : mlir::Type(e.vec(sharing.lanes))) {}

void NormKernel::emit() {
  row = sharing.rows == 1 ? e.block() : e.add(e.mul(e.block(), sharing.rows), e.warp());
  thread = sharing.isWarp() ? e.lane() : e.thread();
  for (int64_t i = 0; i < sharing.spans; ++i) {
    Value index = e.mul(e.add(thread, i * sharing.threads), sharing.lanes);
    bool isWhole = (i + 1) * sharing.threads * sharing.lanes <= width;
    kept.emplace_back(body, kernel, row, GpuRowSpan{index, sharing.lanes, isWhole ? Value() : e.lt(index, width)});
    loadVectors(kept.back());
  }
  e.gridWait();
  auto emitRow = [&] {
    loadOperands();
    if (mlir::isa<LayerNormOp, RmsNormOp>(norm))
      affineNorm();
    else if (auto op = mlir::dyn_cast<L2NormalizeOp>(norm))
      l2Normalize(op);
    else
      softmax();
  };
  if (sharing.rows == 1)
    emitRow();
  else
    e.ifThen(e.lt(row, body.rows), emitRow);
}

/// Gain and bias do not depend on launches before: they are on their way while this one waits.
void NormKernel::loadVectors(GpuRowRegion &region) {
  const GpuRowSpan &span = region.span();
  if (span.lanes == 1)
    return;
  for (Value vector : norm->getOperands().drop_front()) {
    const KernelOperand *operand = operandOf(body, vector);
    if (!operand || operand->kind != KernelOperand::Kind::weight)
      continue;
    Value index = span.valid ? e.min(span.index, width - span.lanes) : span.index;
    region.set(vector, e.bitcast(e.loadStream(e.element(operand->pointer, e.f32(), index)), type));
  }
}

/// All loads of the row are on their way before the first value is needed.
void NormKernel::loadOperands() {
  constexpr int64_t fewValues = 8; // of a thread: operands that follow the norm wait in registers as well
  for (GpuRowRegion &region : kept) {
    input(region);
    if (sharing.spans * sharing.lanes <= fewValues)
      for (auto [in, argument] : llvm::zip_equal(body.ins, kernel.getBody().front().getArguments()))
        if (isF32Rows(&in))
          region.get(argument);
  }
}

void NormKernel::forSpans(llvm::function_ref<void(GpuRowRegion &)> each) {
  for (GpuRowRegion &region : kept)
    each(region);
  if (kept.empty())
    e.forRange(e.mul(thread, sharing.lanes), e.index(width), sharing.threads * sharing.lanes, [&](Value index) {
      GpuRowRegion region(body, kernel, row, {index, sharing.lanes, Value()});
      each(region);
    });
}

Value NormKernel::reduceSpans(Value identity, llvm::function_ref<Value(GpuRowRegion &, Value)> each) {
  Value all = identity;
  for (GpuRowRegion &region : kept)
    all = each(region, all);
  if (kept.empty())
    all = e.forRange(e.mul(thread, sharing.lanes), e.index(width), sharing.threads * sharing.lanes, all,
                     [&](Value index, mlir::ValueRange carried) {
                       GpuRowRegion region(body, kernel, row, {index, sharing.lanes, Value()});
                       return Emitter::Values{each(region, carried[0])};
                     })[0];
  return all;
}

Value NormKernel::sumOf(llvm::function_ref<Value(GpuRowRegion &, Value)> each) {
  Value sum = reduceSpans(e.zero(type), each);
  if (sharing.lanes > 1)
    sum = e.reduceAdd(sum);
  return sharing.isWarp() ? e.warpSum(sum) : e.blockSum(sum, e.shared(), sharing.threads);
}

Value NormKernel::sumOfSquares() {
  return sumOf([&](GpuRowRegion &region, Value sum) { return e.fma(input(region), input(region), sum); });
}

void NormKernel::finish(llvm::function_ref<Value(GpuRowRegion &)> value) {
  forSpans([&](GpuRowRegion &region) {
    region.set(norm->getResult(0), value(region));
    region.storeResults();
  });
}

void NormKernel::affineNorm() {
  Value count = e.constantF32(width);
  auto scaleBy = [&](Value squares, double eps) {
    return e.div(e.constantF32(1), e.sqrt(e.add(e.div(squares, count), e.constantF32(eps))));
  };
  if (auto op = mlir::dyn_cast<RmsNormOp>(norm)) {
    Value scale = scaleBy(sumOfSquares(), op.getEps().convertToDouble());
    return finish([&](GpuRowRegion &region) { return e.mul(e.mul(input(region), scale), region.get(op.getGain())); });
  }
  auto op = mlir::cast<LayerNormOp>(norm);
  Value mean = e.div(sumOf([&](GpuRowRegion &region, Value sum) { return e.add(sum, input(region)); }), count);
  // The second pass loses nothing where the mean is large against the spread.
  Value squares = sumOf([&](GpuRowRegion &region, Value sum) {
    Value apart = inRow(region, e.sub(input(region), mean), e.zero(type));
    return e.fma(apart, apart, sum);
  });
  Value scale = scaleBy(squares, op.getEps().convertToDouble());
  finish([&](GpuRowRegion &region) {
    Value unit = e.mul(e.sub(input(region), mean), scale), gain = region.get(op.getGain());
    return op.getBias() ? e.fma(unit, gain, region.get(op.getBias())) : e.mul(unit, gain);
  });
}

void NormKernel::l2Normalize(L2NormalizeOp op) {
  // In this order a NaN length stays.
  Value length = e.max(e.constantF32(op.getEps().convertToDouble()), e.sqrt(sumOfSquares()));
  finish([&](GpuRowRegion &region) { return e.div(input(region), length); });
}

void NormKernel::softmax() {
  Value lowest = e.infinity(type, /*negative=*/true);
  Value largest = reduceSpans(lowest, [&](GpuRowRegion &region, Value most) { return e.max(inRow(region, input(region), lowest), most); });
  if (sharing.lanes > 1)
    largest = e.reduceMax(largest);
  largest = sharing.isWarp() ? e.warpMax(largest) : e.blockMax(largest, e.shared(), sharing.threads);
  Value result = norm->getResult(0);
  auto power = [&](GpuRowRegion &region) { return inRow(region, emitExpNonPositive(e, e.sub(input(region), largest)), e.zero(type)); };
  Value sum = sumOf([&](GpuRowRegion &region, Value total) {
    region.set(result, power(region));
    return e.add(total, region.get(result));
  });
  Value scale = e.div(e.constantF32(1), sum);
  finish([&](GpuRowRegion &region) { return e.mul(kept.empty() ? power(region) : region.get(result), scale); });
}

void ds::addNormStage(GpuKernel &kernel, Operation *norm) {
  const RowSharing sharing(kernel.outs[0].width());
  GpuShape shape;
  shape.name = "norm";
  shape.grid[0].factors = {{GpuSize::rows, sharing.rows}};
  shape.threads = sharing.threads * sharing.rows;
  shape.sharedBytes = sharing.isWarp() ? 0 : sharing.threads / GpuEmitter::warpThreads * 4;
  shape.waitsItself = true;
  kernel.stage(shape, [op = kernel.kernel, norm, sharing](GpuBody &b) { NormKernel(b, op, norm, sharing).emit(); });
}
