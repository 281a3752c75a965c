// Scale and offset of one group of a row.
#ifndef DS_LIB_QUANTIZE_GROUPSCALE_H
#define DS_LIB_QUANTIZE_GROUPSCALE_H

#include "ds/Quantize/Float8.h"
#include "ds/Quantize/Scheme.h"

namespace ds {

/// What a code says before scale and offset.
inline float numberOf(const QuantizationScheme &scheme, int16_t code) {
  return scheme.e4m3 ? e4m3ToFloat(static_cast<uint8_t>(code)) : static_cast<float>(code);
}

/// Scale and offset as they are stored: values of f16 where the scheme says so.
struct GroupScale {
  float scale = 0, offset = 0;

  /// The code nearest to a value. A scale that rounds to nothing stands for values that do as well.
  int16_t round(const QuantizationScheme &scheme, float value) const;
  float valueOf(const QuantizationScheme &scheme, int16_t code) const { return scale * numberOf(scheme, code) + offset; }
};

/// The scale whose codes reach all values. Symmetric codes of fewer than 8 bits have one more below zero: the widest value becomes
/// the least of them.
GroupScale spanningScale(const QuantizationScheme &scheme, const float *values, int64_t count);

/// The scale of least squared error, each value's counted with its weight: the best of several that cut the widest values off, made better
/// by least squares for its own codes.
GroupScale searchScale(const QuantizationScheme &scheme, const float *values, const float *weights, int64_t count);

/// Errors: BadData, for a value that is NaN or infinite; the message begins with its number.
Result<void> expectFinite(const float *values, int64_t count);
/// Errors: BadData, for a scale or offset beyond its type; the message begins with the number `first` of the group's first element.
Result<void> expectStorable(const QuantizationScheme &scheme, const GroupScale &scale, int64_t first);

} // namespace ds
#endif // DS_LIB_QUANTIZE_GROUPSCALE_H
