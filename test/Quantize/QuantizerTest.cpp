// Names of schemes, halves, and rows rounded to codes.
#include "ds/Quantize/Quantizer.h"
#include "ds/Import/Half.h"
#include "ds/Quantize/Float8.h"
#include <algorithm>
#include <bit>
#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <random>
#include <string>
#include <vector>

using namespace ds;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();

QuantizationScheme schemeNamed(const std::string &name) {
  Result<QuantizationScheme> scheme = parseScheme(name);
  EXPECT_TRUE(scheme) << name;
  return scheme ? *scheme : QuantizationScheme();
}

/// Every kind of scheme, those of GGUF's K blocks included.
std::vector<QuantizationScheme> allSchemes() {
  std::vector<QuantizationScheme> schemes;
  for (const char *name : {"int8-row", "int8-row-asym", "int8-g16", "int8-g32", "int8-g32-asym", "int4-g16", "int4-g32", "int4-g64",
                           "int4-g128", "int4-g32-asym", "int4-g64-asym", "int4-g128-asym", "int2-g32", "int2-g32-asym", "int3-g64",
                           "int5-g32", "int5-g16-asym", "int6-g64", "int7-g128"})
    schemes.push_back(schemeNamed(name));
  for (StoredType type :
       {StoredType::Q2_K, StoredType::Q3_K, StoredType::Q4_K, StoredType::Q5_K, StoredType::Q6_K, StoredType::IQ4_NL, StoredType::IQ4_XS}) {
    schemes.push_back(*schemeOfStored(type));
    schemes.back().factors = false; // nothing is rounded to them
  }
  return schemes;
}

QuantizedRow quantized(const QuantizationScheme &scheme, const std::vector<float> &values) {
  QuantizedRow row;
  Result<void> done = quantizeRow(scheme, values.data(), static_cast<int64_t>(values.size()), row);
  EXPECT_TRUE(done) << done.error().message;
  return row;
}

std::vector<float> dequantized(const QuantizationScheme &scheme, const QuantizedRow &row) {
  std::vector<float> values(row.codes.size());
  dequantizeRow(scheme, row, values.data());
  return values;
}

void expectError(const QuantizationScheme &scheme, const std::vector<float> &values, const std::string &message) {
  QuantizedRow row;
  Result<void> done = quantizeRow(scheme, values.data(), static_cast<int64_t>(values.size()), row);
  ASSERT_FALSE(done) << nameOf(scheme);
  EXPECT_EQ(done.error().code, ErrorCode::BadData);
  EXPECT_EQ(done.error().message, message) << nameOf(scheme);
}

TEST(Scheme, readsNames) {
  struct Case {
    const char *name;
    QuantizationScheme scheme;
  };
  const Case cases[] = {
      {"int8-row", {8, 0, false, false}},       {"int8-row-asym", {8, 0, true, false}},       {"int8-g16", {8, 16, false, true}},
      {"int8-g32-asym", {8, 32, true, true}},   {"int4-g32", {4, 32, false, true}},           {"int4-g48", {4, 48, false, true}},
      {"int4-g128-asym", {4, 128, true, true}}, {"int8-g1048576", {8, 1 << 20, false, true}}, {"fp8-row", {8, 0, false, false, true}},
      {"fp8-g64", {8, 64, false, true, true}},  {"int6-g64", {6, 64, false, true}},           {"int5-g32-asym", {5, 32, true, true}},
      {"int2-g16", {2, 16, false, true}},       {"int3-g64-asym", {3, 64, true, true}},       {"int7-g128", {7, 128, false, true}},
  };
  for (const Case &test : cases) {
    EXPECT_EQ(schemeNamed(test.name), test.scheme) << test.name;
    EXPECT_EQ(nameOf(test.scheme), test.name);
  }
  // Short for groups of 64.
  EXPECT_EQ(schemeNamed("int8"), schemeNamed("int8-g64"));
  EXPECT_EQ(schemeNamed("int8-asym"), schemeNamed("int8-g64-asym"));
  EXPECT_EQ(nameOf(schemeNamed("int8")), "int8-g64");
  EXPECT_EQ(schemeNamed("fp8"), schemeNamed("fp8-g64"));
  EXPECT_EQ(nameOf({4, 32, true, false}), "int4-g32-asym-f32");
  EXPECT_EQ(nameOf({8, 16, false, false}), "int8-g16-f32");
}

