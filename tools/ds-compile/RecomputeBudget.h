// --recompute: which layers of a training step are computed again, also as few as bring the values that it keeps under a budget.
#ifndef TOOLS_DS_COMPILE_RECOMPUTEBUDGET_H
#define TOOLS_DS_COMPILE_RECOMPUTEBUDGET_H

#include "ds/Import/Result.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include <cstdint>
#include <optional>
#include <string>

namespace ds {

/// What the option asks for: `layers` is none, all or a number; with a budget it is still to be chosen.
struct Recompute {
  std::string layers = "none";
  std::optional<int64_t> budgetBytes;
};

/// Reads none, all, a number of layers, or `budget:SIZE`, SIZE in bytes or with KiB, MiB or GiB. Errors: Usage.
Result<Recompute> parseRecompute(const std::string &text);

/// How many layers, the first ones, and the bytes of a step's values with and without.
struct RecomputeChoice {
  int64_t layers = 0, bytes = 0, bytesWithout = 0;
};

/// The least number of `layers` layers whose step keeps at most `budgetBytes`; `bytesOf` says what one keeps, and is asked about a dozen
/// times: more layers are taken to keep less. Errors: Usage with what the step keeps at least, and those of `bytesOf`.
Result<RecomputeChoice> chooseRecompute(int64_t budgetBytes, int64_t layers, llvm::function_ref<Result<int64_t>(int64_t)> bytesOf);

/// `268435456 bytes (256.0 MiB)`.
std::string bytesText(int64_t bytes);

} // namespace ds
#endif // TOOLS_DS_COMPILE_RECOMPUTEBUDGET_H
