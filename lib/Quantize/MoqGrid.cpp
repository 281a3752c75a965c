#include "ds/Quantize/MoqGrid.h"
#include <algorithm>
#include <bit>
#include <cmath>
#include <span>

using namespace ds;

/// The mean of |x|: added up one by one in f32, in runs as long as torch's result does not depend on its threads.
static float meanMagnitude(std::span<const float> values) {
  constexpr size_t run = 32768;
  double total = 0;
  for (size_t first = 0; first < values.size(); first += run) {
    float sum = 0;
    for (float value : values.subspan(first, std::min(run, values.size() - first)))
      sum += std::fabs(value);
    total += static_cast<double>(sum);
  }
  return static_cast<float>(total) / static_cast<float>(values.size());
}

/// The sum of at(0) to at(count - 1) in the order of torch's `sum` on x86: four vectors of eight lanes side by side, whose sums move up a
/// level after each batch so that small values never meet a large sum.
template <typename At> static float cascadeSum(size_t count, At at) {
  constexpr size_t lanes = 8, width = 4 * lanes, levels = 4;
  if (count < lanes) {
    // Four single sums in place of vectors; what is left joins the first.
    float sum = at(0);
    for (size_t i = 4; i < count; ++i)
      sum += at(i);
    for (size_t i = 1; i < std::min<size_t>(4, count); ++i)
      sum += at(i);
    return sum;
  }
  const size_t steps = count / width;
  const size_t power = std::max<size_t>(4, steps > 2 ? static_cast<size_t>(std::bit_width(steps - 1)) / levels : 0);
  const size_t batch = size_t(1) << power;
  float sums[levels][width] = {};
  auto add = [&](size_t first, size_t columns) {
    for (size_t column = 0; column < columns; ++column)
      sums[0][column] += at(first + column);
  };
  size_t step = 0;
  while (step + batch <= steps) {
    for (const size_t end = step + batch; step < end; ++step)
      add(step * width, width);
    for (size_t level = 1; level < levels; ++level) {
      for (size_t column = 0; column < width; ++column) {
        sums[level][column] += sums[level - 1][column];
        sums[level - 1][column] = 0;
      }
      if (step & (batch - 1) << (level * power))
        break;
    }
  }
  for (; step < steps; ++step)
    add(step * width, width);
  for (size_t level = 1; level < levels; ++level)
    for (size_t column = 0; column < width; ++column)
      sums[0][column] += sums[level][column];
  size_t rest = steps * width;
  for (; rest + lanes <= count; rest += lanes)
    add(rest, lanes);
  for (size_t column = lanes; column < width; ++column)
    sums[0][column % lanes] += sums[0][column];
  float sum = 0;
  for (; rest < count; ++rest)
    sum += at(rest);
  for (size_t lane = 0; lane < lanes; ++lane)
    sum += sums[0][lane];
  return sum;
}

static MoqFit fitTernary(std::span<const float> values) {
  MoqFit fit;
  fit.threshold = 0.7f * meanMagnitude(values);
  auto kept = [&](float value) { return std::fabs(value) > fit.threshold; };
  const auto count = std::ranges::count_if(values, kept);
  if (count > 0)
    fit.scale =
        cascadeSum(values.size(), [&](size_t i) { return kept(values[i]) ? std::fabs(values[i]) : 0.0f; }) / static_cast<float>(count);
  return fit;
}

static MoqFit fitGroup(const MoqGrid &grid, std::span<const float> values) {
  if (grid.bits == 1)
    return {.scale = meanMagnitude(values)};
  if (grid.bits == 2)
    return fitTernary(values);
  const auto [least, greatest] = std::ranges::minmax(values);
  const float low = grid.range ? grid.range->low : least, high = grid.range ? grid.range->high : greatest;
  const float steps = static_cast<float>(1 << grid.bits);
  if (grid.inference) {
    const float ofOne = steps / (2 * std::max(std::fabs(low), std::fabs(high)) + 1e-5f);
    return {.scale = 1 / ofOne, .steps = ofOne};
  }
  if (!grid.asymmetric)
    return {.scale = 2 * std::max(std::fabs(low), std::fabs(high)) / steps};
  const float scale = (high - low) / steps;
  return {.scale = scale, .offset = scale == 0 ? low : std::nearbyint(low / scale) * scale};
}

