#include "ds/Target/CPU/Elementwise.h"
#include "dialects/DS/DSDialect.h"
#include "ds/Target/CPU/VectorMath.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace ds;
using mlir::Value;

/// x / (1 + e^power).
static Value emitGate(Emitter &e, Value x, Value power) { return e.div(x, e.add(emitExp(e, power), e.constantOf(x.getType(), 1))); }

static Value emitSwish(Emitter &e, Value x, double factor) { return emitGate(e, x, e.mul(x, e.constantOf(x.getType(), -factor))); }

/// (1 + tanh u) / 2 is 1 / (1 + e^-2u).
static Value emitGeluTanh(Emitter &e, Value x) {
  constexpr double twice = -2 * 0.79788456080286536;
  auto number = [&](double value) { return e.constantOf(x.getType(), value); };
  return emitGate(e, x, e.mul(x, e.fma(e.mul(x, x), number(twice * 0.044715), number(twice))));
}

/// `grad` times the derivative of x * s(g(x)), with s(g) = 1 / (1 + e^-g) and g' the `slope` of g: s + x * g' * s * (1 - s). The larger of
/// s and 1 - s is 1 / (1 + e^-|g|), so that nothing cancels or overflows.
static Value emitGateGrad(Emitter &e, Value x, Value g, Value slope, Value grad) {
  Value power = emitExpNonPositive(e, e.neg(e.abs(g)));
  Value larger = e.div(e.constantOf(x.getType(), 1), e.add(power, e.constantOf(x.getType(), 1))), smaller = e.mul(power, larger);
  Value gate = e.select(e.ge(g, int64_t(0)), larger, smaller);
  return e.mul(grad, e.fma(e.mul(x, slope), e.mul(larger, smaller), gate));
}

/// x where the derivative changes; infinities, which times 0 are none, end where it does not. NaN stays.
static Value emitBounded(Emitter &e, Value x) { return e.min(e.constantOf(x.getType(), 128), e.max(e.constantOf(x.getType(), -128), x)); }

static Value emitSwishGrad(Emitter &e, Value input, double factor, Value grad) {
  Value x = emitBounded(e, input), slope = e.constantOf(x.getType(), factor);
  return emitGateGrad(e, x, e.mul(x, slope), slope, grad);
}

static Value emitGeluTanhGrad(Emitter &e, Value input, Value grad) {
  constexpr double twice = 2 * 0.79788456080286536, cube = 0.044715;
  Value x = emitBounded(e, input), square = e.mul(x, x);
  auto number = [&](double value) { return e.constantOf(x.getType(), value); };
  Value g = e.mul(x, e.fma(square, number(twice * cube), number(twice)));
  return emitGateGrad(e, x, g, e.fma(square, number(3 * twice * cube), number(twice)), grad);
}

static Value emitGeluGrad(Emitter &e, GeluGradOp op, Value x, Value grad) {
  return op.getKind() == GeluKind::erf ? e.mul(grad, emitGeluErfDerivative(e, x)) : emitGeluTanhGrad(e, x, grad);
}

static Value emitGelu(Emitter &e, GeluOp op, Value x) {
  if (op.getCoarse())
    return emitCoarseGelu(e, x, op.getKind());
  return op.getKind() == GeluKind::erf ? emitGeluErf(e, x) : emitGeluTanh(e, x);
}

Value ds::emitElementwise(Emitter &e, mlir::Operation *op, llvm::ArrayRef<Value> operands) {
  Value x = operands[0];
  return llvm::TypeSwitch<mlir::Operation *, Value>(op)
      .Case([&](GeluOp gelu) { return emitGelu(e, gelu, x); })
      .Case([&](SiluOp) { return emitSwish(e, x, 1.0); })
      .Case([&](QuickGeluOp) { return emitSwish(e, x, 1.702); })
      .Case([&](ReluOp) { return e.max(e.zero(x.getType()), x); }) // in this order NaN stays
      .Case([&](TanhOp) { return emitTanh(e, x); })
      .Case([&](RoundOp round) { return e.roundTo(round.getTarget(), x); })
      .Case([&](AddOp) { return e.add(x, operands[1]); })
      .Case([&](MulOp) { return e.mul(x, operands[1]); })
      .Case([&](ScaleOp) { return e.mul(x, operands[1]); })
      .Case([&](GeluGradOp gelu) { return emitGeluGrad(e, gelu, x, operands[1]); })
      .Case([&](SiluGradOp) { return emitSwishGrad(e, x, 1.0, operands[1]); })
      .Case([&](QuickGeluGradOp) { return emitSwishGrad(e, x, 1.702, operands[1]); })
      .Case([&](ReluGradOp) { return e.select(e.gt(x, int64_t(0)), operands[1], e.zero(x.getType())); })
      .Case([&](TanhGradOp) { return e.mul(operands[1], e.fma(e.neg(x), x, e.constantOf(x.getType(), 1))); })
      .Default([](mlir::Operation *) -> Value { llvm_unreachable("every op with the trait has a case"); });
}
