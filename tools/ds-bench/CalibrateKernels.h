// Loops that run at a limit of the processor: multiply-adds, dot products, reading and writing.
#ifndef DS_TOOLS_DS_BENCH_CALIBRATEKERNELS_H
#define DS_TOOLS_DS_BENCH_CALIBRATEKERNELS_H

#include <cstddef>
#include <cstdint>

/// `rounds` rounds of independent arithmetic in registers.
struct PeakKernel {
  void (*run)(int64_t rounds);
  double flopsPerRound;
};

/// The kernel of a CPU level (2, 3, 4): products and sums at v2, multiply-adds above. `run` is null when the processor has no such vectors.
PeakKernel peakKernel(int level);
/// Dot products of pairs of bf16, vdpbf16ps on 16 lanes.
PeakKernel dotKernel();

/// Reads `bytes`, a multiple of 4096, in order, as a product reads its weights. `ahead`: software prefetch of so many bytes, 0 or 4096.
/// Uses the widest vectors.
void readBytes(const void *data, size_t bytes, size_t ahead);
/// Writes `bytes` with ordinary stores, a multiple of 4096.
void writeBytes(void *data, size_t bytes);

#endif // DS_TOOLS_DS_BENCH_CALIBRATEKERNELS_H
