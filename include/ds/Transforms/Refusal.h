// Why a fusion was refused: what a remark of the fusing passes says beside its reason.
#ifndef DS_TRANSFORMS_REFUSAL_H
#define DS_TRANSFORMS_REFUSAL_H

#include "llvm/ADT/StringRef.h"

namespace ds {

enum class Refusal {
  dataFlow, // the ops cannot be one region, whatever a kernel can do
  kernel,   // they could, but no kernel serves the region: what `ds-compile --strict` makes an error
  profit,   // a kernel would serve it, but apart they are faster
};

/// The key under which a remark has the kind.
inline constexpr llvm::StringLiteral refusalKey = "Refused";

inline llvm::StringRef stringifyRefusal(Refusal kind) {
  return kind == Refusal::dataFlow ? "data-flow" : kind == Refusal::kernel ? "kernel" : "profit";
}

} // namespace ds
#endif // DS_TRANSFORMS_REFUSAL_H
