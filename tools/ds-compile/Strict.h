// What --strict looks for among the remarks of passes.
#ifndef TOOLS_DS_COMPILE_STRICT_H
#define TOOLS_DS_COMPILE_STRICT_H

#include "mlir/IR/MLIRContext.h"
#include <string>
#include <vector>

namespace ds {

/// From now on each fusion that is refused because no kernel serves its region becomes a line of `refused`: what, where and why.
/// `refused` outlives the passes that run in `context`.
mlir::LogicalResult collectRefusedFusions(mlir::MLIRContext &context, std::vector<std::string> &refused);

} // namespace ds
#endif // TOOLS_DS_COMPILE_STRICT_H
