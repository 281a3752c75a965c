// Numbers of 8 bits, read and rounded to.
#include "ds/Quantize/Float8.h"
#include <cmath>
#include <gtest/gtest.h>

using namespace ds;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();

/// The value of a code below 0x7f, by the table of the format.
double valueOf(int code) {
  const int exponent = code >> 3, fraction = code & 7;
  return exponent ? std::ldexp(8 + fraction, exponent - 10) : std::ldexp(fraction, -9);
}

TEST(Float8, readsEveryCode) {
  for (int code = 0; code < 0x7f; ++code) {
    EXPECT_EQ(e4m3ToFloat(static_cast<uint8_t>(code)), valueOf(code)) << code;
    EXPECT_EQ(e4m3ToFloat(static_cast<uint8_t>(code | 0x80)), -valueOf(code)) << code;
    EXPECT_TRUE(std::signbit(e4m3ToFloat(static_cast<uint8_t>(code | 0x80)))) << code;
    for (int signedCode : {code, code | 0x80})
      EXPECT_EQ(toE4m3(e4m3ToFloat(static_cast<uint8_t>(signedCode))), signedCode);
  }
  EXPECT_EQ(valueOf(0x7e), e4m3Most);
  EXPECT_TRUE(std::isnan(e4m3ToFloat(0x7f)) && std::isnan(e4m3ToFloat(0xff)));
}

/// Between each two that follow each other: the middle goes to the even one, what is beside it to the nearer one.
TEST(Float8, roundsBetweenNeighbours) {
  for (int low = 0; low < 0x7e; ++low) {
    const auto middle = static_cast<float>((valueOf(low) + valueOf(low + 1)) / 2);
    for (int sign : {0, 0x80}) {
      const float signedOne = sign ? -1.0f : 1.0f;
      EXPECT_EQ(toE4m3(signedOne * middle), sign | (low % 2 ? low + 1 : low)) << middle;
      EXPECT_EQ(toE4m3(signedOne * std::nextafter(middle, 0.0f)), sign | low) << middle;
      EXPECT_EQ(toE4m3(signedOne * std::nextafter(middle, infinity)), sign | (low + 1)) << middle;
    }
  }
}

/// Values of all magnitudes against the quotient by the place of their last digit, rounded to an integer.
TEST(Float8, roundsAllMagnitudes) {
  for (uint32_t bits = 0; bits < 0x7f800000; bits += 1021) {
    const double value = std::bit_cast<float>(bits), place = std::ldexp(1.0, (value < 0x1p-6 ? -6 : std::ilogb(value)) - 3);
    ASSERT_EQ(roundToE4m3(static_cast<float>(value)), std::min(std::nearbyint(value / place) * place, 448.0)) << value;
    ASSERT_EQ(roundToE4m3(static_cast<float>(-value)), -roundToE4m3(static_cast<float>(value))) << value;
    ASSERT_EQ(e4m3ToFloat(toE4m3(static_cast<float>(value))), roundToE4m3(static_cast<float>(value))) << value;
  }
}

TEST(Float8, saturates) {
  for (float large : {448.0f, 463.9f, 464.0f, 1e30f, infinity}) {
    EXPECT_EQ(toE4m3(large), 0x7e);
    EXPECT_EQ(toE4m3(-large), 0xfe);
  }
  EXPECT_EQ(toE4m3(0.0f), 0);
  EXPECT_EQ(toE4m3(-0.0f), 0x80);
  EXPECT_EQ(toE4m3(nan), 0x7f);
  EXPECT_TRUE(std::isnan(roundToE4m3(nan)));
}

} // namespace
