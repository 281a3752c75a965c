// The assembly that GpuEmitter writes, by its text.
#include "Assembly.h"
#include "EmulationLowering.h"

using namespace mlir;
using namespace ds;

EmulationLowering::Rewrite EmulationLowering::assembly(LLVM::InlineAsmOp op) {
  llvm::StringRef text = op.getAsmString();
  auto operand = [&](unsigned i) { return op.getOperand(i); };
  auto call = [&](size_t function, SmallVector<Value> arguments) {
    callRuntime(function, {}, arguments);
    return SmallVector<Value>();
  };
  if (text.empty()) // Emitter::opaque
    return SmallVector<Value>(op.getOperands());
  if (text == assembly::initPhase)
    return call(offsetof(DsEmulatedCalls, phase_init), {number(op), operand(0), operand(1)});
  if (text == assembly::showPhases)
    return call(offsetof(DsEmulatedCalls, phase_show), {});
  if (text == assembly::arrive)
    return call(offsetof(DsEmulatedCalls, phase_arrive), {number(op), operand(0), e.constantI32(0)});
  if (text == assembly::arriveExpecting)
    return call(offsetof(DsEmulatedCalls, phase_arrive), {number(op), operand(0), operand(1)});
  if (text == assembly::waitPhase)
    return call(offsetof(DsEmulatedCalls, phase_wait), {number(op), operand(0), operand(1)});
  if (text == assembly::copyBulk) {
    Value from = LLVM::PtrToIntOp::create(builder, e.getLoc(), e.i64(), operand(1));
    return call(offsetof(DsEmulatedCalls, bulk_copy), {number(op), operand(0), from, operand(2), operand(3)});
  }
  if (text == assembly::wgmmaFence) {
    callRuntime(offsetof(DsEmulatedCalls, wgmma_fence), {}, number(op));
    Value same = LLVM::UndefOp::create(builder, e.getLoc(), op.getResultTypes()[0]);
    for (auto [i, value] : llvm::enumerate(op.getOperands()))
      same = LLVM::InsertValueOp::create(builder, e.getLoc(), same, value, static_cast<int64_t>(i));
    return SmallVector<Value>{same};
  }
  if (text == assembly::wgmmaCommit)
    return call(offsetof(DsEmulatedCalls, wgmma_commit), {number(op)});
  if (text.starts_with(assembly::wgmmaWait))
    return wgmmaWait(op);
  if (text.starts_with(assembly::wgmma))
    return wgmma(op);
  if (text != assembly::loadStream)
    return refuse(op, " of '" + text + "'");
  Value pointer = op.getOperand(0);
  check(op, {pointer, {}, {}}, {16, 1, 0, 16});
  Value loaded = e.load(e.vec(4, e.i32()), pointer, 16);
  Value result = LLVM::UndefOp::create(builder, e.getLoc(), op.getResultTypes()[0]);
  for (int64_t i = 0; i < 4; ++i)
    result = LLVM::InsertValueOp::create(builder, e.getLoc(), result, e.extract(loaded, i), i);
  return SmallVector<Value>{result};
}

void EmulationLowering::storeValues(ValueRange words, ValueRange sums) {
  if (!warpgroupValues) {
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPointAfterValue(thread);
    warpgroupValues =
        LLVM::AllocaOp::create(builder, e.getLoc(), e.ptr(), e.i8(), e.constantI32(sizeof(DsEmulatedWarpgroup)), /*alignment=*/16);
  }
  for (auto [i, word] : llvm::enumerate(words))
    e.store(word, e.at(warpgroupValues, static_cast<int64_t>(i) * 4));
  for (auto [i, sum] : llvm::enumerate(sums))
    e.store(sum, e.at(warpgroupValues, static_cast<int64_t>(offsetof(DsEmulatedWarpgroup, sums) + i * 4)));
}

Value EmulationLowering::loadSums(Type result, int64_t count) {
  Value all = LLVM::UndefOp::create(builder, e.getLoc(), result);
  for (int64_t i = 0; i < count; ++i) {
    Value sum = e.load(e.f32(), e.at(warpgroupValues, static_cast<int64_t>(offsetof(DsEmulatedWarpgroup, sums)) + i * 4));
    all = LLVM::InsertValueOp::create(builder, e.getLoc(), all, sum, i);
  }
  return all;
}

EmulationLowering::Rewrite EmulationLowering::wgmma(LLVM::InlineAsmOp op) {
  const auto count = static_cast<int64_t>(op.getNumOperands()) - 5; // behind 4 words and the second factor
  const int64_t columns = count * 2;
  const bool isBf16 = op.getAsmString() == assembly::wgmmaText(MmaType::bf16, columns);
  if (count > DS_EMULATE_WARPGROUP_SUMS || (!isBf16 && op.getAsmString() != assembly::wgmmaText(MmaType::f16, columns)))
    return refuse(op, " of '" + op.getAsmString() + "'");
  storeValues(op.getOperands().take_front(4), op.getOperands().drop_front(5));
  Value type = e.constantI32(isBf16 ? DS_EMULATE_BF16 : DS_EMULATE_F16);
  callRuntime(offsetof(DsEmulatedCalls, wgmma), {},
              {number(op), type, e.constantI32(static_cast<int32_t>(columns)), op.getOperand(4), warpgroupValues});
  return SmallVector<Value>{loadSums(op.getResultTypes()[0], count)};
}

EmulationLowering::Rewrite EmulationLowering::wgmmaWait(LLVM::InlineAsmOp op) {
  int32_t pending = 0;
  if (op.getAsmString().drop_front(assembly::wgmmaWait.size()).drop_back().trim().getAsInteger(10, pending))
    return refuse(op, " of '" + op.getAsmString() + "'");
  const auto count = static_cast<int64_t>(cast<LLVM::LLVMStructType>(op.getResultTypes()[0]).getBody().size());
  storeValues({}, op.getOperands().take_back(count));
  callRuntime(offsetof(DsEmulatedCalls, wgmma_wait), {},
              {number(op), e.constantI32(pending), e.constantI32(static_cast<int32_t>(count)), warpgroupValues});
  return SmallVector<Value>{loadSums(op.getResultTypes()[0], count)};
}
