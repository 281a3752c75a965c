#include "GroupScale.h"
#include "ds/Import/Half.h"
#include "ds/Quantize/Quantizer.h"
#include <algorithm>
#include <cmath>
#include <string>

using namespace ds;

// Symmetric codes of 8 bits leave -128 out.
static float leastCode(const QuantizationScheme &scheme) {
  return static_cast<float>(scheme.leastCode() + (scheme.bits == 8 && !scheme.asymmetric ? 1 : 0));
}
static float greatestCode(const QuantizationScheme &scheme) { return static_cast<float>(scheme.greatestCode()); }

/// To the nearest code, ties to even: adding 1.5 * 2^23 leaves no place for a fraction.
static float nearest(float value, float least, float greatest) {
  constexpr float integers = 12582912.0f;
  return (std::clamp(value, least, greatest) + integers) - integers;
}

int16_t GroupScale::round(const QuantizationScheme &scheme, float value) const {
  return scale == 0 ? 0 : static_cast<int16_t>(nearest((value - offset) / scale, leastCode(scheme), greatestCode(scheme)));
}

/// As they are stored.
static GroupScale stored(const QuantizationScheme &scheme, float scale, float offset) {
  if (scheme.halfScales)
    return {halfToFloat(toHalf(scale)), halfToFloat(toHalf(offset))};
  return {scale, offset};
}

GroupScale ds::spanningScale(const QuantizationScheme &scheme, const float *values, int64_t count) {
  if (scheme.asymmetric) {
    auto [least, greatest] = std::minmax_element(values, values + count);
    const float offset = stored(scheme, 0, *least).offset;
    return stored(scheme, (*greatest - offset) / greatestCode(scheme), offset);
  }
  const float widest = *std::max_element(values, values + count, [](float a, float b) { return std::fabs(a) < std::fabs(b); });
  return stored(scheme, scheme.bits == 4 ? widest / leastCode(scheme) : std::fabs(widest) / greatestCode(scheme), 0);
}

namespace {
/// Sums over a group that say which scale and offset are best for its codes.
struct Fit {
  Fit(const QuantizationScheme &scheme, GroupScale from, const float *values, const float *weights, int64_t count) : fallback(from) {
    const float least = leastCode(scheme), greatest = greatestCode(scheme), inverse = from.scale == 0 ? 0 : 1 / from.scale;
    for (int64_t i = 0; i < count; ++i) {
      const float code = nearest((values[i] - from.offset) * inverse, least, greatest), weighted = weights[i] * code;
      w += weights[i], q += weighted, qq += weighted * code, x += weights[i] * values[i], qx += weighted * values[i];
    }
  }

  GroupScale best(const QuantizationScheme &scheme) const {
    if (!scheme.asymmetric)
      return qq > 0 ? stored(scheme, qx / qq, 0) : fallback;
    const float determinant = w * qq - q * q;
    if (!(determinant > 1e-6f * w * qq))
      return fallback;
    return stored(scheme, (w * qx - q * x) / determinant, (qq * x - q * qx) / determinant);
  }

  GroupScale fallback;
  float w = 0, q = 0, qq = 0, x = 0, qx = 0;
};
} // namespace

static float errorOf(const QuantizationScheme &scheme, GroupScale scale, const float *values, const float *weights, int64_t count) {
  const float least = leastCode(scheme), greatest = greatestCode(scheme), inverse = scale.scale == 0 ? 0 : 1 / scale.scale;
  float sum = 0;
  for (int64_t i = 0; i < count; ++i) {
    const float code = nearest((values[i] - scale.offset) * inverse, least, greatest);
    const float error = values[i] - (scale.scale * code + scale.offset);
    sum += weights[i] * error * error;
  }
  return sum;
}

GroupScale ds::searchScale(const QuantizationScheme &scheme, const float *values, const float *weights, int64_t count) {
  constexpr int steps = 10;
  GroupScale best = spanningScale(scheme, values, count);
  float least = errorOf(scheme, best, values, weights, count);
  auto consider = [&](GroupScale from) {
    const GroupScale fitted = Fit(scheme, from, values, weights, count).best(scheme);
    if (const float error = errorOf(scheme, fitted, values, weights, count); error < least && std::isfinite(fitted.scale))
      least = error, best = fitted;
  };
  const GroupScale span = best;
  // From the whole span down to 0.55 of it.
  for (int step = 0; step < steps; ++step) {
    const float share = 1.0f - 0.05f * static_cast<float>(step);
    if (scheme.asymmetric) {
      const float width = span.scale * greatestCode(scheme);
      consider({span.scale * share, span.offset + width * (1 - share) / 2});
    } else {
      consider({span.scale * share, 0});
      if (scheme.bits == 4) // the other end has the code that is left
        consider({-span.scale * share, 0});
    }
  }
  return best;
}

Result<void> ds::expectFinite(const float *values, int64_t count) {
  for (int64_t i = 0; i < count; ++i)
    if (!std::isfinite(values[i]))
      return Error::badData("element " + std::to_string(i) + ": expects a finite value to quantize, found " +
                            (std::isnan(values[i]) ? "NaN" : "infinity"));
  return {};
}

Result<void> ds::expectStorable(const QuantizationScheme &scheme, const GroupScale &scale, int64_t first) {
  if (std::isfinite(scale.scale * greatestCode(scheme) + scale.offset))
    return {};
  return Error::badData("element " + std::to_string(first) + ": expects a group whose scale is within " +
                        (scheme.halfScales ? "f16" : "f32"));
}
