// The approximate functions of the GPU on the processor; their errors are below those the PTX ISA allows. exp2: polynomial of Cephes'
// exp2f on the fraction.
#include "EmulationLowering.h"

using namespace ds;
using mlir::Value;

/// 2^n of an integer in -127 .. 128; 0 and infinity at the ends.
static Value powerOfTwo(Emitter &e, Value n) { return e.bitcast(e.shiftLeft(e.add(n, 127), 23), e.f32()); }

Value ds::emitEmulatedExp2(Emitter &e, Value x) {
  Value clamped = e.min(e.max(x, e.constantF32(-200)), e.constantF32(200));
  Value whole = e.roundEven(clamped);
  Value fraction = e.sub(clamped, whole);
  Value sum = e.constantF32(1.535336188319500e-4F);
  for (float coefficient :
       {1.339887440266574e-3F, 9.618437357674640e-3F, 5.550332471162809e-2F, 2.402264791363012e-1F, 6.931472028550421e-1F, 1.0F})
    sum = e.fma(sum, fraction, e.constantF32(coefficient));
  // In two steps, as 2^128 has no bits of its own.
  Value n = e.toI32(whole), half = e.shiftRightSigned(n, 1);
  Value result = e.mul(e.mul(sum, powerOfTwo(e, half)), powerOfTwo(e, e.sub(n, half)));
  result = e.select(e.lt(result, e.constantF32(0x1p-126F)), e.constantF32(0), result);
  return e.select(e.isNan(x), x, result);
}

Value ds::emitEmulatedRsqrt(Emitter &e, Value x) {
  Value isSubnormal = e.lt(e.abs(x), e.constantF32(0x1p-126F));
  Value flushed = e.select(isSubnormal, e.mul(x, e.constantF32(0)), x);
  return e.div(e.constantF32(1), e.sqrt(flushed));
}
