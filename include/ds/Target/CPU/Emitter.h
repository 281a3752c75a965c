// A small language over OpBuilder in which kernels are written: loops and ifs with lambdas, arithmetic that looks at its operands' types,
// and memory as pointer and byte offset. Pointers are `!llvm.ptr`, sizes and indices i64.
#ifndef DS_TARGET_CPU_EMITTER_H
#define DS_TARGET_CPU_EMITTER_H

#include "ds/Target/CPU/Level.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/BuiltinTypes.h"
#include "llvm/ADT/STLFunctionalExtras.h"

namespace ds {

/// Emits ops at the builder's insertion point. In two-operand arithmetic a scalar meets a vector as its splat; `int64_t` operands become
/// constants of the other operand's type (also of a float type).
class Emitter {
public:
  using Value = mlir::Value;
  using Values = llvm::SmallVector<mlir::Value>;

  /// `module` gets the functions that `call` makes.
  Emitter(mlir::OpBuilder &builder, mlir::ModuleOp module, const CpuLevel &level)
      : builder(builder), module(module), loc(module.getLoc()), level(level) {}

  mlir::OpBuilder &getBuilder() { return builder; }
  mlir::Location getLoc() const { return loc; }
  const CpuLevel &getLevel() const { return level; }

  // Types.
  mlir::Type i1() { return builder.getI1Type(); }
  mlir::Type i8() { return builder.getI8Type(); }
  mlir::Type i16() { return builder.getIntegerType(16); }
  mlir::Type i32() { return builder.getI32Type(); }
  mlir::Type i64() { return builder.getI64Type(); }
  mlir::Type f32() { return builder.getF32Type(); }
  mlir::Type ptr();
  mlir::VectorType vec(int64_t lanes, mlir::Type element) { return mlir::VectorType::get({lanes}, element); }
  mlir::VectorType vec(int64_t lanes) { return vec(lanes, f32()); }
  /// A full f32 vector of the level.
  mlir::VectorType vec() { return vec(level.lanes); }
  /// Lanes of a value, 1 for a scalar.
  static int64_t lanesOf(Value value);
  /// i32 with as many lanes as `value`.
  mlir::Type integersLike(Value value) { return lanesOf(value) > 1 ? mlir::Type(vec(lanesOf(value), i32())) : i32(); }

  // Constants.
  Value constant(int64_t value);                   // i64
  Value constantI32(int32_t value);                // i32
  Value constantBool(bool value);                  // i1
  Value constantF32(float value);                  // f32
  Value constantOf(mlir::Type type, double value); // any scalar or splat vector type, integer or float
  Value constantVector(llvm::ArrayRef<float> lanes);
  Value constantVector(llvm::ArrayRef<int32_t> lanes);
  Value zero(mlir::Type type) { return constantOf(type, 0); }
  Value infinity(mlir::Type type, bool negative = false);
  Value splat(Value scalar, int64_t lanes);
  Value splat(Value scalar) { return splat(scalar, level.lanes); }
  Value iota(int64_t lanes, mlir::Type element); // 0, 1, 2 ..., integers
  Value nullPointer();

  // Arithmetic on integers (signed), floats, and vectors of them.
  Value add(Value a, Value b);
  Value sub(Value a, Value b);
  Value mul(Value a, Value b);
  Value div(Value a, Value b); // integers: rounds to zero
  Value rem(Value a, Value b);
  Value add(Value a, int64_t b) { return add(a, constantOf(a.getType(), b)); }
  Value sub(Value a, int64_t b) { return sub(a, constantOf(a.getType(), b)); }
  Value mul(Value a, int64_t b) { return mul(a, constantOf(a.getType(), b)); }
  Value div(Value a, int64_t b) { return div(a, constantOf(a.getType(), b)); }
  Value rem(Value a, int64_t b) { return rem(a, constantOf(a.getType(), b)); }
  /// a * b + c, one rounding where the level has it.
  Value fma(Value a, Value b, Value c);
  Value neg(Value a);
  Value abs(Value a); // floats
  Value sqrt(Value a);
  Value roundEven(Value a); // to an integral float
  Value floor(Value a);
  /// a < b ? a : b and a > b ? a : b; one instruction. `b` when either is NaN.
  Value min(Value a, Value b);
  Value max(Value a, Value b);
  Value min(Value a, int64_t b) { return min(a, constantOf(a.getType(), b)); }
  Value max(Value a, int64_t b) { return max(a, constantOf(a.getType(), b)); }
  Value bitAnd(Value a, Value b); // also of i1
  Value bitOr(Value a, Value b);
  Value bitXor(Value a, Value b);
  Value shiftLeft(Value a, int64_t bits);
  Value shiftRight(Value a, int64_t bits); // logical
  Value shiftRight(Value a, Value bits);
  Value shiftRightSigned(Value a, int64_t bits);
  Value ceilDiv(Value a, int64_t b); // a >= 0
  Value roundUp(Value a, int64_t b) { return mul(ceilDiv(a, b), b); }

