#include "ds/Target/CPU/Emitter.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include <numeric>

using namespace mlir;
using namespace ds;

static Type elementOf(Type type) { return getElementTypeOrSelf(type); }
static bool isFloat(Value value) { return isa<FloatType>(elementOf(value.getType())); }
static Type withElement(Type type, Type element) {
  if (auto vector = dyn_cast<VectorType>(type))
    return VectorType::get(vector.getShape(), element);
  return element;
}

Type Emitter::ptr() { return LLVM::LLVMPointerType::get(builder.getContext()); }

int64_t Emitter::lanesOf(Value value) {
  auto vector = dyn_cast<VectorType>(value.getType());
  return vector ? vector.getDimSize(0) : 1;
}

// Constants.

Value Emitter::constantOf(Type type, double value) {
  Type element = elementOf(type);
  TypedAttr attr;
  if (isa<FloatType>(element))
    attr = FloatAttr::get(element, value);
  else
    attr = IntegerAttr::get(element, static_cast<int64_t>(value));
  if (auto vector = dyn_cast<VectorType>(type))
    attr = DenseElementsAttr::get(vector, Attribute(attr));
  return arith::ConstantOp::create(builder, loc, attr);
}

Value Emitter::constant(int64_t value) { return arith::ConstantOp::create(builder, loc, builder.getI64IntegerAttr(value)); }
Value Emitter::constantI32(int32_t value) { return arith::ConstantOp::create(builder, loc, builder.getI32IntegerAttr(value)); }
Value Emitter::constantBool(bool value) { return arith::ConstantOp::create(builder, loc, builder.getBoolAttr(value)); }
Value Emitter::constantF32(float value) { return arith::ConstantOp::create(builder, loc, builder.getF32FloatAttr(value)); }

Value Emitter::constantVector(ArrayRef<float> lanes) {
  return arith::ConstantOp::create(builder, loc, DenseElementsAttr::get(vec(static_cast<int64_t>(lanes.size())), lanes));
}

Value Emitter::constantVector(ArrayRef<int32_t> lanes) {
  return arith::ConstantOp::create(builder, loc, DenseElementsAttr::get(vec(static_cast<int64_t>(lanes.size()), i32()), lanes));
}

Value Emitter::infinity(Type type, bool negative) {
  Type element = elementOf(type);
  TypedAttr attr = FloatAttr::get(element, llvm::APFloat::getInf(cast<FloatType>(element).getFloatSemantics(), negative));
  if (auto vector = dyn_cast<VectorType>(type))
    attr = DenseElementsAttr::get(vector, Attribute(attr));
  return arith::ConstantOp::create(builder, loc, attr);
}

Value Emitter::splat(Value scalar, int64_t lanes) {
  return vector::BroadcastOp::create(builder, loc, vec(lanes, scalar.getType()), scalar);
}

Value Emitter::iota(int64_t lanes, Type element) {
  SmallVector<APInt> values;
  for (int64_t i = 0; i < lanes; ++i)
    values.push_back(APInt(element.getIntOrFloatBitWidth(), i));
  return arith::ConstantOp::create(builder, loc, DenseElementsAttr::get(vec(lanes, element), values));
}

Value Emitter::nullPointer() { return LLVM::ZeroOp::create(builder, loc, ptr()); }

// Arithmetic.

void Emitter::unify(Value &a, Value &b) {
  if (lanesOf(a) == lanesOf(b) && isa<VectorType>(a.getType()) == isa<VectorType>(b.getType()))
    return;
  if (isa<VectorType>(a.getType()))
    b = splat(b, lanesOf(a));
  else
    a = splat(a, lanesOf(b));
}

template <typename FloatOp, typename IntOp> static Value binary(OpBuilder &builder, Location loc, Value a, Value b) {
  if (isFloat(a))
    return FloatOp::create(builder, loc, a, b);
  return IntOp::create(builder, loc, a, b);
}

