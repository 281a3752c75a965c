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
    int64_t barriers = 0;
    auto putBefore = [&](ds_plan::LaunchOp launch, ds::SpanAccesses &span) {
      OpBuilder builder(launch);
      ds_plan::BarrierOp::create(builder, launch.getLoc());
      ++barriers;
      span.clear();
    };
    // A chain may run without the barriers inside it: its launches meet what is before and behind them as one.
    ds::SpanAccesses span, inside;
    SmallVector<ds_plan::LaunchOp> all(program.getOps<ds_plan::LaunchOp>());
    for (MutableArrayRef<ds_plan::LaunchOp> left(all); !left.empty();) {
      const std::optional<int64_t> chain = left.front().getChain();
      size_t count = 1;
      while (chain && count < left.size() && left[count].getChain() == chain)
        ++count;
      MutableArrayRef<ds_plan::LaunchOp> unit = left.take_front(count);
      left = left.drop_front(count);
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
        << remark::metric("launches", static_cast<int64_t>(all.size())) << remark::metric("barriers", barriers);
  }
};
} // namespace
