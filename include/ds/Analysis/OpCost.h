// What an op of `ds` computes and moves, as a function of the sizes of a step.
#ifndef DS_ANALYSIS_OPCOST_H
#define DS_ANALYSIS_OPCOST_H

#include "mlir/IR/Operation.h"
#include <cstdint>

namespace ds {

/// Work of one op. `row` is a row of its result, `pair` a query and a key it may see, `key` a key of a sequence.
struct OpCost {
  int64_t macsPerRow = 0, macsPerPair = 0;
  /// Two for a multiply-add, one for any other arithmetic operation, exp, tanh, erf, sqrt and a division.
  int64_t flopsPerRow = 0, flopsPerPair = 0, flopsPerKey = 0;
  /// As DeepSpeed's profiler counts (flops_profiler/profiler.py): only contractions, norms, softmax and activations.
  int64_t compatibleFlopsPerRow = 0, compatibleFlopsPerPair = 0;
  /// What the op costs beside its multiply-adds and the moving of data: instructions times lanes, as lib/Target/CPU writes them. An exp is
  /// a polynomial, and a division holds its port for many cycles.
  int64_t laneOpsPerRow = 0, laneOpsPerPair = 0, laneOpsPerKey = 0;
};

/// The work of `op`; zero for an op that moves data alone.
OpCost costOf(mlir::Operation *op);

} // namespace ds
#endif // DS_ANALYSIS_OPCOST_H
