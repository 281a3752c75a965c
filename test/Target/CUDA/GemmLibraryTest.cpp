// Products of many rows by cuBLASLt, which the emulator stands for, and the launches around them, against plain loops.
#include "GemmKernel.h"

using namespace ds;
using namespace ds::test;

namespace {

constexpr TileType bf16{16}, int8Groups{8, false, 32, true}, int4Wide{4, false, 64, true}, f16{16, false, 0, false, false, true};

struct Rows {
  int32_t batch, tokens;
};

/// Holds steps of `libraryRows` and more to the library, and the same to the package's own kernels without it.
void check(const GemmShape &shape, const std::vector<Rows> &steps, size_t seeds = 5, const std::string &arch = {},
           int64_t libraryRows = 17) {
  GemmKernel kernel(shape);
  EmulatedPlan code(kernel.text(), {}, arch, libraryRows);
  ASSERT_TRUE(code) << code.error() << kernel.text();
  EXPECT_TRUE(code.notes().empty());
  for (Rows rows : steps) {
    const int64_t before = code.libraryProducts();
    kernel.check(code, rows.batch, rows.tokens, seeds);
    if (testing::Test::HasFatalFailure())
      return;
    EXPECT_EQ(code.libraryProducts() > before, rows.batch * rows.tokens >= libraryRows);
  }
  code.closeLibrary();
  const int64_t before = code.libraryProducts();
  kernel.check(code, steps.back().batch, steps.back().tokens, 1);
  EXPECT_EQ(code.libraryProducts(), before);
}

/// Rows, columns and depths that fill no block, unit or tile.
TEST(GpuLibraryProduct, everyType) {
  for (TileType type : tileTypes) {
    const int64_t depth = type.group ? 192 : 208;
    check({depth, {{50, type, true}}}, {{1, 1}, {1, 16}, {1, 17}, {2, 20}, {2, 65}}, 3);
  }
  check({576, {{24, int4Wide}}}, {{2, 65}});
  check({32, {{300, int8Groups}}}, {{1, 33}});
}

TEST(GpuLibraryProduct, depths) {
  check({36, {{8, bf16}}}, {{1, 17}});
  check({35, {{17, bf16}}, "layer_norm"}, {{2, 17}}); // rows that begin at no multiple of 16 bytes
  check({35, {{17, f16, true}}, "rms_norm"}, {{2, 17}});
  check({48, {{24, {4, false, 0, false}}}}, {{2, 20}});
  check({1088, {{24, bf16}}}, {{1, 70}}, 2);
}

TEST(GpuLibraryProduct, epilogues) {
  check({64, {{50, bf16, true, "gelu erf"}}}, {{2, 17}});
  check({64, {{50, bf16, true, "silu", true}}, "rms_norm"}, {{2, 17}, {1, 40}});
  check({64, {{50, f16, true, "silu", true, true}}, "rms_norm"}, {{2, 17}});
  check({192, {{24, int4Wide, false, "gelu erf", true, true}}}, {{2, 17}});
  check({96, {{40, int8Groups, true, "", false, true}}}, {{2, 17}});
}

TEST(GpuLibraryProduct, norms) {
  check({96, {{50, bf16, true}}, "layer_norm", true}, {{1, 17}, {2, 20}});
  check({96, {{24, int8Groups}, {50, int8Groups}}, "rms_norm", true}, {{2, 17}});
}

/// Heads that rope turns, in its place and by a launch of its own, and what is stored of them.
TEST(GpuLibraryProduct, heads) {
  check(attentionInput(bf16, 16, "half", 16, 48, false), {{1, 17}, {2, 20}});
  check(attentionInput(int8Groups, 64, "half", 32, 48, true), {{2, 17}});
  check(attentionInput(f16, 16, "half", 16, 48, false), {{2, 17}});
  check(attentionInput(bf16, 8, "half", 8, 48, true), {{1, 17}, {2, 20}});
  check(attentionInput(f16, 8, "half", 8, 48, true), {{2, 17}});
  check(attentionInput(bf16, 12, "interleaved", 8, 0, true), {{2, 17}});
}

/// A product for each type.
TEST(GpuLibraryProduct, mixedTypes) {
  check({64, {{24, bf16, true}, {50, int8Groups}, {40, bf16}}, "layer_norm", true}, {{1, 17}, {2, 20}});
  GemmShape shape = attentionInput(int4Wide, 8, "half", 8, 48, false);
  shape.products[1].type = bf16;
  check(shape, {{2, 17}});
}

/// On sm_90a they stand for products of warpgroups.
TEST(GpuLibraryProduct, besideWarpgroups) {
  check({64, {{50, bf16, true, "silu", true}}, "rms_norm"}, {{1, 16}, {2, 17}}, 5, "sm_90a");
  check({192, {{300, int4Wide}}}, {{2, 40}}, 2, "sm_90a");
}

/// A bound inside the range of a tile divides its launch.
TEST(GpuLibraryProduct, fromSomeRowsOn) { check({64, {{50, int8Groups}}}, {{1, 17}, {1, 39}, {1, 40}, {5, 17}}, 3, {}, 40); }

/// Rows that a NaN or an infinity is in, and no other.
TEST(GpuLibraryProduct, notANumberAndInfinity) {
  for (TileType type : {bf16, f16, int8Groups}) {
    GemmKernel kernel({96, {{24, type}}});
    EmulatedPlan code(kernel.text(), {}, {}, 17);
    ASSERT_TRUE(code) << code.error();
    kernel.adjust = [](int64_t i, float value) { return i == 5 ? notANumber : i == 2 * 96 + 90 ? infinite : value; };
    std::string error;
    std::vector<float> y = kernel.run(code, 1, 20, error)[0];
    ASSERT_EQ(error, "");
    EXPECT_GT(code.libraryProducts(), 0);
    for (int64_t i = 0; i < 20 * 24; ++i)
      ASSERT_EQ(std::isfinite(y[i]), i / 24 != 0 && i / 24 != 2) << i;
  }
}

/// A plan of a product [columns, depth] of bf16 whose weights are nowhere.
std::string planOf(const std::string &rows, int64_t columns, int64_t depth) {
  auto number = [](int64_t value) { return std::to_string(value); };
  OneLaunch plan;
  const std::string x = "tensor<?x?x" + number(depth) + "xf32>", y = "tensor<?x?x" + number(columns) + "xf32>",
                    w = "tensor<" + number(columns) + "x" + number(depth) + "xbf16>";
  const std::string memref = "memref<" + number(columns / 8) + "x" + number(depth / 32) + "x8x32xbf16>";
  std::string in = plan.rows(rows, depth), weight = plan.weight("tiles", 0, memref, "of @w"), out = plan.rows(rows, columns);
  return "ds.parameter @w from \"w\" : " + w + "\n" +
         plan.text("gemm",
                   "^bb0(%x: " + x + ", %w: " + w + "):\n  %y = ds.linear %x, %w : " + x + ", " + w + "\n  ds_plan.return %y : " + y + "\n",
                   {in, weight}, {out});
}

/// Rows that the head is wanted for, and weights that scratch should not hold, keep the package's kernels; the latter are told of.
TEST(GpuLibraryProduct, whatKeepsItsKernels) {
  EmulatedPlan tokens(planOf("tokens", 64, 64), {}, {}, 17), selected(planOf("selected", 64, 64), {}, {}, 17);
  ASSERT_TRUE(tokens && selected) << tokens.error() << selected.error();
  EXPECT_NE(tokens.launches().find("\"product\""), std::string::npos);
  EXPECT_EQ(selected.launches().find("\"library\""), std::string::npos);
  EXPECT_TRUE(selected.notes().empty());

  EmulatedPlan large(planOf("tokens", 131088, 4096), {}, {}, 17);
  ASSERT_TRUE(large) << large.error();
  EXPECT_EQ(large.launches().find("\"library\""), std::string::npos);
  ASSERT_EQ(large.notes().size(), 1u);
  EXPECT_EQ(large.notes()[0],
            "its products are not cuBLASLt's: 1073872896 bytes of weights would have to be unpacked, 1073741824 are the most");
}

/// Programs without steps of so many rows have neither the launches nor their scratch.
TEST(GpuLibraryProduct, scratch) {
  GemmKernel kernel({64, {{64, bf16}}});
  auto arena = [&](int64_t maxRows, int64_t libraryRows) {
    EmulatedPlan code(kernel.text(maxRows), {}, {}, libraryRows);
    const std::string key = "\"arena_bytes\":";
    return std::stoll(code.launches().substr(code.launches().find(key) + key.size()));
  };
  EXPECT_EQ(arena(16, 17), arena(16, 0));
  // Rows of f32 sums of 64 columns for 128 rows, and 64 x 64 weights.
  EXPECT_EQ(arena(128, 17), arena(128, 0) + 128 * 64 * 4 + 64 * 64 * 2);
}

} // namespace
