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

Value ds::emitElementwise(Emitter &e, mlir::Operation *op, llvm::ArrayRef<Value> operands) {
  Value x = operands[0];
  return llvm::TypeSwitch<mlir::Operation *, Value>(op)
      .Case([&](GeluOp gelu) { return gelu.getKind() == GeluKind::erf ? emitGeluErf(e, x) : emitGeluTanh(e, x); })
      .Case([&](SiluOp) { return emitSwish(e, x, 1.0); })
      .Case([&](QuickGeluOp) { return emitSwish(e, x, 1.702); })
      .Case([&](ReluOp) { return e.max(e.zero(x.getType()), x); }) // in this order NaN stays
      .Case([&](TanhOp) { return emitTanh(e, x); })
      .Case([&](AddOp) { return e.add(x, operands[1]); })
      .Case([&](MulOp) { return e.mul(x, operands[1]); })
      .Default([](mlir::Operation *) -> Value { llvm_unreachable("every op with the trait has a case"); });
}
