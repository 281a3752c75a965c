// The rows a product multiplies: through the norm, then rounded to bf16, or to f16 beside f16 and codes, which
// needs them in its range.
#include "Gemm.h"

using namespace mlir;
using namespace ds;
using Values = Emitter::Values;

GemmRows::Chunk GemmRows::chunkAt(Value number, bool mayEnd) {
  Chunk chunk;
  chunk.k = e.mul(e.add(e.mul(number, threads), index), lanes());
  if (mayEnd) {
    chunk.isInside = e.lt(chunk.k, gemm.region.depth);
    chunk.k = e.min(chunk.k, gemm.region.depth - lanes());
  }
  return chunk;
}

Value GemmRows::loadAt(Value from, Value k) {
  Value place = e.element(from, e.f32(), k);
  return lanes() == 4 ? e.load(e.vec(), place, 16) : e.load(e.f32(), place);
}

void GemmRows::loadVectors(Chunk &chunk) {
  Operation *norm = gemm.region.norm;
  if (!norm || chunk.gain)
    return;
  auto vector = [&](Value operand) { return loadAt(body.ins[gemm.operandOf(operand)].pointer, chunk.k); };
  chunk.gain = vector(norm->getOperand(1));
  if (auto layer = dyn_cast<LayerNormOp>(norm); layer && layer.getBias())
    chunk.bias = vector(layer.getBias());
}

void GemmRows::loadRow(Chunk &chunk) {
  const KernelOperand &input = body.ins[gemm.operandOf(gemm.region.input)];
  chunk.x = loadAt(e.element(input.pointer, e.f32(), e.mul(e.toI64(row), gemm.region.depth)), chunk.k);
}

void GemmRows::loadVectors() {
  if (!isHeld())
    return;
  const bool ends = gemm.region.depth % (threads * lanes()) != 0;
  for (int64_t i = 0; i < chunkCount(); ++i)
    loadVectors(held.emplace_back(chunkAt(e.index(i), ends && i + 1 == chunkCount())));
}

Values GemmRows::forChunks(ValueRange carried, llvm::function_ref<Values(const Chunk &, ValueRange)> then) {
  Values values(carried);
  for (const Chunk &chunk : held)
    values = then(chunk, values);
  if (!held.empty())
    return values;
  const int64_t count = chunkCount(), whole = gemm.region.depth / (threads * lanes()), looped = whole / chunksAtOnce * chunksAtOnce;
  auto several = [&](Value first, int64_t some, bool mayEnd, ValueRange inside) {
    SmallVector<Chunk> chunks;
    for (int64_t i = 0; i < some; ++i) {
      loadRow(chunks.emplace_back(chunkAt(e.add(first, i), mayEnd && i + 1 == some)));
      loadVectors(chunks.back());
    }
    Values next(inside);
    for (const Chunk &chunk : chunks)
      next = then(chunk, next);
    return next;
  };
  values = e.forRange(e.index(0), e.index(looped), chunksAtOnce, values,
                      [&](Value first, ValueRange inside) { return several(first, chunksAtOnce, false, inside); });
  return several(e.index(looped), count - looped, count > whole, values);
}

void GemmRows::forChunks(llvm::function_ref<void(const Chunk &)> then) {
  forChunks(ValueRange(), [&](const Chunk &chunk, ValueRange) {
    then(chunk);
    return Values();
  });
}

/// Over the team.
Value GemmRows::reduce(Value value, bool isMax) {
  if (Emitter::lanesOf(value) > 1)
    value = isMax ? e.reduceMax(value) : e.reduceAdd(value);
  if (threads == GpuEmitter::warpThreads)
    return isMax ? e.warpMax(value) : e.warpSum(value);
  return isMax ? e.blockMax(value, scratch, threads) : e.blockSum(value, scratch, threads);
}

/// The sum or the maximum (of values of at least 0) over the row.
Value GemmRows::total(llvm::function_ref<Value(const Chunk &)> of, bool isMax) {
  Value zero = e.zero(chunkType());
  Value all = forChunks(ValueRange(zero), [&](const Chunk &chunk, ValueRange carried) {
    Value value = of(chunk);
    if (chunk.isInside)
      value = e.select(chunk.isInside, value, zero);
    return Values{isMax ? e.max(value, carried[0]) : e.add(carried[0], value)};
  })[0];
  return reduce(all, isMax);
}

