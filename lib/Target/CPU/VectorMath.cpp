// exp by Cody-Waite reduction and a polynomial (coefficients of Cephes' expf); tanh from e^x - 1 without cancellation; the erf of gelu by a
// polynomial for log2 erfc; log by Cephes' logf.
#include "ds/Target/CPU/VectorMath.h"

using namespace ds;
using mlir::Type;
using mlir::Value;

namespace {
/// e^x = 2^n * (1 + q), with 2^n of `exponent` and |q| < 0.42.
struct Reduced {
  Value exponent; // i32, garbage where x is NaN
  Value q;        // NaN where x is NaN
};
} // namespace

static Value number(Emitter &e, Value like, double value) { return e.constantOf(like.getType(), value); }

/// c[0] x^k + c[1] x^(k-1) + ...
static Value horner(Emitter &e, Value x, llvm::ArrayRef<double> coefficients) {
  Value sum = number(e, x, coefficients.front());
  for (double c : coefficients.drop_front())
    sum = e.fma(sum, x, number(e, x, c));
  return sum;
}

/// For |x| < 2^21; a sum with 1.5 * 2^23 rounds to an integer that stands in the low bits, also defined for NaN, unlike a conversion.
static Reduced reduce(Emitter &e, Value x) {
  constexpr int32_t magicBits = 0x4B400000;
  Value magic = number(e, x, 12582912.0);
  Value shifted = e.fma(x, number(e, x, 1.44269504088896341), magic);
  Value n = e.sub(shifted, magic);
  Value r = e.fma(n, number(e, x, -0.693359375), x);
  r = e.fma(n, number(e, x, 2.12194440e-4), r);
  Value p = horner(e, r, {1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1});
  Value exponent = e.sub(e.bitcast(shifted, e.integersLike(x)), int64_t(magicBits));
  return {exponent, e.fma(p, e.mul(r, r), r)};
}

/// 2^n for n in [-126, 127].
static Value powerOfTwo(Emitter &e, Value n, Type type) { return e.bitcast(e.shiftLeft(e.add(n, int64_t(127)), 23), type); }

/// `low` where x is below it; NaN stays.
static Value atLeast(Emitter &e, Value x, double low) { return e.max(number(e, x, low), x); }
static Value atMost(Emitter &e, Value x, double high) { return e.min(number(e, x, high), x); }

static Value copySign(Emitter &e, Value magnitude, Value sign) {
  Type bits = e.integersLike(sign);
  Value top = e.bitAnd(e.bitcast(sign, bits), e.constantOf(bits, -2147483648.0));
  return e.bitcast(e.bitOr(e.bitcast(magnitude, bits), top), sign.getType());
}

Value ds::emitExp(Emitter &e, Value x) {
  Reduced r = reduce(e, atMost(e, atLeast(e, x, -104.5), 89.0));
  // In two halves: 2^n alone would overflow at 128 and lose the subnormal results.
  Value half = e.shiftRightSigned(r.exponent, 1);
  Value scaled = e.mul(e.add(r.q, number(e, x, 1)), powerOfTwo(e, half, x.getType()));
  return e.mul(scaled, powerOfTwo(e, e.sub(r.exponent, half), x.getType()));
}

Value ds::emitExpNonPositive(Emitter &e, Value x) {
  // At the bound n is -127, whose bits are those of 0.
  Reduced r = reduce(e, atLeast(e, x, -88.0));
  Value scale = powerOfTwo(e, r.exponent, x.getType());
  return e.fma(r.q, scale, scale);
}

Value ds::emitExp2NonPositive(Emitter &e, Value x) {
  // A sum with 1.5 * 2^23 + 127 rounds to an integer whose low bits are n + 127; at the bound they are 0, and so is the power.
  Value t = atLeast(e, x, -127.0), magic = number(e, x, 12583039.0);
  Value shifted = e.add(t, magic);
  Value f = e.sub(t, e.sub(shifted, magic));
  Value p = horner(e, f, {1.32647272e-3, 9.67151269e-3, 5.55073374e-2, 2.40222421e-1, 6.93146978e-1, 1.0});
  return e.mul(p, e.bitcast(e.shiftLeft(e.bitcast(shifted, e.integersLike(x)), 23), x.getType()));
}

Value ds::emitExp2OfHalves(Emitter &e, Value x) {
  // As above, with 1.5 * 2^10 + 15, and a minimax fit of 2^f on [-1/2, 1/2] that is 1 at 0.
  Value t = atLeast(e, x, -15.0), magic = number(e, x, 1551.0);
  Value shifted = e.add(t, magic);
  Value p = horner(e, e.sub(t, e.sub(shifted, magic)), {5.500894e-2, 2.4221096e-1, 6.9328293e-1, 1.0});
  Type bits = e.vec(Emitter::lanesOf(x), e.i16());
  return e.mul(p, e.bitcast(e.shiftLeft(e.bitcast(shifted, bits), 10), x.getType()));
}

