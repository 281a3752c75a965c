// Norms of gradients and steps of optimizers: one pass over all parameters, cut to chunks that threads take in contiguous runs.
// Sums of a chunk go to scratch memory and are added in the order of the chunks, so nothing depends on the number of threads.
// Source: Kingma and Ba 2014, arXiv:1412.6980; Loshchilov and Hutter 2017, arXiv:1711.05101; You et al. 2019, arXiv:1904.00962.
#include "ds/Conversion/MultiTensor.h"
#include "KernelRegion.h"
#include "dialects/DS/DSDialect.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

using namespace mlir;
using namespace ds;

namespace {

/// Lengths and offsets of parameters are multiples of it.
constexpr int64_t granule = 32;

/// One launch: every thread walks over its chunks and works on one vector of each part at a time.
class MultiTensor {
public:
  MultiTensor(KernelContext &context, Operation *op) : context(context), e(context.e), op(op), lanes(context.level.lanes) {}

  llvm::Error match();
  void emitNorms();
  void emitUpdate(OptimizerKind kind);

private:
  /// What a step does with one parameter: numbers that are the same for all of its values.
  struct Scalars {
    Value rate, decay, keep;   // keep = 1 - rate * decay
    Value step, root;          // rate / b1 and sqrt(b2)
    Value scale, beta1, beta2; // of all parameters
    Value rest1, rest2, eps;   // rests: 1 - beta, from the host
  };
  /// Where a chunk lies: its number, its parameter, bytes from the start of a part, and f32.
  struct Place {
    Value chunk, parameter, bytes, length;
  };

  /// The address of a constant of the code.
  Value emitTable(StringRef what, ArrayRef<int32_t> values);
  void forChunks(llvm::function_ref<void(const Place &)> body);
  /// Calls `body` for the chunks of parameters that have a gradient in this step.
  void forUsedChunks(llvm::function_ref<void(const Place &)> body);
  /// Calls `body` with the byte offset of each vector of a chunk.
  void forVectors(const Place &place, llvm::function_ref<void(Value)> body);
  /// `count` sums over a chunk: of the squares of what `body` gives for each vector.
  Emitter::Values sumSquares(const Place &place, int64_t count, llvm::function_ref<Emitter::Values(Value)> body);
  /// The f64 sum of what scratch memory has for the chunks of a parameter, `array` 0 or 1.
  Value sumOfChunks(Value parameter, int64_t array);
  /// The place of a chunk's sum in scratch memory.
  Value partial(Value chunk, int64_t array);

  Value control(int64_t row, Value parameter);
  Value hyper(int64_t index);
  Scalars scalarsOf(Value parameter);
  Value load(const KernelOperand &part, Value bytes) { return e.load(e.vec(), e.at(part.pointer, bytes), lanes * 4); }
  void store(Value value, const KernelOperand &part, Value bytes) { e.store(value, e.at(part.pointer, bytes), lanes * 4); }
  Value toF64(Value value) { return arith::ExtFOp::create(e.getBuilder(), e.getLoc(), e.getBuilder().getF64Type(), value); }
  Value rounded(Value value) { return arith::TruncFOp::create(e.getBuilder(), e.getLoc(), e.f32(), value); }

  /// Stores the moments of a vector, zero for its gradient, and returns the moments.
  std::pair<Value, Value> moments(const Scalars &s, Value gradient, Value bytes);
  void sgd(const Scalars &s, Value bytes);
  void adam(const Scalars &s, Value bytes, bool decaysGradient);
  void emitLamb();
  Value lambUpdate(const Scalars &s, Value p, Value m, Value v);
  /// `c` of lamb, from the sums of the chunks.
  Value trustRatio(Value parameter);

