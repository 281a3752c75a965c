#include "ds/Quantize/Quantizer.h"
#include "ds/Import/Half.h"
#include <algorithm>
#include <bit>
#include <cmath>

using namespace ds;

bool ds::keepsStoredCodes(const StoredTensor &tensor, const QuantizationScheme &scheme, int64_t columns, int64_t offset,
                          const std::vector<int64_t> &sizes, const std::vector<int64_t> &strides) {
  const int64_t block = blockSize(tensor.type).elements;
  return schemeOfStored(tensor.type) == scheme && columns % block == 0 && offset % block == 0 && strides.back() == 1 &&
         sizes.back() % columns == 0 &&
         std::all_of(strides.begin(), strides.end() - 1, [&](int64_t stride) { return stride % block == 0; });
}

uint16_t ds::toHalf(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value), sign = bits >> 16 & 0x8000, rest = bits & 0x7fffffff;
  if (rest > 0x7f800000)
    return static_cast<uint16_t>(sign | 0x7e00);
  if (rest < 0x38800000) // subnormal: the sum's last place is that of f16, and it rounds
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(std::bit_cast<float>(rest) + 0.5f) - 0x3f000000));
  const uint32_t rounded = (rest + 0xfff + (rest >> 13 & 1) - 0x38000000) >> 13;
  return static_cast<uint16_t>(sign | std::min<uint32_t>(rounded, 0x7c00));
}

/// Scale and offset of one group, as they are stored.
static void chooseScale(const QuantizationScheme &scheme, const float *values, int64_t count, float &scale, float &offset) {
  offset = 0;
  if (scheme.asymmetric) {
    auto [least, greatest] = std::minmax_element(values, values + count);
    offset = scheme.halfScales ? halfToFloat(toHalf(*least)) : *least;
    scale = (*greatest - offset) / static_cast<float>(scheme.greatestCode());
  } else {
    const float widest = *std::max_element(values, values + count, [](float a, float b) { return std::fabs(a) < std::fabs(b); });
    scale =
        scheme.bits == 4 ? widest / static_cast<float>(scheme.leastCode()) : std::fabs(widest) / static_cast<float>(scheme.greatestCode());
  }
  if (scheme.halfScales)
    scale = halfToFloat(toHalf(scale));
}

Result<void> ds::quantizeRow(const QuantizationScheme &scheme, const float *values, int64_t count, QuantizedRow &row) {
  const int64_t group = scheme.groupOf(count);
  const float least = static_cast<float>(scheme.leastCode() + (scheme.bits == 8 && !scheme.asymmetric ? 1 : 0));
  const float greatest = static_cast<float>(scheme.greatestCode());
  row.codes.resize(count);
  row.scales.clear(), row.offsets.clear();
  for (int64_t i = 0; i < count; ++i)
    if (!std::isfinite(values[i]))
      return Error::badData("element " + std::to_string(i) + ": expects a finite value to quantize, found " +
                            (std::isnan(values[i]) ? "NaN" : "infinity"));
  for (int64_t first = 0; first < count; first += group) {
    float scale, offset;
    chooseScale(scheme, values + first, group, scale, offset);
    if (!std::isfinite(scale * static_cast<float>(scheme.greatestCode()) + offset))
      return Error::badData("element " + std::to_string(first) + ": expects a group whose scale is within " +
                            (scheme.halfScales ? "f16" : "f32"));
    row.scales.push_back(scale);
    if (scheme.asymmetric)
      row.offsets.push_back(offset);
    // A scale that rounds to nothing stands for values that do as well.
    for (int64_t i = first; i < first + group; ++i)
      row.codes[i] = scale == 0 ? 0 : static_cast<int16_t>(std::clamp(std::nearbyint((values[i] - offset) / scale), least, greatest));
  }
  return {};
}

void ds::dequantizeRow(const QuantizationScheme &scheme, const QuantizedRow &row, float *values) {
  const int64_t group = scheme.groupOf(static_cast<int64_t>(row.codes.size()));
  for (int64_t i = 0; i < static_cast<int64_t>(row.codes.size()); ++i) {
    const float product = row.scales[i / group] * static_cast<float>(row.codes[i]);
    values[i] = scheme.asymmetric ? product + row.offsets[i / group] : product;
  }
}
