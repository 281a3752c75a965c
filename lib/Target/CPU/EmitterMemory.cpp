// Memory, control flow and functions of the emitter.
#include "ds/Target/CPU/Emitter.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace ds;

static unsigned bytesOf(Type type) {
  Type element = getElementTypeOrSelf(type);
  return isa<LLVM::LLVMPointerType>(element) ? 8 : llvm::divideCeil(element.getIntOrFloatBitWidth(), 8);
}

Value Emitter::at(Value pointer, Value bytes) {
  return LLVM::GEPOp::create(builder, loc, ptr(), i8(), pointer, ArrayRef<LLVM::GEPArg>{bytes}, LLVM::GEPNoWrapFlags::inbounds);
}

Value Emitter::at(Value pointer, int64_t bytes) { return bytes == 0 ? pointer : at(pointer, constant(bytes)); }

Value Emitter::element(Value pointer, Type element, Value index) {
  return LLVM::GEPOp::create(builder, loc, ptr(), element, pointer, ArrayRef<LLVM::GEPArg>{index}, LLVM::GEPNoWrapFlags::inbounds);
}

Value Emitter::load(Type type, Value pointer, unsigned alignment) {
  return LLVM::LoadOp::create(builder, loc, type, pointer, alignment ? alignment : bytesOf(type));
}

void Emitter::store(Value value, Value pointer, unsigned alignment) {
  LLVM::StoreOp::create(builder, loc, value, pointer, alignment ? alignment : bytesOf(value.getType()));
}

Value Emitter::maskedLoad(VectorType type, Value pointer, Value mask) {
  return LLVM::MaskedLoadOp::create(builder, loc, type, pointer, mask, zero(type), builder.getI32IntegerAttr(bytesOf(type)), UnitAttr());
}

void Emitter::maskedStore(Value value, Value pointer, Value mask) {
  LLVM::MaskedStoreOp::create(builder, loc, value, pointer, mask, builder.getI32IntegerAttr(bytesOf(value.getType())));
}

Value Emitter::loadF32(Type from, Value pointer, int64_t lanes) {
  // Through integers: two-byte floats have no registers of their own below AVX-512.
  const bool asIntegers = from.isBF16() || (from.isF16() && !level.f16);
  Type type = asIntegers ? i16() : from;
  if (lanes)
    type = vec(lanes, type);
  Value loaded = load(type, pointer);
  if (asIntegers)
    loaded = bitcast(loaded, lanes ? Type(vec(lanes, from)) : from);
  return toF32(loaded);
}

Value Emitter::laneMask(Value count, int64_t lanes) { return lt(iota(lanes, i64()), splat(count, lanes)); }

Value Emitter::laneMask(int64_t count, int64_t lanes) {
  SmallVector<bool> mask;
  for (int64_t lane = 0; lane < lanes; ++lane)
    mask.push_back(lane < count);
  return arith::ConstantOp::create(builder, loc, DenseElementsAttr::get(vec(lanes, i1()), mask));
}

Value Emitter::loadFirst(Value pointer, int64_t count, int64_t lanes) {
  if (count >= lanes)
    return load(vec(lanes), pointer);
  if (count <= 0)
    return zero(vec(lanes));
  return maskedLoad(vec(lanes), pointer, laneMask(count, lanes));
}

void Emitter::storeFirst(Value value, Value pointer, int64_t count) {
  if (count >= lanesOf(value))
    store(value, pointer);
  else if (count > 0)
    maskedStore(value, pointer, laneMask(count, lanesOf(value)));
}

Value Emitter::loadRow(Type element, Value pointer, int64_t count, int64_t lanes) {
  if (element.isF32())
    return loadFirst(pointer, count, lanes);
  if (count <= 0)
    return zero(vec(lanes));
  VectorType bits = vec(lanes, i16());
  Value loaded = count >= lanes ? load(bits, pointer) : maskedLoad(bits, pointer, laneMask(count, lanes));
  return toF32(bitcast(loaded, vec(lanes, element)));
}

Value Emitter::loadRow(Type element, Value pointer, Value mask) {
  const int64_t lanes = lanesOf(mask);
  if (element.isF32())
    return maskedLoad(vec(lanes), pointer, mask);
  return toF32(bitcast(maskedLoad(vec(lanes, i16()), pointer, mask), vec(lanes, element)));
}

void Emitter::storeRow(Type element, Value value, Value pointer, int64_t count) {
  if (element.isF32())
    return storeFirst(value, pointer, count);
  Value bits = bitsOf(element, value);
  if (count == 1) // a masked store of a single lane that was truncated writes four bytes
    return store(extract(bits, 0), pointer);
  storeFirst(bits, pointer, count);
}

