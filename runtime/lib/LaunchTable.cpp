// What a record means for given sizes; the table is read in LaunchReader.cpp.
#include "runtime/lib/LaunchTable.h"
#include <algorithm>
#include <limits>

using namespace dsrt;

const char *dsrt::nameOf(StepSize size) {
  static const char *const names[stepSizeCount] = {"batch", "tokens", "token_rows", "selected"};
  return names[static_cast<int>(size)];
}

const char *dsrt::nameOf(HalfType type) { return type == HalfType::bf16 ? "bf16" : "f16"; }

/// Products beyond what any grid has stay there.
static int64_t multiply(int64_t a, int64_t b) {
  int64_t product;
  return __builtin_mul_overflow(a, b, &product) ? std::numeric_limits<int64_t>::max() : product;
}

int64_t GridSize::of(const LaunchSizes &sizes) const {
  int64_t blocks = constant;
  for (const auto &[size, divisor] : factors)
    blocks = multiply(blocks, sizes.of(size) / divisor + (sizes.of(size) % divisor != 0));
  return blocks;
}

bool LaunchRecord::runs(const LaunchSizes &sizes, uint32_t blocks[3]) const {
  for (const SizeBound &bound : when)
    if (sizes.of(bound.size) < bound.least || sizes.of(bound.size) > bound.most)
      return false;
  for (int i = 0; i < 3; ++i)
    blocks[i] = static_cast<uint32_t>(grid[i].of(sizes));
  return blocks[0] > 0 && blocks[1] > 0 && blocks[2] > 0;
}

bool LaunchTable::has(ModuleTarget target) const {
  return std::any_of(modules.begin(), modules.end(), [&](const ModuleRecord &module) { return module.target == target; });
}

bool LaunchTable::hasProducts() const {
  auto isProduct = [](const LaunchRecord &launch) { return launch.product.has_value(); };
  return std::any_of(programs.begin(), programs.end(), [&](const LaunchProgram &program) {
    return std::any_of(program.launches.begin(), program.launches.end(), isProduct);
  });
}

std::string LaunchTable::archs(ModuleTarget target) const {
  std::string text;
  for (const ModuleRecord &module : modules)
    if (module.target == target)
      text += (text.empty() ? "" : ", ") + module.arch;
  return text;
}