Value GemmRows::normalized(const Chunk &chunk) {
  if (!gemm.region.norm)
    return chunk.x;
  Value x = e.mul(e.mul(mean ? e.sub(chunk.x, mean) : chunk.x, inverse), chunk.gain);
  return chunk.bias ? e.add(x, chunk.bias) : x;
}

void GemmRows::start(Value newRow) {
  row = newRow;
  if (isHeld() && held.empty())
    loadVectors();
  for (Chunk &chunk : held)
    loadRow(chunk);
  const double depth = static_cast<double>(gemm.region.depth);
  mean = inverse = scale = Value();
  if (Operation *norm = gemm.region.norm) {
    if (isa<LayerNormOp>(norm))
      mean = e.mul(total([&](const Chunk &chunk) { return chunk.x; }, /*isMax=*/false), e.constantF32(static_cast<float>(1 / depth)));
    Value squares = total(
        [&](const Chunk &chunk) {
          Value x = mean ? e.sub(chunk.x, mean) : chunk.x;
          return e.mul(x, x);
        },
        /*isMax=*/false);
    double eps =
        isa<LayerNormOp>(norm) ? cast<LayerNormOp>(norm).getEps().convertToDouble() : cast<RmsNormOp>(norm).getEps().convertToDouble();
    Value variance = e.fma(squares, e.constantF32(static_cast<float>(1 / depth)), e.constantF32(static_cast<float>(eps)));
    inverse = e.div(e.constantF32(1), e.sqrt(variance));
  }
  unscale = e.constantF32(1);
  if (type == MmaType::bf16)
    return;
  // The largest magnitude gets the exponent 13: f16 ends at 15, and sums of the row are scaled back by a power of two.
  Value most = total([&](const Chunk &chunk) { return e.abs(normalized(chunk)); }, /*isMax=*/true);
  Value exponent = e.bitAnd(e.shiftRight(e.bitcast(most, e.i32()), 23), e.index(255));
  exponent = e.max(e.min(exponent, 253), 14);
  scale = e.bitcast(e.shiftLeft(e.sub(e.index(127 + 13 + 127), exponent), 23), e.f32());
  unscale = e.bitcast(e.shiftLeft(e.sub(exponent, 13), 23), e.f32());
}

void GemmRows::write(int64_t first, int64_t count, llvm::function_ref<Value(Value)> to, int64_t together) {
  const int64_t depth = gemm.region.depth, end = std::min(first + count, depth);
  forChunks([&](const Chunk &chunk) {
    auto store = [&] {
      Value x = normalized(chunk);
      if (scale)
        x = e.mul(x, scale);
      if (lanes() == 1)
        return e.store(e.truncate(e.pack(type, x, e.constantF32(0)), e.i16()), to(chunk.k));
      Value words = e.zero(e.vec(2, e.i32()));
      for (int64_t i = 0; i < 2; ++i) {
        Value word = e.pack(type, e.extract(x, 2 * i), e.extract(x, 2 * i + 1));
        if (together == 2)
          e.store(word, to(e.add(chunk.k, 2 * i)));
        else
          words = e.insert(word, words, i);
      }
      if (together == 2)
        return;
      e.store(words, to(chunk.k), 8);
    };
    Value here = chunk.isInside;
    if (first > 0 || end < depth) {
      Value inRange = e.bitAnd(e.ge(chunk.k, first), e.lt(chunk.k, end));
      here = here ? e.bitAnd(here, inRange) : inRange;
    }
    if (here)
      e.ifThen(here, store);
    else
      store();
  });
  e.forRange(e.add(index, std::max(end, first)), e.index(first + count), threads, [&](Value k) { e.store(e.zero(e.i16()), to(k)); });
}

void GemmRows::writeNorm(Value out) {
  Value place = e.element(out, e.f32(), e.mul(e.toI64(row), gemm.region.depth));
  forChunks([&](const Chunk &chunk) {
    auto store = [&] { e.store(normalized(chunk), e.element(place, e.f32(), chunk.k), lanes() * 4); };
    if (chunk.isInside)
      e.ifThen(chunk.isInside, store);
    else
      store();
  });
}
