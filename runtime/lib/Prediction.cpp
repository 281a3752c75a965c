#include "dsrt/machine.h"
#include "runtime/lib/PredictionTable.h"
#include <algorithm>
#include <cmath>

using namespace dsrt;

const char *dsrt::nameOf(Bound bound) {
  switch (bound) {
  case Bound::compute:
    return "compute";
  case Bound::memory:
    return "memory";
  case Bound::launch:
    return "launch";
  }
  return "";
}

LaunchWork dsrt::workOf(const LaunchFacts &facts, const StepSizes &step) {
  LaunchWork work;
  work.family = facts.family;
  work.matrix = facts.matrix;
  double tokens = static_cast<double>(step.batch) * step.tokens;
  work.rows = facts.rows == LaunchRows::tokens ? tokens : facts.rows == LaunchRows::selected ? step.rows : step.batch;
  work.tiles = facts.rowsAreTiles ? work.rows : 0;
  double pairs = facts.causal ? step.pairs : step.keys * step.tokens;
  auto all = [&](double perRow, double perPair, double perKey) { return perRow * work.rows + perPair * pairs + perKey * step.keys; };
  work.macs = all(facts.macsPerRow, facts.macsPerPair, 0);
  work.flops = all(facts.flopsPerRow, facts.flopsPerPair, facts.flopsPerKey);
  work.laneOps = all(facts.laneOpsPerRow, facts.laneOpsPerPair, facts.laneOpsPerKey);
  work.weightBytes = work.rows > 0 ? facts.weightBytes : 0;
  work.readBytes = facts.readBytesPerRow * work.rows;
  work.writtenBytes = facts.writtenBytesPerRow * work.rows;
  work.cacheBytes = facts.bytesPerKey * step.keys;
  work.scratchBytes = facts.scratchBytesPerRow * work.rows;
  work.tableBytes = facts.tableBytesPerRow * work.rows;
  work.workingSet = step.workingSet;
  return work;
}

double dsrt::workingSetOf(const std::vector<LaunchFacts> &launches, const StepSizes &step) {
  double bytes = 0;
  for (const LaunchFacts &facts : launches) {
    LaunchWork work = workOf(facts, step);
    bytes += work.weightBytes + work.cacheBytes;
  }
  return bytes;
}

namespace {
/// Where bytes lie, and how fast they come from there.
struct Feeds {
  double l1Bytes, l2Bytes, l3Bytes;
  MachineLimits limits;

  Feeds(const MachineDescription &machine, const MachineLimits &limits, int threads)
      : l1Bytes(static_cast<double>(machine.l1Size) * threads), l2Bytes(static_cast<double>(machine.l2Size) * threads),
        l3Bytes(static_cast<double>(machine.l3Size)), limits(limits) {}

  /// The rate at which data is read that is touched again after `set` bytes.
  double rate(double set) const {
    if (set <= l1Bytes * usableCache)
      return limits.l1Bytes;
    if (set <= l2Bytes * usableCache)
      return limits.l2Bytes;
    return set <= l3Bytes * usableCache ? limits.l3Bytes : limits.memoryBytes;
  }
};
} // namespace

static double flopsAt(const MachineLimits &limits, std::string_view level) {
  if (level == "x86-64-v2" && limits.flopsF32V2 > 0)
    return limits.flopsF32V2;
  return level == "x86-64-v3" && limits.flopsF32V3 > 0 ? limits.flopsF32V3 : limits.flopsF32;
}

static Bound boundOf(const Prediction &prediction, double overheadNs) {
  if (overheadNs >= std::max(prediction.computeNs, prediction.memoryNs))
    return Bound::launch;
  return prediction.computeNs >= prediction.memoryNs ? Bound::compute : Bound::memory;
}

/// The part of the work that the slowest thread has, in shares of 1 / threads.
static double imbalance(double tiles, int threads) { return tiles > 0 ? std::ceil(tiles / threads) * threads / tiles : 1; }

Prediction dsrt::predict(const LaunchWork &work, const MachineDescription &machine, int threads, std::string_view level) {
  const MachineLimits limits = limitsAt(machine, threads);
  const FamilyCost &cost = costOfFamily(work.family);
  const double flops = flopsAt(limits, level), slowest = imbalance(work.tiles, threads);
  const Feeds feeds(machine, limits, threads);
  // Few rows leave the multipliers waiting for the weights, which each row uses once.
  bool dots = work.matrix == MatrixType::bf16 && limits.flopsBf16 > 0 && level != "x86-64-v2" && level != "x86-64-v3";
  double macNs = 2e9 * work.macs / ((dots ? limits.flopsBf16 : flops) * cost.macs);
  // A multiply-add is two FLOP a lane.
  double laneNs = 1e9 * work.laneOps / (flops / 2 * cost.lanes);
  Prediction prediction;
  prediction.computeNs = (macNs + laneNs) * slowest;
  double activations = work.readBytes + work.writtenBytes + work.scratchBytes;
  prediction.memoryNs = 1e9 *
                        ((work.weightBytes + work.cacheBytes) / feeds.rate(work.workingSet) + work.tableBytes / limits.memoryBytes +
                         activations / feeds.rate(activations)) *
                        slowest / cost.bytes;
  prediction.ns = std::max(prediction.computeNs, prediction.memoryNs) + limits.launchNs;
  prediction.bound = boundOf(prediction, limits.launchNs);
  return prediction;
}

Prediction dsrt::roofline(const LaunchWork &work, const MachineDescription &machine, int threads, std::string_view level) {
  const MachineLimits limits = limitsAt(machine, threads);
  const Feeds feeds(machine, limits, threads);
  double peak = flopsAt(limits, level);
  bool dots = work.matrix == MatrixType::bf16 && limits.flopsBf16 > 0 && level != "x86-64-v2" && level != "x86-64-v3";
  Prediction prediction;
  // What is no multiply-add runs at one FLOP a lane at best.
  prediction.computeNs = 2e9 * work.macs / (dots ? limits.flopsBf16 : peak) + 1e9 * std::max(0.0, work.flops - 2 * work.macs) / (peak / 2);
  double activations = work.readBytes + work.writtenBytes;
  prediction.memoryNs = 1e9 * ((work.weightBytes + work.cacheBytes) / feeds.rate(work.workingSet) + activations / feeds.rate(activations));
  prediction.ns = std::max(prediction.computeNs, prediction.memoryNs);
  prediction.bound = boundOf(prediction, 0);
  return prediction;
}
