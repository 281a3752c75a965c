#include "Budget.h"
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

using namespace ds;

Result<std::optional<BitBudget>> ds::parseBudget(std::string_view name) {
  if (!name.starts_with("auto"))
    return std::optional<BitBudget>();
  auto refuse = [&] {
    return Error::usage("expects auto:BITS, such as auto:5.5, or auto:DECIBELSdB, such as auto:25dB, got '" + std::string(name) + "'");
  };
  if (!name.starts_with("auto:"))
    return refuse();
  std::string_view rest = name.substr(5);
  const bool decibels = rest.ends_with("dB");
  if (decibels)
    rest.remove_suffix(2);
  double number = 0;
  auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), number);
  if (error != std::errc() || end != rest.data() + rest.size() || !std::isfinite(number) || number <= 0)
    return refuse();
  BitBudget budget;
  (decibels ? budget.decibels : budget.bits) = number;
  return std::optional(budget);
}

static Result<std::vector<bool>> withinBits(double most, const std::vector<BudgetItem> &items) {
  std::vector<bool> wide(items.size());
  double weights = 0, bits = 0;
  std::vector<size_t> order;
  for (size_t i = 0; i < items.size(); ++i) {
    wide[i] = items[i].fixed;
    weights += items[i].weights;
    bits += wide[i] ? items[i].many : items[i].few;
    if (!wide[i])
      order.push_back(i);
  }
  if (bits > most * weights) {
    char least[32];
    std::snprintf(least, sizeof(least), "%.2f", std::ceil(bits / weights * 100) / 100);
    return Error::usage("expects a budget of at least " + std::string(least) +
                        " bits a weight, what 4 bits for all matrices but tables come to");
  }
  auto gain = [&](size_t i) {
    const BudgetItem &item = items[i];
    return item.signal > 0 ? item.noise / item.signal / (item.many - item.few) : 0;
  };
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return std::pair(gain(b), a) < std::pair(gain(a), b); });
  for (size_t i : order)
    if (const double more = bits + items[i].many - items[i].few; more <= most * weights)
      wide[i] = true, bits = more;
  return wide;
}

Result<std::vector<bool>> ds::allocateBits(const BitBudget &budget, const std::vector<BudgetItem> &items) {
  if (budget.bits)
    return withinBits(*budget.bits, items);
  std::vector<bool> wide;
  for (const BudgetItem &item : items)
    wide.push_back(item.fixed || item.noise * std::pow(10.0, *budget.decibels / 10) > item.signal);
  return wide;
}
