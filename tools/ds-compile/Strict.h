// Fusions that no kernel serves, from the remarks of passes: notes, or what --strict refuses.
#ifndef TOOLS_DS_COMPILE_STRICT_H
#define TOOLS_DS_COMPILE_STRICT_H

#include "mlir/IR/MLIRContext.h"
#include <string>
#include <vector>

namespace ds {

struct RefusedFusion {
  std::string fusion, place, reason;
  /// "fusion 'rope-behind-product' refused at 'model.layers.0.self_attn': heads fill ..."; of several places the first and their number.
  std::string text(size_t places = 1) const;
};

/// From now on each fusion that is refused because no kernel serves its region is added to `refused`, which outlives the passes that run
/// in `context`.
mlir::LogicalResult collectRefusedFusions(mlir::MLIRContext &context, std::vector<RefusedFusion> &refused);

/// A line for each fusion that is refused for one reason, wherever that is.
std::vector<std::string> linesOf(const std::vector<RefusedFusion> &refused);

} // namespace ds
#endif // TOOLS_DS_COMPILE_STRICT_H
