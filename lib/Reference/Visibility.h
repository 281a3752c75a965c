// Which keys a token attends to.
#ifndef DS_LIB_REFERENCE_VISIBILITY_H
#define DS_LIB_REFERENCE_VISIBILITY_H

#include "ds/Reference/Tensor.h"
#include <optional>

namespace ds::reference {

/// By the `mask`, `past`, `causal` and `window` of an attention.
struct Visibility {
  const Tensor *mask, *past;
  int64_t tokens;
  bool causal;
  std::optional<int64_t> window;

  bool sees(int64_t b, int64_t t, int64_t s) const {
    int64_t before = past ? static_cast<int64_t>(past->values[b]) : 0;
    return (!mask || mask->values[b * mask->shape[1] + s] != 0) && (!past || s < before + tokens) && (!causal || s <= before + t) &&
           (!window || s > before + t - *window);
  }
};

} // namespace ds::reference
#endif // DS_LIB_REFERENCE_VISIBILITY_H
