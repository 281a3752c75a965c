// Matrix products: blocks of rows times panels of weights.
#ifndef DS_LIB_TARGET_CPU_GEMM_H
#define DS_LIB_TARGET_CPU_GEMM_H

#include "ds/Target/CPU/Kernel.h"

namespace ds {

/// Columns of one panel.
inline constexpr int64_t panelColumns = 32;

/// The operands of one `ds.linear`, `output[r, n] = sum_k input[r, k] * weight[n, k] + bias[n]`.
struct GemmOperands {
  mlir::Value input;  // [rows, depth] f32
  mlir::Value weight; // [panels][depth][32] of `element`
  mlir::Value bias;   // [panels * 32] f32, or null
  mlir::Value output; // [rows, columns] f32
  mlir::Type element;
  int64_t columns; // N
  int64_t depth;   // K
  int64_t panels() const { return (columns + panelColumns - 1) / panelColumns; }
};

/// Heights of row blocks there is code for, highest first, ending with 1.
llvm::SmallVector<int64_t> gemmBlockHeights(const CpuLevel &level);

/// Emits the product of `height` rows from `row` on with all columns of `panel`. The weights of a panel are read ahead when `stream` is
/// set.
void emitGemmBlock(KernelContext &c, const GemmOperands &gemm, mlir::Value row, mlir::Value panel, int64_t height, bool stream);

/// Few rows: each panel is read from memory once, by one thread. Emits for `c.rows` up to `skinnyRows`.
void emitSkinnyGemm(KernelContext &c, const GemmOperands &gemm);
inline constexpr int64_t skinnyRows = 16;

} // namespace ds
#endif // DS_LIB_TARGET_CPU_GEMM_H
