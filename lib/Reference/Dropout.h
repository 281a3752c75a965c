// Which elements dropout leaves.
#ifndef DS_LIB_REFERENCE_DROPOUT_H
#define DS_LIB_REFERENCE_DROPOUT_H

#include "dialects/DS/DSDialect.h"
#include "ds/Reference/Philox.h"
#include "ds/Reference/Tensor.h"

namespace ds::reference {

/// The key of a seed [2].
inline std::array<uint32_t, 2> dropoutKey(const Tensor &seed) {
  std::array<uint32_t, 2> key;
  for (int i : {0, 1})
    key[i] = static_cast<uint32_t>(static_cast<int64_t>(seed.values[i]));
  return key;
}

/// Of the weights of an attention or its gradient.
class DropoutOfWeights {
public:
  /// `seed` is null where nothing is left out.
  template <typename OpT>
  DropoutOfWeights(OpT op, const Tensor *seed, int64_t heads)
      : heads(heads), isOn(seed), key(seed ? dropoutKey(*seed) : std::array<uint32_t, 2>{}), site(op.getSite().value_or(0)),
        threshold(seed ? dropoutThreshold(*op.getRate()) : 0), kept(seed ? dropoutFactor(*op.getRate()) : 1) {}

  /// What the weight of sequence `b`, head `h`, token `t` and key `s` is multiplied by.
  double factor(int64_t b, int64_t h, int64_t t, int64_t s) const {
    if (!isOn)
      return 1;
    const std::array<uint32_t, 4> counter{static_cast<uint32_t>(t / 4), static_cast<uint32_t>(s), static_cast<uint32_t>(site),
                                          static_cast<uint32_t>(b * heads + h)};
    return philox4x32(counter, key)[t % 4] >= threshold ? kept : 0;
  }

private:
  int64_t heads;
  bool isOn;
  std::array<uint32_t, 2> key;
  uint64_t site;
  uint32_t threshold;
  double kept;
};

} // namespace ds::reference
#endif // DS_LIB_REFERENCE_DROPOUT_H
