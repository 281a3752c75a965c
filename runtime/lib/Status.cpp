// The message of the last failure, one for each thread.
#include "runtime/lib/Status.h"

namespace {
thread_local std::string lastError;
}

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

dsrt_status dsrt::report(const Status &status) {
  if (!status.ok())
    lastError = status.message();
  return status.code();
}

extern "C" const char *dsrt_last_error(void) { return lastError.c_str(); }
