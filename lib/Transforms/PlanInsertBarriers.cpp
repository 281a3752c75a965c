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
    ds::SpanAccesses span;
    int64_t launches = 0, barriers = 0;
    for (auto launch : llvm::make_early_inc_range(program.getOps<ds_plan::LaunchOp>())) {
      ++launches;
      if (span.conflicts(launch)) {
        OpBuilder builder(launch);
        ds_plan::BarrierOp::create(builder, launch.getLoc());
        ++barriers;
        span.clear();
      }
      span.add(launch);
    }
    remark::analysis(program.getLoc(),
                     remark::RemarkOpts::name("barriers").category("ds-plan-insert-barriers").function(program.getSymName()))
        << remark::metric("launches", launches) << remark::metric("barriers", barriers);
  }
};
} // namespace
