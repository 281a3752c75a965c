// Single elements of matrices in the layouts of tensor cores.
#ifndef LIB_TARGET_CUDA_TILEREADER_H
#define LIB_TARGET_CUDA_TILEREADER_H

#include "dialects/DSPlan/TileCodes.h"
#include "ds/Target/CUDA/Kernel.h"

namespace ds {

/// How a weight in layout `tiles` or `tile_codes` lies; none for other operands.
std::optional<ds_plan::Tiles> tilesOf(const KernelOperand &operand);

/// Element (row, k), both i32, as f32; the operand is in `tiles`, `tile_codes` or `rows`.
mlir::Value loadMatrixElement(GpuEmitter &e, const KernelOperand &operand, mlir::Value row, mlir::Value k);

} // namespace ds
#endif // LIB_TARGET_CUDA_TILEREADER_H
