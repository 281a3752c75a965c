// The caller's token ids: checked, and given positions by the manifest's rule.
#ifndef DSRT_LIB_BATCH_H
#define DSRT_LIB_BATCH_H

#include "runtime/lib/Manifest.h"

namespace dsrt {

/// A checked dsrt_batch: sizes are positive, the mask holds 0 and 1, unmasked ids and segments are in range.
struct TokenBatch {
  int32_t batch = 0, tokens = 0;
  const int32_t *ids = nullptr, *mask = nullptr, *types = nullptr; // [batch, tokens]; mask and types may be null

  size_t at(int32_t row, int32_t column) const { return static_cast<size_t>(row) * tokens + column; }
  bool isToken(int32_t row, int32_t column) const { return !mask || mask[at(row, column)] != 0; }
};

/// Fails with invalid argument, naming row, column and bound.
Status readBatch(const Manifest &manifest, const dsrt_batch *given, TokenBatch &batch);

/// How transformers numbers tokens: its forward by the model's rule, its generate by counting unmasked tokens.
enum class PositionUse { forward, generate };

/// The positions of the first `columns` places of a row, masked ones included.
/// Fails with invalid argument when one is beyond the model's positions.
Status positionsOf(const Manifest &manifest, const TokenBatch &batch, int32_t row, int32_t columns, PositionUse use,
                   std::vector<int32_t> &positions);

/// The unmasked tokens of a row in order. `columns` says where each stood.
struct CompactRow {
  std::vector<int32_t> ids, positions, columns;
};

/// Removes padding, wherever it is, after positions are given. Fails as positionsOf does.
Status compactRow(const Manifest &manifest, const TokenBatch &batch, int32_t row, PositionUse use, CompactRow &compact);

/// The position of the first token of a sequence; max_positions many follow each other.
int32_t firstPosition(const Manifest &manifest);

/// The position that follows `count` tokens of a sequence.
inline int32_t positionAfter(const Manifest &manifest, int32_t count) { return count + firstPosition(manifest); }

} // namespace dsrt
#endif // DSRT_LIB_BATCH_H
