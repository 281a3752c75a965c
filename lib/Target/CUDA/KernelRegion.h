// How threads of the GPU share the rows and elements of a kernel.
#ifndef LIB_TARGET_CUDA_KERNELREGION_H
#define LIB_TARGET_CUDA_KERNELREGION_H

#include "../CPU/KernelRegion.h"
#include "ds/Target/CUDA/Kernel.h"

namespace ds {

/// Values that a thread takes at once of rows of `width`: 16 bytes where every row begins at a multiple of them.
inline int64_t lanesOfRow(int64_t width) { return width % 4 == 0 ? 4 : 1; }

/// `lanes` f32, a scalar where that is 1, at a multiple of their bytes.
mlir::Value loadLanes(GpuEmitter &e, mlir::Value pointer, int64_t lanes);
void storeLanes(GpuEmitter &e, mlir::Value value, mlir::Value pointer);

/// Element `column` of an f32 row; `row` is i32 or i64.
mlir::Value elementOfRow(GpuEmitter &e, const KernelOperand &operand, mlir::Value row, mlir::Value column);

/// Adds a stage in which every row has `items`, one for each thread. `body` takes row and item, i32.
void addStageOfItems(GpuKernel &kernel, std::string name, int64_t items, std::function<void(GpuBody &, mlir::Value, mlir::Value)> body);

/// Adds a stage over the elements of rows of `width`, one behind the other: `body` takes the first one of a thread (i64) and how many.
void addStageOfElements(GpuKernel &kernel, std::string name, int64_t width, std::function<void(GpuBody &, mlir::Value, int64_t)> body);

} // namespace ds
#endif // LIB_TARGET_CUDA_KERNELREGION_H
