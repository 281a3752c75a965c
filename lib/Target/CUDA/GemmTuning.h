// The spaces that products on CUDA are tuned in, and what is wrong with a key.
#ifndef LIB_TARGET_CUDA_GEMMTUNING_H
#define LIB_TARGET_CUDA_GEMMTUNING_H

#include "GemmShapes.h"
#include <nlohmann/json_fwd.hpp>

namespace ds {

/// A member of a key that no product has, and what is expected of it.
struct KeyFault {
  std::string member, expected;
};
std::optional<KeyFault> faultOf(const TuningKey &key);

/// The members of a line of the data base that say which product, and how it is cut.
nlohmann::ordered_json jsonOf(const TuningKey &key, const TuningConfig &config);

/// The weights of a key without a fault.
WeightShape weightsOf(const TuningKey &key);

} // namespace ds
#endif // LIB_TARGET_CUDA_GEMMTUNING_H
