// One row of a table, in vectors.
#ifndef LIB_TARGET_CPU_EMBEDDINGROW_H
#define LIB_TARGET_CPU_EMBEDDINGROW_H

#include "RowRegion.h"

namespace ds {

/// Row `index` (i64) of a table in layout `rows`, or in `panels` where a linear reads it as well.
class EmbeddingRow {
public:
  EmbeddingRow(Emitter &e, const KernelOperand &table, mlir::Value index);
  /// True for tables of `width` columns that this reads.
  static bool canRead(const KernelOperand &table, int64_t width);
  /// f32 of the span; lanes that do not exist are zero. The span has no mask.
  mlir::Value load(const RowSpan &span);

private:
  mlir::Value at(mlir::Value column) { return e.element(start, table.element(), stride == 1 ? column : e.mul(column, stride)); }

  Emitter &e;
  const KernelOperand &table;
  int64_t stride; // elements from one column to the next
  mlir::Value start;
};

} // namespace ds
#endif // LIB_TARGET_CPU_EMBEDDINGROW_H
