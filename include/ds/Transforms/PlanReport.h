// How much memory a plan needs, as a table.
#ifndef DS_TRANSFORMS_PLANREPORT_H
#define DS_TRANSFORMS_PLANREPORT_H

#include "mlir/IR/BuiltinOps.h"
#include <string>

namespace ds {

/// A table of the programs of `module` (phase `planned`): bounds, launches, barriers and arena of each, the bytes of the weights, and of
/// the caches of one sequence and of `batch` sequences (0: the largest max_batch). Lines end with a newline.
std::string planReport(mlir::ModuleOp module, int64_t batch = 0);

} // namespace ds
#endif // DS_TRANSFORMS_PLANREPORT_H
