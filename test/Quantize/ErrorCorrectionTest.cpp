// Rows rounded with regard to what they multiply, against rounding to the nearest.
#include "ds/Quantize/ErrorCorrection.h"
#include "ds/Quantize/QuantizedMatrix.h"
#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <random>

using namespace ds;

namespace {

std::vector<float> randomRows(int64_t count, int64_t columns, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count * columns);
  for (float &value : values)
    value = normal(random);
  return values;
}

/// Moments of tokens that lie near a few directions, as those of a model do.
std::vector<float> momentsOf(int64_t columns, int64_t directions, unsigned seed) {
  const std::vector<float> basis = randomRows(directions, columns, seed);
  std::vector<float> moments(columns * columns);
  for (int64_t i = 0; i < columns; ++i)
    for (int64_t j = 0; j < columns; ++j) {
      double sum = i == j ? 0.05 * (1 + static_cast<double>(i % 7)) : 0;
      for (int64_t d = 0; d < directions; ++d)
        sum += static_cast<double>(basis[d * columns + i]) * static_cast<double>(basis[d * columns + j]) / static_cast<double>(directions);
      moments[i * columns + j] = static_cast<float>(sum);
    }
  return moments;
}

QuantizationScheme schemeNamed(const char *name) { return *parseScheme(name); }

/// Mean square at the output of the errors of `rows`.
double errorOf(const QuantizationScheme &scheme, const std::vector<float> &moments, int64_t columns, const std::vector<float> &values,
               const std::vector<QuantizedRow> &rows) {
  std::vector<float> errors = values, rounded(columns);
  for (size_t i = 0; i < rows.size(); ++i) {
    dequantizeRow(scheme, rows[i], rounded.data());
    for (int64_t k = 0; k < columns; ++k)
      errors[i * columns + k] -= rounded[k];
  }
  return outputEnergy(moments.data(), columns, errors.data(), static_cast<int64_t>(rows.size()));
}

std::vector<QuantizedRow> corrected(const QuantizationScheme &scheme, const std::vector<float> &moments, int64_t columns,
                                    const std::vector<float> &values, double damping = 0.01) {
  Result<ErrorCorrection> correction = ErrorCorrection::create(moments.data(), columns, scheme.groupOf(columns), damping);
  EXPECT_TRUE(correction) << correction.error().message;
  std::vector<QuantizedRow> rows(values.size() / columns);
  Result<void> done = correction->quantize(scheme, values.data(), static_cast<int64_t>(rows.size()), rows.data());
  EXPECT_TRUE(done) << done.error().message;
  return rows;
}

std::vector<QuantizedRow> nearest(const QuantizationScheme &scheme, int64_t columns, const std::vector<float> &values) {
  std::vector<QuantizedRow> rows(values.size() / columns);
  for (size_t i = 0; i < rows.size(); ++i)
    EXPECT_TRUE(quantizeRow(scheme, values.data() + i * columns, columns, rows[i]));
  return rows;
}

TEST(ErrorCorrection, leavesLessErrorAtTheOutput) {
  for (const char *name : {"int4-g32", "int4-g64", "int4-g64-asym", "int8-g32", "int8-row", "int8-row-asym"}) {
    const QuantizationScheme scheme = schemeNamed(name);
    const int64_t columns = 192;
    const std::vector<float> moments = momentsOf(columns, 12, 1), values = randomRows(20, columns, 2);
    const std::vector<QuantizedRow> rows = corrected(scheme, moments, columns, values);
    const double own = errorOf(scheme, moments, columns, values, rows);
    const double plain = errorOf(scheme, moments, columns, values, nearest(scheme, columns, values));
    EXPECT_LT(own, 0.4 * plain) << name;
    EXPECT_GT(own, 0) << name;
    for (const QuantizedRow &row : rows) {
      for (int16_t code : row.codes)
        EXPECT_TRUE(code >= scheme.leastCode() && code <= scheme.greatestCode()) << name;
      EXPECT_EQ(static_cast<int64_t>(row.scales.size()), columns / scheme.groupOf(columns)) << name;
      EXPECT_EQ(row.offsets.size(), scheme.asymmetric ? row.scales.size() : 0) << name;
    }
  }
}

/// With moments that have no products of two columns, no error can be made up for: each code is the nearest one.
TEST(ErrorCorrection, roundsToTheNearestWhereColumnsAreApart) {
  const QuantizationScheme scheme = schemeNamed("int4-g16");
  const int64_t columns = 64;
  std::vector<float> moments(columns * columns);
  for (int64_t k = 0; k < columns; ++k)
    moments[k * columns + k] = static_cast<float>(1 + k % 5);
  const std::vector<float> values = randomRows(8, columns, 3);
  const std::vector<QuantizedRow> rows = corrected(scheme, moments, columns, values);
  for (size_t i = 0; i < rows.size(); ++i)
    for (int64_t k = 0; k < columns; ++k) {
      const float wanted = values[i * columns + k] / rows[i].scales[k / 16];
      EXPECT_EQ(rows[i].codes[k], std::clamp(std::nearbyint(wanted), -8.0f, 7.0f)) << i << " " << k;
    }
}