void Emitter::storeRow(Type element, Value value, Value pointer, Value mask) {
  maskedStore(element.isF32() ? value : bitsOf(element, value), pointer, mask);
}

void Emitter::prefetch(Value pointer, int locality) {
  LLVM::Prefetch::create(builder, loc, pointer, /*rw=*/0, /*hint=*/locality, /*cache=*/1);
}

Value Emitter::distance(Value from, Value to) {
  auto number = [&](Value pointer) { return LLVM::PtrToIntOp::create(builder, loc, i64(), pointer).getResult(); };
  return sub(number(to), number(from));
}

Value Emitter::opaque(Value pointer) {
  return LLVM::InlineAsmOp::create(builder, loc, pointer.getType(), pointer, /*asm_string=*/"", /*constraints=*/"=r,0",
                                   /*has_side_effects=*/false, /*is_align_stack=*/false, LLVM::tailcallkind::TailCallKind::None,
                                   LLVM::AsmDialectAttr(), ArrayAttr())
      .getResult(0);
}

Value Emitter::stack(int64_t bytes) {
  OpBuilder::InsertionGuard guard(builder);
  auto function = builder.getInsertionBlock()->getParent()->getParentOfType<LLVM::LLVMFuncOp>();
  builder.setInsertionPointToStart(&function.getBody().front());
  return LLVM::AllocaOp::create(builder, loc, ptr(), i8(), constant(bytes), /*alignment=*/64);
}

// Control flow.

SmallVector<Value> Emitter::forRange(Value begin, Value end, Value step, ValueRange initial,
                                     llvm::function_ref<Values(Value, ValueRange)> body) {
  auto loop = scf::ForOp::create(builder, loc, begin, end, step, initial, [&](OpBuilder &inner, Location, Value index, ValueRange carried) {
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPoint(inner.getInsertionBlock(), inner.getInsertionPoint());
    Values next = body(index, carried);
    scf::YieldOp::create(builder, loc, next);
  });
  return Values(loop.getResults());
}

SmallVector<Value> Emitter::forRange(Value begin, Value end, int64_t step, ValueRange initial,
                                     llvm::function_ref<Values(Value, ValueRange)> body) {
  return forRange(begin, end, constantOf(begin.getType(), step), initial, body);
}

void Emitter::forRange(Value begin, Value end, Value step, llvm::function_ref<void(Value)> body) {
  forRange(begin, end, step, ValueRange(), [&](Value index, ValueRange) {
    body(index);
    return Values();
  });
}

void Emitter::forRange(Value begin, Value end, int64_t step, llvm::function_ref<void(Value)> body) {
  forRange(begin, end, constantOf(begin.getType(), step), body);
}

SmallVector<Value> Emitter::ifElse(Value condition, TypeRange types, llvm::function_ref<Values()> then,
                                   llvm::function_ref<Values()> otherwise) {
  auto branch = scf::IfOp::create(builder, loc, types, condition, /*addThenBlock=*/true, /*addElseBlock=*/true);
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToStart(branch.thenBlock());
  scf::YieldOp::create(builder, loc, then());
  builder.setInsertionPointToStart(branch.elseBlock());
  scf::YieldOp::create(builder, loc, otherwise());
  return Values(branch.getResults());
}

void Emitter::ifElse(Value condition, llvm::function_ref<void()> then, llvm::function_ref<void()> otherwise) {
  ifElse(condition, TypeRange(), [&] { return then(), Values(); }, [&] { return otherwise(), Values(); });
}

void Emitter::ifThen(Value condition, llvm::function_ref<void()> then) {
  ifElse(condition, then, [] {});
}

// Functions.

void Emitter::call(llvm::StringRef name, ValueRange arguments, llvm::function_ref<void(ValueRange)> body) {
  auto function = module.lookupSymbol<LLVM::LLVMFuncOp>(name);
  if (!function) {
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPointToEnd(module.getBody());
    SmallVector<Type> types(arguments.getTypes());
    auto type = LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(builder.getContext()), types);
    function = LLVM::LLVMFuncOp::create(builder, loc, name, type, LLVM::Linkage::Internal);
    function.setPassthroughAttr(builder.getStrArrayAttr({"noinline"}));
    builder.setInsertionPointToEnd(function.addEntryBlock(builder));
    body(function.getArguments());
    LLVM::ReturnOp::create(builder, loc, ValueRange());
  }
  LLVM::CallOp::create(builder, loc, function, arguments);
}