TEST(Scheme, refusesNames) {
  for (const char *name : {"",
                           "int1-g32",
                           "int9-g32",
                           "int",
                           "int44-g32",
                           "int6",
                           "int6-row",
                           "int4",
                           "int4-asym",
                           "int4-row",
                           "int8-",
                           "int8-g",
                           "int8-g0",
                           "int8-g-16",
                           "int8-g24",
                           "int8-g+16",
                           "int8-g 16",
                           "int8-g1048592",
                           "int8-g32-as",
                           "int8-g32-asym-f32",
                           "int4-g32-asym-k",
                           "int8-asym-g32",
                           "int8-row-g32",
                           "int8-rows",
                           "Int8",
                           " int8",
                           "int8 ",
                           "none",
                           "stored",
                           "int4-g32,asym",
                           "fp8-",
                           "fp8-asym",
                           "fp8-row-asym",
                           "fp8-g24",
                           "fp8-g32-asym",
                           "fp4-g32",
                           "moq4",
                           "int8-g18446744073709551632"}) {
    Result<QuantizationScheme> scheme = parseScheme(name);
    ASSERT_FALSE(scheme) << name;
    EXPECT_EQ(scheme.error().code, ErrorCode::Usage) << name;
    EXPECT_EQ(scheme.error().message,
              "expects int8, int8-row, int8-gN or intB-gN with B from 2 to 7 and N a multiple of 16, each also with -asym, fp8, fp8-row, "
              "fp8-gN, moqB with B from 1 to 8, stored or none, got '" +
                  std::string(name) + "'");
  }
}

TEST(Scheme, codesThereAre) {
  auto range = [](const char *name) {
    const QuantizationScheme scheme = schemeNamed(name);
    return std::pair(scheme.leastCode(), scheme.greatestCode());
  };
  EXPECT_EQ(range("int8"), std::pair(int64_t(-128), int64_t(127)));
  EXPECT_EQ(range("int8-asym"), std::pair(int64_t(0), int64_t(255)));
  EXPECT_EQ(range("int4-g32"), std::pair(int64_t(-8), int64_t(7)));
  EXPECT_EQ(range("int4-g32-asym"), std::pair(int64_t(0), int64_t(15)));
  EXPECT_EQ(range("int6-g32"), std::pair(int64_t(-32), int64_t(31)));
  EXPECT_EQ(range("int2-g32-asym"), std::pair(int64_t(0), int64_t(3)));
  EXPECT_EQ(schemeNamed("int8-row").groupOf(96), 96);
  EXPECT_EQ(schemeNamed("int8-g32").groupOf(96), 32);
}

/// What a weight takes; an odd number of bits leaves some unused where groups are an odd number of 16 k.
TEST(Scheme, bitsOfAWeight) {
  EXPECT_EQ(schemeNamed("int6-g64").bitsOfWeight(128), 6.25);
  EXPECT_EQ(schemeNamed("int5-g32-asym").bitsOfWeight(128), 6);
  EXPECT_EQ(schemeNamed("int3-g16").bitsOfWeight(128), 3 + 2);
  EXPECT_EQ(schemeNamed("int4-g64").bitsOfWeight(192), 4 + 4 * 16 / 192.0); // three scales have room for four
  EXPECT_EQ(schemeNamed("int2-g16").bitsOfWeight(128), 2 + 1);
  EXPECT_EQ((QuantizationScheme{7, 0, false, false}.bitsOfWeight(64)), 7 + 0.5);
  EXPECT_EQ((QuantizationScheme{5, 0, false, false}.bitsOfWeight(80)), 5 + (32 + 16) / 80.0);
  EXPECT_EQ((QuantizationScheme{6, 16, false, false}.bitsOfWeight(256)), 6 + 2);
  EXPECT_EQ(schemeOfStored(StoredType::Q4_K)->bitsOfWeight(256), 144 * 8 / 256.0); // as in the file
  EXPECT_EQ(schemeOfStored(StoredType::Q5_K)->bitsOfWeight(256), 176 * 8 / 256.0);
  EXPECT_EQ(schemeOfStored(StoredType::Q6_K)->bitsOfWeight(256), 212 * 8 / 256.0); // two bytes more than there
  EXPECT_EQ(schemeOfStored(StoredType::Q2_K)->bitsOfWeight(256), 92 * 8 / 256.0);  // eight more
  EXPECT_EQ(schemeOfStored(StoredType::Q3_K)->bitsOfWeight(256), 116 * 8 / 256.0); // six more
  EXPECT_EQ(schemeOfStored(StoredType::IQ4_XS)->bitsOfWeight(256), 8 + 12 * 8 / 256.0);
}

