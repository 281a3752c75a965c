// What becomes of single ops, and the check before each access.
#include "EmulationLowering.h"
#include "ds/Target/CUDA/GpuEmitter.h"
#include "mlir/IR/Matchers.h"

using namespace mlir;
using namespace ds;

static constexpr llvm::StringLiteral accessName = "ds_access", checkName = "ds_check";

EmulationLowering::Rewrite EmulationLowering::intrinsic(LLVM::CallIntrinsicOp op) {
  llvm::StringRef name = op.getIntrin();
  if (name == "llvm.nvvm.ex2.approx.ftz.f")
    return SmallVector<Value>{emitEmulatedExp2(e, op.getArgs()[0])};
  if (name == "llvm.nvvm.rsqrt.approx.ftz.f")
    return SmallVector<Value>{emitEmulatedRsqrt(e, op.getArgs()[0])};
  return refuse(op, " of '" + name + "'");
}

EmulationLowering::Rewrite EmulationLowering::shuffle(gpu::ShuffleOp op) {
  const bool isXor = op.getMode() == gpu::ShuffleMode::XOR;
  if (!isXor && op.getMode() != gpu::ShuffleMode::IDX)
    return refuse(op, " of this mode");
  APInt width;
  if (!matchPattern(op.getWidth(), m_ConstantInt(&width)) || width != GpuEmitter::warpThreads)
    return refuse(op, " of another width than 32");
  Type type = op.getValue().getType();
  if (type != e.i32() && type != e.f32())
    return refuse(op, " of another type than i32 and f32");
  Value mode = e.constantI32(isXor ? DS_EMULATE_SHUFFLE_XOR : DS_EMULATE_SHUFFLE_INDEX);
  Value got =
      callRuntime(offsetof(DsEmulatedCalls, shuffle), e.i32(), {number(op), mode, e.bitcast(op.getValue(), e.i32()), op.getOffset()});
  return SmallVector<Value>{e.bitcast(got, type), e.constantBool(true)};
}

EmulationLowering::Rewrite EmulationLowering::mma(NVVM::MmaOp op) {
  auto a = op.getMultiplicandAPtxType(), b = op.getMultiplicandBPtxType();
  auto shape = op.getShape();
  if (shape.getM() != 16 || shape.getN() != 8 || shape.getK() != 16 || a != b || !a ||
      (*a != NVVM::MMATypes::bf16 && *a != NVVM::MMATypes::f16) || op.getOperandA().size() != 4 || op.getOperandB().size() != 2 ||
      op.getOperandC().size() != 4 || !llvm::all_of(op.getOperandC().getTypes(), [](Type type) { return type.isF32(); }))
    return refuse(op, " but m16n8k16 of bf16 or f16 with f32");
  if (!fragments) {
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPointAfterValue(thread);
    fragments = LLVM::AllocaOp::create(builder, e.getLoc(), e.ptr(), e.i8(), e.constantI32(sizeof(DsEmulatedFragments)), /*alignment=*/16);
  }
  int64_t offset = 0;
  for (Value value : op->getOperands()) {
    e.store(value.getType().isF32() ? value : e.bitcast(value, e.i32()), e.at(fragments, offset));
    offset += 4;
  }
  Value type = e.constantI32(*a == NVVM::MMATypes::bf16 ? DS_EMULATE_BF16 : DS_EMULATE_F16);
  callRuntime(offsetof(DsEmulatedCalls, mma), {}, {number(op), type, fragments});
  Value result = LLVM::UndefOp::create(builder, e.getLoc(), op.getRes().getType());
  for (int64_t i = 0; i < 4; ++i) {
    Value sum = e.load(e.f32(), e.at(fragments, static_cast<int64_t>(offsetof(DsEmulatedFragments, c)) + 4 * i));
    result = LLVM::InsertValueOp::create(builder, e.getLoc(), result, sum, i);
  }
  return SmallVector<Value>{result};
}

EmulationLowering::Rewrite EmulationLowering::copy(NVVM::CpAsyncOp op) {
  if (op.getSize() != 16)
    return refuse(op, " of another size than 16");
  auto address = [&](Value pointer) { return LLVM::PtrToIntOp::create(builder, e.getLoc(), e.i64(), pointer); };
  Value bytes = op.getCpSize() ? Value(op.getCpSize()) : e.constantI32(16);
  callRuntime(offsetof(DsEmulatedCalls, copy), {}, {number(op), address(op.getDst()), address(op.getSrc()), bytes});
  return SmallVector<Value>();
}

EmulationLowering::Rewrite EmulationLowering::truncate(arith::TruncFOp op) {
  Type to = getElementTypeOrSelf(op.getType()), from = getElementTypeOrSelf(op.getIn().getType());
  if (!from.isF32() || (!to.isBF16() && !to.isF16()))
    return refuse(op, " but from f32 to bf16 or f16");
  if (to.isF16()) // an instruction
    return Replacement();
  return SmallVector<Value>{e.bitcast(e.toBf16(op.getIn()), op.getType())};
}