Value Emitter::add(Value a, Value b) {
  unify(a, b);
  return binary<arith::AddFOp, arith::AddIOp>(builder, loc, a, b);
}
Value Emitter::sub(Value a, Value b) {
  unify(a, b);
  return binary<arith::SubFOp, arith::SubIOp>(builder, loc, a, b);
}
Value Emitter::mul(Value a, Value b) {
  unify(a, b);
  return binary<arith::MulFOp, arith::MulIOp>(builder, loc, a, b);
}
Value Emitter::div(Value a, Value b) {
  unify(a, b);
  return binary<arith::DivFOp, arith::DivSIOp>(builder, loc, a, b);
}
Value Emitter::rem(Value a, Value b) {
  unify(a, b);
  return arith::RemSIOp::create(builder, loc, a, b);
}

Value Emitter::fma(Value a, Value b, Value c) {
  unify(a, b);
  unify(a, c);
  unify(b, c);
  return LLVM::FMulAddOp::create(builder, loc, a, b, c);
}

Value Emitter::neg(Value a) {
  if (isFloat(a))
    return arith::NegFOp::create(builder, loc, a);
  return sub(zero(a.getType()), a);
}
Value Emitter::abs(Value a) { return LLVM::FAbsOp::create(builder, loc, a); }
Value Emitter::sqrt(Value a) { return LLVM::SqrtOp::create(builder, loc, a); }
Value Emitter::roundEven(Value a) { return LLVM::RoundEvenOp::create(builder, loc, a); }
Value Emitter::floor(Value a) { return LLVM::FFloorOp::create(builder, loc, a); }

Value Emitter::min(Value a, Value b) {
  unify(a, b);
  return select(lt(a, b), a, b);
}
Value Emitter::max(Value a, Value b) {
  unify(a, b);
  return select(gt(a, b), a, b);
}

Value Emitter::bitAnd(Value a, Value b) {
  unify(a, b);
  return arith::AndIOp::create(builder, loc, a, b);
}
Value Emitter::bitOr(Value a, Value b) {
  unify(a, b);
  return arith::OrIOp::create(builder, loc, a, b);
}
Value Emitter::bitXor(Value a, Value b) {
  unify(a, b);
  return arith::XOrIOp::create(builder, loc, a, b);
}
Value Emitter::shiftLeft(Value a, int64_t bits) { return arith::ShLIOp::create(builder, loc, a, constantOf(a.getType(), bits)); }
Value Emitter::shiftRight(Value a, int64_t bits) { return arith::ShRUIOp::create(builder, loc, a, constantOf(a.getType(), bits)); }
Value Emitter::shiftRight(Value a, Value bits) {
  unify(a, bits);
  return arith::ShRUIOp::create(builder, loc, a, bits);
}
Value Emitter::shiftRightSigned(Value a, int64_t bits) { return arith::ShRSIOp::create(builder, loc, a, constantOf(a.getType(), bits)); }
Value Emitter::ceilDiv(Value a, int64_t b) {
  // Unsigned, so that a power of two is a shift.
  return arith::DivUIOp::create(builder, loc, add(a, b - 1), constantOf(a.getType(), b));
}

// Comparisons.

static Value compare(OpBuilder &builder, Location loc, arith::CmpFPredicate floats, arith::CmpIPredicate integers, Value a, Value b) {
  if (isFloat(a))
    return arith::CmpFOp::create(builder, loc, floats, a, b);
  return arith::CmpIOp::create(builder, loc, integers, a, b);
}