Value ds::emitTanh(Emitter &e, Value x) {
  Reduced r = reduce(e, e.mul(atMost(e, e.abs(x), 10.0), number(e, x, -2)));
  Value scale = powerOfTwo(e, r.exponent, x.getType());
  Value expm1 = e.fma(r.q, scale, e.sub(scale, number(e, x, 1)));
  return copySign(e, e.div(e.neg(expm1), e.add(expm1, number(e, x, 2))), x);
}

/// erfc(a / sqrt(2)) for a of 0 to 16: log2 of it over a is a minimax fit on [0, 6], weighted for an error of gelu of 9e-9, that goes on
/// falling behind it. At 16 the power is 0.
static Value emitErfc(Emitter &e, Value a) {
  Value p = horner(
      e, a, {-1.90206604e-6, 2.80569465e-5, -1.31473256e-4, -2.72075641e-4, 7.24542109e-3, -5.26276107e-2, -0.459162143, -1.15111105});
  return emitExp2NonPositive(e, e.mul(p, a));
}

Value ds::emitGeluErf(Emitter &e, Value x) {
  // max(x, 0) - a / 2 * erfc(a / sqrt(2)) with a = |x|, which does not cancel below 0.
  Value a = atMost(e, e.abs(x), 16.0);
  return e.fma(e.mul(a, number(e, x, -0.5)), emitErfc(e, a), e.max(number(e, x, 0), x));
}

Value ds::emitCoarseGelu(Emitter &e, Value x, GeluKind kind) {
  // x / 2 + x * u * p(u^2), u within bounds where u * p is +-1/2 up to what x has left: minimax fits, weighted with x.
  struct Fit {
    double bound;
    double coefficients[8];
  };
  static constexpr Fit ofErf = {4.16,
                                {-9.37600816e-10, 8.17607134e-8, -3.09976873e-6, 6.77282557e-5, -9.56832552e-4, 9.32229342e-3,
                                 -6.55720121e-2, 0.39849234}},
                       ofTanh = {4.04,
                                 {-1.25028476e-9, 1.02598339e-7, -3.6646477e-6, 7.56862808e-5, -1.01806417e-3, 9.56411149e-3,
                                  -6.59477882e-2, 0.398533451}};
  const Fit &fit = kind == GeluKind::erf ? ofErf : ofTanh;
  Value above = atLeast(e, x, -fit.bound), u = atMost(e, above, fit.bound);
  Value p = horner(e, e.mul(u, u), fit.coefficients);
  return e.fma(e.mul(u, p), above, e.mul(above, number(e, x, 0.5)));
}

Value ds::emitGeluErfDerivative(Emitter &e, Value x) {
  // At -a it is erfc(a / sqrt(2)) / 2 - a * e^(-a^2 / 2) / sqrt(2 pi), at a what that lacks to 1.
  Value a = atMost(e, e.abs(x), 16.0);
  Value density = emitExp2NonPositive(e, e.mul(e.mul(a, number(e, x, -0.72134752044448170)), a));
  Value below = e.fma(e.mul(a, number(e, x, -0.39894228040143268)), density, e.mul(emitErfc(e, a), number(e, x, 0.5)));
  return e.select(e.gt(x, int64_t(0)), e.sub(number(e, x, 1), below), below);
}

Value ds::emitLog(Emitter &e, Value x) {
  // x = 2^n * (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)), and the polynomial of Cephes' logf.
  constexpr int64_t one = 0x3f800000, low = 0x3f3504f3;
  Type integers = e.integersLike(x);
  Value bits = e.add(e.bitcast(x, integers), one - low);
  Value n = e.toF32(e.sub(e.shiftRight(bits, 23), int64_t(127)));
  Value f = e.sub(e.bitcast(e.add(e.bitAnd(bits, e.constantOf(integers, 0x7fffff)), low), x.getType()), number(e, x, 1));
  Value square = e.mul(f, f);
  Value p = horner(e, f,
                   {7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1,
                    2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1});
  Value small = e.fma(n, number(e, x, -2.12194440e-4), e.fma(e.mul(p, f), square, e.mul(square, number(e, x, -0.5))));
  Value log = e.fma(n, number(e, x, 0.693359375), e.add(f, small));
  return e.select(e.lt(x, e.infinity(x.getType())), log, x); // NaN and infinity stay
}
