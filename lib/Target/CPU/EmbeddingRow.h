// One row of a table, in vectors.
#ifndef LIB_TARGET_CPU_EMBEDDINGROW_H
#define LIB_TARGET_CPU_EMBEDDINGROW_H

#include "RowRegion.h"

namespace ds {

/// Row `index` (i64) of a table in layout `rows`, or in panels where a linear reads it as well.
class EmbeddingRow {
public:
  EmbeddingRow(Emitter &e, const KernelOperand &table, mlir::Value index);
  /// True for tables of `width` columns that this reads.
  static bool canRead(const KernelOperand &table, int64_t width);
  /// f32 of the span; lanes that do not exist are zero. The span has no mask.
  mlir::Value load(const RowSpan &span);
  /// f32 of one column (i64).
  mlir::Value load(mlir::Value column);

private:
  mlir::Value at(mlir::Value column);

  Emitter &e;
  const KernelOperand &table;
  int64_t together;   // columns side by side; 0: all, or codes
  int64_t width = 0;  // of a panel
  mlir::Value start;  // of the row, or of its panel of codes
  mlir::Value power;  // what its values are multiplied by, or null
  mlir::Value column; // of the row in that
};

} // namespace ds
#endif // LIB_TARGET_CPU_EMBEDDINGROW_H
