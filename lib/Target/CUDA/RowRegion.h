// The region of a `row` kernel, computed one vector at a time.
#ifndef LIB_TARGET_CUDA_ROWREGION_H
#define LIB_TARGET_CUDA_ROWREGION_H

#include "KernelRegion.h"
#include "llvm/ADT/DenseMap.h"

namespace ds {

/// Elements of a row that one thread works on: `[index, index + lanes)`.
struct GpuRowSpan {
  mlir::Value index; // i32, or i64 where all elements are one row
  int64_t lanes;     // 4, or 1: a scalar
  mlir::Value valid; // i1: the row has them; null: always
};

/// Values of the region at one span of a row. They are computed on demand from the operands, each once; they are zeros and of no use where
/// the span is not valid.
class GpuRowRegion {
public:
  /// `row` is i32; null: operands are one row.
  GpuRowRegion(GpuBody &body, ds_plan::KernelOp kernel, mlir::Value row, GpuRowSpan span)
      : body(body), e(body.e), kernel(kernel), row(row), at(span) {}

  /// Fails unless operands are f32 and rows of one width, and the region holds embeddings, element-wise ops and at most one norm.
  static llvm::Error check(const GpuKernel &kernel);

  const GpuRowSpan &span() const { return at; }
  /// Says what `value` of the region is.
  void set(mlir::Value value, mlir::Value lanes) { known[value] = lanes; }
  /// A value of the region.
  mlir::Value get(mlir::Value value);
  /// Writes all results of the region.
  void storeResults();

private:
  mlir::Value address(const KernelOperand &operand);
  /// What `load` gives where the span is valid.
  mlir::Value whereValid(llvm::function_ref<mlir::Value()> load);

  GpuBody &body;
  GpuEmitter &e;
  ds_plan::KernelOp kernel;
  mlir::Value row;
  GpuRowSpan at;
  llvm::DenseMap<mlir::Value, mlir::Value> known;
};

/// True for tables of `width` columns of which `loadTable` reads rows.
bool canReadTable(const KernelOperand &table, int64_t width);
/// `lanes` columns of row `index` (i64), from `column` (i32) on, a multiple of `lanes`.
mlir::Value loadTable(GpuEmitter &e, const KernelOperand &table, mlir::Value index, mlir::Value column, int64_t lanes);

/// Adds the stage of a row kernel around its norm.
void addNormStage(GpuKernel &kernel, mlir::Operation *norm);

} // namespace ds
#endif // LIB_TARGET_CUDA_ROWREGION_H
