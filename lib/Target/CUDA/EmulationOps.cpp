// What becomes of single ops, and the check before each access.
#include "EmulationLowering.h"
#include "ds/Target/CUDA/GpuEmitter.h"
#include "mlir/IR/Matchers.h"

using namespace mlir;
using namespace ds;

static constexpr llvm::StringLiteral accessName = "ds_access";

EmulationLowering::Rewrite EmulationLowering::intrinsic(LLVM::CallIntrinsicOp op) {
  llvm::StringRef name = op.getIntrin();
  if (name == "llvm.nvvm.ex2.approx.ftz.f")
    return SmallVector<Value>{emitEmulatedExp2(e, op.getArgs()[0])};
  if (name == "llvm.nvvm.rsqrt.approx.ftz.f")
    return SmallVector<Value>{emitEmulatedRsqrt(e, op.getArgs()[0])};
  return refuse(op, " of '" + name + "'");
}

EmulationLowering::Rewrite EmulationLowering::assembly(LLVM::InlineAsmOp op) {
  llvm::StringRef text = op.getAsmString();
  if (text.empty()) // Emitter::opaque
    return SmallVector<Value>(op.getOperands());
  if (!text.starts_with("ld.global.") || !text.ends_with(".v4.b32 {$0, $1, $2, $3}, [$4];"))
    return refuse(op, " of '" + text + "'");
  Value pointer = op.getOperand(0);
  check(op, {pointer, e.vec(4, e.i32()), {}, 0, 16}, 16, 1, 16);
  Value loaded = e.load(e.vec(4, e.i32()), pointer, 16);
  Value result = LLVM::UndefOp::create(builder, e.getLoc(), op.getResultTypes()[0]);
  for (int64_t i = 0; i < 4; ++i)
    result = LLVM::InsertValueOp::create(builder, e.getLoc(), result, e.extract(loaded, i), i);
  return SmallVector<Value>{result};
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

void EmulationLowering::check(Operation *op, const EmulatedAccess &access, int32_t elementBytes, int64_t lanes, uint64_t alignment) {
  Value opNumber = number(op);
  Value address = LLVM::PtrToIntOp::create(builder, e.getLoc(), e.i64(), access.pointer);
  Value range = e.at(field(e.ptr(), offsetof(DsEmulatedThread, ranges)), (opCount - 1) * static_cast<int64_t>(sizeof(DsEmulatedRange)));
  Value offset = e.sub(address, e.load(e.i64(), range));
  Value starts = e.load(e.i64(), e.at(range, static_cast<int64_t>(offsetof(DsEmulatedRange, starts))));
  Value bad = arith::CmpIOp::create(builder, e.getLoc(), arith::CmpIPredicate::uge, offset, starts);
  if (alignment > 1)
    bad = e.bitOr(bad, e.ne(e.bitAnd(address, e.constant(static_cast<int64_t>(alignment) - 1)), int64_t(0)));
  e.ifThen(bad, [&] {
    Value mask = access.mask;
    if (!mask)
      mask = e.constant(lanes == 64 ? -1 : (int64_t(1) << lanes) - 1);
    else
      mask = arith::ExtUIOp::create(builder, e.getLoc(), e.i64(), e.bitcast(mask, builder.getIntegerType(lanes)));
    SmallVector<Value> arguments{thread,
                                 opNumber,
                                 address,
                                 e.constantI32(elementBytes),
                                 e.constantI32(lanes),
                                 mask,
                                 e.constantI32(access.how),
                                 e.constantI32(static_cast<int32_t>(alignment))};
    auto function = cast<LLVM::LLVMFuncOp>(module.lookupSymbol(accessName));
    LLVM::CallOp::create(builder, e.getLoc(), function, arguments).setCConv(LLVM::cconv::CConv::PreserveAll);
  });
}

EmulationLowering::Rewrite EmulationLowering::checked(Operation *op, const EmulatedAccess &access) {
  Type element = getElementTypeOrSelf(access.type);
  auto vector = dyn_cast<VectorType>(access.type);
  const int64_t lanes = vector ? vector.getNumElements() : 1;
  int64_t bits = isa<LLVM::LLVMPointerType>(element) ? 64 : element.isIntOrFloat() ? element.getIntOrFloatBitWidth() : 0;
  if (bits == 0 || bits % 8 != 0 || lanes > 63)
    return refuse(op, " of this type");
  const int32_t bytes = static_cast<int32_t>(bits / 8);
  const uint64_t alignment = access.alignment ? access.alignment : llvm::PowerOf2Ceil(bytes * lanes);
  if (access.mask)
    check(op, access, bytes, lanes, alignment);
  else
    check(op, access, static_cast<int32_t>(bytes * lanes), 1, alignment);
  return Replacement();
}

/// The way to the runtime keeps every register of its caller, which hardly ever goes it. LLVM ends functions with a vzeroupper, which would
/// lose the upper halves: here it must not.
void EmulationLowering::addAccessFunction() {
  builder.setInsertionPointToEnd(module.getBody());
  auto type = LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(builder.getContext()),
                                          {e.ptr(), e.i32(), e.i64(), e.i32(), e.i32(), e.i64(), e.i32(), e.i32()});
  auto function = LLVM::LLVMFuncOp::create(builder, e.getLoc(), accessName, type, LLVM::Linkage::Internal);
  Attribute features = builder.getStrArrayAttr({"target-features", "-vzeroupper"});
  function.setPassthroughAttr(builder.getArrayAttr({builder.getStringAttr("noinline"), builder.getStringAttr("cold"), features}));
  function.setCConv(LLVM::cconv::CConv::PreserveAll);
  Block *entry = function.addEntryBlock(builder);
  builder.setInsertionPointToEnd(entry);
  thread = entry->getArgument(0);
  LLVM::CallIntrinsicOp::create(builder, e.getLoc(), builder.getStringAttr("llvm.x86.avx.vzeroupper"), ValueRange());
  callRuntime(offsetof(DsEmulatedCalls, access), {}, entry->getArguments().drop_front());
  LLVM::ReturnOp::create(builder, e.getLoc(), ValueRange());
}