Value Emitter::lt(Value a, Value b) {
  unify(a, b);
  return compare(builder, loc, arith::CmpFPredicate::OLT, arith::CmpIPredicate::slt, a, b);
}
Value Emitter::le(Value a, Value b) {
  unify(a, b);
  return compare(builder, loc, arith::CmpFPredicate::OLE, arith::CmpIPredicate::sle, a, b);
}
Value Emitter::eq(Value a, Value b) {
  if (isa<LLVM::LLVMPointerType>(a.getType()))
    return LLVM::ICmpOp::create(builder, loc, LLVM::ICmpPredicate::eq, a, b);
  unify(a, b);
  return compare(builder, loc, arith::CmpFPredicate::OEQ, arith::CmpIPredicate::eq, a, b);
}
Value Emitter::ne(Value a, Value b) {
  if (isa<LLVM::LLVMPointerType>(a.getType()))
    return LLVM::ICmpOp::create(builder, loc, LLVM::ICmpPredicate::ne, a, b);
  unify(a, b);
  return compare(builder, loc, arith::CmpFPredicate::UNE, arith::CmpIPredicate::ne, a, b);
}

Value Emitter::select(Value condition, Value a, Value b) {
  unify(a, b);
  if (isa<VectorType>(condition.getType()) && !isa<VectorType>(a.getType())) {
    a = splat(a, lanesOf(condition));
    b = splat(b, lanesOf(condition));
  }
  return arith::SelectOp::create(builder, loc, condition, a, b);
}

// Conversions.

Value Emitter::toI64(Value a) {
  Type to = withElement(a.getType(), i64());
  return a.getType() == to ? a : arith::ExtSIOp::create(builder, loc, to, a);
}

Value Emitter::toI32(Value a) {
  Type to = withElement(a.getType(), i32());
  if (isFloat(a))
    return arith::FPToSIOp::create(builder, loc, to, a);
  unsigned width = elementOf(a.getType()).getIntOrFloatBitWidth();
  if (width > 32)
    return arith::TruncIOp::create(builder, loc, to, a);
  return width == 32 ? a : arith::ExtSIOp::create(builder, loc, to, a);
}

Value Emitter::toI16(Value a) { return arith::TruncIOp::create(builder, loc, withElement(a.getType(), i16()), a); }
Value Emitter::toI8(Value a) { return arith::TruncIOp::create(builder, loc, withElement(a.getType(), i8()), a); }

Value Emitter::toF32(Value a) {
  Type element = elementOf(a.getType());
  Type to = withElement(a.getType(), f32());
  if (element.isF32())
    return a;
  if (!isa<FloatType>(element))
    return arith::SIToFPOp::create(builder, loc, to, a);
  if (element.isF16() && level.f16)
    return arith::ExtFOp::create(builder, loc, to, a);
  Type word = withElement(a.getType(), i32());
  Value bits = arith::ExtUIOp::create(builder, loc, word, bitcast(a, withElement(a.getType(), i16())));
  if (element.isBF16())
    return bitcast(shiftLeft(bits, 16), to);
  // f16 without an instruction: the exponent moves by a product, which is exact and makes subnormals right; infinity and NaN are set.
  Value magnitude = shiftLeft(bitAnd(bits, constantOf(word, 0x7fff)), 13);
  Value scaled = bitcast(mul(bitcast(magnitude, to), constantOf(to, 0x1p112)), word);
  Value special = bitOr(magnitude, constantOf(word, 0x7f800000));
  Value finite = lt(magnitude, constantOf(word, 0x0f800000));
  Value sign = shiftLeft(bitAnd(bits, constantOf(word, 0x8000)), 16);
  return bitcast(bitOr(select(finite, scaled, special), sign), to);
}

