// Where a panel of layout `panel_halves` has what.
#ifndef DIALECTS_DSPLAN_PANELHALVES_H
#define DIALECTS_DSPLAN_PANELHALVES_H

#include "llvm/Support/MathExtras.h"
#include <cstdint>

namespace ds_plan {

/// A panel, W columns of a matrix [N, K] of bf16, for products of f16: lines of W pairs of k, as f16. Every column is multiplied by the
/// power of two that brings its largest value to at least 8 and below 16, so that it keeps all bits of bf16 down to 2^-18 of that. The
/// first line has, as f32, the powers that take this back; behind it come ceil(K / 2) lines, zeros behind K.
struct PanelHalves {
  explicit PanelHalves(int64_t depth) : depth(depth) {}
  int64_t depth; // K

  /// The exponent of a column's largest value.
  static constexpr int64_t largest = 3;

  static constexpr int64_t powers = 0, values = 1; // their first lines
  int64_t lines() const { return values + static_cast<int64_t>(llvm::divideCeil(depth, 2)); }
};

} // namespace ds_plan

#endif // DIALECTS_DSPLAN_PANELHALVES_H
