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
static void decodeNibbles(const uint8_t *block, bool fiveBits, BlockCodes &out) {
  out.scales[0] = half(block);
  if (out.hasOffsets)
    out.offsets[0] = half(block + 2);
  const uint8_t *low = block + (out.hasOffsets ? 4 : 2);
  uint32_t high = 0;
  if (fiveBits) {
    std::memcpy(&high, low, 4);
    low += 4;
  }
  int centre = out.hasOffsets ? 0 : fiveBits ? 16 : 8;
  for (int i = 0; i < 32; ++i) {
    int value = i < 16 ? low[i] & 15 : low[i - 16] >> 4;
    value |= static_cast<int>(high >> i & 1) << 4;
    out.codes[i] = static_cast<int16_t>(value - centre);
  }
}

/// Scale and minimum of a group of a block that multiplies them by `d` and `dMinimum`.
static void setFactors(BlockCodes &out, int group, float d, int scale, float dMinimum = 0, int minimum = 0) {
  out.scales[group] = d * static_cast<float>(scale);
  out.offsets[group] = -(dMinimum * static_cast<float>(minimum));
  out.factors[group] = {d, -dMinimum, static_cast<int16_t>(scale), static_cast<int16_t>(minimum)};
}

/// Bits 2 j and 2 j + 1 of 64 bytes: of each half of the block four runs of 32.
static int pairOfBits(const uint8_t *pairs, int i) { return pairs[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3; }

/// Q2_K: 16 bytes of scales (low nibbles) and minima, 64 of codes, two halves.
static void decodeTwo(const uint8_t *block, BlockCodes &out) {
  const float scaleOfScales = half(block + 80), scaleOfMinima = half(block + 82);
  for (int group = 0; group < 16; ++group)
    setFactors(out, group, scaleOfScales, block[group] & 15, scaleOfMinima, block[group] >> 4);
  for (int i = 0; i < 256; ++i)
    out.codes[i] = static_cast<int16_t>(pairOfBits(block + 16, i));
}

/// Q3_K: 32 bytes of high bits, 64 of low pairs, 12 of scales (low nibbles of 8, then high pairs of 4 bytes), one half.
static void decodeThree(const uint8_t *block, BlockCodes &out) {
  const uint8_t *high = block, *low = block + 32, *scales = block + 96;
  const float d = half(block + 108);
  for (int group = 0; group < 16; ++group) {
    const int nibble = scales[group % 8] >> (group / 8 * 4) & 15, pair = scales[8 + group % 4] >> (group / 4 * 2) & 3;
    setFactors(out, group, d, (nibble | pair << 4) - 32);
  }
  for (int i = 0; i < 256; ++i)
    out.codes[i] = static_cast<int16_t>((pairOfBits(low, i) | (high[i % 32] >> (i / 32) & 1) << 2) - 4);
}

/// What the nibbles of IQ4_NL and IQ4_XS stand for.
static constexpr int8_t unevenCodes[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

/// `groups` of 32 codes in 16 bytes each: element i and i + 16 share a byte.
static void decodeUneven(const uint8_t *nibbles, int groups, BlockCodes &out) {
  for (int i = 0; i < groups * 32; ++i)
    out.codes[i] = unevenCodes[nibbles[i / 32 * 16 + i % 16] >> (i % 32 / 16 * 4) & 15];
}

/// IQ4_XS: one half, 8 scales of 6 bits (16 bits of high pairs, 4 bytes of low nibbles), 8 groups of 32.
static void decodeUnevenGroups(const uint8_t *block, BlockCodes &out) {
  const float d = half(block);
  uint16_t high;
  std::memcpy(&high, block + 2, 2);
  for (int group = 0; group < 8; ++group) {
    const int nibble = block[4 + group / 2] >> (group % 2 * 4) & 15, pair = high >> (group * 2) & 3;
    setFactors(out, group, d, (nibble | pair << 4) - 32);
  }
  decodeUneven(block + 8, 8, out);
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
static void decodeGroups(const uint8_t *block, bool fiveBits, BlockCodes &out) {
  float scaleOfScales = half(block), scaleOfMinima = half(block + 2);
  const uint8_t *high = block + 16, *low = block + (fiveBits ? 48 : 16);
  for (int group = 0; group < 8; ++group) {
    int scale, minimum;
    scaleAndMinimum(block + 4, group, scale, minimum);
    setFactors(out, group, scaleOfScales, scale, scaleOfMinima, minimum);
    for (int i = 0; i < 32; ++i) {
      int value = low[group / 2 * 32 + i] >> (group % 2 * 4) & 15;
      if (fiveBits)
        value |= (high[i] >> group & 1) << 4;
      out.codes[group * 32 + i] = static_cast<int16_t>(value);
    }
  }
}

/// Q6_K: 128 bytes of low nibbles, 64 of high pairs, 16 signed scales, one half. Each half of the block holds four runs of 32.
static void decodeSix(const uint8_t *block, BlockCodes &out) {
  const uint8_t *low = block, *high = block + 128;
  const int8_t *scales = reinterpret_cast<const int8_t *>(block + 192);
  float d = half(block + 208);
  for (int group = 0; group < 16; ++group)
    setFactors(out, group, d, scales[group]);
  for (int i = 0; i < 256; ++i) {
    int part = i / 128, run = i % 128 / 32, at = i % 32;
    int nibble = low[part * 64 + run % 2 * 32 + at] >> (run / 2 * 4) & 15;
    int pair = high[part * 32 + at] >> (run * 2) & 3;
    out.codes[i] = static_cast<int16_t>((nibble | pair << 4) - 32);
  }
}

void ds::decodeBlock(StoredType type, const uint8_t *block, BlockCodes &out) {
  auto shape = [&](int size, int group, bool hasOffsets) { out.size = size, out.group = group, out.hasOffsets = hasOffsets; };
  switch (type) {
  case StoredType::Q8_0:
    shape(32, 32, false);
    out.scales[0] = half(block);
    for (int i = 0; i < 32; ++i)
      out.codes[i] = static_cast<int8_t>(block[2 + i]);
    return;
  case StoredType::Q4_0:
  case StoredType::Q4_1:
  case StoredType::Q5_0:
  case StoredType::Q5_1:
    shape(32, 32, type == StoredType::Q4_1 || type == StoredType::Q5_1);
    return decodeNibbles(block, type == StoredType::Q5_0 || type == StoredType::Q5_1, out);
  case StoredType::Q2_K:
    shape(256, 16, true);
    return decodeTwo(block, out);
  case StoredType::Q3_K:
    shape(256, 16, false);
    return decodeThree(block, out);
  case StoredType::Q4_K:
  case StoredType::Q5_K:
    shape(256, 32, true);
    return decodeGroups(block, type == StoredType::Q5_K, out);
  case StoredType::Q6_K:
    shape(256, 16, false);
    return decodeSix(block, out);
  case StoredType::IQ4_NL:
    shape(32, 32, false);
    out.scales[0] = half(block);
    return decodeUneven(block + 2, 1, out);
  case StoredType::IQ4_XS:
    shape(256, 32, false);
    return decodeUnevenGroups(block, out);
  default:
    out.size = 0;
    return;
  }
}

void ds::dequantizeBlock(StoredType type, const uint8_t *block, float *out) {
  BlockCodes codes;
  decodeBlock(type, block, codes);
  for (int i = 0; i < codes.size; ++i) {
    float product = codes.scales[i / codes.group] * static_cast<float>(codes.codes[i]);
    out[i] = codes.hasOffsets ? product + codes.offsets[i / codes.group] : product;
  }
}
