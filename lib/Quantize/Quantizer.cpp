#include "ds/Quantize/Quantizer.h"
#include "GroupScale.h"
#include "ds/Import/Half.h"
#include <algorithm>
#include <bit>

using namespace ds;

bool ds::keepsStoredCodes(StoredType type, const QuantizationScheme &scheme, int64_t columns, int64_t offset,
                          const std::vector<int64_t> &sizes, const std::vector<int64_t> &strides) {
  const int64_t block = blockSize(type).elements;
  return schemeOfStored(type) == scheme && columns % block == 0 && offset % block == 0 && strides.back() == 1 &&
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

Result<void> ds::quantizeRow(const QuantizationScheme &scheme, const float *values, int64_t count, QuantizedRow &row) {
  if (scheme.factors)
    return Error::badData("expects rows stored in whole blocks of " + nameOf(scheme) + ", found values: nothing is rounded to those");
  const int64_t group = scheme.groupOf(count);
  row.codes.resize(count);
  row.scales.clear(), row.offsets.clear();
  if (Result<void> finite = expectFinite(values, count); !finite)
    return finite;
  for (int64_t first = 0; first < count; first += group) {
    const GroupScale scale = spanningScale(scheme, values + first, group);
    if (Result<void> stored = expectStorable(scheme, scale, first); !stored)
      return stored;
    row.scales.push_back(scale.scale);
    if (scheme.asymmetric)
      row.offsets.push_back(scale.offset);
    for (int64_t i = first; i < first + group; ++i)
      row.codes[i] = scale.round(scheme, values[i]);
  }
  return {};
}

void ds::dequantizeRow(const QuantizationScheme &scheme, const QuantizedRow &row, float *values) {
  const int64_t group = scheme.groupOf(static_cast<int64_t>(row.codes.size()));
  for (int64_t i = 0; i < static_cast<int64_t>(row.codes.size()); ++i) {
    const float product = row.scales[i / group] * numberOf(scheme, row.codes[i]);
    values[i] = scheme.asymmetric ? product + row.offsets[i / group] : product;
  }
}
