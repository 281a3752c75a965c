// Dot products of the emitter: of pairs of bf16, of bytes and of words; and how numbers become bytes.
#include "ds/Target/CPU/Emitter.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

using namespace mlir;
using namespace ds;

Value Emitter::callIntrinsic(StringRef name, Type type, ValueRange operands) {
  return LLVM::CallIntrinsicOp::create(builder, loc, type, builder.getStringAttr(name), operands).getResult(0);
}

Value Emitter::dotOfPairs(Value a, Value b, Value sum) {
  unify(a, b);
  if (level.bf16Dots == Dots::emulated)
    return fma(lowOfPairs(a), lowOfPairs(b), fma(highOfPairs(a), highOfPairs(b), sum));
  Type pairs = vec(2 * lanesOf(a), builder.getBF16Type());
  return callIntrinsic("llvm.x86.avx512bf16.dpbf16ps.512", sum.getType(), {sum, bitcast(a, pairs), bitcast(b, pairs)});
}

Value Emitter::dotOfBytes(Value a, Value b, Value sum) {
  if (level.byteDots == Dots::emulated) {
    for (int64_t byte = 0; byte < 4; ++byte) {
      Value left = bitAnd(shiftRight(a, 8 * byte), constantOf(a.getType(), 255));
      sum = add(sum, mul(left, shiftRightSigned(shiftLeft(b, 24 - 8 * byte), 24)));
    }
    return sum;
  }
  Type bytes = vec(4 * lanesOf(a), i8());
  return callIntrinsic("llvm.x86.avx512.vpdpbusd.512", sum.getType(), {sum, bitcast(a, bytes), bitcast(b, bytes)});
}

/// One of three, by the bits of the vectors.
static StringRef ofWidth(int64_t lanes, StringRef of128, StringRef of256, StringRef of512) {
  return lanes == 4 ? of128 : lanes == 8 ? of256 : of512;
}

Value Emitter::minusDotOfWords(Value a, Value b, Value sum) {
  const int64_t lanes = lanesOf(sum);
  Type words = vec(2 * lanes, i16());
  Value dot = callIntrinsic(ofWidth(lanes, "llvm.x86.sse2.pmadd.wd", "llvm.x86.avx2.pmadd.wd", "llvm.x86.avx512.pmaddw.d.512"),
                            sum.getType(), {bitcast(a, words), bitcast(b, words)});
  // Additions, and plain subtractions, LLVM would regroup: products first, which then wait for each other in registers there are not.
  Value all = constantOf(vec(lanes, builder.getI1Type()), 1);
  return LLVM::VPSubOp::create(builder, loc, sum.getType(), sum, dot, all, constantI32(static_cast<int32_t>(lanes)));
}

Value Emitter::sumsOfBytes(Value a, Value b) {
  const int64_t lanes = lanesOf(a);
  Type bytes = vec(4 * lanes, i8());
  return callIntrinsic(ofWidth(lanes, "llvm.x86.ssse3.pmadd.ub.sw.128", "llvm.x86.avx2.pmadd.ub.sw", "llvm.x86.avx512.pmaddubs.w.512"),
                       vec(2 * lanes, i16()), {bitcast(a, bytes), bitcast(b, bytes)});
}

Value Emitter::toNearestI8(ValueRange four) {
  Type integers = vec(16, i32()), words = vec(32, i16()), bytes = vec(64, i8());
  SmallVector<Value> nearest, halves;
  Value all = LLVM::ConstantOp::create(builder, loc, builder.getI16Type(), builder.getI16IntegerAttr(-1));
  for (Value value : four)
    nearest.push_back(
        callIntrinsic("llvm.x86.avx512.mask.cvtps2dq.512", integers, {value, zero(integers), all, constantI32(4)})); // MXCSR rounds
  for (size_t i = 0; i < 4; i += 2)
    halves.push_back(callIntrinsic("llvm.x86.avx512.packssdw.512", words, {nearest[i], nearest[i + 1]}));
  // Of each 128 bits there are the bytes of four lanes of each vector.
  Value mixed = bitcast(callIntrinsic("llvm.x86.avx512.packsswb.512", bytes, halves), integers);
  SmallVector<int64_t> order;
  for (int64_t i = 0; i < 16; ++i)
    order.push_back(i % 4 * 4 + i / 4);
  return bitcast(shuffle(mixed, mixed, order), bytes);
}
