// Where a panel of layout `panel_sums` has what.
#ifndef DIALECTS_DSPLAN_PANELSUMS_H
#define DIALECTS_DSPLAN_PANELSUMS_H

#include "llvm/Support/MathExtras.h"
#include <cstdint>

namespace ds_plan {

/// A panel, W columns of a matrix [N, K] of f32, for Winograd's inner products: lines of W values. Every column is multiplied by the power
/// of two that brings the root of its mean square near 1. The first line has the powers that take this back, then come K lines, zeros up to
/// a multiple of `group`, and for each pass of the depth a line of - sum y_k y_(k + 1) over the pairs of the pass, times that power.
struct PanelSums {
  explicit PanelSums(int64_t depth) : depth(depth) {}
  int64_t depth; // K

  /// k of a group; of them `pairs` stand side by side, the first of one `pairStep` behind that of the one before.
  static constexpr int64_t group = 16, pairs = 5, pairStep = 3;
  /// k of a pass.
  static constexpr int64_t pass = 256;

  static bool isFirstOfPair(int64_t k) { return k % group % pairStep == 0 && k % group / pairStep < pairs; }
  int64_t passes() const { return static_cast<int64_t>(llvm::divideCeil(depth, pass)); }
  static constexpr int64_t powers = 0, values = 1; // their first lines
  int64_t sums() const { return values + static_cast<int64_t>(llvm::alignTo(depth, group)); }
  int64_t lines() const { return sums() + passes(); }
};

} // namespace ds_plan

#endif // DIALECTS_DSPLAN_PANELSUMS_H
