#include "Dequantize.h"
#include <bit>
#include <cstring>

using namespace ds;

float ds::bfloatToFloat(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

float ds::halfToFloat(uint16_t bits) {
  uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16, exponent = bits >> 10 & 0x1f, mantissa = bits & 0x3ff;
  if (exponent == 0x1f)
    return std::bit_cast<float>(sign | 0x7f800000 | mantissa << 13);
  if (exponent != 0)
    return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
  float small = static_cast<float>(mantissa) * 0x1p-24f;
  return sign ? -small : small;
}

static float half(const uint8_t *bytes) {
  uint16_t bits;
  std::memcpy(&bits, bytes, 2);
  return halfToFloat(bits);
}

/// Q4_0 and Q4_1, Q5_0 and Q5_1: 16 bytes of low bits (element i and i + 16 share a byte), for five bits 32 high bits before them.
/// Without a minimum the value is centred: 8 or 16 is taken off.
static void dequantizeNibbles(const uint8_t *block, bool fiveBits, bool hasMinimum, float *out) {
  float scale = half(block), minimum = hasMinimum ? half(block + 2) : 0;
  const uint8_t *low = block + (hasMinimum ? 4 : 2);
  uint32_t high = 0;
  if (fiveBits) {
    std::memcpy(&high, low, 4);
    low += 4;
  }
  int centre = hasMinimum ? 0 : fiveBits ? 16 : 8;
  for (int i = 0; i < 32; ++i) {
    int value = i < 16 ? low[i] & 15 : low[i - 16] >> 4;
    value |= static_cast<int>(high >> i & 1) << 4;
    float product = scale * static_cast<float>(value - centre);
    out[i] = hasMinimum ? product + minimum : product;
  }
}

/// The 6-bit scale and minimum of group `group` of 8, from the 12 bytes Q4_K and Q5_K pack them in.
static void scaleAndMinimum(const uint8_t *packed, int group, int &scale, int &minimum) {
  if (group < 4) {
    scale = packed[group] & 63;
    minimum = packed[group + 4] & 63;
  } else {
    scale = (packed[group + 4] & 15) | packed[group - 4] >> 6 << 4;
    minimum = packed[group + 4] >> 4 | packed[group] >> 6 << 4;
  }
}

/// Q4_K and Q5_K: 8 groups of 32, groups 2 j and 2 j + 1 in the low and high nibbles of the same 32 bytes.
static void dequantizeGroups(const uint8_t *block, bool fiveBits, float *out) {
  float scaleOfScales = half(block), scaleOfMinima = half(block + 2);
  const uint8_t *high = block + 16, *low = block + (fiveBits ? 48 : 16);
  for (int group = 0; group < 8; ++group) {
    int scale, minimum;
    scaleAndMinimum(block + 4, group, scale, minimum);
    float d = scaleOfScales * static_cast<float>(scale), m = scaleOfMinima * static_cast<float>(minimum);
    for (int i = 0; i < 32; ++i) {
      int value = low[group / 2 * 32 + i] >> (group % 2 * 4) & 15;
      if (fiveBits)
        value |= (high[i] >> group & 1) << 4;
      out[group * 32 + i] = d * static_cast<float>(value) - m;
    }
  }
}

/// Q6_K: 128 bytes of low nibbles, 64 of high pairs, 16 signed scales, one half. Each half of the block holds four runs of 32.
static void dequantizeSix(const uint8_t *block, float *out) {
  const uint8_t *low = block, *high = block + 128;
  const int8_t *scales = reinterpret_cast<const int8_t *>(block + 192);
  float d = half(block + 208);
  for (int i = 0; i < 256; ++i) {
    int part = i / 128, run = i % 128 / 32, at = i % 32;
    int nibble = low[part * 64 + run % 2 * 32 + at] >> (run / 2 * 4) & 15;
    int pair = high[part * 32 + at] >> (run * 2) & 3;
    out[i] = d * static_cast<float>(scales[i / 16]) * static_cast<float>((nibble | pair << 4) - 32);
  }
}

void ds::dequantizeBlock(StoredType type, const uint8_t *block, float *out) {
  switch (type) {
  case StoredType::Q8_0: {
    float scale = half(block);
    for (int i = 0; i < 32; ++i)
      out[i] = scale * static_cast<float>(static_cast<int8_t>(block[2 + i]));
    return;
  }
  case StoredType::Q4_0:
    return dequantizeNibbles(block, false, false, out);
  case StoredType::Q4_1:
    return dequantizeNibbles(block, false, true, out);
  case StoredType::Q5_0:
    return dequantizeNibbles(block, true, false, out);
  case StoredType::Q5_1:
    return dequantizeNibbles(block, true, true, out);
  case StoredType::Q4_K:
    return dequantizeGroups(block, false, out);
  case StoredType::Q5_K:
    return dequantizeGroups(block, true, out);
  case StoredType::Q6_K:
    return dequantizeSix(block, out);
  default:
    return;
  }
}
