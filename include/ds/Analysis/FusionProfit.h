// Whether a fusion that a kernel serves is also worth it, by the cost model.
#ifndef DS_ANALYSIS_FUSIONPROFIT_H
#define DS_ANALYSIS_FUSIONPROFIT_H

#include "dsrt/machine.h"
#include "mlir/IR/Block.h"
#include <optional>
#include <string>

namespace ds {

/// Bytes of the matrices that the products of `block` read: what passes through the caches in each step.
double matrixBytesOf(mlir::Block &block);

/// Why computing `norm` in the kernel of `product` (its ops in block order, which read it) would cost time; nothing when it pays.
///
/// The kernel saves a launch, a barrier and the way of the rows through memory, and pays where threads share columns: each computes the
/// norm of all rows. Both ways are predicted at steps of 1, 16 and 128 rows, on one thread and on all of `machine`. Every step weighs the
/// same: the mean of fused / apart, taken of logarithms, must not exceed 1 by more than
/// predictions err (1.05). `stepBytes` is the matrices of a whole step.
std::optional<std::string> whyNormIsBetterApart(mlir::Operation *norm, llvm::ArrayRef<mlir::Operation *> product, double stepBytes,
                                                const dsrt::MachineDescription &machine);

} // namespace ds
#endif // DS_ANALYSIS_FUSIONPROFIT_H
