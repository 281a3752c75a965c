// Launches that a few rows go through together.
#include "PlanMemory.h"
#include "ds/Analysis/LinearRegion.h"
#include "ds/Analysis/LinearTiling.h"
#include "ds/Transforms/Passes.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Remarks.h"
#include "mlir/IR/SymbolTable.h"

using namespace mlir;

namespace ds {
#define GEN_PASS_DEF_PLANCHAINROWS
#include "ds/Transforms/Passes.h.inc"
} // namespace ds

using namespace ds;
using namespace ds_plan;

namespace {
struct PlanChainRows : ds::impl::PlanChainRowsBase<PlanChainRows> {
  /// Row r of what `launch` writes depends on nothing but row r of what it reads, of `rows` rows; not on r, as dropout does, whose seed is
  /// a single row.
  static bool isByRow(LaunchOp launch, KernelOp kernel, Rows rows) {
    if (kernel.getFamily() != "gemm" && kernel.getFamily() != "row")
      return false;
    if (!llvm::all_of(launch->getOperands(),
                      [&](Value place) { return place.getDefiningOp<ds_plan::WeightOp>() || rowsOf(place) == rows; }))
      return false;
    return llvm::all_of(launch.getOuts(), [](Value out) { return out.getDefiningOp<BufferOp>(); });
  }

  void chainRows(ProgramOp program, const SymbolTable &symbols) {
    int64_t chains = 0, chained = 0;
    SmallVector<LaunchOp> chain;
    llvm::SmallDenseSet<Value> written;
    auto finish = [&] {
      if (chain.size() > 1) {
        for (LaunchOp launch : chain)
          launch.setChain(chains);
        chained += static_cast<int64_t>(chain.size());
        ++chains;
      }
      chain.clear();
      written.clear();
    };
    for (auto launch : program.getOps<LaunchOp>()) {
      launch.removeChainAttr();
      std::optional<Rows> rows = rowsOf(launch.getOuts().front());
      if (launch.getSlab() || !rows || boundOfRows(program, *rows) < linearRowsOfThread ||
          !isByRow(launch, symbols.lookup<KernelOp>(launch.getKernel()), *rows)) {
        finish();
        continue;
      }
      if (!chain.empty() && (rowsOf(chain.front().getOuts().front()) != rows || chain.front().getGate() != launch.getGate() ||
                             llvm::none_of(launch.getIns(), [&](Value in) { return written.contains(in); })))
        finish();
      chain.push_back(launch);
      written.insert_range(launch.getOuts());
    }
    finish();
    remark::analysis(program.getLoc(), remark::RemarkOpts::name("chains").category("ds-plan-chain-rows").function(program.getSymName()))
        << remark::metric("chains", chains) << remark::metric("launches in them", chained);
  }

  void runOnOperation() override {
    SymbolTable symbols(getOperation());
    for (auto program : getOperation().getOps<ProgramOp>())
      chainRows(program, symbols);
  }
};
} // namespace
