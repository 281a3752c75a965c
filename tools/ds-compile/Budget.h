// --quantize=auto:BUDGET: which matrices have 8 bits and which 4.
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
  double few = 0, many = 0;     // bits of all of them together in 4 and in 8 bits
  double signal = 0, noise = 0; // at the output, in 4 bits
  bool fixed = false;           // has `many`: a table, what a rule says, or without moments
};

/// For each item, whether it has 8 bits. To keep within bits, those come first whose relative error a bit is greatest. Errors: Usage, for
/// bits that 4 bits for all exceed.
Result<std::vector<bool>> allocateBits(const BitBudget &budget, const std::vector<BudgetItem> &items);

} // namespace ds
#endif // TOOLS_DS_COMPILE_BUDGET_H