TEST(Scheme, ofStoredTypes) {
  struct Case {
    StoredType type;
    const char *name;
  };
  const Case cases[] = {
      {StoredType::Q8_0, "int8-g32"},        {StoredType::Q4_0, "int4-g32"},      {StoredType::Q4_1, "int4-g32-asym"},
      {StoredType::Q5_0, "int5-g32"},        {StoredType::Q5_1, "int5-g32-asym"}, {StoredType::Q4_K, "int4-g32-asym-k"},
      {StoredType::Q5_K, "int5-g32-asym-k"}, {StoredType::Q6_K, "int6-g16-k"},    {StoredType::Q2_K, "int2-g16-asym-k"},
      {StoredType::Q3_K, "int3-g16-k"},      {StoredType::IQ4_NL, "int8-g32"},    {StoredType::IQ4_XS, "int8-g32-k"},
  };
  for (const Case &test : cases) {
    const std::optional<QuantizationScheme> scheme = schemeOfStored(test.type);
    ASSERT_TRUE(scheme) << test.name;
    EXPECT_EQ(nameOf(*scheme), test.name);
    EXPECT_EQ(blockTypeNamed(storedTypeName(test.type)), test.type);
  }
  for (StoredType type : {StoredType::F64, StoredType::F32, StoredType::F16, StoredType::BF16, StoredType::I64, StoredType::I32,
                          StoredType::I16, StoredType::I8, StoredType::U8, StoredType::Bool}) {
    EXPECT_EQ(schemeOfStored(type), std::nullopt) << storedTypeName(type);
    EXPECT_EQ(blockTypeNamed(storedTypeName(type)), std::nullopt) << storedTypeName(type);
  }
  for (const char *name : {"", "Q4", "q4_0", "Q4_0 ", "Q8_K"})
    EXPECT_EQ(blockTypeNamed(name), std::nullopt) << name;
}

/// The value of a finite half.
double halfValue(uint16_t bits) {
  const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
  const double value = exponent ? std::ldexp(1024 + mantissa, exponent - 25) : std::ldexp(mantissa, -24);
  return bits & 0x8000 ? -value : value;
}

TEST(Half, readsEveryPattern) {
  for (uint32_t bits = 0; bits <= 0xffff; ++bits) {
    const float value = halfToFloat(static_cast<uint16_t>(bits));
    ASSERT_EQ(std::signbit(value), bits >= 0x8000) << bits;
    if ((bits & 0x7fff) > 0x7c00) {
      ASSERT_TRUE(std::isnan(value)) << bits;
      ASSERT_EQ(toHalf(value), (bits & 0x8000) | 0x7e00) << bits;
      continue;
    }
    if ((bits & 0x7fff) == 0x7c00)
      ASSERT_EQ(std::fabs(value), infinity) << bits;
    else
      ASSERT_EQ(value, halfValue(static_cast<uint16_t>(bits))) << bits;
    ASSERT_EQ(toHalf(value), bits);
  }
}

