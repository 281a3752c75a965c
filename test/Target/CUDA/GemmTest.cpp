// Matrix products on tensor cores, and what is fused with them, against plain loops.
#include "GemmKernel.h"

using namespace ds;
using namespace ds::test;

namespace {

constexpr TileType bf16{16}, int8{8, false, 0, false}, int8Groups{8, false, 32, true}, int8Offsets{8, true, 32, true},
    int4{4, false, 32, true}, int4Wide{4, false, 64, true}, int4Offsets{4, true, 32, true}, int4Floats{4, true, 32, false},
    int4Rows{4, false, 0, false}, fp8Rows{8, false, 0, false, true}, fp8Groups{8, false, 64, true, true},
    f16{16, false, 0, false, false, true};

struct Rows {
  int32_t batch, tokens;
};
/// For the stages: up to 1, 8 and 16 rows, and tiles.
const std::vector<Rows> everyStage = {{1, 1}, {2, 1}, {4, 2}, {3, 3}, {1, 16}, {1, 17}, {2, 20}};
const std::vector<Rows> someStages = {{1, 1}, {1, 5}, {3, 4}, {2, 17}};

void check(const GemmShape &shape, const std::vector<Rows> &steps, int64_t maxRows = 4096, size_t seeds = 5, const std::string &arch = {}) {
  GemmKernel kernel(shape);
  EmulatedPlan code(kernel.text(maxRows), {}, arch);
  ASSERT_TRUE(code) << code.error() << kernel.text(maxRows);
  for (Rows rows : steps) {
    kernel.check(code, rows.batch, rows.tokens, seeds);
    if (testing::Test::HasFatalFailure())
      return;
  }
}

/// Rows, columns and depths that fill no block, unit or tile.
TEST(GpuGemm, everyType) {
  check({576, {{50, bf16}}}, {{1, 1}, {2, 1}, {4, 2}, {3, 3}, {1, 16}, {1, 17}, {2, 20}, {2, 65}});
  check({576, {{50, f16}}}, {{1, 1}, {2, 1}, {4, 2}, {3, 3}, {1, 16}, {1, 17}, {2, 20}, {2, 65}});
  check({208, {{24, int8}}}, everyStage);
  check({96, {{300, int8Groups, true}}}, everyStage);
  check({576, {{8, int8Offsets}}}, everyStage);
  check({96, {{24, int4}}}, everyStage);
  check({576, {{50, int4Wide, true}}}, everyStage);
  check({160, {{50, int4Offsets}}}, everyStage);
  check({32, {{300, int4Floats}}}, everyStage);
  check({208, {{24, fp8Rows}}}, everyStage);
  check({576, {{50, fp8Groups, true}}}, everyStage);
  check({48, {{8, int4Rows}}}, {{1, 1}, {2, 1}, {3, 3}, {2, 20}, {2, 65}});
}

TEST(GpuGemm, depths) {
  check({32, {{300, bf16, true}}}, someStages);
  check({36, {{8, bf16}}}, everyStage);
  check({200, {{24, bf16, true}}}, someStages);
  check({35, {{17, bf16}}, "layer_norm"}, someStages); // rows that begin at no multiple of 16 bytes
  check({35, {{17, f16, true}}, "rms_norm"}, everyStage);
}

TEST(GpuGemm, elementwise) {
  check({64, {{50, bf16, true, "gelu erf"}}}, someStages);
  check({64, {{50, bf16, true, "silu", true}}, "rms_norm"}, everyStage);
  check({64, {{50, f16, true, "silu", true, true}}, "rms_norm"}, everyStage);
  check({192, {{24, int4Wide, false, "gelu erf", true, true}}}, someStages);
  check({96, {{40, int8Groups, true, "", false, true}}}, someStages);
}

TEST(GpuGemm, norms) {
  check({96, {{50, bf16, true}}, "layer_norm", true}, everyStage);
  check({96, {{24, int8Groups}, {50, int8Groups}}, "rms_norm", true}, someStages);
}

TEST(GpuGemm, ropeByHalves) {
  check(attentionInput(bf16, 16, "half", 16, 48, false), everyStage);
  check(attentionInput(int8Groups, 64, "half", 32, 48, true), someStages);
  check(attentionInput(f16, 16, "half", 16, 48, false), everyStage);
}

/// Halves that end inside a block of 8 rows are turned by a launch of their own.
TEST(GpuGemm, ropeOfSmallHeads) {
  check(attentionInput(bf16, 8, "half", 8, 48, true), everyStage);
  check(attentionInput(int4, 24, "half", 24, 0, false), someStages);
  check(attentionInput(f16, 8, "half", 8, 48, true), someStages);
}

TEST(GpuGemm, ropeInterleaved) {
  check(attentionInput(bf16, 12, "interleaved", 8, 0, true), someStages);
  check(attentionInput(int4Offsets, 32, "interleaved", 32, 48, false), someStages);
}

/// Behind products, caches of bf16 are written where the sums are; codes by a launch that has whole heads, turned or not.
TEST(GpuGemm, narrowCaches) {
  for (bool codes : {false, true})
    for (bool result : {false, true}) {
      auto checkNarrow = [&](GemmShape shape, const std::vector<Rows> &steps) {
        shape.bf16 = !codes, shape.codes = codes;
        check(shape, steps);
      };
      checkNarrow(attentionInput(bf16, 16, "half", 16, 48, result), everyStage);
      checkNarrow(attentionInput(int8Groups, 64, "half", 32, 48, result), someStages);
      checkNarrow(attentionInput(bf16, 12, "half", 12, 48, result), someStages);
      checkNarrow(attentionInput(f16, 160, "interleaved", 32, 48, result), someStages);
    }
}

/// Products of several types: those of one type share blocks.
TEST(GpuGemm, mixedTypes) {
  check({64, {{24, bf16, true}, {50, int8Groups}, {40, bf16}}, "layer_norm", true}, everyStage);
  GemmShape shape = attentionInput(int4Wide, 8, "half", 8, 48, false);
  shape.products[1].type = bf16;
  check(shape, someStages);
  check({64, {{24, f16, true}, {50, int8Groups}, {40, bf16}}, "layer_norm", true}, everyStage);
}

/// Rows that do not fit shared memory come in parts.
TEST(GpuGemm, deepRows) {
  check({4096, {{32, bf16}}, "rms_norm"}, {{1, 1}, {1, 7}, {4, 3}, {1, 16}}, 16);
  check({4096, {{32, f16}}, "rms_norm"}, {{1, 7}, {1, 16}}, 16);
  check({8192, {{24, int4, true}}}, {{1, 16}}, 16);
}

/// Blocks take several turns at many columns, with tiles of the next turn on their way.
TEST(GpuGemm, manyColumns) {
  check({32, {{70000, bf16, true}}, "rms_norm"}, {{1, 1}, {1, 2}}, 8, 2);
  check({2304, {{4400, bf16}}}, {{1, 1}, {1, 9}}, 16, 2);
}

/// Many rows and columns have larger tiles.
TEST(GpuGemm, largeTiles) {
  check({32, {{2048, bf16}}}, {{1, 257}, {1, 513}, {1, 1025}}, 4096, 2);
  check({32, {{2048, f16}}}, {{1, 1025}}, 4096, 2);
  check({192, {{2048, int4Wide}}}, {{1, 513}}, 4096, 2);
}

/// On sm_90a warpgroups multiply.
void checkWarpgroups(const GemmShape &shape, const std::vector<Rows> &steps, size_t seeds = 5) {
  check(shape, steps, 4096, seeds, "sm_90a");
}

TEST(GpuWarpgroups, everyType) {
  checkWarpgroups({576, {{50, bf16}}}, {{1, 16}, {1, 17}, {2, 20}, {2, 65}});
  checkWarpgroups({576, {{50, f16}}}, {{1, 17}, {2, 20}, {2, 65}});
  checkWarpgroups({208, {{24, int8}}}, {{1, 17}, {1, 33}});
  checkWarpgroups({96, {{300, int8Groups, true}}}, {{2, 20}});
  checkWarpgroups({576, {{8, int8Offsets}}}, {{1, 17}});
  checkWarpgroups({96, {{24, int4}}}, {{1, 17}});
  checkWarpgroups({576, {{50, int4Wide, true}}}, {{2, 20}, {1, 65}});
  checkWarpgroups({160, {{50, int4Offsets}}}, {{1, 17}});
  checkWarpgroups({32, {{300, int4Floats}}}, {{1, 17}});
  checkWarpgroups({576, {{50, fp8Groups, true}}}, {{1, 40}});
  checkWarpgroups({48, {{8, int4Rows}}}, {{2, 20}});
}

/// One step along the depth, odd numbers of tiles, rows that begin at no multiple of 16 bytes.
TEST(GpuWarpgroups, depths) {
  checkWarpgroups({32, {{300, bf16, true}}}, {{2, 17}});
  checkWarpgroups({36, {{8, bf16}}}, {{1, 17}, {2, 20}});
  checkWarpgroups({200, {{24, bf16, true}}}, {{2, 17}});
  checkWarpgroups({35, {{17, bf16}}, "layer_norm"}, {{2, 17}});
  checkWarpgroups({1088, {{24, bf16}}}, {{1, 70}}, 3);
}

/// Several groups of blocks, norms, epilogues that join two products.
TEST(GpuWarpgroups, epilogues) {
  checkWarpgroups({64, {{50, bf16, true, "silu", true}}, "rms_norm"}, {{2, 17}});
  checkWarpgroups({64, {{50, f16, true, "silu", true}}, "rms_norm"}, {{2, 17}});
  checkWarpgroups({192, {{24, int4Wide, false, "gelu erf", true, true}}}, {{2, 17}});
  checkWarpgroups({64, {{24, bf16, true}, {50, int8Groups}, {40, bf16}}, "layer_norm", true}, {{1, 17}, {2, 20}});
}

/// Heads that rope turns, in its place and by a launch of its own, and what is stored of them.
TEST(GpuWarpgroups, heads) {
  checkWarpgroups(attentionInput(bf16, 16, "half", 16, 48, false), {{1, 17}, {2, 20}});
  checkWarpgroups(attentionInput(int8Groups, 64, "half", 32, 48, true), {{2, 17}});
  checkWarpgroups(attentionInput(bf16, 8, "half", 8, 48, true), {{1, 17}});
  checkWarpgroups(attentionInput(bf16, 12, "interleaved", 8, 0, true), {{2, 17}});
  checkWarpgroups(attentionInput(f16, 16, "half", 16, 48, false), {{1, 17}});
}

/// Every shape of tiles: more rows and columns have larger ones.
TEST(GpuWarpgroups, largeTiles) {
  checkWarpgroups({96, {{2048, bf16}}}, {{1, 257}, {1, 1025}}, 2);
  checkWarpgroups({32, {{8400, bf16}}}, {{1, 300}}, 2);
  checkWarpgroups({96, {{2048, f16}}}, {{1, 257}}, 2);
  checkWarpgroups({192, {{2048, int4Wide}}}, {{1, 513}}, 2);
}

/// Products of both instructions have the same sums, to the bit, where no teams of warps share the depth.
TEST(GpuWarpgroups, sameAsMma) {
  for (TileType type : {bf16, f16, int8Groups}) {
    GemmKernel kernel({192, {{2048, type}}});
    EmulatedPlan mma(kernel.text()), wgmma(kernel.text(), {}, "sm_90a");
    ASSERT_TRUE(mma && wgmma) << mma.error() << wgmma.error();
    std::string error;
    const auto expected = kernel.run(mma, 1, 530, error)[0];
    ASSERT_EQ(error, "");
    const auto found = kernel.run(wgmma, 1, 530, error)[0];
    ASSERT_EQ(error, "");
    EXPECT_EQ(memcmp(expected.data(), found.data(), expected.size() * 4), 0);
  }
}

/// Each row of the step has a single 1, which meets every finite number of f16, subnormal ones among them.
void checkEveryNumberOfF16(const std::string &arch, std::initializer_list<int32_t> steps) {
  constexpr int64_t depth = 64, columns = 2 * 0x7c00 / depth;
  OneLaunch plan;
  TileMatrix matrix(f16, columns, depth);
  for (int64_t i = 0; i < columns * depth; ++i) {
    const auto bits = static_cast<uint16_t>(i % 0x7c00 | (i < 0x7c00 ? 0 : 0x8000));
    matrix.values[i] = fromBits(bits, /*half=*/true);
    const int64_t row = i / depth, block = row / ds_plan::Tiles::blockRows * matrix.tiles.blockBytes();
    memcpy(matrix.bytes.as<uint8_t>() + block + matrix.tiles.placeOf(row, i % depth), &bits, 2);
  }
  const std::string x = "tensor<?x?x64xf32>", y = "tensor<?x?x" + std::to_string(columns) + "xf32>";
  std::string in = plan.rows("tokens", depth), w = plan.weight("tiles", 0, matrix.memref()), out = plan.rows("tokens", columns);
  EmulatedPlan code(matrix.withParameter(plan.text("gemm",
                                                   "^bb0(%x: " + x + ", %w: " + matrix.tensor() + "):\n  %y = ds.linear %x, %w : " + x +
                                                       ", " + matrix.tensor() + "\n  ds_plan.return %y : " + y + "\n",
                                                   {in, w}, {out})),
                    {}, arch);
  ASSERT_TRUE(code) << code.error();
  for (int32_t rows : steps)
    for (int64_t first = 0; first < depth; first += rows) {
      Floats given(rows * depth), found(rows * columns);
      for (int64_t i = 0; i < rows * depth; ++i)
        given[i] = i % depth == (first + i / depth) % depth ? 1 : 0;
      EmulatedStep step;
      step.tokens = rows;
      step.outputs = {all(given), all(found)};
      step.weights = bytesOf(matrix.bytes);
      ASSERT_EQ(code.run(step, 1), "");
      for (int64_t i = 0; i < rows * columns; ++i)
        ASSERT_EQ(found[i], matrix.values[i % columns * depth + (first + i / columns) % depth]) << rows << " rows, value " << i;
    }
}

TEST(GpuGemm, everyFiniteNumberOfF16) { checkEveryNumberOfF16("", {8, 16, 64}); }
TEST(GpuWarpgroups, everyFiniteNumberOfF16) { checkEveryNumberOfF16("sm_90a", {64}); }

/// A NaN and an infinity reach all of their row, and no other.
void checkNotANumberAndInfinity(const std::string &arch) {
  for (TileType type : {bf16, f16, int8Groups}) {
    GemmKernel kernel({96, {{24, type}}});
    EmulatedPlan code(kernel.text(), {}, arch);
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

TEST(GpuGemm, notANumberAndInfinity) { checkNotANumberAndInfinity(""); }
TEST(GpuWarpgroups, notANumberAndInfinity) { checkNotANumberAndInfinity("sm_90a"); }

/// A plan of products [24, 64] of `types`, the matrices being `%w0`, `%w1`..., whose region `ops` ends with %y.
std::string planOf(const std::vector<TileType> &types, const std::string &ops) {
  OneLaunch plan;
  std::vector<std::string> ins = {plan.rows("tokens", 64)};
  std::string parameters, head = "^bb0(%x: tensor<?x?x64xf32>";
  for (size_t i = 0; i < types.size(); ++i) {
    TileMatrix matrix(types[i], 24, 64);
    const std::string number = std::to_string(i), name = "@w" + number;
    parameters += "ds.parameter " + name + " from \"" + name + "\" : " + matrix.tensor() + "\n";
    ins.push_back(plan.weight(types[i].layout(), 65536 * static_cast<int64_t>(i), matrix.memref(), "of " + name));
    head += ", %w" + number + ": " + matrix.tensor();
  }
  return parameters + plan.text("gemm", head + "):\n" + ops + "  ds_plan.return %y : tensor<?x?x24xf32>\n", ins, {plan.rows("tokens", 24)});
}

std::string linear(const std::string &name, int matrix, TileType type) {
  return "  " + name + " = ds.linear %x, %w" + std::to_string(matrix) + " : tensor<?x?x64xf32>, " + TileMatrix(type, 24, 64).tensor() +
         "\n";
}

void expectRefused(const std::string &text, const std::string &why) {
  EmulatedPlan code(text);
  EXPECT_FALSE(code);
  EXPECT_NE(code.error().find(why), std::string::npos) << code.error() << text;
}

TEST(GpuGemm, refusals) {
  const std::string t = " : tensor<?x?x24xf32>\n";
  expectRefused(planOf({bf16, bf16, bf16}, linear("%a", 0, bf16) + linear("%b", 1, bf16) + linear("%c", 2, bf16) + "  %d = ds.add %a, %b" +
                                               t + "  %y = ds.add %d, %c" + t),
                "kernel 'k' on CUDA: expects one or two products that meet, found 3");
  expectRefused(planOf({bf16, int4}, linear("%a", 0, bf16) + linear("%b", 1, int4) + "  %y = ds.add %a, %b" + t),
                "kernel 'k' on CUDA: expects products that meet to have weights of one type");
  expectRefused(planOf({bf16, f16}, linear("%a", 0, bf16) + linear("%b", 1, f16) + "  %y = ds.add %a, %b" + t),
                "kernel 'k' on CUDA: expects products that meet to have weights of one type");
  expectRefused(planOf({bf16}, linear("%a", 0, bf16) + "  %y = ds.softmax %a" + t), "kernel 'k' on CUDA: gemm cannot serve the region: ");
  std::string grouped = planOf({bf16}, linear("%y", 0, bf16));
  const std::string dense = "output \"o\" 0 tokens";
  ASSERT_NE(grouped.find(dense), std::string::npos) << grouped;
  expectRefused(grouped.replace(grouped.find(dense), dense.size(), "buffer tokens grouped offset 0"),
                "kernel 'k' on CUDA: expects an input of f32 rows of 64 values");

  OneLaunch plan;
  std::string x = plan.rows("tokens", 64), w = plan.weight("panels", 0, "memref<1x64x32xf32>", "of @w"), y = plan.rows("tokens", 24);
  expectRefused("ds.parameter @w from \"w\" : tensor<24x64xf32>\n" +
                    plan.text("gemm",
                              "^bb0(%x: tensor<?x?x64xf32>, %w: tensor<24x64xf32>):\n  %y = ds.linear %x, %w : tensor<?x?x64xf32>, "
                              "tensor<24x64xf32>\n  ds_plan.return %y" +
                                  t,
                              {x, w}, {y}),
                "kernel 'k' on CUDA: expects weights of depth 64 in tiles");
}

} // namespace
