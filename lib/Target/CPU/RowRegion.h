// The region of a `row` kernel, computed one vector at a time.
#ifndef LIB_TARGET_CPU_ROWREGION_H
#define LIB_TARGET_CPU_ROWREGION_H

#include "ds/Target/CPU/Kernel.h"
#include "llvm/ADT/DenseMap.h"

namespace ds {

/// Elements `[index, index + lanes)` of a row; lanes outside do not exist in memory, are read as zero and not written.
struct RowSpan {
  mlir::Value index; // i64
  int64_t count;     // lanes that exist, when `mask` is null
  mlir::Value mask;  // those lanes, when known at run time alone
};

/// Values of the region at one row. Values are computed on demand from the operands, each once a span.
class RowRegion {
public:
  /// `row` is an index, and operands are `[rows, width]`.
  RowRegion(KernelContext &context, mlir::Value row, int64_t width);

  /// Fails unless operands are f32, or rounded to less, and rows of one width, or what `ds.scale` and `ds.dropout` share, and the region
  /// holds embeddings, element-wise ops and at most one norm or gradient of a norm.
  static llvm::Error check(KernelContext &context);
  /// The op of the region that looks at whole rows, or null.
  static mlir::Operation *norm(ds_plan::KernelOp kernel);
  /// True for a value of the region that is no operand.
  static bool isComputed(mlir::Value value) { return !mlir::isa<mlir::BlockArgument>(value); }

  /// f32 of a row of `element`, f32 by default.
  mlir::Value load(mlir::Value pointer, const RowSpan &span, mlir::Type element = {});
  void store(mlir::Value value, mlir::Value pointer, const RowSpan &span, mlir::Type element = {});
  /// First element of this row of an operand.
  mlir::Value start(const KernelOperand &operand);

  /// Forgets what was computed, for a new span.
  void begin(const RowSpan &span);
  /// Says what `value` of the region is in this span.
  void set(mlir::Value value, mlir::Value lanes) { known[value] = lanes; }
  /// A value of the region in this span.
  mlir::Value get(mlir::Value value);
  /// Writes the results of the region that `wanted` holds for.
  void storeResults(llvm::function_ref<bool(mlir::Value)> wanted);

private:
  KernelContext &context;
  mlir::Value row;
  int64_t width;
  bool beginsBlock;                                         // spans, whose indices are multiples of 4, begin at such elements of the tensor
  llvm::SmallDenseMap<mlir::Operation *, mlir::Value> keys; // of every ds.dropout
  RowSpan span;
  llvm::DenseMap<mlir::Value, mlir::Value> known;
};

/// Calls `body` for each vector of a row of `width`.
void forEachSpan(Emitter &e, int64_t width, llvm::function_ref<void(const RowSpan &)> body);

/// Combines all vectors of a row: `body` takes a span and the sum so far, which begins with `identity`; several sums run side by side.
/// Returns a vector that is to be reduced.
mlir::Value reduceSpans(Emitter &e, int64_t width, mlir::Value identity, llvm::function_ref<mlir::Value(const RowSpan &, mlir::Value)> body,
                        llvm::function_ref<mlir::Value(mlir::Value, mlir::Value)> combine);

/// Sums over all vectors of a row: `body` takes a span and the `count` sums so far, vectors, and gives the next ones. Returns scalars.
Emitter::Values sumSpans(Emitter &e, int64_t width, int64_t count,
                         llvm::function_ref<Emitter::Values(const RowSpan &, mlir::ValueRange)> body);

/// The layer norm or RMS norm `norm` of a row. `at` gives its values in a span, `vectorAt` gain and bias, `sink` takes the norm's.
void emitNormOfRow(Emitter &e, mlir::Operation *norm, int64_t width, llvm::function_ref<mlir::Value(const RowSpan &)> at,
                   llvm::function_ref<mlir::Value(mlir::Value, const RowSpan &)> vectorAt,
                   llvm::function_ref<void(const RowSpan &, mlir::Value)> sink);

/// Emits a row kernel around its norm, or its gradient of a norm.
void emitNormRows(KernelContext &context, mlir::Operation *norm);

/// True for a row kernel of the loss, its gradient, or both.
bool isLoss(ds_plan::KernelOp kernel);
llvm::Error buildLoss(KernelContext &context);

} // namespace ds
#endif // LIB_TARGET_CPU_ROWREGION_H
