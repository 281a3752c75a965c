// A cache of bf16 or codes of one sequence, in plain loops.
#ifndef DS_TEST_TARGET_CUDA_NARROWCACHE_H
#define DS_TEST_TARGET_CUDA_NARROWCACHE_H

#include "../CPU/CacheCodes.h"
#include "../CPU/OneLaunch.h"

namespace ds::test {

/// Where its parts lie: blocks of 16 slots of a head, the scales of codes first. Values in rows; keys on GPUs in words of 4 bytes
/// [size / e][16] of e elements, on the CPU [size][16].
struct NarrowCache {
  uint8_t *bytes;
  bool keys, codes;
  int64_t size, capacity;
  bool onGpu = true;

  int64_t elementBytes() const { return codes ? 1 : 2; }
  int64_t rowBytes() const { return codes ? (size + 15) / 16 * 16 : size * 2; }
  int64_t scaleBytes() const { return codes ? 64 : 0; }
  int64_t blockBytes() const { return scaleBytes() + 16 * rowBytes(); }
  static int64_t bytesOf(bool codes, int64_t heads, int64_t size, int64_t capacity) {
    return heads * capacity / 16 * NarrowCache{nullptr, false, codes, size, capacity}.blockBytes();
  }

  uint8_t *block(int64_t head, int64_t slot) const { return bytes + (head * capacity / 16 + slot / 16) * blockBytes(); }
  uint8_t *place(int64_t head, int64_t slot, int64_t d) const {
    uint8_t *start = block(head, slot) + scaleBytes();
    if (!keys)
      return start + slot % 16 * rowBytes() + d * elementBytes();
    const int64_t inWord = onGpu ? 4 / elementBytes() : 1;
    return start + ((d / inWord * 16 + slot % 16) * inWord + d % inWord) * elementBytes();
  }
  float scale(int64_t head, int64_t slot) const {
    float found = 1;
    if (codes)
      memcpy(&found, block(head, slot) + slot % 16 * 4, 4);
    return found;
  }
  float value(int64_t head, int64_t slot, int64_t d) const {
    if (codes)
      return scale(head, slot) * static_cast<float>(*reinterpret_cast<const int8_t *>(place(head, slot, d)));
    uint16_t bits = 0;
    memcpy(&bits, place(head, slot, d), 2);
    return fromBits(bits, /*half=*/false);
  }
  /// Stores the nearest of `size` values.
  void set(int64_t head, int64_t slot, const float *values) const {
    const RoundedHead rounded(values, size);
    if (codes)
      memcpy(block(head, slot) + slot % 16 * 4, &rounded.scale, 4);
    for (int64_t d = 0; d < size; ++d) {
      const uint16_t bits = toBits(values[d], /*half=*/false);
      memcpy(place(head, slot, d), codes ? static_cast<const void *>(&rounded.codes[d]) : &bits, elementBytes());
    }
  }
  /// What a cache holds of `size` values.
  static void round(bool codes, float *values, int64_t size) {
    const RoundedHead rounded(values, size);
    for (int64_t d = 0; d < size; ++d)
      values[d] = codes ? rounded.value(d) : fromBits(toBits(values[d], /*half=*/false), /*half=*/false);
  }
};

/// The element of a cache in the program, and in memory.
inline std::string narrowElement(bool codes, int64_t size) { return codes ? cacheCodes(size) : "bf16"; }
inline std::string narrowStored(bool codes) { return codes ? "i8" : "bf16"; }

} // namespace ds::test
#endif // DS_TEST_TARGET_CUDA_NARROWCACHE_H
