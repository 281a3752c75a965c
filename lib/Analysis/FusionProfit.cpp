#include "ds/Analysis/FusionProfit.h"
#include "ds/Analysis/LaunchCost.h"
#include "ds/Analysis/LinearRegion.h"
#include "ds/Analysis/LinearTiling.h"
#include "ds/Analysis/OpCost.h"
#include "llvm/Support/FormatVariadic.h"
#include <cmath>
#include <numeric>

using namespace mlir;
using namespace ds;

/// Differences below this are within the errors of predictions; then the launch and the barrier that are saved for certain decide.
static constexpr double tooCloseToCall = 1.05;

/// How often each row of the norm is computed when a kernel of products holds it.
static double timesComputed(const LinearRegion &region, int64_t rows, int threads) {
  if (rows >= threads * linearRowsOfThread)
    return 1;
  int64_t units = 0;
  for (const LinearDomain &domain : region.domains)
    units += llvm::divideCeil(domain.columns, std::lcm(domain.chunk, linearPanelOf(domain.columns, domain.hasNarrowPanels())));
  constexpr int64_t blockRows = 8; // of the widest vectors
  int64_t slabs = llvm::divideCeil(rows, linearSlabRows(region.depth, blockRows));
  return std::clamp(static_cast<double>(threads) / static_cast<double>(slabs), 1.0, static_cast<double>(units));
}

double ds::matrixBytesOf(Block &block) {
  double bytes = 0;
  block.walk([&](LinearOp linear) { bytes += 4.0 * static_cast<double>(linear.getWeight().getType().getNumElements()); });
  return bytes;
}

std::optional<std::string> ds::whyNormIsBetterApart(Operation *norm, ArrayRef<Operation *> product, double stepBytes,
                                                    const dsrt::MachineDescription &machine) {
  SmallVector<Operation *> both = {norm};
  llvm::append_range(both, product);
  std::string reason;
  std::optional<LinearRegion> region = LinearRegion::match(both, reason);
  if (!region)
    return std::nullopt; // what no kernel serves is not a matter of profit
  const dsrt::LaunchFacts normFacts = factsOf(norm), productFacts = factsOf(product), fusedFacts = factsOf(both);
  const int all = machine.limits.empty() ? 1 : machine.limits.back().threads;
  double logarithms = 0, worst = 0;
  int steps = 0;
  std::string where;
  for (int threads : all > 1 ? SmallVector<int>{1, all} : SmallVector<int>{1})
    for (int64_t rows : {1, 16, 128}) {
      dsrt::StepSizes sizes;
      sizes.tokens = static_cast<int>(rows);
      sizes.keys = static_cast<double>(rows);
      sizes.workingSet = stepBytes;
      dsrt::LaunchWork work = dsrt::workOf(fusedFacts, sizes);
      work.laneOps += dsrt::workOf(normFacts, sizes).laneOps * (timesComputed(*region, rows, threads) - 1);
      const double fused = dsrt::predict(work, machine, threads).ns;
      const double apart = dsrt::predict(dsrt::workOf(normFacts, sizes), machine, threads).ns + dsrt::limitsAt(machine, threads).barrierNs +
                           dsrt::predict(dsrt::workOf(productFacts, sizes), machine, threads).ns;
      logarithms += std::log(fused / apart);
      ++steps;
      if (fused / apart > worst) {
        worst = fused / apart;
        where = llvm::formatv("{0:f1} us in place of {1:f1} with {2} rows on {3} threads", fused / 1e3, apart / 1e3, rows, threads).str();
      }
    }
  const double mean = std::exp(logarithms / steps);
  if (mean <= tooCloseToCall)
    return std::nullopt;
  return llvm::formatv("predicted to take {0:f2} times as long in the mean of {1} steps: {2}", mean, steps, where).str();
}
