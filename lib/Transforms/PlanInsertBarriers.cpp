// Barriers where a launch depends on another of its span.
#include "PlanMemory.h"
#include "ds/Transforms/Passes.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/Remarks.h"

using namespace mlir;

namespace ds {
#define GEN_PASS_DEF_PLANINSERTBARRIERS
#include "ds/Transforms/Passes.h.inc"
} // namespace ds

namespace {
struct PlanInsertBarriers : ds::impl::PlanInsertBarriersBase<PlanInsertBarriers> {
  void runOnOperation() override {
    ds_plan::ProgramOp program = getOperation();
    // Buffers that share bytes depend on each other without sharing a value.
    for (auto buffer : program.getOps<ds_plan::BufferOp>())
      if (buffer.getOffset()) {
        buffer.emitError("expects a buffer without an offset: barriers come before places");
        return signalPassFailure();
      }
    for (auto barrier : llvm::make_early_inc_range(program.getOps<ds_plan::BarrierOp>()))
      barrier.erase();
    int64_t launches = 0, barriers = 0;
    auto putBefore = [&](ds_plan::LaunchOp launch, ds::SpanAccesses &span) {
      OpBuilder builder(launch);
      ds_plan::BarrierOp::create(builder, launch.getLoc());
      ++barriers;
      span.clear();
    };
    // A chain may run without the barriers inside it: its launches meet what is before and behind them as one.
    ds::SpanAccesses span, inside;
    SmallVector<ds_plan::LaunchOp> all(program.getOps<ds_plan::LaunchOp>());
    launches = static_cast<int64_t>(all.size());
    for (size_t begin = 0, end = 0; begin < all.size(); begin = end) {
      std::optional<int64_t> chain = all[begin].getChain();
      for (end = begin + 1; chain && end < all.size() && all[end].getChain() == chain;)
        ++end;
      ArrayRef<ds_plan::LaunchOp> unit = ArrayRef(all).slice(begin, chain ? end - begin : 1);
      end = begin + unit.size();
      if (llvm::any_of(unit, [&](ds_plan::LaunchOp launch) { return span.conflicts(launch); }))
        putBefore(unit.front(), span);
      inside.clear();
      for (ds_plan::LaunchOp launch : unit) {
        if (inside.conflicts(launch))
          putBefore(launch, inside);
        inside.add(launch);
        span.add(launch);
      }
    }
    remark::analysis(program.getLoc(),
                     remark::RemarkOpts::name("barriers").category("ds-plan-insert-barriers").function(program.getSymName()))
        << remark::metric("launches", launches) << remark::metric("barriers", barriers);
  }
};
} // namespace