/// Between each two halves that follow each other: the middle goes to the even one, what is beside it to the nearer one.
TEST(Half, roundsBetweenNeighbours) {
  for (uint16_t low = 0; low < 0x7c00; ++low) {
    const uint16_t high = low + 1;
    const double above = high == 0x7c00 ? 65536 : halfValue(high); // where the next half would be
    const auto middle = static_cast<float>((halfValue(low) + above) / 2);
    for (uint16_t sign : {0, 0x8000}) {
      const float signedOne = sign ? -1.0f : 1.0f;
      ASSERT_EQ(toHalf(signedOne * middle), sign | (low % 2 ? high : low)) << middle;
      ASSERT_EQ(toHalf(signedOne * std::nextafter(middle, 0.0f)), sign | low) << middle;
      ASSERT_EQ(toHalf(signedOne * std::nextafter(middle, infinity)), sign | high) << middle;
    }
  }
}

/// Values of all magnitudes, f32's subnormals and largest ones too, against the exact quotient rounded to an integer.
TEST(Half, roundsAllMagnitudes) {
  for (uint32_t bits = 0; bits < 0x7f800000; bits += 1021) {
    const double value = std::bit_cast<float>(bits);
    const double place = std::ldexp(1.0, (value < 0x1p-14 ? -14 : std::ilogb(value)) - 10);
    const double rounded = std::nearbyint(value / place) * place;
    ASSERT_EQ(halfToFloat(toHalf(static_cast<float>(value))), rounded > 65504 ? double(infinity) : rounded) << value;
  }
  EXPECT_EQ(toHalf(0.0f), 0);
  EXPECT_EQ(toHalf(-0.0f), 0x8000);
  EXPECT_EQ(toHalf(std::numeric_limits<float>::denorm_min()), 0);
  EXPECT_EQ(toHalf(-std::numeric_limits<float>::max()), 0xfc00);
  EXPECT_EQ(toHalf(-infinity), 0xfc00);
  EXPECT_EQ(toHalf(-nan), 0xfe00);
}

/// How far the nearest number of the scales' type may be.
double roundingOf(const QuantizationScheme &scheme, double value) {
  return scheme.halfScales ? std::fabs(value) * 0x1.001p-11 + 0x1p-25 : std::fabs(value) * 0x1p-23;
}

/// One group against its scale and offset in exact arithmetic.
void expectNearest(const QuantizationScheme &scheme, const float *values, const int16_t *codes, const float *decoded, int64_t count,
                   double scale, double offset) {
  const double least = *std::min_element(values, values + count), greatest = *std::max_element(values, values + count);
  const double widest = -least > greatest ? least : greatest;
  const double levels = static_cast<double>(scheme.greatestCode());
  if (scheme.asymmetric) {
    ASSERT_NEAR(offset, least, roundingOf(scheme, least));
    ASSERT_NEAR(scale, (greatest - offset) / levels, roundingOf(scheme, (greatest - offset) / levels));
  } else if (scheme.bits == 8) {
    ASSERT_NEAR(scale, widest / (widest < 0 ? -127 : 127), roundingOf(scheme, widest / 127));
  } else {
    ASSERT_NEAR(std::fabs(scale), std::fabs(widest / (levels + 1)), roundingOf(scheme, widest / (levels + 1)));
  }
  if (scheme.halfScales) {
    ASSERT_EQ(halfToFloat(toHalf(static_cast<float>(scale))), scale);
    ASSERT_EQ(halfToFloat(toHalf(static_cast<float>(offset))), offset);
  }
  // Symmetric codes of 8 bits have as many levels on each side.
  const int64_t leastCode = scheme.asymmetric ? 0 : scheme.bits == 8 ? -127 : scheme.leastCode(), greatestCode = scheme.greatestCode();
  const auto [lowest, highest] = std::minmax(offset + scale * static_cast<double>(leastCode), offset + scale * levels);
  for (int64_t i = 0; i < count; ++i) {
    ASSERT_GE(codes[i], leastCode) << i;
    ASSERT_LE(codes[i], greatestCode) << i;
    // Half a step, but for values beyond the last levels: there the rounding of scale and offset, and of symmetric codes of fewer the
    // level that one side lacks. Then the rounding of f32, in the quotient and in the value.
    const double beyond = std::max({0.0, lowest - values[i], values[i] - highest});
    const double slack = std::fabs(scale) * 1e-4 + (std::fabs(values[i]) + std::fabs(offset)) * 0x1p-22;
    ASSERT_LE(std::fabs(values[i] - decoded[i]), std::max(std::fabs(scale) / 2, beyond) + slack) << i << ": " << values[i];
    ASSERT_NEAR(decoded[i], scale * codes[i] + offset, slack) << i;
    if (scheme.asymmetric || scheme.bits == 8)
      ASSERT_LE(beyond, roundingOf(scheme, offset) + levels * roundingOf(scheme, scale) + slack) << i;
    else
      ASSERT_LE(beyond, std::fabs(scale) + (levels + 1) * roundingOf(scheme, scale) + slack) << i;
    if (values[i] == 0 && !scheme.asymmetric)
      ASSERT_EQ(codes[i], 0) << i;
  }
}

