// How keys and values lie in a cache.
#ifndef DIALECTS_DSPLAN_CACHELAYOUT_H
#define DIALECTS_DSPLAN_CACHELAYOUT_H

#include "llvm/Support/MathExtras.h"
#include <cstdint>

namespace ds_plan {

/// One head of a sequence is a list of blocks of 16 slots. Of f32 and bf16 a block of keys is [headSize][16], one of values [16][headSize].
/// Codes follow the f32 scales of their 16 slots: of keys [headSize][16] again, of values [16][headSize rounded up to 16], so that a block
/// is read from its beginning to its end and a row of values in whole vectors. In a step without a cache, bf16 lies on CPUs in pairs that
/// one instruction multiplies: a block of keys is [headSize / 2][16][2], one of values [8][headSize][2], where two are of neighbouring
/// slots. On GPUs keys lie in words of 4 bytes, [headSize / e][16] of e = 1, 2 or 4 elements (f32, bf16, codes) that follow each other: 16
/// bytes are 4 slots, whatever they hold. All else is the same.
struct CacheLayout {
  /// `elementBytes` is 4 for f32, 2 for bf16, 1 for codes.
  CacheLayout(int64_t headSize, int64_t elementBytes, bool hasPairs = false)
      : headSize(headSize), elementBytes(elementBytes), hasCodes(elementBytes == 1), hasPairs(hasPairs) {}

  static constexpr int64_t slots = 16;
  /// Heads that lie in pairs have a multiple of this size.
  static constexpr int64_t pairedHead = 16;

  /// From one slot of values to the next.
  int64_t rowBytes() const { return hasCodes ? static_cast<int64_t>(llvm::alignTo(headSize, 16)) : headSize * elementBytes; }
  /// From the beginning of a block to its codes: what its scales take.
  int64_t scaleBytes() const { return hasCodes ? slots * 4 : 0; }
  int64_t blockBytes() const { return scaleBytes() + slots * rowBytes(); }
  /// Bytes of a slot, its part of the block's scales included.
  int64_t slotBytes() const { return blockBytes() / slots; }
  /// Bytes of `heads` heads of `context` slots, a multiple of 16.
  int64_t bytes(int64_t heads, int64_t context) const { return heads * context * slotBytes(); }

  int64_t headSize, elementBytes;
  bool hasCodes, hasPairs;
};

} // namespace ds_plan
#endif // DIALECTS_DSPLAN_CACHELAYOUT_H
