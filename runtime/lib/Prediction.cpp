#include "dsrt/machine.h"
#include "runtime/lib/CpuLevel.h"
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

static constexpr std::pair<MatrixType, const char *> matrixNames[] = {{MatrixType::f32, "f32"},         {MatrixType::bf16, "bf16"},
                                                                      {MatrixType::f16, "f16"},         {MatrixType::halves, "halves"},
                                                                      {MatrixType::rounded, "rounded"}, {MatrixType::bytes, "bytes"}};

const char *dsrt::nameOf(MatrixType type) {
  for (auto [of, name] : matrixNames)
    if (of == type)
      return name;
  return "f32";
}

MatrixType dsrt::matrixTypeNamed(std::string_view name) {
  for (auto [type, of] : matrixNames)
    if (of == name)
      return type;
  return MatrixType::f32;
}

SeenKeys dsrt::seenKeys(int64_t window, int64_t past, int64_t tokens) {
  const int64_t whole = past + tokens;
  if (window <= 0 || window >= whole)
    return {static_cast<double>(whole), static_cast<double>(tokens * past + tokens * (tokens + 1) / 2)};
  const int64_t partial = std::clamp<int64_t>(window - past, 0, tokens); // tokens that see fewer keys than the window has
  return {static_cast<double>(std::min(whole, window + tokens - 1)),
          static_cast<double>(partial * past + partial * (partial + 1) / 2 + (tokens - partial) * window)};
}

SeenKeys StepSizes::seen(double window) const {
  for (const auto &[of, seen] : windows)
    if (of == window)
      return seen;
  return {keys, pairs};
}

