#include "RecomputeBudget.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"

using namespace ds;
using llvm::StringRef;

/// Bytes, or a number of KiB, MiB or GiB; nothing for anything else.
static std::optional<int64_t> parseBytes(StringRef text) {
  int64_t unit = 1;
  if (text.consume_back("KiB"))
    unit = int64_t(1) << 10;
  else if (text.consume_back("MiB"))
    unit = int64_t(1) << 20;
  else if (text.consume_back("GiB"))
    unit = int64_t(1) << 30;
  double number = 0;
  if (text.empty() || text.find_first_not_of("0123456789.") != StringRef::npos || text.getAsDouble(number))
    return std::nullopt;
  number *= static_cast<double>(unit);
  return number >= 1 && number < 0x1p60 ? std::optional(static_cast<int64_t>(number)) : std::nullopt;
}

Result<Recompute> ds::parseRecompute(const std::string &text) {
  StringRef rest = text;
  int64_t layers = 0;
  if (rest.consume_front("budget:")) {
    if (std::optional<int64_t> bytes = parseBytes(rest))
      return Recompute{"none", bytes};
    return Error::usage("--recompute: expects budget:SIZE, SIZE in bytes or such as 256MiB, got '" + text + "'");
  }
  if (text == "none" || text == "all" || (!rest.getAsInteger(10, layers) && layers >= 0))
    return Recompute{text, {}};
  return Error::usage("--recompute: expects none, all, a number of layers or budget:SIZE, got '" + text + "'");
}

std::string ds::bytesText(int64_t bytes) {
  std::string text;
  llvm::raw_string_ostream(text) << bytes << " bytes (" << llvm::format("%.1f", static_cast<double>(bytes) / (1 << 20)) << " MiB)";
  return text;
}

Result<RecomputeChoice> ds::chooseRecompute(int64_t budgetBytes, int64_t layers, llvm::function_ref<Result<int64_t>(int64_t)> bytesOf) {
  Result<int64_t> without = bytesOf(0);
  if (!without)
    return without.error();
  if (*without <= budgetBytes)
    return RecomputeChoice{0, *without, *without};
  Result<int64_t> bytes = bytesOf(layers);
  if (!bytes)
    return bytes.error();
  if (*bytes > budgetBytes)
    return Error::usage("--recompute: expects a budget of at least " + bytesText(std::min(*bytes, *without)) +
                        ", what a step keeps when all " + std::to_string(layers) + " layers are computed again, got " +
                        bytesText(budgetBytes));
  int64_t tooFew = 0, enough = layers, least = *bytes;
  while (enough - tooFew > 1) {
    const int64_t middle = tooFew + (enough - tooFew) / 2;
    bytes = bytesOf(middle);
    if (!bytes)
      return bytes.error();
    if (*bytes <= budgetBytes) {
      enough = middle;
      least = *bytes;
    } else {
      tooFew = middle;
    }
  }
  return RecomputeChoice{enough, least, *without};
}
