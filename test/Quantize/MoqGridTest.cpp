// Grids of MoQ against what DeepSpeed's quantizers gave (Inputs/make_moq_grids.py).
#include "ds/Quantize/MoqGrid.h"
#include <cmath>
#include <cstring>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <limits>
#include <numeric>
#include <set>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

using namespace ds;

namespace {

/// The bytes of moq_grids.bin, taken one after the other.
struct GoldenReader {
  std::string bytes;
  size_t at = 0;

  GoldenReader() {
    std::ifstream file(DS_SOURCE_DIR "/test/Quantize/Inputs/moq_grids.bin", std::ios::binary);
    bytes.assign(std::istreambuf_iterator<char>(file), {});
  }
  bool atEnd() const { return at == bytes.size(); }
  template <typename T> std::vector<T> take(size_t count) {
    std::vector<T> values(count);
    if (count * sizeof(T) > bytes.size() - at)
      throw std::out_of_range("moq_grids.bin is cut off");
    std::memcpy(values.data(), &bytes[at], count * sizeof(T));
    at += count * sizeof(T);
    return values;
  }
  template <typename T> T take() { return take<T>(1)[0]; }
};

std::vector<float> rounded(const MoqGrid &grid, const std::vector<float> &in) {
  std::vector<float> out(in.size());
  Result<void> done = applyMoqGrid(grid, in.data(), static_cast<int64_t>(in.size()), out.data());
  EXPECT_TRUE(done) << done.error().message;
  return out;
}

/// The values of the codes; equal to those of `rounded` but for the sign of zeros.
std::vector<float> roundedByCodes(const MoqGrid &grid, const std::vector<float> &in) {
  Result<MoqCodes> coded = encodeMoqGrid(grid, in.data(), static_cast<int64_t>(in.size()));
  if (!coded || coded->codes.size() != in.size() || coded->scales.size() != static_cast<size_t>(grid.groups) ||
      coded->offsets.size() != (grid.asymmetric ? coded->scales.size() : 0))
    return {};
  std::vector<float> out(in.size());
  for (size_t i = 0; i < in.size(); ++i) {
    const size_t group = i / (in.size() / coded->scales.size());
    const float product = static_cast<float>(coded->codes[i]) * coded->scales[group];
    out[i] = grid.asymmetric ? product + coded->offsets[group] : product;
  }
  return out;
}

/// The error of both functions, which must be the same; `out` must be left alone.
Error errorOf(const MoqGrid &grid, const std::vector<float> &in) {
  std::vector<float> out(in.size() + 1, 7);
  Result<void> done = applyMoqGrid(grid, in.data(), static_cast<int64_t>(in.size()), out.data());
  Result<MoqCodes> coded = encodeMoqGrid(grid, in.data(), static_cast<int64_t>(in.size()));
  if (done || coded)
    return Error::internal("no error");
  EXPECT_EQ(done.error().message, coded.error().message);
  EXPECT_EQ(out, std::vector<float>(in.size() + 1, 7));
  return done.error();
}

void expectError(const MoqGrid &grid, const std::vector<float> &in, ErrorCode code, const std::string &message) {
  const Error error = errorOf(grid, in);
  EXPECT_EQ(error.code, code);
  EXPECT_EQ(error.message, message);
}

TEST(MoqGrid, equalsGolden) {
  GoldenReader golden;
  std::vector<std::vector<float>> inputs(golden.take<uint32_t>());
  for (std::vector<float> &input : inputs)
    input = golden.take<float>(golden.take<uint32_t>());
  std::set<std::tuple<int, int, int64_t>> seen;
  while (!golden.atEnd()) {
    const std::vector<float> &in = inputs.at(golden.take<uint8_t>());
    MoqGrid grid{.bits = golden.take<uint8_t>()};
    const auto kind = golden.take<uint8_t>();
    grid.asymmetric = kind == 1;
    grid.inference = kind == 2;
    if (golden.take<uint8_t>())
      grid.range = MoqRange{-1.5f, 2.0f};
    grid.groups = golden.take<uint32_t>();
    const std::vector<float> levels = golden.take<float>(golden.take<uint32_t>());
    const bool wide = levels.size() > 256;
    std::vector<float> expected;
    for (size_t i = 0; i < in.size(); ++i)
      expected.push_back(levels.at(wide ? golden.take<uint16_t>() : golden.take<uint8_t>()));

    SCOPED_TRACE(testing::Message() << in.size() << " values, " << grid.bits << " bits, asymmetric " << grid.asymmetric << ", inference "
                                    << grid.inference << ", groups " << grid.groups << ", range " << grid.range.has_value());
    const std::vector<float> out = rounded(grid, in);
    if (std::memcmp(out.data(), expected.data(), out.size() * 4) != 0)
      for (size_t i = 0; i < out.size(); ++i)
        ASSERT_TRUE(out[i] == expected[i] && std::signbit(out[i]) == std::signbit(expected[i]))
            << "element " << i << ": " << out[i] << ", expected " << expected[i];
    EXPECT_EQ(roundedByCodes(grid, in), out);
    seen.emplace(grid.bits, kind, grid.groups);
  }
  // 8 symmetric and 6 asymmetric widths and 8 bits of inference in three numbers of groups; for 1, 2 and those 8 bits also groups of 7 and
  // 4 (24 and 42 runs).
  EXPECT_EQ(seen.size(), 15u * 3 + 3 * 2);
}

TEST(MoqGrid, worksInPlace) {
  std::vector<float> in(64);
  std::iota(in.begin(), in.end(), -20.25f);
  for (int bits = 1; bits <= 8; ++bits) {
    const MoqGrid grid{.bits = bits, .groups = 4};
    std::vector<float> values = in;
    ASSERT_TRUE(applyMoqGrid(grid, values.data(), 64, values.data()));
    EXPECT_EQ(values, rounded(grid, in)) << bits;
  }
}

TEST(MoqGrid, codesFillTheirRange) {
  const std::vector<float> in = {-1, -0.5f, 0, 0.25f, 1};
  Result<MoqCodes> symmetric = encodeMoqGrid({.bits = 8}, in.data(), 5);
  ASSERT_TRUE(symmetric);
  EXPECT_EQ(symmetric->codes, (std::vector<int16_t>{-128, -64, 0, 32, 127}));
  EXPECT_EQ(symmetric->scales, std::vector<float>{1 / 128.0f});
  Result<MoqCodes> asymmetric = encodeMoqGrid({.bits = 8, .asymmetric = true}, in.data(), 5);
  ASSERT_TRUE(asymmetric);
  EXPECT_EQ(asymmetric->codes, (std::vector<int16_t>{0, 64, 128, 160, 255}));
  EXPECT_EQ(asymmetric->offsets, std::vector<float>{-1});
  Result<MoqCodes> ternary = encodeMoqGrid({.bits = 2}, in.data(), 5);
  ASSERT_TRUE(ternary);
  EXPECT_EQ(ternary->codes, (std::vector<int16_t>{-1, -1, 0, 0, 1}));
  Result<MoqCodes> binary = encodeMoqGrid({.bits = 1}, in.data(), 5);
  ASSERT_TRUE(binary);
  EXPECT_EQ(binary->codes, (std::vector<int16_t>{-1, -1, 0, 1, 1}));
}

/// Where DeepSpeed divides by zero.
TEST(MoqGrid, groupsWithoutScale) {
  for (int bits = 1; bits <= 8; ++bits)
    EXPECT_EQ(rounded({.bits = bits}, {0, 0, 0}), (std::vector<float>{0, 0, 0})) << bits;
  for (int bits = 3; bits <= 8; ++bits)
    EXPECT_EQ(rounded({.bits = bits, .asymmetric = true, .groups = 2}, {3, 3, -5, -5}), (std::vector<float>{3, 3, -5, -5})) << bits;
  const float least = std::numeric_limits<float>::denorm_min();
  EXPECT_EQ(rounded({.bits = 8}, {least, -least}), (std::vector<float>{0, 0}));
  // The threshold is rounded up to the values themselves.
  EXPECT_EQ(rounded({.bits = 2}, {least, least}), (std::vector<float>{0, 0}));
}

/// A sum in f32 alone stops growing here.
TEST(MoqGrid, meansOfLargeGroups) {
  const size_t count = size_t(1) << 25;
  std::vector<float> values(count, 0.3f);
  ASSERT_TRUE(applyMoqGrid({.bits = 1}, values.data(), static_cast<int64_t>(count), values.data()));
  EXPECT_NEAR(values[count / 2], 0.3f, 3e-4f);
}

TEST(MoqGrid, refusesGrids) {
  const std::vector<float> in(8, 1);
  for (int bits : {-1, 0, 9, 16})
    expectError({.bits = bits}, in, ErrorCode::Usage, "expects 1 to 8 bits, got " + std::to_string(bits));
  for (int bits : {1, 2})
    expectError({.bits = bits, .asymmetric = true}, in, ErrorCode::Usage,
                "expects 3 bits or more for an asymmetric grid, got " + std::to_string(bits));
  for (int64_t groups : {-1, 0, 3, 16})
    expectError({.groups = groups}, in, ErrorCode::Usage,
                "expects a number of groups that divides 8 values, got " + std::to_string(groups));
  expectError({}, {}, ErrorCode::Usage, "expects one value or more, got 0");
}

TEST(MoqGrid, refusesRanges) {
  const std::vector<float> in(8, 1);
  const float infinity = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  expectError({.bits = 2, .range = MoqRange{-1, 1}}, in, ErrorCode::Usage, "expects 3 bits or more for a given range, got 2");
  for (MoqRange range : {MoqRange{1, 1}, {2, -1}, {-infinity, 1}, {0, infinity}, {nan, 1}, {0, nan}})
    expectError({.range = range}, in, ErrorCode::Usage,
                "expects a finite range with low below high, got " + std::to_string(range.low) + " to " + std::to_string(range.high));
}

TEST(MoqGrid, refusesValues) {
  std::vector<float> in(8, 1);
  for (int bits : {1, 2, 3, 8})
    for (float bad : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()}) {
      in[5] = bad;
      expectError({.bits = bits, .groups = 2}, in, ErrorCode::BadData, "element 5: expects a finite value, got " + std::to_string(bad));
    }
  in[5] = std::numeric_limits<float>::quiet_NaN();
  expectError({}, in, ErrorCode::BadData, "element 5: expects a finite value, got nan");
}

TEST(MoqGrid, refusesScalesBeyondF32) {
  const float huge = std::numeric_limits<float>::max();
  const std::string message = "group 1: expects values whose scale f32 can hold, got values too large";
  for (int bits = 1; bits <= 8; ++bits)
    expectError({.bits = bits, .groups = 2}, {1, 2, huge, -huge}, ErrorCode::BadData, message);
  expectError({.bits = 8, .asymmetric = true, .groups = 2}, {1, 2, huge, -huge}, ErrorCode::BadData, message);
}

} // namespace
