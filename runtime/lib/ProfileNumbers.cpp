#include "runtime/lib/ProfileNumbers.h"
#include <cmath>
#include <cstdio>

using namespace dsrt;

std::string dsrt::rounded(double value) {
  char text[64];
  std::snprintf(text, sizeof(text), "%.2f", std::isfinite(value) ? value : 0.0);
  std::string result = text;
  result.erase(result.find_last_not_of('0') + 1);
  if (result.back() == '.')
    result.pop_back();
  return result == "-0" ? "0" : result;
}

static std::string scaled(double value, const char *prefixes[4], const char *unit) {
  const double steps[] = {1e12, 1e9, 1e6, 1e3};
  for (int i = 0; i < 4; ++i)
    if (value >= steps[i] && prefixes[i])
      return rounded(value / steps[i]) + " " + prefixes[i] + unit;
  return rounded(value) + (*unit ? std::string(" ") + unit : "");
}

std::string dsrt::withPrefix(double value, const char *unit) {
  const char *prefixes[] = {"T", "G", "M", "K"};
  return scaled(value, prefixes, unit);
}

std::string dsrt::parametersText(double count) {
  const char *prefixes[] = {nullptr, "B", "M", "K"};
  return scaled(count, prefixes, "");
}

std::string dsrt::timeText(double ns) {
  if (ns >= 1e9)
    return rounded(ns / 1e9) + " s";
  if (ns >= 1e6)
    return rounded(ns / 1e6) + " ms";
  return ns <= 0 ? "0 s" : rounded(ns / 1e3) + " us";
}

std::string dsrt::percentText(double part, double whole) { return rounded(whole > 0 ? 100 * part / whole : 0) + "%"; }

std::string dsrt::padded(const std::string &text, size_t width) {
  return text.size() < width ? text + std::string(width - text.size(), ' ') : text;
}

std::string dsrt::rightAligned(const std::string &text, size_t width) {
  return text.size() < width ? std::string(width - text.size(), ' ') + text : text;
}
