// Rows of a launch in slabs, for threads that share them.
#ifndef DS_LIB_TARGET_CPU_ROWSLABS_H
#define DS_LIB_TARGET_CPU_ROWSLABS_H

#include "ds/Analysis/LinearTiling.h"
#include "ds/Target/CPU/Emitter.h"

namespace ds {

/// Slabs of whole units of rows, `most` at most, which differ by one unit; as many for each thread where each gets `rowsOfThread`. `unit`
/// divides `most`: a slab would be longer otherwise.
class RowSlabs {
public:
  RowSlabs(Emitter &e, mlir::Value rows, mlir::Value threads, mlir::Value unit, int64_t most, int64_t rowsOfThread = linearRowsOfThread)
      : e(e), rows(rows), unit(unit) {
    mlir::Value least = e.ceilDiv(rows, most);
    mlir::Value multiple = e.mul(e.div(e.add(least, e.sub(threads, 1)), threads), threads);
    slabs = e.select(e.ge(rows, e.mul(threads, rowsOfThread)), multiple, least);
    units = e.div(e.add(rows, e.sub(unit, 1)), unit);
  }
  mlir::Value count() const { return slabs; }
  /// The first row of a slab.
  mlir::Value first(mlir::Value slab) const { return e.min(e.mul(e.div(e.mul(units, slab), slabs), unit), rows); }
  /// The row behind its last.
  mlir::Value end(mlir::Value slab) const { return first(e.add(slab, 1)); }

private:
  Emitter &e;
  mlir::Value rows, unit, slabs, units; // i64
};

} // namespace ds
#endif // DS_LIB_TARGET_CPU_ROWSLABS_H
