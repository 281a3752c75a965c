#include "ds/Analysis/RowSharing.h"
#include "dialects/DS/DSDialect.h"
#include "ds/Analysis/LaunchCost.h"
#include "ds/Analysis/LinearTiling.h"

using namespace mlir;
using namespace ds;
using namespace ds_plan;

/// What sharing rows gains beside what is predicted, as they stay in a thread's own caches and threads meet less: so far products by rows
/// were measured to be as fast (docs/cost-model.md).
static constexpr double gainOfRows = 1.037;

int64_t ds::rowsOfThread(KernelOp kernel) {
  auto rows = kernel.getSchedule().getAs<IntegerAttr>(rowsOfThreadName);
  return rows ? rows.getInt() : linearRowsOfThread;
}

namespace {
struct Product {
  dsrt::LaunchFacts facts;
  SmallVector<dsrt::LaunchFacts, 1> norms; // in its kernel
};

/// The launches of a program.
struct Launches {
  Launches(ProgramOp program, const SymbolTable &symbols) {
    for (LaunchOp launch : program.getOps<LaunchOp>()) {
      all.push_back(factsOf(launch, symbols));
      auto kernel = symbols.lookup<KernelOp>(launch.getKernel());
      if (kernel.getFamily() != "gemm" || all.back().rows != dsrt::LaunchRows::tokens)
        continue;
      Product &product = products.emplace_back(Product{all.back(), {}});
      for (Operation &op : kernel.getBody().front())
        if (isa<LayerNormOp, RmsNormOp>(op))
          product.norms.push_back(factsOf(ArrayRef<Operation *>(&op)));
    }
  }

  std::vector<dsrt::LaunchFacts> all;
  std::vector<Product> products;
};
} // namespace

/// Threads that share rows each read all weights: the first of them from where they lie, the others what it has brought to the third-level
/// cache. Threads that share columns read them once, but each reads all rows, computes their norms, and waits for the others behind each
/// launch.
static RowSharing predictSharing(const Launches &launches, int64_t rows, const dsrt::MachineDescription &machine) {
  RowSharing sharing;
  sharing.threads = machine.limits.empty() ? 1 : machine.limits.back().threads;
  sharing.rows = rows;
  const dsrt::MachineLimits limits = dsrt::limitsAt(machine, sharing.threads);
  const int others = sharing.threads - 1;
  dsrt::StepSizes sizes;
  sizes.tokens = static_cast<int>(rows) * sharing.threads;
  sizes.keys = sizes.tokens;
  sizes.workingSet = dsrt::workingSetOf(launches.all, sizes);
  const bool isInL3 = sizes.workingSet <= static_cast<double>(machine.l3Size);
  for (const Product &product : launches.products) {
    dsrt::LaunchWork byRows = dsrt::workOf(product.facts, sizes), byColumns = byRows;
    byRows.cacheBytes += byRows.weightBytes * others * (isInL3 ? 1 : limits.memoryBytes / limits.l3Bytes); // read as weights are
    byColumns.readBytes *= sharing.threads;
    for (const dsrt::LaunchFacts &norm : product.norms)
      byColumns.laneOps += others * dsrt::workOf(norm, sizes).laneOps;
    sharing.byRowsNs += dsrt::predict(byRows, machine, sharing.threads).ns;
    sharing.byColumnsNs += dsrt::predict(byColumns, machine, sharing.threads).ns + limits.barrierNs;
  }
  return sharing;
}

RowSharing ds::bestRowSharing(ProgramOp program, const SymbolTable &symbols, const dsrt::MachineDescription &machine) {
  const Launches launches(program, symbols);
  RowSharing sharing;
  for (int64_t rows : {linearRowsOfThread, int64_t(32), int64_t(48), int64_t(64), int64_t(96), int64_t(128)}) {
    sharing = predictSharing(launches, rows, machine);
    if (sharing.threads == 1 || sharing.byRowsNs <= gainOfRows * sharing.byColumnsNs)
      break;
  }
  return sharing;
}
