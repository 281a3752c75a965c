#include "runtime/lib/Status.h"

std::string dsrt::inQuotes(std::string_view text) {
  constexpr size_t longest = 80;
  static const char digits[] = "0123456789abcdef";
  std::string line = "'";
  for (size_t i = 0; i < text.size() && i < longest; ++i) {
    auto byte = static_cast<unsigned char>(text[i]);
    if (byte < 0x20 || byte == 0x7f)
      line += concat("\\x", std::string(1, digits[byte >> 4]), std::string(1, digits[byte & 15]));
    else
      line += text[i];
  }
  return line + (text.size() > longest ? "...'" : "'");
}
