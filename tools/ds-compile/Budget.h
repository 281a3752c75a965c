// --quantize=auto:BUDGET: how many bits each matrix has.
#ifndef TOOLS_DS_COMPILE_BUDGET_H
#define TOOLS_DS_COMPILE_BUDGET_H

#include "ds/Import/Result.h"
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ds {

/// `auto:5.5`: at most that many bits a weight, scales included, over all matrices that can be quantized. `auto:25dB`: the output of each
/// matrix that far above its error.
struct BitBudget {
  std::optional<double> bits, decibels;
};

/// Reads `auto:NUMBER` or `auto:NUMBERdB`; nothing for what does not begin with `auto`. Errors: Usage.
Result<std::optional<BitBudget>> parseBudget(std::string_view name);

/// Matrices of one tensor in the model's files, which share a scheme.
struct BudgetItem {
  double weights = 0;
  std::vector<double> sizes;                         // bits of all of them together on each rung; of a fixed one, the only one
  double signal = 0, noise = 0;                      // at the output, in `measuredBits`
  bool isFixed() const { return sizes.size() == 1; } // a table, what a rule says, or without moments
};

/// The bits in which a matrix's error is measured. In others it follows from that: a bit more is a quarter of the noise.
inline constexpr int64_t measuredBits = 4;

/// For each item the rung it stands on, of those with bits `rungs`, which ascend; 0 for a fixed one. To keep within bits, all stand on the
/// lowest, and again and again the one goes up a rung whose relative error falls most for the bits that takes. To keep above decibels, each
/// stands on the lowest that does. Errors: Usage, for bits that the lowest rung for all exceeds, and for decibels that the highest misses.
Result<std::vector<size_t>> allocateBits(const BitBudget &budget, const std::vector<int64_t> &rungs, const std::vector<BudgetItem> &items);

} // namespace ds
#endif // TOOLS_DS_COMPILE_BUDGET_H