void EmulationLowering::check(Operation *op, const EmulatedAccess &access, const DsEmulatedOp &described) {
  Value address = LLVM::PtrToIntOp::create(builder, e.getLoc(), e.i64(), access.pointer), mask = e.constant(1);
  if (access.mask)
    mask = arith::ExtUIOp::create(builder, e.getLoc(), e.i64(), e.bitcast(access.mask, builder.getIntegerType(described.lanes)));
  auto function = cast<LLVM::LLVMFuncOp>(module.lookupSymbol(checkName));
  LLVM::CallOp::create(builder, e.getLoc(), function, ValueRange{thread, number(op, described), address, mask})
      .setCConv(LLVM::cconv::CConv::PreserveAll);
}

EmulationLowering::Rewrite EmulationLowering::checked(Operation *op, const EmulatedAccess &access) {
  Type element = getElementTypeOrSelf(access.type);
  auto vector = dyn_cast<VectorType>(access.type);
  const int64_t lanes = vector ? vector.getNumElements() : 1;
  int64_t bits = isa<LLVM::LLVMPointerType>(element) ? 64 : element.isIntOrFloat() ? element.getIntOrFloatBitWidth() : 0;
  if (bits == 0 || bits % 8 != 0 || lanes > 64)
    return refuse(op, " of this type");
  const auto bytes = static_cast<int32_t>(bits / 8), all = static_cast<int32_t>(bytes * lanes);
  const auto alignment = static_cast<int32_t>(access.alignment ? access.alignment : llvm::PowerOf2Ceil(all));
  if (access.mask)
    check(op, access, {bytes, static_cast<int32_t>(lanes), access.how, alignment});
  else
    check(op, access, {all, 1, access.how, alignment});
  return Replacement();
}

/// A function of a thread, an op, an address and a mask that keeps every register of its caller. LLVM ends functions with a vzeroupper,
/// which would lose the upper halves: here it must not.
LLVM::LLVMFuncOp EmulationLowering::startCheck(llvm::StringRef name) {
  builder.setInsertionPointToEnd(module.getBody());
  auto type = LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(builder.getContext()), {e.ptr(), e.i32(), e.i64(), e.i64()});
  auto function = LLVM::LLVMFuncOp::create(builder, e.getLoc(), name, type, LLVM::Linkage::Internal);
  Attribute features = builder.getStrArrayAttr({"target-features", "-vzeroupper"});
  function.setPassthroughAttr(builder.getArrayAttr({builder.getStringAttr("noinline"), features}));
  function.setCConv(LLVM::cconv::CConv::PreserveAll);
  builder.setInsertionPointToEnd(function.addEntryBlock(builder));
  thread = function.getArgument(0);
  return function;
}

/// `ds_check` calls `ds_access`, and that the runtime, where the range of the op does not say that all is well. As calls, checks do not
/// multiply the blocks of a kernel, and it is compiled in a third of the time.
void EmulationLowering::addCheckFunctions() {
  LLVM::LLVMFuncOp toRuntime = startCheck(accessName);
  LLVM::CallIntrinsicOp::create(builder, e.getLoc(), builder.getStringAttr("llvm.x86.avx.vzeroupper"), ValueRange());
  callRuntime(offsetof(DsEmulatedCalls, access), {}, toRuntime.getArguments().drop_front());
  LLVM::ReturnOp::create(builder, e.getLoc(), ValueRange());

  LLVM::LLVMFuncOp function = startCheck(checkName);
  Value op = function.getArgument(1), address = function.getArgument(2);
  Value range = e.at(field(e.ptr(), offsetof(DsEmulatedThread, ranges)), e.mul(e.toI64(op), sizeof(DsEmulatedRange)));
  auto load = [&](size_t offset) { return e.load(e.i64(), e.at(range, static_cast<int64_t>(offset))); };
  Value offset = e.sub(address, load(offsetof(DsEmulatedRange, begin)));
  Value isOutside = arith::CmpIOp::create(builder, e.getLoc(), arith::CmpIPredicate::uge, offset, load(offsetof(DsEmulatedRange, starts)));
  Value isMisaligned = e.ne(e.bitAnd(address, load(offsetof(DsEmulatedRange, misaligned))), int64_t(0));
  e.ifThen(e.bitOr(isOutside, isMisaligned), [&] {
    LLVM::CallOp::create(builder, e.getLoc(), toRuntime, function.getArguments()).setCConv(LLVM::cconv::CConv::PreserveAll);
  });
  LLVM::ReturnOp::create(builder, e.getLoc(), ValueRange());
}
