// Whether one kernel can compute some ops.
#ifndef DS_ANALYSIS_FUSIONLEGALITY_H
#define DS_ANALYSIS_FUSIONLEGALITY_H

#include "mlir/IR/Operation.h"
#include <optional>
#include <string>

namespace ds {

/// Why no kernel family serves `ops` (in block order, each of the `ds` dialect or a `ds_plan.store_cache`) as one region; nothing when one
/// does. Families with several ops: products (LinearRegion.h); pooling, then an L2 norm; the loss of rows and its gradient; rows:
/// embeddings, element-wise ops and at most one norm, or one gradient of a norm, of one width.
std::optional<std::string> whyNotOneKernel(llvm::ArrayRef<mlir::Operation *> ops);

/// Why no builder of the CUDA target serves `ops`, a region that one of the CPU's does; nothing when one does.
std::optional<std::string> whyNotOnCuda(llvm::ArrayRef<mlir::Operation *> ops);

/// True for an op that a kernel of rows may hold: each row of its result needs that row of its operands alone.
bool isRowOp(mlir::Operation *op);

/// True for an op on elements that stand in one place, `ds.scale` and `ds.dropout` included, whose control is the same for all.
bool isElementwise(mlir::Operation *op);
/// Each token passes the op by itself, whatever its place: rows of `[B, T, N]` may stand as `[R, N]`.
bool takesRowsAlone(mlir::Operation *op);

/// True for a norm, softmax included, or the gradient of one: an op of rows that looks at whole rows.
bool isRowNorm(mlir::Operation *op);

/// The operands of a norm, or of a norm's gradient, that it needs whole rows of.
llvm::SmallVector<mlir::Value, 2> rowsOfNorm(mlir::Operation *norm);

/// The longest row that a kernel keeps on a worker's stack.
inline constexpr int64_t longestRowOnStack = 16384;

} // namespace ds
#endif // DS_ANALYSIS_FUSIONLEGALITY_H
