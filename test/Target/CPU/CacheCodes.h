// A cache of codes, as docs/quantization.md has it, in plain loops.
#ifndef DS_TEST_TARGET_CPU_CACHECODES_H
#define DS_TEST_TARGET_CPU_CACHECODES_H

#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace ds::test {

/// The element of such a cache in the program, of heads of `size` values.
inline std::string cacheCodes(int64_t size) { return "!ds.quantized<8 symmetric group " + std::to_string(size) + " scale f32>"; }

/// A head of a token, rounded.
struct RoundedHead {
  RoundedHead(const float *values, int64_t size) {
    float largest = 0;
    bool isFinite = true;
    for (int64_t d = 0; d < size; ++d) {
      isFinite &= std::isfinite(values[d]);
      largest = std::max(largest, std::fabs(values[d]));
    }
    scale = isFinite ? largest / 127.0f : std::nanf("");
    if (scale < 0x1p-126f)
      scale = 0;
    for (int64_t d = 0; d < size; ++d)
      codes.push_back(static_cast<int8_t>(scale > 0 ? std::nearbyint(static_cast<double>(values[d]) / scale) : 0));
  }
  float value(int64_t d) const { return scale * static_cast<float>(codes[d]); }

  float scale;
  std::vector<int8_t> codes;
};

/// Where scales and codes of one sequence lie: blocks of 16 slots of a head, 16 scales, then keys [size][16] or values [16][padded size].
struct CodesOfSequence {
  uint8_t *bytes;
  bool keys;
  int64_t size, capacity;

  int64_t rowBytes() const { return (size + 15) / 16 * 16; }
  int64_t blockBytes() const { return 64 + 16 * rowBytes(); }
  static int64_t bytesOf(int64_t heads, int64_t size, int64_t capacity) {
    return heads * capacity / 16 * CodesOfSequence{nullptr, false, size, capacity}.blockBytes();
  }
  uint8_t *block(int64_t head, int64_t slot) const { return bytes + (head * capacity / 16 + slot / 16) * blockBytes(); }
  float scale(int64_t head, int64_t slot) const {
    float found;
    memcpy(&found, block(head, slot) + slot % 16 * 4, 4);
    return found;
  }
  int8_t &code(int64_t head, int64_t slot, int64_t d) const {
    return reinterpret_cast<int8_t &>(block(head, slot)[64 + (keys ? d * 16 + slot % 16 : slot % 16 * rowBytes() + d)]);
  }
  void set(int64_t head, int64_t slot, const RoundedHead &rounded) const {
    memcpy(block(head, slot) + slot % 16 * 4, &rounded.scale, 4);
    for (int64_t d = 0; d < size; ++d)
      code(head, slot, d) = rounded.codes[d];
  }
};

} // namespace ds::test
#endif // DS_TEST_TARGET_CPU_CACHECODES_H
