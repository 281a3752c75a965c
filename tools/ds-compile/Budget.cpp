#include "Budget.h"
#include <charconv>
#include <cmath>
#include <cstdio>
#include <queue>

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

/// The noise of an item on a rung of `bits`, over its signal.
static double relativeNoise(const BudgetItem &item, int64_t bits) {
  return item.signal > 0 ? item.noise / item.signal * std::pow(4.0, static_cast<double>(measuredBits - bits)) : 0;
}

static Result<std::vector<size_t>> withinBits(double most, const std::vector<int64_t> &rungs, const std::vector<BudgetItem> &items) {
  std::vector<size_t> chosen(items.size());
  double weights = 0, bits = 0;
  for (const BudgetItem &item : items)
    weights += item.weights, bits += item.sizes.front();
  if (bits > most * weights) {
    char least[32];
    std::snprintf(least, sizeof(least), "%.2f", std::ceil(bits / weights * 100) / 100);
    return Error::usage("expects a budget of at least " + std::string(least) + " bits a weight, what " + std::to_string(rungs.front()) +
                        " bits for all matrices but tables come to");
  }
  // By the noise that a bit more takes away, of equal ones the first item.
  struct Step {
    double gain;
    size_t item;
    bool operator<(const Step &other) const { return std::pair(gain, other.item) < std::pair(other.gain, item); }
  };
  std::priority_queue<Step> steps;
  auto more = [&](size_t i) { return items[i].sizes[chosen[i] + 1] - items[i].sizes[chosen[i]]; };
  auto push = [&](size_t i) {
    if (chosen[i] + 1 == items[i].sizes.size())
      return;
    const double less = relativeNoise(items[i], rungs[chosen[i]]) - relativeNoise(items[i], rungs[chosen[i] + 1]);
    steps.push({less > 0 ? less / more(i) : 0, i}); // in groups of 16 an odd number of bits takes as much as one more
  };
  for (size_t i = 0; i < items.size(); ++i)
    push(i);
  while (!steps.empty()) {
    const size_t i = steps.top().item;
    steps.pop();
    if (bits + more(i) > most * weights)
      continue;
    bits += more(i), ++chosen[i];
    push(i);
  }
  return chosen;
}

Result<std::vector<size_t>> ds::allocateBits(const BitBudget &budget, const std::vector<int64_t> &rungs,
                                             const std::vector<BudgetItem> &items) {
  if (budget.bits)
    return withinBits(*budget.bits, rungs, items);
  std::vector<size_t> chosen;
  double most = 0; // noise that the highest rung leaves
  for (const BudgetItem &item : items) {
    size_t rung = 0;
    while (rung + 1 < item.sizes.size() && relativeNoise(item, rungs[rung]) * std::pow(10.0, *budget.decibels / 10) > 1)
      ++rung;
    chosen.push_back(rung);
    if (!item.isFixed())
      most = std::max(most, relativeNoise(item, rungs.back()));
  }
  if (most * std::pow(10.0, *budget.decibels / 10) > 1) {
    char reached[32];
    std::snprintf(reached, sizeof(reached), "%.1f", std::floor(-100 * std::log10(most)) / 10);
    return Error::usage("expects a budget of at most " + std::string(reached) + "dB, what " + std::to_string(rungs.back()) +
                        " bits are estimated to reach in all matrices");
  }
  return chosen;
}
