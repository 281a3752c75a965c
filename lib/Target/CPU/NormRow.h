// A row of a kernel with a norm, or with the gradient of one, and the element-wise ops around it.
#ifndef LIB_TARGET_CPU_NORMROW_H
#define LIB_TARGET_CPU_NORMROW_H

#include "RowRegion.h"

namespace ds {

/// One row. What the norm needs whole rows of is an operand, or is computed once and kept on the stack.
class NormRow {
public:
  /// `scratch` has a row of stack for each of `rowsOfNorm`, null for operands.
  NormRow(KernelContext &context, mlir::Operation *norm, llvm::ArrayRef<mlir::Value> scratch, mlir::Value row);

  Emitter &emitter() const { return e; }
  int64_t rowWidth() const { return width; }
  /// A span of the row that the norm reads; of `rowsOfNorm`, number `which`.
  mlir::Value at(const RowSpan &span, int64_t which = 0) { return region.load(inputs[which], span, elements[which]); }
  /// A span of the gain.
  mlir::Value vectorAt(mlir::Value vector, const RowSpan &span);
  /// `value`, and `outside` in lanes that do not exist.
  mlir::Value masked(mlir::Value value, const RowSpan &span, mlir::Value outside);
  mlir::Value sumOf(llvm::function_ref<mlir::Value(const RowSpan &, mlir::Value)> body);
  /// Computes what follows the norm, its results in a span given by `values`.
  void epilogue(llvm::function_ref<Emitter::Values(const RowSpan &)> values);

  /// The layer norm or RMS norm.
  void affineNorm();
  void l2Normalize(L2NormalizeOp op);
  /// `scratch` is a row of stack.
  void softmax(mlir::Value scratch);

private:
  void prologue();
  void finish(const RowSpan &span, mlir::ValueRange values);
  bool followsNorm(mlir::Value value) const;

  Emitter &e;
  mlir::Operation *norm;
  int64_t width, lanes;
  RowRegion region;
  llvm::SmallVector<mlir::Value, 2> rows, inputs; // that the norm reads, and where they are
  llvm::SmallVector<mlir::Type, 2> elements;      // of them
  bool hasPrologue = false;
};

/// The gradient of a norm or of a softmax, and what follows.
void emitNormGradient(NormRow &row, mlir::Operation *gradient);

} // namespace ds
#endif // LIB_TARGET_CPU_NORMROW_H
