// Numbers times powers of two as f16, so that products of f16 neither overflow nor lose what is small beside the largest.
//
// A row is brought below 2^3 and what it meets below 2^4: sums of up to 511 products are below 65504. Rows keep 11 bits, where bf16 has 8;
// bf16 keeps all of its bits down to 2^-18 of the largest.
#ifndef LIB_TARGET_CPU_HALVES_H
#define LIB_TARGET_CPU_HALVES_H

#include "ds/Target/CPU/Emitter.h"

namespace ds {

struct Halves {
  /// Exponents as f32 and f16 store that of 1.
  static constexpr int64_t bias = 127, biasOfHalf = 15;
  static constexpr int64_t fraction = 23, fractionOfBf16 = 7, fractionOfHalf = 10, infinite = 255;
  /// What the largest value of a row, and of what it meets, gets.
  static constexpr int64_t largestOfRow = bias + 2, largestOfColumn = biasOfHalf + 3;
  /// A NaN of f16.
  static constexpr int64_t notANumber = 0x7e00;

  /// f32 of `exponent`, as f32 stores it.
  static mlir::Value powerOfTwo(Emitter &e, mlir::Value exponent) {
    return e.bitcast(e.shiftLeft(exponent, fraction), Emitter::lanesOf(exponent) > 1 ? mlir::Type(e.vec()) : e.f32());
  }

  /// The power of two that a row is multiplied by, and what takes it back, as f32; `largest` is its largest absolute value, or a vector of
  /// those of as many rows.
  struct Scale {
    mlir::Value up, back;
  };
  static Scale ofRow(Emitter &e, mlir::Value largest) {
    // Of tiny rows the power that takes it back stays a number.
    constexpr int64_t most = 2 * bias - 14;
    mlir::Type integers = e.integersLike(largest);
    mlir::Value exponent = e.shiftRight(e.bitcast(largest, integers), fraction);
    mlir::Value up = e.min(e.sub(e.constantOf(integers, largestOfRow + bias), exponent), most);
    return {powerOfTwo(e, up), powerOfTwo(e, e.sub(e.constantOf(integers, 2 * bias), up))};
  }

  /// The larger of the two sizes of bf16 in each word.
  static mlir::Value largerOfPairs(Emitter &e, mlir::Value sizes) {
    mlir::Value words = e.bitcast(sizes, e.vec(e.getLevel().lanes, e.i32()));
    return e.max(e.shiftRight(words, 16), e.bitAnd(words, e.constantOf(words.getType(), 0xffff)));
  }
  /// By how much exponents of bf16 are lowered whose largest is `exponent`, i32 as the results.
  static mlir::Value down(Emitter &e, mlir::Value exponent) { return e.max(e.sub(exponent, largestOfColumn), 0); }
  /// What takes that back, as f32.
  static mlir::Value back(Emitter &e, mlir::Value down) { return powerOfTwo(e, e.add(down, biasOfHalf)); }
  /// A word twice, as two i16.
  static mlir::Value twice(Emitter &e, mlir::Value word) { return e.bitOr(word, e.shiftLeft(word, 16)); }
  /// f16 of bf16, both as i16; `least` is `down` as an exponent of bf16.
  static mlir::Value ofBf16(Emitter &e, mlir::Value bits, mlir::Value least) {
    mlir::Value sizeBits = e.constantOf(bits.getType(), 0x7fff), signBit = e.constantOf(bits.getType(), -0x8000);
    mlir::Value size = e.sub(e.max(e.bitAnd(bits, sizeBits), least), least);
    return e.bitOr(e.shiftLeft(size, fractionOfHalf - fractionOfBf16), e.bitAnd(bits, signBit));
  }

  /// f32 of the low and the high halves of words of two f16.
  static mlir::Value low(Emitter &e, mlir::Value pairs) {
    mlir::Value words = e.bitcast(pairs, e.vec(e.getLevel().lanes, e.i32()));
    return e.toF32(e.bitcast(e.toI16(words), e.vec(e.getLevel().lanes, e.getBuilder().getF16Type())));
  }
  static mlir::Value high(Emitter &e, mlir::Value pairs) {
    return low(e, e.shiftRight(e.bitcast(pairs, e.vec(e.getLevel().lanes, e.i32())), 16));
  }
};

} // namespace ds
#endif // LIB_TARGET_CPU_HALVES_H
