// Codes that were chosen before packing, with regard to more than a row.
#ifndef DS_QUANTIZE_QUANTIZEDMATRIX_H
#define DS_QUANTIZE_QUANTIZEDMATRIX_H

#include "ds/Quantize/Quantizer.h"
#include <map>
#include <string>

namespace ds {

/// The codes, scales and offsets of a matrix, row by row.
class QuantizedMatrix {
public:
  QuantizedMatrix(const QuantizationScheme &scheme, int64_t rows, int64_t columns);
  const QuantizationScheme &scheme() const { return ownScheme; }
  int64_t columns() const { return columnCount; }
  /// Different rows may be set from different threads.
  void set(int64_t index, const QuantizedRow &row);
  void get(int64_t index, QuantizedRow &row) const;

private:
  QuantizationScheme ownScheme;
  int64_t columnCount, groups;
  std::vector<uint8_t> codes; // the low 8 bits
  std::vector<float> scales, offsets;
};

/// Matrices by the symbol of their `ds.parameter`; others are rounded where they are read.
using QuantizedMatrices = std::map<std::string, QuantizedMatrix, std::less<>>;

} // namespace ds
#endif // DS_QUANTIZE_QUANTIZEDMATRIX_H
