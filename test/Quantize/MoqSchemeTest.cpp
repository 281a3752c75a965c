// Names of MoQ's grids, and the schemes that hold matrices on them.
#include "ds/Quantize/MoqScheme.h"
#include <gtest/gtest.h>

using namespace ds;

namespace {

TEST(MoqScheme, readsNames) {
  struct Case {
    const char *name;
    int bits;
    bool asymmetric;
    int64_t groups;
  };
  for (const Case &test : {Case{"moq1", 1, false, 1},
                           {"moq2-groups8", 2, false, 8},
                           {"moq3-asym", 3, true, 1},
                           {"moq8", 8, false, 1},
                           {"moq8-inference-groups4", 8, false, 4},
                           {"moq8-asym-groups1024", 8, true, 1024}}) {
    Result<MoqGrid> grid = parseMoqGrid(test.name);
    ASSERT_TRUE(grid) << test.name;
    EXPECT_EQ(grid->bits, test.bits) << test.name;
    EXPECT_EQ(grid->asymmetric, test.asymmetric) << test.name;
    EXPECT_EQ(grid->groups, test.groups) << test.name;
    EXPECT_EQ(nameOf(*grid), test.name);
    Result<SchemeChoice> choice = parseSchemeChoice(test.name);
    ASSERT_TRUE(choice) << test.name;
    EXPECT_EQ(choice->kind, SchemeChoice::Kind::grid);
    EXPECT_EQ(nameOf(choice->grid), test.name);
  }
}

TEST(MoqScheme, refusesNames) {
  for (const char *name : {"moq",
                           "moq0",
                           "moq9",
                           "moq-4",
                           "moq+4",
                           "moq44",
                           "moq4x",
                           "moq4-",
                           "moq4-g32",
                           "moq4-groups",
                           "moq4-groups0",
                           "moq4-groups-2",
                           "moq4-groups2-asym",
                           "moq1-asym",
                           "moq2-asym",
                           "moq2-inference",
                           "moq8-asym-inference",
                           "moq8-inference-asym",
                           "moq4-asym-groups4x",
                           "moq4-groups99999999999999999999",
                           "MOQ4",
                           ""}) {
    Result<MoqGrid> grid = parseMoqGrid(name);
    ASSERT_FALSE(grid) << name;
    EXPECT_EQ(grid.error().code, ErrorCode::Usage) << name;
    EXPECT_EQ(grid.error().message,
              "expects moqB with B from 1 to 8, or moqB-asym or moqB-inference from 3 on, each also with -groupsN, got '" +
                  std::string(name) + "'");
  }
}

/// A matrix that is all of a tensor, row by row.
StoredMatrix whole(int64_t rows, int64_t columns) { return {rows * columns, columns, 0, {rows * columns}, {1}}; }

TEST(MoqScheme, schemesThatHoldGrids) {
  struct Case {
    MoqGrid grid;
    StoredMatrix matrix;
    QuantizationScheme scheme;
  };
  const StoredMatrix transposed{64 * 96, 96, 0, {64, 96}, {1, 64}}, joined{192 * 96, 96, 64, {64, 96}, {1, 192}},
      permuted{64 * 96, 96, 0, {2, 2, 16, 96}, {32 * 96, 96, 2 * 96, 1}}, third{96 * 64, 64, 32 * 64, {32, 64}, {64, 1}};
  const Case cases[] = {
      {{1}, whole(8, 48), {2, 0, false, false}},
      {{2}, whole(8, 48), {2, 0, false, false}},
      {{3, true}, whole(8, 48), {3, 0, true, false}},
      {{4, true}, whole(8, 48), {4, 0, true, false}},
      {{5}, whole(8, 48), {5, 0, false, false}},
      {{7, false, 24}, whole(8, 48), {7, 16, false, false}},
      {{8, true, 8}, whole(8, 48), {8, 0, true, false}},
      {{4, false, 4}, whole(8, 48), {4, 0, false, false}},
      {{4, false, 24}, whole(8, 48), {4, 16, false, false}},
      {{4, false, 16}, whole(8, 64), {4, 32, false, false}},
      // Of a row and a half: what both begin with.
      {{4, false, 8}, whole(12, 64), {4, 32, false, false}},
      {{4, false, 3}, transposed, {4, 32, false, false}},
      {{4}, transposed, {4, 0, false, false}},
      {{8, false, 6}, joined, {8, 16, false, false}},
      {{4, false, 128}, permuted, {4, 48, false, false}},
      {{4, false, 12}, third, {4, 0, false, false}},
      {{4}, {100, 48, 3, {2, 48}, {1, 2}}, {4, 0, false, false}}, // of one group, however it lies
  };
  for (const Case &test : cases) {
    Result<QuantizationScheme> scheme = schemeOfGrid(test.grid, test.matrix);
    ASSERT_TRUE(scheme) << nameOf(test.grid) << ": " << scheme.error().message;
    EXPECT_EQ(*scheme, test.scheme) << nameOf(test.grid) << ", columns " << test.matrix.columns << ": " << nameOf(*scheme);
  }
}

TEST(MoqScheme, refusesGroups) {
  struct Case {
    MoqGrid grid;
    StoredMatrix matrix;
    const char *message;
  };
  const char *const where = "expects groups of whole rows, or that end behind a multiple of 16 columns, got runs of ";
  const Case cases[] = {
      {{4, false, 5}, whole(8, 48), "expects a number of groups that divides 384 values, got 5"},
      {{4, false, 48}, whole(8, 48), "8 values for rows of 48"},
      {{4, false, 512}, whole(8, 48), "expects a number of groups that divides 384 values, got 512"},
      {{4, false, 32}, whole(12, 64), "24 values for rows of 64"},
      {{4, false, 96}, {64 * 96, 96, 0, {64, 96}, {1, 64}}, "64 values for rows of 96"},
      {{4, false, 64}, {64 * 96, 96, 0, {64, 96}, {1, 64}}, "96 values for rows of 96 in another order"},
      {{4, false, 2}, {64 * 96, 96, 48, {2, 96}, {96, 1}}, "3072 values for rows of 96 in another order"},
  };
  for (const Case &test : cases) {
    Result<QuantizationScheme> scheme = schemeOfGrid(test.grid, test.matrix);
    ASSERT_FALSE(scheme) << nameOf(test.grid);
    EXPECT_EQ(scheme.error().code, ErrorCode::BadData);
    EXPECT_EQ(scheme.error().message, (test.message[0] == 'e' ? "" : std::string(where)) + test.message);
  }
}

} // namespace
