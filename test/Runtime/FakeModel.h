// A toy model whose answers a test can work out: shared by the code of the fake package and by the tests.
#ifndef DS_TEST_RUNTIME_FAKEMODEL_H
#define DS_TEST_RUNTIME_FAKEMODEL_H

#include <cstdint>
#include <cstring>

namespace fake {
constexpr int32_t vocab = 32, hidden = 4, context = 24, maxBatch = 4, maxRows = 16, maxPositions = 40;
constexpr int64_t kvBytes = context * 2 * sizeof(int32_t);
constexpr int64_t arenaBytes = 4096;

/// What the causal model keeps of a token sequence: every token and position so far, in order.
inline uint32_t fold(uint32_t state, int32_t id, int32_t position) {
  return (state * 31u + static_cast<uint32_t>(id) * 17u + static_cast<uint32_t>(position) * 3u + 1u) % 9973u;
}
inline float logit(uint32_t state, int32_t token, float weight) {
  return static_cast<float>((state * static_cast<uint32_t>(token + 1)) % 1009u) * 0.01f + weight;
}
/// Of the product that a step of several tokens has in some packages.
constexpr int32_t productColumns = 16, productDepth = 32;
inline uint16_t bf16Of(int32_t small) {
  const auto value = static_cast<float>(small);
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return static_cast<uint16_t>(bits >> 16);
}
inline float ofBf16(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &wide, sizeof(value));
  return value;
}

inline float weightOf(int32_t token) { return 0.25f * static_cast<float>(token % 3); }
} // namespace fake

#endif // DS_TEST_RUNTIME_FAKEMODEL_H