  // Comparisons (floats: ordered, false on NaN; `ne` true on NaN), and choice.
  Value lt(Value a, Value b);
  Value le(Value a, Value b);
  Value gt(Value a, Value b) { return lt(b, a); }
  Value ge(Value a, Value b) { return le(b, a); }
  Value eq(Value a, Value b);
  Value ne(Value a, Value b);
  Value lt(Value a, int64_t b) { return lt(a, constantOf(a.getType(), b)); }
  Value le(Value a, int64_t b) { return le(a, constantOf(a.getType(), b)); }
  Value gt(Value a, int64_t b) { return gt(a, constantOf(a.getType(), b)); }
  Value ge(Value a, int64_t b) { return ge(a, constantOf(a.getType(), b)); }
  Value eq(Value a, int64_t b) { return eq(a, constantOf(a.getType(), b)); }
  Value ne(Value a, int64_t b) { return ne(a, constantOf(a.getType(), b)); }
  Value isNan(Value a) { return ne(a, a); }
  /// `condition` is i1 or a vector of i1.
  Value select(Value condition, Value a, Value b);

  // Conversions; vectors keep their lanes.
  Value toI64(Value a); // sign extension
  Value toI32(Value a); // from i64 truncation, from a float to the nearest towards zero (in range)
  Value toI16(Value a); // from i32 truncation
  /// Whether the level has the next, and a sum of bytes by `dotOfBytes`.
  bool packsBytes() const { return level.lanes == 16 && level.byteDots != Dots::pairwise; }
  /// The nearest integers of four vectors of f32, as bytes, in one; -128 and 127 beyond them, -128 of NaN.
  Value toNearestI8(mlir::ValueRange four);
  Value toI8(Value a);
  Value toF32(Value a); // from signed integers, bf16, f16
  /// The number of 8 bits (e4m3, not its NaN) in the top byte of i32 times 2^-8, as f32. A zero may lose its sign. No f32 operand is
  /// subnormal, which would cost a hundred cycles.
  Value e4m3ToF32(Value top);
  Value bitcast(Value a, mlir::Type to);
  /// f32 of the low and the high half of 32-bit lanes that hold a pair of bf16 each.
  Value lowOfPairs(Value pairs) { return bitcast(shiftLeft(pairs, 16), vec(lanesOf(pairs))); }
  Value highOfPairs(Value pairs) { return bitcast(bitAnd(pairs, constantOf(pairs.getType(), -65536)), vec(lanesOf(pairs))); }
  /// bf16 of f32 as i16: to the nearest, ties to even; a NaN stays a NaN. The instruction takes subnormals for zero.
  Value toBf16(Value a);
  /// The bits, i16, of f32 that `roundTo` gave.
  Value bitsOf(mlir::Type target, Value rounded);
  /// f32 rounded to what `target`, bf16 or f16, holds: to the nearest, ties to even; a NaN stays a NaN. The same on all levels.
  Value roundTo(mlir::Type target, Value a);
  /// sum[i] + the products of the pairs of bf16 in the 32-bit lanes i, in f32; for levels that have `bf16Dots`.
  Value dotOfPairs(Value a, Value b, Value sum);
  /// sum[i] + the products of the four unsigned bytes in the 32-bit lane i of `a` and the signed ones of `b`; for levels whose `byteDots`
  /// are native or emulated.
  Value dotOfBytes(Value a, Value b, Value sum);
  /// sum[i] - the products of the two signed words of 16 bits in the 32-bit lanes i; for levels whose `byteDots` are pairwise, as the next.
  Value minusDotOfWords(Value a, Value b, Value sum);
  /// The sums, in 16 bits, of the products of two unsigned bytes of `a` and the signed ones of `b`: exact where these hold them.
  Value sumsOfBytes(Value a, Value b);
  /// table[index[i] % 16] of 16 lanes, with one instruction; for levels that have it.
  bool hasLookup16() const { return level.lanes == 16; }
  Value lookup16(Value index, llvm::ArrayRef<float> table);