TEST(Quantizer, takesTheNearestCode) {
  constexpr int64_t count = 512;
  std::mt19937 generator(7);
  std::normal_distribution<float> normal;
  for (const QuantizationScheme &scheme : allSchemes())
    // The smallest have scales among the subnormals of f16.
    for (float spread : {1.0f, 1000.0f, 1e-4f, 1e-6f})
      for (float centre : {0.0f, 3.0f, -3.0f}) {
        std::vector<float> values(count);
        for (float &value : values)
          value = (centre + normal(generator)) * spread;
        values[5] = values[300] = 0;
        SCOPED_TRACE(testing::Message() << nameOf(scheme) << " about " << centre << ", spread " << spread);
        const QuantizedRow row = quantized(scheme, values);
        const std::vector<float> decoded = dequantized(scheme, row);
        const int64_t group = scheme.group ? scheme.group : count;
        ASSERT_EQ(row.codes.size(), static_cast<size_t>(count));
        ASSERT_EQ(row.scales.size(), static_cast<size_t>(count / group));
        ASSERT_EQ(row.offsets.size(), scheme.asymmetric ? row.scales.size() : 0);
        for (int64_t g = 0; g < count / group; ++g)
          expectNearest(scheme, &values[g * group], &row.codes[g * group], &decoded[g * group], group, row.scales[g],
                        scheme.asymmetric ? row.offsets[g] : 0);
        if (HasFatalFailure())
          return;
      }
}

/// Of numbers of 8 bits: the scale makes the widest value 448, and each value is the nearest of the 254 others there are.
TEST(Quantizer, takesTheNearestNumber) {
  constexpr int64_t count = 512;
  std::mt19937 generator(7);
  std::normal_distribution<float> normal;
  for (const char *name : {"fp8-row", "fp8-g32"})
    for (float spread : {1.0f, 1000.0f, 1e-3f}) {
      const QuantizationScheme scheme = schemeNamed(name);
      std::vector<float> values(count);
      for (float &value : values) // of many magnitudes
        value = normal(generator) * normal(generator) * normal(generator) * spread;
      values[5] = 0;
      const QuantizedRow row = quantized(scheme, values);
      const std::vector<float> decoded = dequantized(scheme, row);
      const int64_t group = scheme.groupOf(count);
      ASSERT_EQ(row.scales.size(), static_cast<size_t>(count / group));
      for (int64_t i = 0; i < count; ++i) {
        const double scale = row.scales[i / group];
        if (i % group == 0) {
          const auto [least, greatest] = std::minmax_element(values.begin() + i, values.begin() + i + group);
          const double widest = std::max(-*least, *greatest);
          ASSERT_NEAR(scale, widest / 448, roundingOf(scheme, widest / 448));
        }
        ASSERT_EQ(decoded[i], static_cast<float>(scale * e4m3ToFloat(static_cast<uint8_t>(row.codes[i])))) << i;
        double nearest = infinity;
        for (int code = 0; code < 256; ++code)
          if (code % 128 != 127)
            nearest = std::min(nearest, std::fabs(values[i] - scale * e4m3ToFloat(static_cast<uint8_t>(code))));
        ASSERT_NE(row.codes[i] % 128, 127) << i;
        ASSERT_LE(std::fabs(values[i] - scale * e4m3ToFloat(static_cast<uint8_t>(row.codes[i]))), nearest * (1 + 1e-5) + 1e-7 * scale)
            << name << ", element " << i << ": " << values[i];
      }
    }
  const QuantizedRow none = quantized(schemeNamed("fp8-g16"), std::vector<float>(32, 0));
  EXPECT_EQ(none.codes, std::vector<int16_t>(32, 0));
}