Value Emitter::e4m3ToF32(Value top) {
  Type words = top.getType(), to = withElement(words, f32());
  auto number = [&](uint32_t bits) { return constantOf(words, static_cast<int32_t>(bits)); };
  if (level.f16 && level.lanes == 8) {
    // Sign, exponent and fraction of an f16. With masks, at AVX-512, what is below is shorter.
    Value high = shiftRight(bitAnd(shiftRightSigned(top, 1), number(0xbf800000)), 16);
    Value half = arith::TruncIOp::create(builder, loc, withElement(words, i16()), high);
    return toF32(bitcast(half, withElement(words, builder.getF16Type())));
  }
  // With the bias of f16: +-2^(e - 15) (1 + m / 8).
  Value normal = bitcast(bitOr(bitAnd(shiftRightSigned(top, 4), number(0x87f00000)), number(0x38000000)), to);
  // Where e is 0 that is +-2^-15 (1 + m / 8) for +-2^-14 m / 8.
  Value one = bitcast(bitXor(bitAnd(top, number(0x80000000)), number(0xb8800000)), to); // -+2^-14
  Value subnormal = fma(normal, constantOf(to, 2), one);
  return select(eq(bitAnd(top, number(0x78000000)), 0), subnormal, normal);
}

Value Emitter::bitcast(Value a, Type to) { return a.getType() == to ? a : LLVM::BitcastOp::create(builder, loc, to, a); }

Value Emitter::toBf16(Value a) {
  Type half = withElement(a.getType(), i16());
  if (level.bf16Dots == Dots::native)
    return bitcast(arith::TruncFOp::create(builder, loc, withElement(a.getType(), builder.getBF16Type()), a), half);
  Value bits = bitcast(a, withElement(a.getType(), i32()));
  Value isOdd = bitAnd(shiftRight(bits, 16), constantOf(bits.getType(), 1));
  Value rounded = add(add(bits, 0x7fff), isOdd);
  Value quiet = bitOr(bits, constantOf(bits.getType(), 0x400000));
  return arith::TruncIOp::create(builder, loc, half, shiftRight(select(isNan(a), quiet, rounded), 16));
}

Value Emitter::roundTo(Type target, Value a) {
  Type integers = withElement(a.getType(), i32());
  Value bits = bitcast(a, integers);
  auto number = [&](int64_t value) { return constantOf(integers, static_cast<double>(value)); };
  auto nearest = [&](Value value, int64_t dropped) {
    Value isOdd = bitAnd(shiftRight(value, dropped), number(1));
    return bitAnd(add(add(value, number((1 << (dropped - 1)) - 1)), isOdd), number(-(1 << dropped)));
  };
  Value quiet = bitAnd(bitOr(bits, number(0x400000)), number(-65536)), isNumber = eq(a, a);
  if (target.isBF16())
    return bitcast(select(isNumber, nearest(bits, 16), quiet), a.getType());
  // Below 2^-14 multiples of 2^-24 are left, as they are of f32 from 1/2 on.
  Value size = bitAnd(bits, number(0x7fffffff)), sign = bitXor(bits, size), half = constantOf(a.getType(), 0.5);
  Value small = bitcast(sub(add(bitcast(size, a.getType()), half), half), integers);
  Value kept = select(lt(size, number(0x38800000)), small, nearest(size, 13));
  kept = select(ge(size, number(0x477ff000)), number(0x7f800000), kept); // from 65520 on
  return bitcast(select(isNumber, bitOr(kept, sign), quiet), a.getType());
}

Value Emitter::bitsOf(Type target, Value rounded) {
  Type half = withElement(rounded.getType(), i16()), integers = withElement(rounded.getType(), i32());
  if (target.isF16() && level.f16)
    return bitcast(arith::TruncFOp::create(builder, loc, withElement(rounded.getType(), target), rounded), half);
  Value bits = bitcast(rounded, integers);
  if (target.isBF16())
    return arith::TruncIOp::create(builder, loc, half, shiftRight(bits, 16));
  // The way back of `toF32`: nothing is lost, as the values have no more bits than f16.
  auto number = [&](int64_t value) { return constantOf(integers, static_cast<double>(value)); };
  Value size = bitAnd(bits, number(0x7fffffff)), sign = shiftRight(bitXor(bits, size), 16);
  Value scaled = bitcast(mul(bitcast(size, rounded.getType()), constantOf(rounded.getType(), 0x1p-112)), integers);
  Value finite = lt(size, number(0x7f800000)), special = bitOr(shiftRight(size, 13), number(0x7c00));
  Value kept = select(finite, shiftRight(scaled, 13), bitAnd(special, number(0x7fff)));
  return arith::TruncIOp::create(builder, loc, half, bitOr(kept, sign));
}

