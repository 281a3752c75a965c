#include "ds/Quantize/QuantizedMatrix.h"
#include <algorithm>

using namespace ds;

QuantizedMatrix::QuantizedMatrix(const QuantizationScheme &scheme, int64_t rows, int64_t columns)
    : ownScheme(scheme), columnCount(columns), groups(columns / scheme.groupOf(columns)), codes(rows * columns), scales(rows * groups),
      offsets(scheme.asymmetric ? rows * groups : 0) {}

void QuantizedMatrix::set(int64_t index, const QuantizedRow &row) {
  std::transform(row.codes.begin(), row.codes.end(), codes.begin() + index * columnCount,
                 [](int16_t code) { return static_cast<uint8_t>(code); });
  std::copy(row.scales.begin(), row.scales.end(), scales.begin() + index * groups);
  std::copy(row.offsets.begin(), row.offsets.end(), offsets.begin() + (offsets.empty() ? 0 : index * groups));
}

void QuantizedMatrix::get(int64_t index, QuantizedRow &row) const {
  auto first = codes.begin() + index * columnCount;
  row.codes.resize(columnCount);
  std::transform(first, first + columnCount, row.codes.begin(), [this](uint8_t code) {
    return ownScheme.leastCode() == 0 ? static_cast<int16_t>(code) : static_cast<int16_t>(static_cast<int8_t>(code));
  });
  row.scales.assign(scales.begin() + index * groups, scales.begin() + (index + 1) * groups);
  row.offsets.clear();
  if (!offsets.empty())
    row.offsets.assign(offsets.begin() + index * groups, offsets.begin() + (index + 1) * groups);
}
