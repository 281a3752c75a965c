// The cost model's prediction of each launch, as remarks.
#include "ds/Analysis/CostModel.h"
#include "ds/Transforms/Passes.h"
#include "mlir/IR/Remarks.h"

using namespace mlir;

namespace ds {
#define GEN_PASS_DEF_PLANREPORTCOSTS
#include "ds/Transforms/Passes.h.inc"
} // namespace ds

namespace {
struct PlanReportCosts : ds::impl::PlanReportCostsBase<PlanReportCosts> {
  using PlanReportCostsBase::PlanReportCostsBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    FailureOr<dsrt::MachineDescription> description = ds::machineOf(module, machine);
    if (failed(description))
      return signalPassFailure();
    if (!machine.empty() && description->processor != dsrt::currentProcessor())
      module.emitWarning() << machine << " describes '" << description->processor << "', this machine is '" << dsrt::currentProcessor()
                           << "'";
    if (batch < 1 || tokens < 1 || past < 0 || threads < 1 || threads > 1024) {
      module.emitError("expects batch, tokens and threads of at least 1, threads of at most 1024, past of at least 0");
      return signalPassFailure();
    }
    SymbolTable symbols(module);
    const ds::CostStep step{batch, tokens, past, static_cast<int>(threads)};
    for (auto program : module.getOps<ds_plan::ProgramOp>())
      report(program, ds::costOf(program, symbols, step, *description), *description);
  }

  static void report(ds_plan::ProgramOp program, const ds::ProgramCost &cost, const dsrt::MachineDescription &description) {
    int64_t launches = 0;
    for (const ds::LaunchCost &known : cost.launches) {
      if (known.isLeftOut)
        continue;
      ++launches;
      ds_plan::LaunchOp launch = known.launch;
      remark::analysis(launch.getLoc(), remark::RemarkOpts::name("launch").category("ds-plan-report-costs").function(program.getSymName()))
          << remark::metric("kernel", launch.getKernel()) << remark::metric("predicted ns", std::llround(known.prediction.ns))
          << remark::metric("bound", dsrt::nameOf(known.prediction.bound)) << remark::metric("bytes", std::llround(known.work.bytes()))
          << remark::metric("flop", std::llround(known.work.flops));
    }
    remark::analysis(program.getLoc(), remark::RemarkOpts::name("program").category("ds-plan-report-costs").function(program.getSymName()))
        << remark::metric("machine", description.processor) << remark::metric("predicted ns", std::llround(cost.ns))
        << remark::metric("launches", launches) << remark::metric("barriers", cost.barriers);
  }
};
} // namespace
