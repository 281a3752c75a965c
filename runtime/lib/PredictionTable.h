// The fitted numbers of the cost model: what part of a limit the kernels of a family reach. `benchmarks/prediction.py --fit` prints the
// rows anew, from measured launches.
#ifndef DSRT_LIB_PREDICTIONTABLE_H
#define DSRT_LIB_PREDICTIONTABLE_H

#include <string_view>

namespace dsrt {

/// Parts of the machine's limits.
struct FamilyCost {
  std::string_view family;
  double macs;    // of the peak rate of multiply-adds
  double lanes;   // of one vector instruction a cycle and port, beside the multiply-adds
  double bytes;   // of the bandwidth
  double overlap; // of the shorter of computing and moving data that the longer hides: 1 hides all, 0 nothing
};

/// The slowest of several threads takes so much longer than one that has its share alone.
inline constexpr double severalThreads = 1.1;

/// The part of a cache that data keeps while other data passes through it.
inline constexpr double usableCache = 1.0;

/// A row of a table that has more pages than the processor keeps translations for (1536 of 4 KiB) waits for a translation and for memory.
inline constexpr double pagedBytes = 1536 * 4096.0, lookupNs = 240;

/// Bytes a second of lines that stand apart, for a thread: no more of them are on their way at once, however fast memory is in order.
inline constexpr double apartBytes = 17e9;

/// Times that lines are moved beside being brought and written back once, where rows do not fit L2.
inline constexpr double writeBack = 1.1;

/// Products of `fewRows` at most are computed in blocks of `blockRows`, those of more in slabs of `slabRows` at most; and the instructions
/// that widen one vector of bf16 or f16 to f32; of f16 without an instruction of its own they are counted in its code.
inline constexpr double fewRows = 16, blockRows = 8, slabRows = 128, laneOpsOfWidening = 1, laneOpsOfWideningF16V2 = 10;

/// From how many rows on products of f32 are Winograd's where the level has them.
inline constexpr double winogradRows = 13;

/// Products of bf16 as f16 (GemmHalves.cpp): from how many rows, and what one vector of weights takes on its way to f16, once a slab.
inline constexpr double halvesRows = 14, laneOpsOfHalves = 16;

/// Products of bytes (GemmBytes.cpp): from how many rows, and what they reach of the rate of their instructions, scales and rounding
/// included.
inline constexpr double bytesRows = 3, bytesReached = 0.8;

inline constexpr FamilyCost familyCosts[] = {
    {"attention", 0.98, 1.48, 0.90, 0.05}, // products and softmax take turns
    {"gemm", 0.91, 1.04, 0.91, 0.75},      // weights are asked for while others are multiplied
    {"row", 0.50, 1.42, 0.90, 1.00},       // norms, most of all
    {"copy", 0.50, 0.60, 0.89, 0.20},      // to the caller
    {"embed", 0.50, 0.42, 1.30, 0.50},     // of two lines that a processor fetches together the second is free in part
    {"", 0.50, 0.60, 1.19, 0.20},          // any other; more of its rows are in the caches than is assumed
};

inline const FamilyCost &costOfFamily(std::string_view family) {
  const FamilyCost *cost = familyCosts;
  while (!cost->family.empty() && cost->family != family)
    ++cost;
  return *cost;
}

} // namespace dsrt
#endif // DSRT_LIB_PREDICTIONTABLE_H