  // Lanes.
  Value extract(Value vector, int64_t lane);
  Value insert(Value scalar, Value vector, int64_t lane);
  Value shuffle(Value a, Value b, llvm::ArrayRef<int64_t> lanes);
  /// As many vectors as they have lanes: lane `j` of vector `i` becomes lane `i` of vector `j`.
  Values transpose(Values vectors);
  Value reduceAdd(Value vector); // by halves
  Value reduceMax(Value vector); // by halves, of `max`
  /// Lane `i` becomes the reduction of vector `i`; vectors are no more than their lanes.
  Value reduceEach(Values vectors, llvm::function_ref<Value(Value, Value)> combine);
  /// The splat in every lane, without leaving vector registers.
  Value reduceAddSplat(Value vector);
  Value reduceMaxSplat(Value vector);

  // Memory. Offsets are bytes; `alignment` 0 means that of the element.
  Value at(Value pointer, Value bytes);
  Value at(Value pointer, int64_t bytes);
  /// Address of element `index` of an array of `element`.
  Value element(Value pointer, mlir::Type element, Value index);
  Value load(mlir::Type type, Value pointer, unsigned alignment = 0);
  void store(Value value, Value pointer, unsigned alignment = 0);
  /// Lanes with a false mask are zero and not touched in memory.
  Value maskedLoad(mlir::VectorType type, Value pointer, Value mask);
  void maskedStore(Value value, Value pointer, Value mask);
  /// Loads `lanes` (0: a scalar) of type `from` (f32, bf16 or f16) as f32.
  Value loadF32(mlir::Type from, Value pointer, int64_t lanes);
  /// The mask of the first `count` lanes; any `count`, also negative or above `lanes`.
  Value laneMask(Value count, int64_t lanes);
  Value laneMask(int64_t count, int64_t lanes);
  /// The first `count` lanes of f32, zeros behind; a plain load where `count >= lanes`. Never touches memory behind `count`.
  Value loadFirst(Value pointer, int64_t count, int64_t lanes);
  void storeFirst(Value value, Value pointer, int64_t count);
  /// The same of rows of `element`: f32, or bf16 or f16, which are widened, or hold what was rounded to them.
  Value loadRow(mlir::Type element, Value pointer, int64_t count, int64_t lanes);
  Value loadRow(mlir::Type element, Value pointer, Value mask);
  void storeRow(mlir::Type element, Value value, Value pointer, int64_t count);
  void storeRow(mlir::Type element, Value value, Value pointer, Value mask);
  void prefetch(Value pointer, int locality = 3);
  /// `pointer`, and LLVM cannot see that it is: a loop that carries it keeps it in a register of its own, not as base plus index.
  Value opaque(Value pointer);
  Value distance(Value from, Value to); // of two pointers, in bytes
  /// `bytes` of stack of the function, aligned to 64.
  Value stack(int64_t bytes);

  // Control flow.
  void forRange(Value begin, Value end, int64_t step, llvm::function_ref<void(Value)> body);
  Values forRange(Value begin, Value end, int64_t step, mlir::ValueRange initial, llvm::function_ref<Values(Value, mlir::ValueRange)> body);
  /// The same with a step known at run time, above 0.
  void forRange(Value begin, Value end, Value step, llvm::function_ref<void(Value)> body);
  Values forRange(Value begin, Value end, Value step, mlir::ValueRange initial, llvm::function_ref<Values(Value, mlir::ValueRange)> body);
  void ifThen(Value condition, llvm::function_ref<void()> then);
  void ifElse(Value condition, llvm::function_ref<void()> then, llvm::function_ref<void()> otherwise);
  Values ifElse(Value condition, mlir::TypeRange types, llvm::function_ref<Values()> then, llvm::function_ref<Values()> otherwise);

  // Functions.
  /// Calls the internal function `name` of the module, which `body` makes from its arguments when there is none yet: code that many kernels
  /// share. `body` may use constants and its arguments alone.
  void call(llvm::StringRef name, mlir::ValueRange arguments, llvm::function_ref<void(mlir::ValueRange)> body);

private:
  /// Gives `a` and `b` one type.
  void unify(Value &a, Value &b);
  Value reduce(Value vector, llvm::function_ref<Value(Value, Value)> combine);
  Value callIntrinsic(llvm::StringRef name, mlir::Type type, mlir::ValueRange operands);

  mlir::OpBuilder &builder;
  mlir::ModuleOp module;
  mlir::Location loc;
  const CpuLevel &level;
};

} // namespace ds
#endif // DS_TARGET_CPU_EMITTER_H
