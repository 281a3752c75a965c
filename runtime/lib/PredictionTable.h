// The fitted numbers of the cost model: what part of a limit the kernels of a family reach.
#ifndef DSRT_LIB_PREDICTIONTABLE_H
#define DSRT_LIB_PREDICTIONTABLE_H

#include <string_view>

namespace dsrt {

/// Parts of the machine's limits.
struct FamilyCost {
  std::string_view family;
  double macs;  // of the peak rate of multiply-adds
  double lanes; // of one vector instruction a cycle and port, beside the multiply-adds
  double bytes; // of the read bandwidth
};

/// The part of a cache that data keeps while other data passes through it.
inline constexpr double usableCache = 1.0;

inline constexpr FamilyCost familyCosts[] = {
    {"attention", 0.6, 0.5, 0.9},
    {"gemm", 0.92, 0.5, 0.9},
    {"", 0.5, 0.5, 0.8}, // any other
};

inline const FamilyCost &costOfFamily(std::string_view family) {
  const FamilyCost *cost = familyCosts;
  while (!cost->family.empty() && cost->family != family)
    ++cost;
  return *cost;
}

} // namespace dsrt
#endif // DSRT_LIB_PREDICTIONTABLE_H
