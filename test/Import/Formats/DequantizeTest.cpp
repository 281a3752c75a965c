// Values of quantized blocks against those that gguf-py gave (make_golden.py).
#include "Files.h"
#include "ds/Import/TensorSource.h"
#include <cmath>
#include <gtest/gtest.h>
#include <map>

namespace {
struct NoTensors : ds::TensorSource {
  std::vector<ds::StoredTensor> none;
  const ds::StoredTensor *find(std::string_view) const override { return nullptr; }
  const std::vector<ds::StoredTensor> &tensors() const override { return none; }
};
} // namespace

TEST(Dequantize, EqualsGolden) {
  using enum ds::StoredType;
  std::map<std::string, ds::StoredType> types = {{"Q8_0", Q8_0}, {"Q4_0", Q4_0}, {"Q4_1", Q4_1},     {"Q5_0", Q5_0},
                                                 {"Q5_1", Q5_1}, {"Q2_K", Q2_K}, {"Q3_K", Q3_K},     {"Q4_K", Q4_K},
                                                 {"Q5_K", Q5_K}, {"Q6_K", Q6_K}, {"IQ4_NL", IQ4_NL}, {"IQ4_XS", IQ4_XS}};
  std::string golden = readFile(DS_SOURCE_DIR "/test/Import/Formats/golden.bin");
  size_t seen = 0;
  for (size_t at = 0; at + 16 <= golden.size(); ++seen) {
    std::string name = golden.substr(at, 8).c_str();
    uint32_t bytes, count;
    std::memcpy(&bytes, &golden[at + 8], 4);
    std::memcpy(&count, &golden[at + 12], 4);
    at += 16;
    ASSERT_TRUE(types.count(name)) << name;
    ASSERT_LE(at + bytes + count * 4, golden.size());
    ds::StoredTensor tensor{"w", types[name], {count}, reinterpret_cast<const uint8_t *>(&golden[at]), bytes, "golden"};
    const char *expected = &golden[at + bytes];
    // Ranges that begin and end inside blocks as well.
    for (auto [first, length] : {std::pair<int64_t, int64_t>{0, count}, {1, 40}, {31, 2}, {count - 33, 33}, {count, 0}}) {
      std::vector<float> values(static_cast<size_t>(length) + 1);
      ASSERT_TRUE(NoTensors().readF32(tensor, first, length, values.data()));
      EXPECT_EQ(std::memcmp(values.data(), expected + first * 4, static_cast<size_t>(length) * 4), 0) << name << " from " << first;
    }
    float value;
    EXPECT_FALSE(NoTensors().readF32(tensor, count, 1, &value));
    EXPECT_FALSE(NoTensors().readF32(tensor, -1, 1, &value));
    at += bytes + count * 4;
  }
  EXPECT_EQ(seen, types.size());
}

TEST(Dequantize, PlainHalves) {
  const uint16_t halves[] = {0x3c00, 0xc000, 0x0001, 0x8000, 0x7bff};
  ds::StoredTensor tensor{"w", ds::StoredType::F16, {5}, reinterpret_cast<const uint8_t *>(halves), 10, "halves"};
  float values[5];
  ASSERT_TRUE(NoTensors().readF32(tensor, 0, 5, values));
  EXPECT_EQ(values[0], 1.0f);
  EXPECT_EQ(values[1], -2.0f);
  EXPECT_EQ(values[2], 0x1p-24f);
  EXPECT_TRUE(values[3] == 0 && std::signbit(values[3]));
  EXPECT_EQ(values[4], 65504.0f);
}