float ds::moqCode(const MoqGrid &grid, const MoqFit &fit, float value) {
  if (grid.bits <= 2)
    return static_cast<float>((value > fit.threshold) - (value < -fit.threshold));
  if (fit.scale == 0)
    return 0;
  const float codes = static_cast<float>(1 << grid.bits), least = grid.asymmetric ? 0 : -codes / 2;
  const float place = grid.inference ? value * fit.steps : (value - fit.offset) / fit.scale;
  return std::clamp(std::nearbyint(place), least, least + codes - 1);
}

static Result<void> checkGrid(const MoqGrid &grid, int64_t count) {
  if (grid.bits < 1 || grid.bits > 8)
    return Error::usage("expects 1 to 8 bits, got " + std::to_string(grid.bits));
  if (grid.bits < 3 && (grid.asymmetric || grid.inference || grid.range))
    return Error::usage(std::string("expects 3 bits or more for ") +
                        (grid.asymmetric  ? "an asymmetric grid"
                         : grid.inference ? "a grid of inference"
                                          : "a given range") +
                        ", got " + std::to_string(grid.bits));
  if (grid.inference && (grid.asymmetric || grid.range))
    return Error::usage(std::string("expects a grid of inference to be symmetric, with the range of its values, got ") +
                        (grid.asymmetric ? "an asymmetric one" : "a given range"));
  // Not `low >= high`: NaN is refused too.
  if (grid.range && !(grid.range->low < grid.range->high && std::isfinite(grid.range->low) && std::isfinite(grid.range->high)))
    return Error::usage("expects a finite range with low below high, got " + std::to_string(grid.range->low) + " to " +
                        std::to_string(grid.range->high));
  if (count < 1)
    return Error::usage("expects one value or more, got " + std::to_string(count));
  if (grid.groups < 1 || count % grid.groups != 0)
    return Error::usage("expects a number of groups that divides " + std::to_string(count) + " values, got " + std::to_string(grid.groups));
  return {};
}

/// [groups]
static Result<std::vector<MoqFit>> fitGroups(const MoqGrid &grid, std::span<const float> values) {
  for (size_t i = 0; i < values.size(); ++i)
    if (!std::isfinite(values[i]))
      return Error::badData("element " + std::to_string(i) + ": expects a finite value, got " + std::to_string(values[i]));
  std::vector<MoqFit> fits(static_cast<size_t>(grid.groups));
  const size_t size = values.size() / fits.size();
  for (size_t group = 0; group < fits.size(); ++group) {
    const MoqFit &fit = fits[group] = fitGroup(grid, values.subspan(group * size, size));
    if (!std::isfinite(fit.scale) || !std::isfinite(fit.offset) || !std::isfinite(fit.threshold))
      return Error::badData("group " + std::to_string(group) + ": expects values whose scale f32 can hold, got values too large");
  }
  return fits;
}

Result<std::vector<MoqFit>> ds::fitMoqGrid(const MoqGrid &grid, const float *in, int64_t count) {
  if (Result<void> good = checkGrid(grid, count); !good)
    return good.error();
  return fitGroups(grid, {in, static_cast<size_t>(count)});
}

/// Calls `each(fit, i, code)` for every value, once all groups are known to be good.
template <typename Each> static Result<std::vector<MoqFit>> forEachCode(const MoqGrid &grid, const float *in, int64_t count, Each each) {
  Result<std::vector<MoqFit>> fits = fitMoqGrid(grid, in, count);
  if (!fits)
    return fits;
  const std::span values(in, static_cast<size_t>(count));
  size_t i = 0;
  for (const MoqFit &fit : *fits)
    for (const size_t end = i + values.size() / fits->size(); i < end; ++i)
      each(fit, i, moqCode(grid, fit, values[i]));
  return fits;
}

Result<void> ds::applyMoqGrid(const MoqGrid &grid, const float *in, int64_t count, float *out) {
  auto fits = forEachCode(grid, in, count, [&](const MoqFit &fit, size_t i, float code) {
    const float product = code * fit.scale;
    // Adding an offset of 0 would lose the sign of -0.
    out[i] = grid.asymmetric ? product + fit.offset : product;
  });
  if (!fits)
    return fits.error();
  return {};
}

Result<MoqCodes> ds::encodeMoqGrid(const MoqGrid &grid, const float *in, int64_t count) {
  MoqCodes coded;
  auto fits = forEachCode(grid, in, count, [&](const MoqFit &, size_t, float code) { coded.codes.push_back(static_cast<int16_t>(code)); });
  if (!fits)
    return fits.error();
  for (const MoqFit &fit : *fits) {
    coded.scales.push_back(fit.scale);
    if (grid.asymmetric)
      coded.offsets.push_back(fit.offset);
  }
  return coded;
}
