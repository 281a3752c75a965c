// The rows a product multiplies: through the norm, then rounded to bf16, or to f16 beside codes, which needs them in its range.
#include "Gemm.h"

using namespace mlir;
using namespace ds;

Value GemmRows::load(Value k) {
  const KernelOperand &input = body.ins[gemm.operandOf(gemm.region.input)];
  Value place = e.element(e.element(input.pointer, e.f32(), e.mul(e.toI64(row), gemm.region.depth)), e.f32(), k);
  return lanes() == 4 ? e.load(e.vec(), place, 16) : e.load(e.f32(), place);
}

/// Over the team.
Value GemmRows::reduce(Value value, bool isMax) {
  if (Emitter::lanesOf(value) > 1)
    value = isMax ? e.reduceMax(value) : e.reduceAdd(value);
  if (threads == GpuEmitter::warpThreads)
    return isMax ? e.warpMax(value) : e.warpSum(value);
  return isMax ? e.blockMax(value, scratch, threads) : e.blockSum(value, scratch, threads);
}

/// Of `of(k)` for all k of the row.
Value GemmRows::sum(llvm::function_ref<Value(Value)> of) {
  Value zero = e.zero(lanes() == 4 ? Type(e.vec()) : e.f32());
  Value all = e.forRange(e.mul(index, lanes()), e.index(gemm.region.depth), threads * lanes(), ValueRange(zero),
                         [&](Value k, ValueRange carried) { return Emitter::Values{e.add(carried[0], of(k))}; })[0];
  return reduce(all, /*isMax=*/false);
}

Value GemmRows::normalized(Value k) {
  Value x = load(k);
  Operation *norm = gemm.region.norm;
  if (!norm)
    return x;
  auto vector = [&](Value operand) {
    Value place = e.element(body.ins[gemm.operandOf(operand)].pointer, e.f32(), k);
    return lanes() == 4 ? e.load(e.vec(), place, 16) : e.load(e.f32(), place);
  };
  x = e.mul(mean ? e.sub(x, mean) : x, inverse);
  auto layer = dyn_cast<LayerNormOp>(norm);
  x = e.mul(x, vector(norm->getOperand(1)));
  return layer && layer.getBias() ? e.add(x, vector(layer.getBias())) : x;
}

void GemmRows::start(Value newRow) {
  row = newRow;
  const double depth = static_cast<double>(gemm.region.depth);
  mean = inverse = scale = Value();
  if (Operation *norm = gemm.region.norm) {
    if (isa<LayerNormOp>(norm))
      mean = e.mul(sum([&](Value k) { return load(k); }), e.constantF32(static_cast<float>(1 / depth)));
    Value squares = sum([&](Value k) {
      Value x = mean ? e.sub(load(k), mean) : load(k);
      return e.mul(x, x);
    });
    double eps =
        isa<LayerNormOp>(norm) ? cast<LayerNormOp>(norm).getEps().convertToDouble() : cast<RmsNormOp>(norm).getEps().convertToDouble();
    Value variance = e.fma(squares, e.constantF32(static_cast<float>(1 / depth)), e.constantF32(static_cast<float>(eps)));
    inverse = e.div(e.constantF32(1), e.sqrt(variance));
  }
  unscale = e.constantF32(1);
  if (type == MmaType::bf16)
    return;
  // The largest magnitude gets the exponent 13: f16 ends at 15, and sums of the row are scaled back by a power of two.
  Value zero = e.zero(lanes() == 4 ? Type(e.vec()) : e.f32());
  Value most = e.forRange(e.mul(index, lanes()), e.index(gemm.region.depth), threads * lanes(), ValueRange(zero),
                          [&](Value k, ValueRange carried) { return Emitter::Values{e.max(e.abs(normalized(k)), carried[0])}; })[0];
  Value exponent = e.bitAnd(e.shiftRight(e.bitcast(reduce(most, /*isMax=*/true), e.i32()), 23), e.index(255));
  exponent = e.max(e.min(exponent, 253), 14);
  scale = e.bitcast(e.shiftLeft(e.sub(e.index(127 + 13 + 127), exponent), 23), e.f32());
  unscale = e.bitcast(e.shiftLeft(e.sub(exponent, 13), 23), e.f32());
}

void GemmRows::write(int64_t first, int64_t count, llvm::function_ref<Value(Value)> to) {
  const int64_t end = std::min(first + count, gemm.region.depth);
  e.forRange(e.add(e.mul(index, lanes()), first), e.index(end), threads * lanes(), [&](Value k) {
    Value x = normalized(k);
    if (scale)
      x = e.mul(x, scale);
    if (lanes() == 1) {
      Value pair = e.pack(type, x, e.constantF32(0));
      e.store(e.truncate(pair, e.i16()), to(k));
      return;
    }
    Value words = e.zero(e.vec(2, e.i32()));
    for (int64_t i = 0; i < 2; ++i)
      words = e.insert(e.pack(type, e.extract(x, 2 * i), e.extract(x, 2 * i + 1)), words, i);
    e.store(words, to(k), 8);
  });
  e.forRange(e.add(index, std::max(end, first)), e.index(first + count), threads, [&](Value k) { e.store(e.zero(e.i16()), to(k)); });
}

void GemmRows::writeNorm(Value out) {
  Value place = e.element(out, e.f32(), e.mul(e.toI64(row), gemm.region.depth));
  e.forRange(e.mul(index, lanes()), e.index(gemm.region.depth), threads * lanes(),
             [&](Value k) { e.store(normalized(k), e.element(place, e.f32(), k), lanes() * 4); });
}