/// Two columns that are always equal: the error of one is undone by the other as far as codes reach.
TEST(ErrorCorrection, makesUpForTheColumnBefore) {
  const QuantizationScheme scheme = schemeNamed("int8-g16");
  std::vector<float> moments(16 * 16), values(16);
  for (int64_t k = 0; k < 16; ++k)
    moments[k * 16 + k] = 1;
  moments[0 * 16 + 1] = moments[1 * 16 + 0] = 0.999f;
  values[15] = 127; // the scale is 1
  values[0] = 10.4f, values[1] = 20.4f;
  const QuantizedRow row = corrected(scheme, moments, 16, values, 1e-6)[0];
  const float scale = row.scales[0];
  EXPECT_NEAR(scale * static_cast<float>(row.codes[0] + row.codes[1]), 30.8f, 0.3f);
  const QuantizedRow plain = nearest(scheme, 16, values)[0];
  EXPECT_EQ(plain.codes[0] + plain.codes[1], 30);
}

TEST(ErrorCorrection, takesColumnsThatAreAlwaysZero) {
  const QuantizationScheme scheme = schemeNamed("int4-g32");
  std::vector<float> moments = momentsOf(64, 4, 5);
  for (int64_t k = 0; k < 64; ++k)
    moments[3 * 64 + k] = moments[k * 64 + 3] = 0;
  const std::vector<float> values = randomRows(4, 64, 6);
  EXPECT_TRUE(std::isfinite(errorOf(scheme, moments, 64, values, corrected(scheme, moments, 64, values))));
  // And of nothing at all.
  const std::vector<float> none(64 * 64);
  for (const QuantizedRow &row : corrected(scheme, none, 64, values))
    EXPECT_EQ(row.codes.size(), 64u);
}

TEST(ErrorCorrection, givesTheSameAgain) {
  const QuantizationScheme scheme = schemeNamed("int4-g32-asym");
  const std::vector<float> moments = momentsOf(96, 6, 7), values = randomRows(5, 96, 8);
  const std::vector<QuantizedRow> again = corrected(scheme, moments, 96, values), rows = corrected(scheme, moments, 96, values);
  for (size_t i = 0; i < rows.size(); ++i)
    EXPECT_EQ(rows[i].codes, again[i].codes);
}

TEST(ErrorCorrection, namesWhatIsWrong) {
  std::vector<float> moments(16 * 16);
  for (int64_t k = 0; k < 16; ++k)
    moments[k * 16 + k] = 1;
  moments[0 * 16 + 1] = moments[1 * 16 + 0] = 5; // no values are that much alike
  Result<ErrorCorrection> none = ErrorCorrection::create(moments.data(), 16, 16);
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, ErrorCode::BadData);
  EXPECT_EQ(none.error().message, "expects moments of values, a positive semidefinite matrix, found none");

  moments[0 * 16 + 1] = moments[1 * 16 + 0] = 0;
  Result<ErrorCorrection> correction = ErrorCorrection::create(moments.data(), 16, 16);
  ASSERT_TRUE(correction);
  std::vector<float> values(32, 1.0f);
  values[20] = std::numeric_limits<float>::quiet_NaN();
  std::vector<QuantizedRow> rows(2);
  Result<void> done = correction->quantize(schemeNamed("int4-g16"), values.data(), 2, rows.data());
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().message, "row 1, element 4: expects a finite value to quantize, found NaN");
}

TEST(QuantizedMatrix, keepsRows) {
  for (const char *name : {"int4-g16", "int8-g16-asym", "int8-row", "int4-g32-asym"}) {
    const QuantizationScheme scheme = schemeNamed(name);
    const std::vector<float> values = randomRows(3, 32, 9);
    const std::vector<QuantizedRow> rows = nearest(scheme, 32, values);
    QuantizedMatrix matrix(scheme, 3, 32);
    for (int64_t i : {2, 0, 1})
      matrix.set(i, rows[i]);
    QuantizedRow row;
    for (int64_t i = 0; i < 3; ++i) {
      matrix.get(i, row);
      EXPECT_EQ(row.codes, rows[i].codes) << name;
      EXPECT_EQ(row.scales, rows[i].scales) << name;
      EXPECT_EQ(row.offsets, rows[i].offsets) << name;
    }
  }
}

} // namespace