  KernelContext &context;
  Emitter &e;
  Operation *op;
  int64_t lanes;
  SmallVector<int64_t> segments;
  SmallVector<Chunk, 0> chunks;
  Value chunkTable, firstTable; // (parameter, granules before, granules) of each chunk; the first chunk of each parameter
  const KernelOperand *parameters = nullptr, *gradients = nullptr, *moments1 = nullptr, *moments2 = nullptr, *scratch = nullptr;
};

llvm::Error MultiTensor::match() {
  auto attr = op->getAttrOfType<DenseI64ArrayAttr>(segmentsAttrName);
  if (!attr || attr.size() % 2)
    return context.error("expects ds_plan.segments, an offset and a length of each parameter");
  segments = SmallVector<int64_t>(attr.asArrayRef());
  chunks = chunksOf(segments);
  const auto count = static_cast<int64_t>(segments.size() / 2);
  if (llvm::any_of(segments, [](int64_t size) { return size < 0 || size % granule; }))
    return context.error("expects segments of whole " + llvm::Twine(granule) + " values");
  const bool updates = isa<OptimizerUpdateOp>(op);
  const size_t parts = updates ? 4 : 1;
  auto isSingle = [](const KernelOperand &operand) { return isF32Rows(&operand) && operand.rows == ds_plan::Rows::single; };
  if (!llvm::all_of(context.ins, isSingle) || context.outs.size() != 1 || !isSingle(context.outs[0]) || context.outs[0].width() != count ||
      (updates && (context.ins.size() != 2 || context.ins[0].width() != 5 * count || context.ins[1].width() != 8)))
    return context.error("expects single rows of controls and results of " + llvm::Twine(count) + " parameters");
  if (context.aux.size() != parts + 1 || !isSingle(context.aux[parts]) || context.aux[parts].width() < multiTensorScratch(segments))
    return context.error("expects " + llvm::Twine(parts) + " parts of the state and scratch memory of " +
                         llvm::Twine(multiTensorScratch(segments)) + " f32");
  for (const KernelOperand &part : ArrayRef(context.aux).drop_back()) {
    if (part.kind != KernelOperand::Kind::weight || part.layout != ds_plan::Layout::vector || !part.inState)
      return context.error("expects whole parts of the state");
    for (const Chunk &chunk : chunks)
      if (chunk.offset + chunk.length > part.width())
        return context.error("expects segments inside the parts of the state");
  }
  scratch = &context.aux[parts];
  gradients = &context.aux[updates ? 1 : 0];
  if (updates) {
    parameters = &context.aux[0];
    moments1 = &context.aux[2];
    moments2 = &context.aux[3];
  }
  SmallVector<int32_t> entries, firsts(count + 1, static_cast<int32_t>(chunks.size()));
  for (auto [index, chunk] : llvm::enumerate(chunks)) {
    for (int64_t number : {chunk.parameter, chunk.offset / granule, chunk.length / granule})
      entries.push_back(static_cast<int32_t>(number));
    firsts[chunk.parameter] = std::min(firsts[chunk.parameter], static_cast<int32_t>(index));
  }
  // A parameter without values has no chunk.
  for (int64_t i = count; i-- > 0;)
    firsts[i] = std::min(firsts[i], firsts[i + 1]);
  chunkTable = emitTable("chunks", entries);
  firstTable = emitTable("firsts", firsts);
  return llvm::Error::success();
}

Value MultiTensor::emitTable(StringRef what, ArrayRef<int32_t> values) {
  OpBuilder &builder = e.getBuilder();
  auto function = builder.getInsertionBlock()->getParent()->getParentOfType<LLVM::LLVMFuncOp>();
  LLVM::GlobalOp table;
  {
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPoint(function);
    auto type = LLVM::LLVMArrayType::get(e.i32(), values.size());
    table = LLVM::GlobalOp::create(builder, e.getLoc(), type, /*isConstant=*/true, LLVM::Linkage::Internal,
                                   (function.getSymName() + "." + what).str(), builder.getI32TensorAttr(values));
  }
  return LLVM::AddressOfOp::create(builder, e.getLoc(), table);
}

void MultiTensor::forChunks(llvm::function_ref<void(const Place &)> body) {
  context.forTiles(e.constant(static_cast<int64_t>(chunks.size())), [&](Value chunk) {
    Value entry = e.element(chunkTable, e.i32(), e.mul(chunk, 3));
    auto field = [&](int64_t index) { return e.toI64(e.load(e.i32(), e.at(entry, index * 4))); };
    body({chunk, field(0), e.mul(field(1), granule * 4), e.mul(field(2), granule)});
  });
}

void MultiTensor::forUsedChunks(llvm::function_ref<void(const Place &)> body) {
  forChunks([&](const Place &place) { e.ifThen(e.ne(control(4, place.parameter), 0), [&] { body(place); }); });
}

void MultiTensor::forVectors(const Place &place, llvm::function_ref<void(Value)> body) {
  e.forRange(place.bytes, e.add(place.bytes, e.mul(place.length, 4)), granule * 4, [&](Value bytes) {
    for (int64_t at = 0; at < granule; at += lanes)
      body(e.add(bytes, at * 4));
  });
}

Emitter::Values MultiTensor::sumSquares(const Place &place, int64_t count, llvm::function_ref<Emitter::Values(Value)> body) {
  // `granule` sums at every level, added by halves: all levels have one order of additions.
  const int64_t vectors = granule / lanes;
  Emitter::Values zeros(vectors * count, e.zero(e.vec()));
  Value end = e.add(place.bytes, e.mul(place.length, 4));
  Emitter::Values sums = e.forRange(place.bytes, end, granule * 4, mlir::ValueRange(zeros), [&](Value bytes, ValueRange carried) {
    Emitter::Values next(carried);
    for (int64_t i = 0; i < vectors; ++i)
      for (auto [k, value] : llvm::enumerate(body(e.add(bytes, i * lanes * 4))))
        next[k * vectors + i] = e.fma(value, value, next[k * vectors + i]);
    return next;
  });
  Emitter::Values totals;
  for (int64_t k = 0; k < count; ++k) {
    MutableArrayRef<Value> parts = MutableArrayRef<Value>(sums).slice(k * vectors, vectors);
    for (int64_t half = vectors / 2; half > 0; half /= 2)
      for (int64_t i = 0; i < half; ++i)
        parts[i] = e.add(parts[i], parts[i + half]);
    totals.push_back(e.reduceAdd(parts[0]));
  }
  return totals;
}

Value MultiTensor::partial(Value chunk, int64_t array) {
  return e.element(scratch->pointer, e.f32(), e.add(chunk, array * static_cast<int64_t>(chunks.size())));
}

Value MultiTensor::sumOfChunks(Value parameter, int64_t array) {
  Value entry = e.element(firstTable, e.i32(), parameter);
  Value begin = e.toI64(e.load(e.i32(), entry)), end = e.toI64(e.load(e.i32(), e.at(entry, 4)));
  Value zero = e.zero(e.getBuilder().getF64Type());
  return e.forRange(begin, end, 1, ValueRange(zero), [&](Value chunk, ValueRange sum) {
    return Emitter::Values{e.add(sum[0], toF64(e.load(e.f32(), partial(chunk, array))))};
  })[0];
}

void MultiTensor::emitNorms() {
  forChunks([&](const Place &place) {
    Value sum = sumSquares(place, 1, [&](Value bytes) { return Emitter::Values{load(*gradients, bytes)}; })[0];
    e.store(sum, partial(place.chunk, 0));
  });
  context.meet();
  context.forTiles(e.constant(static_cast<int64_t>(segments.size() / 2)), [&](Value parameter) {
    e.store(rounded(sumOfChunks(parameter, 0)), e.element(context.outs[0].pointer, e.f32(), parameter));
  });
}

Value MultiTensor::control(int64_t row, Value parameter) {
  const auto count = static_cast<int64_t>(segments.size() / 2);
  return e.load(e.f32(), e.element(context.ins[0].pointer, e.f32(), e.add(parameter, row * count)));
}

Value MultiTensor::hyper(int64_t index) { return e.load(e.f32(), e.at(context.ins[1].pointer, index * 4)); }

MultiTensor::Scalars MultiTensor::scalarsOf(Value parameter) {
  // In f64, rounded once.
  Value one = e.constantOf(e.getBuilder().getF64Type(), 1);
  Value rate = control(0, parameter), decay = control(1, parameter);
  Scalars s{};
  s.rate = e.splat(rate);
  s.decay = e.splat(decay);
  s.keep = e.splat(rounded(e.sub(one, e.mul(toF64(rate), toF64(decay)))));
  s.step = e.splat(rounded(e.div(toF64(rate), toF64(control(2, parameter)))));
  s.root = e.splat(rounded(e.sqrt(toF64(control(3, parameter)))));
  s.scale = e.splat(hyper(0));
  s.beta1 = e.splat(hyper(1));
  s.beta2 = e.splat(hyper(2));
  s.rest1 = e.splat(hyper(6));
  s.rest2 = e.splat(hyper(7));
  s.eps = e.splat(hyper(3));
  return s;
}

std::pair<Value, Value> MultiTensor::moments(const Scalars &s, Value gradient, Value bytes) {
  Value m = e.fma(s.beta1, load(*moments1, bytes), e.mul(s.rest1, gradient));
  Value v = e.fma(s.beta2, load(*moments2, bytes), e.mul(e.mul(s.rest2, gradient), gradient));
  store(m, *moments1, bytes);
  store(v, *moments2, bytes);
  store(e.zero(e.vec()), *gradients, bytes);
  return {m, v};
}

void MultiTensor::sgd(const Scalars &s, Value bytes) {
  Value p = load(*parameters, bytes), g = e.fma(s.decay, p, e.mul(s.scale, load(*gradients, bytes)));
  Value m = e.fma(s.beta1, load(*moments1, bytes), g);
  store(m, *moments1, bytes);
  store(e.fma(e.neg(s.rate), m, p), *parameters, bytes);
  store(e.zero(e.vec()), *gradients, bytes);
}

void MultiTensor::adam(const Scalars &s, Value bytes, bool decaysGradient) {
  Value p = load(*parameters, bytes), g = e.mul(s.scale, load(*gradients, bytes));
  if (decaysGradient)
    g = e.fma(s.decay, p, g);
  else
    p = e.mul(s.keep, p);
  auto [m, v] = moments(s, g, bytes);
  Value denominator = e.add(e.div(e.sqrt(v), s.root), s.eps);
  store(e.sub(p, e.div(e.mul(s.step, m), denominator)), *parameters, bytes);
}

Value MultiTensor::lambUpdate(const Scalars &s, Value p, Value m, Value v) { return e.fma(s.decay, p, e.div(m, e.add(e.sqrt(v), s.eps))); }

Value MultiTensor::trustRatio(Value parameter) {
  Value p = e.sqrt(sumOfChunks(parameter, 0)), u = e.sqrt(sumOfChunks(parameter, 1)), zero = e.zero(p.getType());
  Value ratio = e.min(e.max(rounded(e.div(p, u)), hyper(4)), hyper(5));
  return e.select(e.bitOr(e.eq(p, zero), e.eq(u, zero)), e.constantF32(1), ratio);
}

void MultiTensor::emitLamb() {
  // Gradients are zeroed where they are read, which saves a pass over them. The update is computed twice, not stored.
  forUsedChunks([&](const Place &place) {
    Scalars s = scalarsOf(place.parameter);
    Emitter::Values sums = sumSquares(place, 2, [&](Value bytes) {
      Value p = load(*parameters, bytes), g = e.mul(s.scale, load(*gradients, bytes));
      auto [m, v] = moments(s, g, bytes);
      return Emitter::Values{p, lambUpdate(s, p, m, v)};
    });
    for (int64_t array = 0; array < 2; ++array)
      e.store(sums[array], partial(place.chunk, array));
  });
  context.meet();
  context.forTiles(e.constant(static_cast<int64_t>(segments.size() / 2)), [&](Value parameter) {
    Value ratio = e.ifElse(
        e.ne(control(4, parameter), 0), TypeRange(e.f32()), [&] { return Emitter::Values{trustRatio(parameter)}; },
        [&] { return Emitter::Values{e.constantF32(1)}; })[0];
    e.store(ratio, e.element(context.outs[0].pointer, e.f32(), parameter));
  });
  context.meet();
  forUsedChunks([&](const Place &place) {
    Scalars s = scalarsOf(place.parameter);
    Value ratio = e.load(e.f32(), e.element(context.outs[0].pointer, e.f32(), place.parameter));
    Value rate = toF64(control(0, place.parameter)), root = e.sqrt(toF64(control(3, place.parameter)));
    Value factor = rounded(e.neg(e.mul(e.div(e.mul(rate, root), toF64(control(2, place.parameter))), toF64(ratio))));
    forVectors(place, [&](Value bytes) {
      Value p = load(*parameters, bytes);
      store(e.fma(factor, lambUpdate(s, p, load(*moments1, bytes), load(*moments2, bytes)), p), *parameters, bytes);
    });
  });
}

void MultiTensor::emitUpdate(OptimizerKind kind) {
  if (kind == OptimizerKind::lamb)
    return emitLamb();
  forUsedChunks([&](const Place &place) {
    Scalars s = scalarsOf(place.parameter);
    forVectors(place, [&](Value bytes) { kind == OptimizerKind::sgd ? sgd(s, bytes) : adam(s, bytes, kind == OptimizerKind::adam); });
  });
  context.forTiles(e.constant(static_cast<int64_t>(segments.size() / 2)),
                   [&](Value parameter) { e.store(e.constantF32(1), e.element(context.outs[0].pointer, e.f32(), parameter)); });
}

} // namespace

llvm::Error ds::buildMultiTensor(KernelContext &context) {
  Block &body = context.kernel.getBody().front();
  Operation *op = &body.front();
  if (!llvm::hasNItems(body, 2) || !isa<GradientNormsOp, OptimizerUpdateOp>(op))
    return context.error("expects one op, gradient norms or the update of an optimizer");
  MultiTensor work(context, op);
  if (llvm::Error error = work.match())
    return error;
  if (auto update = dyn_cast<OptimizerUpdateOp>(op))
    work.emitUpdate(update.getKind());
  else
    work.emitNorms();
  return llvm::Error::success();
}