/// A row that was filled before, by another scheme, is written anew.
TEST(Quantizer, reusesRows) {
  QuantizedRow row;
  const std::vector<float> values(64, 1);
  ASSERT_TRUE(quantizeRow(schemeNamed("int4-g16-asym"), values.data(), 64, row));
  ASSERT_TRUE(quantizeRow(schemeNamed("int8-row"), values.data(), 32, row));
  EXPECT_EQ(row.codes, std::vector<int16_t>(32, 127));
  EXPECT_EQ(row.scales, std::vector<float>{1 / 127.0f});
  EXPECT_TRUE(row.offsets.empty());
}

TEST(Quantizer, knownCodes) {
  // Ties to even; the least code is left out.
  std::vector<float> values = {-127, -126.5f, -2.5f, -1.5f, -0.5f, -0.25f, 0, 0.5f, 1.5f, 2.5f, 125.5f, 126.5f, 1, 2, 3, 4};
  QuantizedRow row = quantized(schemeNamed("int8-row"), values);
  EXPECT_EQ(row.codes, (std::vector<int16_t>{-127, -126, -2, -2, 0, 0, 0, 0, 2, 2, 126, 126, 1, 2, 3, 4}));
  EXPECT_EQ(row.scales, std::vector<float>{1});
  EXPECT_EQ(quantized(schemeNamed("int8-g16"), values).codes, row.codes);

  // The value with the largest magnitude is -8, whichever its sign; 8 steps on the other side become 7.
  values = {-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7, 16, 14, 12, 10, 8, 6, 4, 2, 0, -2, -4, -6, -8, -10, -15, -16};
  row = quantized(schemeNamed("int4-g16"), values);
  EXPECT_EQ(row.codes, (std::vector<int16_t>{-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7,
                                             -8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 7, 7}));
  EXPECT_EQ(row.scales, (std::vector<float>{1, -2}));

  values = {-3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
  row = quantized(schemeNamed("int4-g16-asym"), values);
  EXPECT_EQ(row.codes, (std::vector<int16_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}));
  EXPECT_EQ(row.scales, std::vector<float>{1});
  EXPECT_EQ(row.offsets, std::vector<float>{-3});
  values = {-3, 252, 124.75f, 0.5f};
  row = quantized(schemeNamed("int8-row-asym"), values);
  EXPECT_EQ(row.codes, (std::vector<int16_t>{0, 255, 128, 4}));
}

TEST(Quantizer, zerosAndConstants) {
  for (const QuantizationScheme &scheme : allSchemes()) {
    SCOPED_TRACE(nameOf(scheme));
    const std::vector<float> zeros(256, 0);
    const QuantizedRow none = quantized(scheme, zeros);
    EXPECT_EQ(none.codes, std::vector<int16_t>(256, 0));
    EXPECT_EQ(dequantized(scheme, none), zeros);
    for (float value : {3.25f, -3.25f, 0x1p-10f}) {
      const std::vector<float> constant(256, value), decoded = dequantized(scheme, quantized(scheme, constant));
      EXPECT_EQ(decoded, std::vector<float>(256, decoded[0]));
      if (scheme.asymmetric || scheme.bits == 4) // the offset, or 8 times the scale
        EXPECT_EQ(decoded[0], value);
      // A 127th of 2^-10 is 16.5 steps of the smallest halves.
      EXPECT_NEAR(decoded[0], value, std::fabs(value) * (std::fabs(value) < 1 ? 0x1p-5f : 0x1p-11f));
    }
    // Nothing that f16 can hold.
    if (scheme.halfScales) {
      const std::vector<float> tiny(256, 0x1p-26f);
      const QuantizedRow row = quantized(scheme, tiny);
      EXPECT_EQ(row.codes, std::vector<int16_t>(256, 0));
      EXPECT_EQ(dequantized(scheme, row), zeros);
    }
  }
}