Value Emitter::lookup16(Value index, ArrayRef<float> table) {
  return callIntrinsic("llvm.x86.avx512.permvar.sf.512", vec(16), {constantVector(table), index});
}

// Lanes.

Value Emitter::extract(Value vector, int64_t lane) { return vector::ExtractOp::create(builder, loc, vector, lane); }
Value Emitter::insert(Value scalar, Value vector, int64_t lane) { return vector::InsertOp::create(builder, loc, scalar, vector, lane); }
Value Emitter::shuffle(Value a, Value b, ArrayRef<int64_t> lanes) { return vector::ShuffleOp::create(builder, loc, a, b, lanes); }

Value Emitter::reduce(Value vector, llvm::function_ref<Value(Value, Value)> combine) {
  for (int64_t lanes = lanesOf(vector); lanes > 1; lanes /= 2) {
    SmallVector<int64_t> low(lanes / 2), high(lanes / 2);
    std::iota(low.begin(), low.end(), 0);
    std::iota(high.begin(), high.end(), lanes / 2);
    vector = combine(shuffle(vector, vector, low), shuffle(vector, vector, high));
  }
  return extract(vector, 0);
}

Value Emitter::reduceAdd(Value vector) {
  return reduce(vector, [&](Value a, Value b) { return add(a, b); });
}
Value Emitter::reduceMax(Value vector) {
  return reduce(vector, [&](Value a, Value b) { return max(a, b); });
}
Value Emitter::reduceEach(Values vectors, llvm::function_ref<Value(Value, Value)> combine) {
  // Of two neighbours each round keeps half the lanes of either, their even and odd lanes combined; the last one goes on alone.
  const int64_t lanes = lanesOf(vectors.front());
  SmallVector<int64_t> even, odd;
  for (int64_t lane = 0; lane < 2 * lanes; lane += 2) {
    even.push_back(lane);
    odd.push_back(lane + 1);
  }
  vectors.resize(llvm::PowerOf2Ceil(vectors.size()), vectors.back());
  for (int64_t left = lanes; left > 1; left /= 2) {
    Values next;
    for (size_t i = 0; i < vectors.size(); i += 2) {
      Value other = i + 1 < vectors.size() ? vectors[i + 1] : vectors[i];
      next.push_back(combine(shuffle(vectors[i], other, even), shuffle(vectors[i], other, odd)));
    }
    vectors = next;
  }
  return vectors.front();
}
Value Emitter::reduceAddSplat(Value vector) { return splat(reduceAdd(vector), lanesOf(vector)); }
Value Emitter::reduceMaxSplat(Value vector) { return splat(reduceMax(vector), lanesOf(vector)); }

Emitter::Values Emitter::transpose(Values vectors) {
  // Each round rotates the bits of the place of a number, which are those of its vector before those of its lane, by one.
  const auto lanes = static_cast<int64_t>(vectors.size());
  llvm::SmallVector<int64_t> low, high;
  for (int64_t lane = 0; lane < lanes / 2; ++lane) {
    low.append({lane, lanes + lane});
    high.append({lanes / 2 + lane, lanes + lanes / 2 + lane});
  }
  for (int64_t round = 1; round < lanes; round *= 2) {
    Values next;
    for (int64_t i = 0; i < lanes / 2; ++i) {
      next.push_back(shuffle(vectors[i], vectors[lanes / 2 + i], low));
      next.push_back(shuffle(vectors[i], vectors[lanes / 2 + i], high));
    }
    vectors = next;
  }
  return vectors;
}
