// How far ops are fused into kernels.
#ifndef DS_TRANSFORMS_FUSIONLEVEL_H
#define DS_TRANSFORMS_FUSIONLEVEL_H

#include "llvm/ADT/StringRef.h"
#include <optional>

namespace ds {

/// none: one kernel an op. generic: element-wise chains, bias, residual and norm around each product. specialized: whole blocks: norm,
/// query, key and value with rope and cache; the projection behind attention with residual; the MLP.
enum class FusionLevel { none, generic, specialized };

std::optional<FusionLevel> symbolizeFusionLevel(llvm::StringRef name);

} // namespace ds
#endif // DS_TRANSFORMS_FUSIONLEVEL_H