TEST(Quantizer, refusesValues) {
  for (const QuantizationScheme &scheme : allSchemes()) {
    std::vector<float> values(256, 1);
    values[200] = infinity;
    expectError(scheme, values, "element 200: expects a finite value to quantize, found infinity");
    values[131] = -infinity;
    expectError(scheme, values, "element 131: expects a finite value to quantize, found infinity");
    values[37] = nan;
    expectError(scheme, values, "element 37: expects a finite value to quantize, found NaN");
  }
}

TEST(Quantizer, refusesScalesBeyondF16) {
  std::vector<float> values(96, 1);
  const std::string message = "element 64: expects a group whose scale is within f16";
  // The largest half is 65504; from 65520 on the nearest is infinity.
  struct Case {
    const char *name;
    float least, greatest; // of a group
    bool fits;
  };
  const Case cases[] = {
      {"int8-g32", 0, 127 * 65504.0f, true},
      {"int8-g32", 0, 127 * 65520.0f, false},
      {"int8-g32", -127 * 65520.0f, 0, false},
      {"int4-g32", 0, 8 * 65504.0f, true},
      {"int4-g32", -8 * 65520.0f, 0, false},
      {"int4-g32-asym", 0, 15 * 65504.0f, true},
      {"int4-g32-asym", 0, 15 * 65520.0f, false},
      {"int4-g32-asym", -65504, -65504, true},
      {"int4-g32-asym", -65520, -65520, false},
      {"int8-g32-asym", 65520, 65521, false},
      {"int8-row", 0, 3e38f, true},
      {"int8-row-asym", -1e38f, 1e38f, true},
      {"fp8-g32", 0, 448 * 65504.0f, true},
      {"fp8-g32", -448 * 65520.0f, 0, false},
      {"fp8-row", 0, 3e38f, true},
  };
  for (const Case &test : cases) {
    SCOPED_TRACE(testing::Message() << test.name << " of " << test.least << " to " << test.greatest);
    std::fill(values.begin() + 64, values.end(), test.least);
    values[70] = test.greatest;
    if (!test.fits)
      expectError(schemeNamed(test.name), values, message);
    else
      EXPECT_NEAR(dequantized(schemeNamed(test.name), quantized(schemeNamed(test.name), values))[70], test.greatest,
                  std::fabs(test.greatest) * 1e-6);
  }
}

/// Product and sum are rounded one after the other.
TEST(Quantizer, decodes) {
  const QuantizedRow row = {{-128, 3, 0, 7, 1, 2, 3, 255}, {0.5f, 0x1.000002p0f}, {1, -3}};
  QuantizationScheme scheme{8, 4, false, false};
  EXPECT_EQ(dequantized(scheme, row),
            (std::vector<float>{-64, 1.5f, 0, 3.5f, 0x1.000002p0f, 0x1.000002p1f, 0x1.800004p1f, 255 + 0x1p-15f}));
  scheme.asymmetric = true;
  const std::vector<float> values = dequantized(scheme, row);
  EXPECT_EQ((std::vector<float>(values.begin(), values.begin() + 4)), (std::vector<float>{-63, 2.5f, 1, 4.5f}));
  EXPECT_EQ(values[6], 0x1p-21f);
  // One scale for the whole row.
  EXPECT_EQ(dequantized({8, 0, false, false}, {{1, 2, 3}, {2}, {}}), (std::vector<float>{2, 4, 6}));
}

} // namespace
