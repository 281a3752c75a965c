#include "dsrt/gpu_machine.h"
#include <algorithm>
#include <cmath>

using namespace dsrt;

namespace {
/// What part of a limit a stage reaches, fitted to the launches of benchmarks/gpu/results/nvidia-h200.json.
struct StageCost {
  double startNs; // beyond a launch: what waits one for the other at the begin and the end of its blocks
  double tensor;  // of the peak of tensor cores
  double lanes;   // of other instructions
  double bytes;   // of the bandwidth
};

// Products by their rows (1, to 8, to 16, more); attention of one token and of several; any other.
constexpr StageCost oneRow = {0, 0.19, 0.26, 0.90}, fewRows = {0, 0.19, 0.26, 0.85}, someRows = {0, 0.19, 0.26, 0.65},
                    manyRows = {3500, 0.19, 0.26, 0.65}, decode = {3800, 0.20, 0.50, 0.80}, prefill = {1500, 0.20, 0.50, 0.80},
                    rowWise = {500, 1.00, 0.50, 0.60};

constexpr double tokensOfBlock = 64, blocksOfProcessor = 2; // of attention of several tokens, to hide its waits
constexpr double rowsOfTile = 128;                          // of products of many rows
constexpr double instructionsOfCode = 2;                    // to make a factor of a code
constexpr double usableL2 = 0.8;                            // what a step leaves there for the next

const StageCost &costOf(const GpuLaunchFacts &launch) {
  if (launch.work.family == "gemm")
    return launch.work.rows <= 1 ? oneRow : launch.work.rows <= 8 ? fewRows : launch.work.rows <= 16 ? someRows : manyRows;
  if (launch.work.family == "attention")
    return launch.tokens == 1 ? decode : prefill;
  return rowWise;
}

/// Weights and caches lie in L2 where all that a step reads of them fits; rows always do, as the launch before has just written them.
double floorOf(const LaunchWork &work, const GpuMachine &machine) {
  const bool staysInL2 = work.workingSet <= usableL2 * static_cast<double>(machine.l2Size);
  const double fromMemory = work.weightBytes + work.cacheBytes + work.lookupBytes;
  return 1e9 * (fromMemory / (staysInL2 ? machine.l2Bytes : machine.memoryBytes) + (work.readBytes + work.writtenBytes) / machine.l2Bytes);
}

/// Multiply-adds with those of columns that a tile has beyond its rows.
double paddedMacs(const GpuLaunchFacts &launch) {
  const double rows = launch.work.rows;
  if (launch.work.family != "gemm" || rows <= 0)
    return launch.work.macs;
  const double tile = rows <= 16 ? 8 : 32;
  return launch.work.macs * std::ceil(rows / tile) * tile / rows;
}

/// The share of the device that attention of several tokens keeps busy.
double busyShare(const GpuLaunchFacts &launch, const GpuMachine &machine) {
  if (launch.work.family != "attention" || launch.tokens == 1 || launch.heads < 1)
    return 1;
  const double blocks = launch.heads * std::ceil(launch.tokens / tokensOfBlock) * launch.batch;
  return std::min(1.0, blocks / (machine.processors * blocksOfProcessor));
}
} // namespace

GpuLaunchFacts dsrt::gpuLaunchOf(const LaunchFacts &facts, const StepSizes &step) {
  GpuLaunchFacts launch;
  launch.work = workOf(facts, step);
  launch.codes = facts.codes;
  launch.heads = static_cast<int>(facts.heads);
  launch.batch = step.batch;
  launch.tokens = step.tokens;
  return launch;
}

GpuPrediction dsrt::predict(const GpuLaunchFacts &launch, const GpuMachine &machine) {
  const LaunchWork &work = launch.work;
  const StageCost &cost = costOf(launch);
  GpuPrediction prediction;
  prediction.floorNs = floorOf(work, machine);
  prediction.memoryNs = prediction.floorNs / cost.bytes;
  prediction.peakNs =
      1e9 * std::max(2 * work.macs / machine.tensorFlops, std::max(0.0, work.flops - 2 * work.macs) / (machine.flopsF32 / 2));
  const double decoded = launch.codes * (work.rows <= 16 ? 1 : std::ceil(work.rows / rowsOfTile));
  const double tensorNs = 2e9 * paddedMacs(launch) / machine.tensorFlops / cost.tensor / busyShare(launch, machine);
  // A multiply-add is two FLOP a lane.
  const double laneNs = 1e9 * (work.laneOps + instructionsOfCode * decoded) / (machine.flopsF32 / 2) / cost.lanes;
  prediction.computeNs = std::max(tensorNs, laneNs); // on units of their own
  const double overhead = machine.launchNs + cost.startNs, busy = std::max(prediction.computeNs, prediction.memoryNs);
  prediction.ns = work.rows > 0 ? overhead + busy : 0;
  prediction.bound = overhead >= busy ? Bound::launch : prediction.computeNs >= prediction.memoryNs ? Bound::compute : Bound::memory;
  return prediction;
}
