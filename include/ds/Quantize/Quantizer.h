// Values to codes and back.
#ifndef DS_QUANTIZE_QUANTIZER_H
#define DS_QUANTIZE_QUANTIZER_H

#include "ds/Quantize/Scheme.h"
#include <vector>

namespace ds {

/// One row of a quantized matrix.
struct QuantizedRow {
  std::vector<int16_t> codes;
  std::vector<float> scales;         // of groups
  std::vector<float> offsets;        // of groups, of asymmetric schemes alone
  std::vector<GroupFactors> factors; // of groups, what both are made of, of schemes with factors alone
};

/// True where rows of a view (box of `sizes`, apart by `strides`) keep the codes of a tensor's blocks: `type` has `scheme`, and rows
/// of `columns` are whole ones.
bool keepsStoredCodes(StoredType type, const QuantizationScheme &scheme, int64_t columns, int64_t offset, const std::vector<int64_t> &sizes,
                      const std::vector<int64_t> &strides);

/// The nearest f16, ties to even; infinite beyond its range.
uint16_t toHalf(float value);

/// Rounds `count` values, whole groups, to the nearest codes. Symmetric codes of 8 bits leave -128 out; of fewer the value with the
/// largest magnitude becomes the least (-8 of 4 bits), as there are more codes on that side. Of e4m3 the largest magnitude becomes 448.
/// Errors: BadData, for a value that is NaN or infinite, and for groups whose scale or offset is beyond f16; the message begins with the
/// element's number. And for a scheme with factors, which is of values that are stored so.
Result<void> quantizeRow(const QuantizationScheme &scheme, const float *values, int64_t count, QuantizedRow &row);

/// The values of a row: scale * code (+ offset), each operation rounded to f32. The code 0x7f of e4m3 gives NaN; rounding never does.
void dequantizeRow(const QuantizationScheme &scheme, const QuantizedRow &row, float *values);

} // namespace ds
#endif // DS_QUANTIZE_QUANTIZER_H
