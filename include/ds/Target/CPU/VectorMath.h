// Transcendental functions as vector arithmetic; no library is called. Scalars and vectors of f32 alike.
//
// NaN gives NaN, infinities the limits. Errors were measured against f64 over the whole range, with and without fused multiply-add.
#ifndef DS_TARGET_CPU_VECTORMATH_H
#define DS_TARGET_CPU_VECTORMATH_H

#include "dialects/DS/DSDialect.h"
#include "ds/Target/CPU/Emitter.h"

namespace ds {

/// e^x, relative error 9e-8; gradual underflow, infinity above 88.72.
mlir::Value emitExp(Emitter &e, mlir::Value x);

/// e^x for x <= 0, relative error 9e-8; 0 below -87.3. A little shorter, for softmax.
mlir::Value emitExpNonPositive(Emitter &e, mlir::Value x);

/// 2^x for x <= 0, relative error 2e-7; 0 below -126.5. The shortest of the three, for softmax.
mlir::Value emitExp2NonPositive(Emitter &e, mlir::Value x);

/// The same of vectors of f16 in their arithmetic, relative error 6e-4; 0 below -14.5.
mlir::Value emitExp2OfHalves(Emitter &e, mlir::Value x);

/// tanh x, relative error 1.6e-7.
mlir::Value emitTanh(Emitter &e, mlir::Value x);

/// x * (1 + erf(x / sqrt(2))) / 2, relative error 3e-7 for x > -1, absolute 4.3e-8 below; 0 at minus infinity.
mlir::Value emitGeluErf(Emitter &e, mlir::Value x);

/// x * (1 + erf(x / sqrt(2))) / 2, or its approximation by tanh: absolute error 9e-5 up to 100 and at minus infinity, 1e-6 of x above.
mlir::Value emitCoarseGelu(Emitter &e, mlir::Value x, GeluKind kind);

/// The derivative of the first, absolute error 5e-7; 0 and 1 at the infinities.
mlir::Value emitGeluErfDerivative(Emitter &e, mlir::Value x);

/// The natural logarithm of a normal x > 0, relative error 2e-7.
mlir::Value emitLog(Emitter &e, mlir::Value x);

} // namespace ds
#endif // DS_TARGET_CPU_VECTORMATH_H
