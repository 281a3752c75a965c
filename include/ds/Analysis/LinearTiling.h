// How the kernels of products share their work (lib/Target/CPU/Gemm.cpp), for those who predict what they cost as well.
#ifndef DS_ANALYSIS_LINEARTILING_H
#define DS_ANALYSIS_LINEARTILING_H

#include "llvm/Support/MathExtras.h"
#include <algorithm>
#include <cstdint>

namespace ds {

/// Values of a row that lie side by side in a copied slab: a cache line.
inline constexpr int64_t linearGroup = 16;
/// The most rows of a group of them (ds_plan.buffer).
inline constexpr int64_t linearMostGroupRows = 8;
/// Rows of a step that are one slab for all threads, in blocks of at most half of them.
inline constexpr int64_t linearFewRows = 16;
/// Rows that a thread should have before threads share rows instead of columns.
inline constexpr int64_t linearRowsOfThread = 24;

/// Bytes of a thread's stack for a slab. With a depth of 3072 products of 84 rows take two thirds of the time of those of 36: the weights
/// are read less often, and a panel's part of the first-level cache serves more rows. Rows are asked for ahead wherever they lie.
inline constexpr int64_t linearSlabBytes = 1 << 20;

/// Rows of a slab at most, where weights are packed beforehand.
inline constexpr int64_t linearMostRows = 132;

/// The most rows of a slab: whole register blocks of `blockRows`. It is twice as long where weights are packed, which is done for each
/// slab, and as long for any depth where rows that are multiplied by such weights stay in place. `slabBytes` is for others.
inline int64_t linearSlabRows(int64_t depth, int64_t blockRows, int64_t slabBytes = linearSlabBytes, bool packs = false,
                              bool inPlace = false) {
  const int64_t times = packs ? 2 : 1, most = linearMostRows * times;
  const int64_t bytes = packs ? linearSlabBytes * times : slabBytes;
  const int64_t rows = packs && inPlace ? most : bytes / static_cast<int64_t>(llvm::alignTo(depth, linearGroup) * 4);
  return std::clamp<int64_t>(rows / blockRows * blockRows, llvm::alignTo(linearFewRows, blockRows), most / blockRows * blockRows);
}

/// True where a slab of few rows of this depth fits as well.
inline bool linearRowsFit(int64_t depth) {
  return linearFewRows * static_cast<int64_t>(llvm::alignTo(depth, linearGroup)) * 4 <= linearSlabBytes;
}

} // namespace ds
#endif // DS_ANALYSIS_LINEARTILING_H
