// Numbers of 8 bits with a sign, 4 bits of exponent and 3 of fraction (e4m3fn). Needs no MLIR.
#ifndef DS_QUANTIZE_FLOAT8_H
#define DS_QUANTIZE_FLOAT8_H

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>

namespace ds {

/// The largest one. There is no infinity; 0x7f and 0xff are NaN.
inline constexpr float e4m3Most = 448;

/// The value of a code. Source: Micikevicius et al. 2022, FP8 Formats for Deep Learning (arXiv 2209.05433), table 1.
inline float e4m3ToFloat(uint8_t code) {
  const uint32_t magnitude = code & 0x7f, sign = static_cast<uint32_t>(code & 0x80) << 24;
  if (magnitude == 0x7f)
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(std::numeric_limits<float>::quiet_NaN()));
  const float value = magnitude < 8 ? static_cast<float>(magnitude) * 0x1p-9f : std::bit_cast<float>((magnitude << 20) + (120u << 23));
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(value));
}

/// The nearest of these numbers, ties to even, the largest one for values beyond it; a NaN is kept.
inline float roundToE4m3(float value) {
  const float inRange = std::min(std::max(value, -e4m3Most), e4m3Most);
  // Below 2^-6 they are multiples of 2^-9: the last place of a sum with 1.5 * 2^14.
  const float small = (inRange + 0x1.8p14f) - 0x1.8p14f;
  const uint32_t bits = std::bit_cast<uint32_t>(inRange);
  const float large = std::bit_cast<float>((bits + 0x7ffff + (bits >> 20 & 1)) & 0xfff00000);
  const float rounded = (bits & 0x7fffffff) < 0x3c800000 ? small : large;
  return value != value ? value : rounded;
}

/// The code of `roundToE4m3(value)`; a zero keeps its sign.
inline uint8_t toE4m3(float value) {
  const uint32_t sign = std::bit_cast<uint32_t>(value) >> 24 & 0x80;
  if (value != value)
    return static_cast<uint8_t>(sign | 0x7f);
  const uint32_t bits = std::bit_cast<uint32_t>(roundToE4m3(value)) & 0x7fffffff;
  const uint32_t magnitude = bits < 0x3c800000 ? static_cast<uint32_t>(std::bit_cast<float>(bits) * 0x1p9f) : (bits >> 20) - (120u << 3);
  return static_cast<uint8_t>(sign | magnitude);
}

} // namespace ds
#endif // DS_QUANTIZE_FLOAT8_H