LaunchWork dsrt::workOf(const LaunchFacts &facts, const StepSizes &step) {
  LaunchWork work;
  work.family = facts.family;
  work.matrix = facts.matrix;
  double tokens = static_cast<double>(step.batch) * step.tokens;
  work.rows = facts.rows == LaunchRows::tokens ? tokens : facts.rows == LaunchRows::selected ? step.rows : step.batch;
  work.tiles = facts.rowsAreTiles ? work.rows : 0;
  const SeenKeys seen = step.seen(facts.window);
  const double pairs = facts.causal ? seen.pairs : step.keys * step.tokens;
  auto all = [&](double perRow, double perPair, double perKey) { return perRow * work.rows + perPair * pairs + perKey * seen.keys; };
  work.macs = all(facts.macsPerRow, facts.macsPerPair, 0);
  work.flops = all(facts.flopsPerRow, facts.flopsPerPair, facts.flopsPerKey);
  work.laneOps = all(facts.laneOpsPerRow, facts.laneOpsPerPair, facts.laneOpsPerKey);
  work.weightBytes = work.rows > 0 ? facts.weightBytes : 0;
  work.readBytes = facts.readBytesPerRow * work.rows;
  work.writtenBytes = facts.writtenBytesPerRow * work.rows;
  work.cacheBytes = facts.bytesPerKey * seen.keys;
  work.scratchBytes = facts.scratchBytesPerRow * work.rows;
  work.outputBytes = facts.outputBytesPerRow * work.rows;
  work.lookupBytes = facts.lookupBytesPerRow * work.rows;
  work.lineBytes = std::min(facts.tableBytesPerRow * work.rows, facts.tableSize);
  work.lookups = facts.tableSize > pagedBytes ? work.rows : 0;
  // A line is brought and written back. Whole blocks are what writtenBytes has.
  if (step.tokens < 16)
    work.slotBytes = 2 * facts.keyBlockBytes * step.batch;
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

static bool hasDots(const LaunchWork &work, const MachineLimits &limits, std::string_view level) {
  const bool mayRound = work.matrix == MatrixType::bf16 || (work.matrix == MatrixType::rounded && work.rows >= halvesRows);
  return mayRound && limits.flopsBf16 > 0 && hasBf16Dots(cpuLevelOf(level).value_or(CpuLevel::none));
}

static bool multipliesHalves(const LaunchWork &work, std::string_view level) {
  const bool mayRound = work.matrix == MatrixType::bf16 || work.matrix == MatrixType::rounded;
  return mayRound && level == nameOf(CpuLevel::v4Fp16) && work.rows >= halvesRows;
}

static bool multipliesBytes(const LaunchWork &work) { return work.matrix == MatrixType::bytes && work.rows >= bytesRows; }

/// How many multiply-adds of f32 count as one: of 16, Winograd's inner products (lib/Target/CPU/GemmWinograd.cpp) do 5 pairs by one each,
/// f16 has two for one, and bytes four, or, where two instructions take the place of one, two; of f32 they do that at x86-64-v2 as well.
static double multiplyAddsOfOne(const LaunchWork &work, std::string_view level) {
  if (multipliesBytes(work))
    return hasByteDots(cpuLevelOf(level).value_or(CpuLevel::none)) || level == nameOf(CpuLevel::v2) ? 4 : 2;
  if (work.matrix == MatrixType::halves)
    return 2;
  if (multipliesHalves(work, level))
    return 2;
  if (work.matrix == MatrixType::bf16)
    return 1;
  const bool isF32 = work.matrix != MatrixType::none && work.matrix != MatrixType::rounded;
  return isF32 && level == nameOf(CpuLevel::znver4) && work.rows >= winogradRows ? 16.0 / 11 : 1;
}

/// Lane operations that take a matrix of 16 bits to what is multiplied: by each block of few rows, or once for a slab of many.
static double wideningOps(const LaunchWork &work, std::string_view level) {
  if (multipliesHalves(work, level))
    return work.weightBytes / 2 * std::ceil(work.rows / slabRows) * laneOpsOfHalves;
  const double widened = work.weightBytes / 2 * std::ceil(work.rows / (work.rows > fewRows ? slabRows : blockRows));
  return widened * (work.matrix == MatrixType::f16 && level == nameOf(CpuLevel::v2) ? laneOpsOfWideningF16V2 : laneOpsOfWidening);
}

/// Weights pass through L2 between two launches: half of what a launch reads is still there, and what it writes is not, so its lines are
/// brought before and written back after. Rows that do not fit push each other out as well.
static double activationNs(const LaunchWork &work, const Feeds &feeds) {
  const double all = work.readBytes + work.writtenBytes + work.scratchBytes;
  const double spilled = std::clamp(2 * all / feeds.l2Bytes - 1, 0.0, 1.0), hot = 0.5 * (1 - spilled);
  const double pushedOut = spilled * std::min(1.0, work.readBytes / std::max(1.0, work.writtenBytes));
  const double cold = all <= feeds.l3Bytes / 2 ? feeds.limits.l3Bytes : feeds.limits.memoryBytes;
  return 1e9 * (work.readBytes * (hot / feeds.limits.l2Bytes + (1 - hot) / cold) +
                (work.writtenBytes - work.outputBytes) * (2 + writeBack * pushedOut) / cold + work.outputBytes / feeds.limits.memoryWrite +
                work.scratchBytes / feeds.limits.l2Bytes);
}

Prediction dsrt::predict(const LaunchWork &work, const MachineDescription &machine, int threads, std::string_view wantedLevel) {
  const std::string_view level = wantedLevel.empty() ? std::string_view(machine.level) : wantedLevel;
  const MachineLimits limits = limitsAt(machine, threads);
  const FamilyCost &cost = costOfFamily(work.family);
  const Feeds feeds(machine, limits, threads);
  const double flops = flopsAt(limits, level), slowest = imbalance(work.tiles, threads) * (threads > 1 ? severalThreads : 1);
  const bool dots = hasDots(work, limits, level);
  double laneOps = work.laneOps;
  if (work.matrix == MatrixType::f16 || (work.matrix == MatrixType::bf16 && !dots))
    laneOps += wideningOps(work, level);
  Prediction prediction;
  prediction.macNs = 2e9 * work.macs / (dots ? limits.flopsBf16 : flops * multiplyAddsOfOne(work, level)) * slowest;
  if (multipliesBytes(work))
    prediction.macNs /= bytesReached;
  prediction.laneNs = 1e9 * laneOps / (flops / 2) * slowest; // a multiply-add is two FLOP a lane
  // Columns of keys and values are the last ones: half of the threads write them.
  const double lineBytes = work.lineBytes + work.slotBytes * std::min(threads, 2);
  prediction.feedNs = slowest * (1e9 * (work.weightBytes + work.cacheBytes) / feeds.rate(work.workingSet) +
                                 1e9 * lineBytes / std::min(limits.memoryBytes, threads * apartBytes) + work.lookups * lookupNs / threads +
                                 activationNs(work, feeds));
  prediction.computeNs = prediction.macNs / cost.macs + prediction.laneNs / cost.lanes;
  prediction.memoryNs = prediction.feedNs / cost.bytes;
  prediction.ns = std::max(prediction.computeNs, prediction.memoryNs) +
                  (1 - cost.overlap) * std::min(prediction.computeNs, prediction.memoryNs) + limits.launchNs;
  prediction.bound = boundOf(prediction, limits.launchNs);
  return prediction;
}

Prediction dsrt::roofline(const LaunchWork &work, const MachineDescription &machine, int threads, std::string_view wantedLevel) {
  const std::string_view level = wantedLevel.empty() ? std::string_view(machine.level) : wantedLevel;
  const MachineLimits limits = limitsAt(machine, threads);
  const Feeds feeds(machine, limits, threads);
  double peak = flopsAt(limits, level);
  Prediction prediction;
  // What is no multiply-add runs at one FLOP a lane at best.
  prediction.computeNs = 2e9 * work.macs / (hasDots(work, limits, level) ? limits.flopsBf16 : peak * multiplyAddsOfOne(work, level)) +
                         1e9 * std::max(0.0, work.flops - 2 * work.macs) / (peak / 2);
  const double activations = work.readBytes + work.writtenBytes + work.lookupBytes;
  prediction.memoryNs = 1e9 * ((work.weightBytes + work.cacheBytes) / feeds.rate(work.workingSet) + activations / feeds.rate(activations));
  prediction.ns = std::max(prediction.computeNs, prediction.memoryNs);
  prediction.bound = boundOf(prediction, 0);
  return prediction;
}
