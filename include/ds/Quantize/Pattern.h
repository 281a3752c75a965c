// Regular expressions over names of tensors.
#ifndef DS_QUANTIZE_PATTERN_H
#define DS_QUANTIZE_PATTERN_H

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Regex.h"
#include <string>

namespace ds {

/// Why `pattern` is no POSIX extended regular expression, as rules of schemes are; empty where it is one. `\d` and its like are refused: in
/// these they are the letter.
inline std::string whyNotPattern(llvm::StringRef pattern) {
  std::string reason;
  if (!llvm::Regex(pattern).isValid(reason))
    return reason;
  for (size_t at = 0; at + 1 < pattern.size(); ++at)
    if (pattern[at] == '\\' && llvm::isAlpha(pattern[++at]))
      return "'\\" + std::string(1, pattern[at]) + "' has no meaning there; a digit is [0-9], a letter of a word [A-Za-z0-9_]";
  return "";
}

} // namespace ds
#endif // DS_QUANTIZE_PATTERN_H
