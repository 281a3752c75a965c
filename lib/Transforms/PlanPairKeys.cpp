// Keys and values of a step without a cache in pairs of bf16, and attention to a cache that may round.
#include "dialects/DS/DSDialect.h"
#include "dialects/DSPlan/CacheLayout.h"
#include "dialects/DSPlan/DSPlanDialect.h"
#include "ds/Transforms/Passes.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Remarks.h"
#include "mlir/IR/SymbolTable.h"

using namespace mlir;

namespace ds {
#define GEN_PASS_DEF_PLANPAIRKEYS
#include "ds/Transforms/Passes.h.inc"
} // namespace ds

using namespace ds;
using namespace ds_plan;

/// Why `rows` of so many heads stay f32; empty where they need not.
static StringRef whyNotOfHeads(Value rows, uint64_t heads) {
  const int64_t width = cast<RankedTensorType>(rows.getType()).getDimSize(2);
  return width / static_cast<int64_t>(heads) % CacheLayout::pairedHead == 0 ? "" : "the head size is no multiple of 16";
}

/// Why what `launch` reads or writes by `use` cannot lie in pairs; empty where it can.
static StringRef whyNot(OpOperand &use, const SymbolTable &symbols) {
  auto launch = dyn_cast<LaunchOp>(use.getOwner());
  if (!launch)
    return "a switch chooses between buffers";
  Block &body = symbols.lookup<KernelOp>(launch.getKernel()).getBody().front();
  const unsigned number = use.getOperandNumber(), ins = launch.getIns().size(), inputs = ins + launch.getAux().size();
  if (number >= inputs) {
    auto store = body.getTerminator()->getOperand(number - inputs).getDefiningOp<StoreCacheOp>();
    if (!store)
      return "what writes them does not store keys or values";
    return whyNotOfHeads(store.getInput(), store.getKvHeads());
  }
  const bool areAttended = number < ins && llvm::all_of(
                                               body.getArgument(number).getUses(),
                                               [](OpOperand &read) {
                                                 auto attention = dyn_cast<AttentionOp>(read.getOwner());
                                                 return attention && &read != &attention.getQueryMutable() && !attention.getSeed();
                                               });
  return areAttended ? "" : "more than attention reads them";
}

/// Why `attention` to a cache stays f32; empty where it may round.
static StringRef whyNotRounded(AttentionOp attention) {
  if (attention.getWindow())
    return "a window sees a part of the cache alone";
  if (attention.getSlopes())
    return "its scores have slopes";
  return whyNotOfHeads(attention.getQuery(), attention.getHeads());
}

namespace {
struct PlanPairKeys : ds::impl::PlanPairKeysBase<PlanPairKeys> {
  void runOnOperation() override {
    SymbolTable symbols(getOperation());
    const bool hasCaches = getOperation()->walk([](ds_plan::CacheOp) { return WalkResult::interrupt(); }).wasInterrupted();
    // Keys and values stay what decoding sees.
    for (auto kernel : getOperation().getOps<KernelOp>())
      kernel.walk([&](AttentionOp attention) {
        if (!attention.getPast())
          return;
        auto opts = remark::RemarkOpts::name("rounded").category("ds-plan-pair-keys").function(kernel.getSymName());
        if (StringRef reason = whyNotRounded(attention); !reason.empty()) {
          remark::missed(kernel.getLoc(), opts) << remark::reason("{0}", reason);
          return;
        }
        attention.setRounded(true);
        remark::passed(kernel.getLoc(), opts);
      });
    for (auto program : getOperation().getOps<ProgramOp>()) {
      auto buffers = llvm::to_vector(llvm::make_filter_range(program.getOps<BufferOp>(), [](BufferOp buffer) {
        return buffer.getRows() == Rows::packed && cast<MemRefType>(buffer.getType()).getElementType().isF32();
      }));
      if (buffers.empty())
        continue;
      // An attention takes keys and values of one type, so all of a program's change or none.
      StringRef reason = hasCaches ? "the model has a cache" : "";
      for (BufferOp buffer : buffers)
        for (OpOperand &use : buffer->getUses())
          if (reason.empty())
            reason = whyNot(use, symbols);
      auto opts = remark::RemarkOpts::name("pairs").category("ds-plan-pair-keys").function(program.getSymName());
      if (!reason.empty()) {
        remark::missed(program.getLoc(), opts) << remark::reason("{0}", reason);
        continue;
      }
      for (BufferOp buffer : buffers)
        buffer.getResult().setType(MemRefType::get(cast<MemRefType>(buffer.getType()).getShape(), BFloat16Type::get(buffer.getContext())));
      remark::passed(program.getLoc(), opts) << remark::metric("buffers", buffers.size());
    }
  }
};
} // namespace
