// How threads share products: what the cost model chooses.
#include "PlanMemory.h"
#include "ds/Analysis/CostModel.h"
#include "ds/Analysis/LinearTiling.h"
#include "ds/Analysis/RowSharing.h"
#include "ds/Transforms/Passes.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Remarks.h"

using namespace mlir;

namespace ds {
#define GEN_PASS_DEF_PLANCHOOSETILES
#include "ds/Transforms/Passes.h.inc"
} // namespace ds

using namespace ds;
using namespace ds_plan;

namespace {
struct PlanChooseTiles : ds::impl::PlanChooseTilesBase<PlanChooseTiles> {
  using PlanChooseTilesBase::PlanChooseTilesBase;

  void runOnOperation() override {
    FailureOr<dsrt::MachineDescription> description = machineOf(getOperation(), machine);
    if (failed(description))
      return signalPassFailure();
    SymbolTable symbols(getOperation());
    int64_t chosen = linearRowsOfThread; // programs share kernels
    for (auto program : getOperation().getOps<ProgramOp>()) {
      if (boundOfRows(program, Rows::tokens) <= linearFewRows)
        continue;
      const RowSharing best = bestRowSharing(program, symbols, *description);
      if (best.byRowsNs == 0)
        continue;
      chosen = std::max(chosen, best.rows);
      remark::analysis(program.getLoc(),
                       remark::RemarkOpts::name("rows of a thread").category("ds-plan-choose-tiles").function(program.getSymName()))
          << remark::metric("rows", best.rows) << remark::metric("threads", best.threads)
          << remark::metric("predicted ns by rows", std::llround(best.byRowsNs))
          << remark::metric("predicted ns by columns", std::llround(best.byColumnsNs));
    }
    for (auto kernel : getOperation().getOps<KernelOp>())
      if (kernel.getFamily() == "gemm") {
        NamedAttrList schedule(kernel.getSchedule());
        if (chosen == linearRowsOfThread)
          schedule.erase(rowsOfThreadName);
        else
          schedule.set(rowsOfThreadName, IntegerAttr::get(IntegerType::get(&getContext(), 64), chosen));
        kernel.setScheduleAttr(schedule.getDictionary(&getContext()));
      }
  }
};
} // namespace
