// How the kernels of products share their work (lib/Target/CPU/Gemm.cpp), for those who predict what they cost as well.
#ifndef DS_ANALYSIS_LINEARTILING_H
#define DS_ANALYSIS_LINEARTILING_H

#include "llvm/Support/MathExtras.h"
#include <algorithm>
#include <cstdint>

namespace ds {

/// Values of a row that lie side by side in a copied slab: a cache line.
inline constexpr int64_t linearGroup = 16;
/// Rows of a step that are one slab for all threads, in blocks of at most half of them.
inline constexpr int64_t linearFewRows = 16;
/// Rows that a thread should have before threads share rows instead of columns.
inline constexpr int64_t linearRowsOfThread = 24;

/// The most rows of a slab: whole register blocks of `blockRows`, which stay in the second-level cache beside a panel. More rows read the
/// weights less often from beyond it.
inline int64_t linearSlabRows(int64_t depth, int64_t blockRows) {
  constexpr int64_t slabBytes = 512 << 10, mostRows = 132; // of every level whole blocks
  const int64_t rows = slabBytes / static_cast<int64_t>(llvm::alignTo(depth, linearGroup) * 4);
  return std::clamp<int64_t>(rows / blockRows * blockRows, llvm::alignTo(linearFewRows, blockRows), mostRows);
}

/// True where a slab of few rows of this depth fits as well.
inline bool linearRowsFit(int64_t depth) {
  return linearFewRows * static_cast<int64_t>(llvm::alignTo(depth, linearGroup)) * 4 <= 512 << 10;
}

} // namespace ds
#endif // DS_ANALYSIS_LINEARTILING_H
