// Matrix products on tensor cores, and what is fused with them, against plain loops.
#include "GemmKernel.h"

using namespace ds;
using namespace ds::test;

namespace {

constexpr TileType bf16{16}, int8{8, false, 0, false}, int8Groups{8, false, 32, true}, int8Offsets{8, true, 32, true},
    int4{4, false, 32, true}, int4Wide{4, false, 64, true}, int4Offsets{4, true, 32, true}, int4Floats{4, true, 32, false},
    int4Rows{4, false, 0, false};

struct Rows {
  int32_t batch, tokens;
};
/// For each of the stages: up to 1, 8 and 16 rows, and tiles.
const std::vector<Rows> everyStage = {{1, 1}, {2, 1}, {4, 2}, {3, 3}, {1, 16}, {1, 17}, {2, 20}, {2, 65}};
const std::vector<Rows> someStages = {{1, 1}, {1, 5}, {3, 4}, {2, 17}};

void check(const GemmShape &shape, const std::vector<Rows> &steps, int64_t maxRows = 4096) {
  GemmKernel kernel(shape);
  EmulatedPlan code(kernel.text(maxRows));
  ASSERT_TRUE(code) << code.error() << kernel.text(maxRows);
  for (Rows rows : steps) {
    kernel.check(code, rows.batch, rows.tokens);
    if (testing::Test::HasFatalFailure())
      return;
  }
}

/// Rows, columns and depths that fill no block, unit or tile.
TEST(GpuGemm, everyType) {
  check({576, {{50, bf16}}}, everyStage);
  check({208, {{24, int8}}}, everyStage);
  check({96, {{300, int8Groups, true}}}, everyStage);
  check({576, {{8, int8Offsets}}}, everyStage);
  check({96, {{24, int4}}}, everyStage);
  check({576, {{50, int4Wide, true}}}, everyStage);
  check({160, {{50, int4Offsets}}}, everyStage);
  check({32, {{300, int4Floats}}}, everyStage);
  check({48, {{8, int4Rows}}}, everyStage);
}

TEST(GpuGemm, depths) {
  check({32, {{300, bf16, true}}}, someStages);
  check({36, {{8, bf16}}}, everyStage);
  check({200, {{24, bf16, true}}}, someStages);
  check({35, {{17, bf16}}, "layer_norm"}, someStages); // rows that begin at no multiple of 16 bytes
}

TEST(GpuGemm, elementwise) {
  check({64, {{50, bf16, true, "gelu erf"}}}, someStages);
  check({64, {{50, bf16, true, "silu", true}}, "rms_norm"}, everyStage);
  check({192, {{24, int4Wide, false, "gelu erf", true, true}}}, someStages);
  check({96, {{40, int8Groups, true, "", false, true}}}, someStages);
}

TEST(GpuGemm, norms) {
  check({96, {{50, bf16, true}}, "layer_norm", true}, everyStage);
  check({96, {{24, int8Groups}, {50, int8Groups}}, "rms_norm", true}, someStages);
}

Product withHeads(TileType type, int64_t heads, int64_t size, const std::string &rope, int64_t rotary, const std::string &store,
                  bool result) {
  Product product{heads * size, type};
  product.heads = heads;
  product.rope = rope;
  product.rotary = rotary;
  product.store = store;
  product.result = result;
  return product;
}

/// Queries, keys and values of one input.
GemmShape attentionInput(TileType type, int64_t size, const std::string &rope, int64_t rotary, int64_t context, bool result) {
  GemmShape shape{64, {}, "rms_norm", false, context};
  shape.products = {withHeads(type, 4, size, rope, rotary, "", true), withHeads(type, 2, size, rope, rotary, "keys", result),
                    withHeads(type, 2, size, "", 0, "values", result)};
  shape.products[0].bias = shape.products[2].bias = true;
  return shape;
}

TEST(GpuGemm, ropeByHalves) {
  check(attentionInput(bf16, 16, "half", 16, 48, false), everyStage);
  check(attentionInput(int8Groups, 64, "half", 32, 48, true), someStages);
}

/// Halves that end inside a block of 8 rows are turned by a launch of their own.
TEST(GpuGemm, ropeOfSmallHeads) {
  check(attentionInput(bf16, 8, "half", 8, 48, true), everyStage);
  check(attentionInput(int4, 24, "half", 24, 0, false), someStages);
}

TEST(GpuGemm, ropeInterleaved) {
  check(attentionInput(bf16, 12, "interleaved", 8, 0, true), someStages);
  check(attentionInput(int4Offsets, 32, "interleaved", 32, 48, false), someStages);
}

/// Products of several types: those of one type share blocks.
TEST(GpuGemm, mixedTypes) {
  check({64, {{24, bf16, true}, {50, int8Groups}, {40, bf16}}, "layer_norm", true}, everyStage);
  GemmShape shape = attentionInput(int4Wide, 8, "half", 8, 48, false);
  shape.products[1].type = bf16;
  check(shape, someStages);
}

/// Rows that do not fit shared memory come in parts.
TEST(GpuGemm, deepRows) {
  check({4096, {{32, bf16}}, "rms_norm"}, {{1, 1}, {1, 7}, {4, 3}, {1, 16}}, 16);
  check({8192, {{24, int4, true}}}, {{1, 16}}, 16);
}

/// Many rows and columns have larger tiles.
TEST(GpuGemm, largeTiles) { check({32, {{2048, bf16}}}, {{1, 257}, {1, 1025}}); }

TEST(GpuGemm, outputNobodyWants) {
  GemmKernel kernel({64, {{24, bf16}}});
  EmulatedPlan code(kernel.text());
  ASSERT_TRUE(code) << code.error();
}

/// A NaN and an infinity reach all of their row, and no other.
TEST(GpuGemm, notANumberAndInfinity) {
  for (TileType type : {bf16, int8Groups}) {
    GemmKernel kernel({96, {{24, type}}});
    EmulatedPlan code(kernel.text());
    ASSERT_TRUE(code) << code.error();
    kernel.adjust = [](int64_t i, float value) { return i == 5 ? notANumber : i == 2 * 96 + 90 ? infinite : value; };
    for (int32_t rows : {3, 12, 20}) {
      std::string error;
      std::vector<float> y = kernel.run(code, 1, rows, error)[0];
      ASSERT_EQ(error, "");
      for (int64_t i = 0; i < rows * 24; ++i) {
        if (i / 24 == 0)
          ASSERT_TRUE(std::isnan(y[i])) << rows << " " << i;
        else
          ASSERT_EQ(std::isfinite(y[i]), i / 24 != 2) << rows << " " << i;
      }
    }
  }
}

void expectRefused(std::string text, const std::string &from, const std::string &to, const std::string &why) {
  if (!from.empty()) {
    ASSERT_NE(text.find(from), std::string::npos) << text;
    for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
      text.replace(at, from.size(), to);
  }
  EmulatedPlan code(text);
  EXPECT_FALSE(code);
  EXPECT_NE(code.error().find(why), std::string::npos) << code.error() << text;
}

TEST(GpuGemm, refusals) {
  GemmShape meeting{64, {{24, bf16, false, "silu", true}}};
  const std::string text = GemmKernel(meeting).text();
  // A third product beside the two.
  expectRefused(text, "ds.mul", "ds.linear %x, %w0_0 : tensor<?x?x64xf32>, tensor<24x64xbf16>\n  %q = ds.mul", "");
}

} // namespace
