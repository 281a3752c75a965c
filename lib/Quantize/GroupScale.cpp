#include "GroupScale.h"
#include "ds/Import/Half.h"
#include "ds/Quantize/Quantizer.h"
#include <algorithm>
#include <cmath>
#include <string>

using namespace ds;

namespace {
/// The numbers that codes of a scheme say. Symmetric codes of 8 bits leave -128 out.
struct Numbers {
  explicit Numbers(const QuantizationScheme &scheme)
      : e4m3(scheme.e4m3), greatest(e4m3 ? e4m3Most : static_cast<float>(scheme.greatestCode())),
        least(e4m3                                     ? -e4m3Most
              : scheme.bits == 8 && !scheme.asymmetric ? -greatest
                                                       : static_cast<float>(scheme.leastCode())) {}

  /// The nearest, ties to even. Of integers: adding 1.5 * 2^23 leaves no place for a fraction.
  float nearest(float value) const {
    constexpr float integers = 12582912.0f;
    return e4m3 ? roundToE4m3(value) : (std::clamp(value, least, greatest) + integers) - integers;
  }

  bool e4m3;
  float greatest, least;
};
} // namespace

int16_t GroupScale::round(const QuantizationScheme &scheme, float value) const {
  if (scale == 0)
    return 0;
  const float quotient = (value - offset) / scale;
  return scheme.e4m3 ? static_cast<int16_t>(toE4m3(quotient)) : static_cast<int16_t>(Numbers(scheme).nearest(quotient));
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
    return stored(scheme, (*greatest - offset) / Numbers(scheme).greatest, offset);
  }
  const float widest = *std::max_element(values, values + count, [](float a, float b) { return std::fabs(a) < std::fabs(b); });
  const Numbers numbers(scheme);
  return stored(scheme, scheme.bits < 8 ? widest / numbers.least : std::fabs(widest) / numbers.greatest, 0);
}

namespace {
/// Sums over a group that say which scale and offset are best for its codes.
struct Fit {
  Fit(const QuantizationScheme &scheme, GroupScale from, const float *values, const float *weights, int64_t count) : fallback(from) {
    const Numbers numbers(scheme);
    const float inverse = from.scale == 0 ? 0 : 1 / from.scale;
    for (int64_t i = 0; i < count; ++i) {
      const float code = numbers.nearest((values[i] - from.offset) * inverse), weighted = weights[i] * code;
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
  const Numbers numbers(scheme);
  const float inverse = scale.scale == 0 ? 0 : 1 / scale.scale;
  float sum = 0;
  for (int64_t i = 0; i < count; ++i) {
    const float code = numbers.nearest((values[i] - scale.offset) * inverse);
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
      const float width = span.scale * Numbers(scheme).greatest;
      consider({span.scale * share, span.offset + width * (1 - share) / 2});
    } else {
      consider({span.scale * share, 0});
      if (scheme.bits < 8) // the other end has the code that is left
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
  if (std::isfinite(scale.scale * Numbers(scheme).greatest + scale.offset))
    return {};
  return Error::badData("element " + std::to_string(first) + ": expects a group whose scale is within " +
                        (scheme.halfScales ? "f16" : "f32"));
}
