// The spaces of products: each configuration is what its builder makes, and computes what the others do.
#include "GemmKernel.h"
#include "dialects/DSPlan/DSPlanDialect.h"
#include "ds/Target/CUDA/CodeGen.h"
#include "ds/Target/CUDA/Tuning.h"
#include "mlir/Parser/Parser.h"
#include <nlohmann/json.hpp>

using namespace ds;
using namespace ds::test;

namespace {

constexpr TileType bf16{16}, f16{16, false, 0, false, false, true}, int8{8, false, 64, true}, int4{4, false, 32, true},
    int4Offsets{4, true, 32, true}, fp8Rows{8, false, 0, false, true};

/// What a plan's products are chosen by, on `arch` alone.
Tuning choicesOf(const std::string &text, const std::string &arch) {
  mlir::DialectRegistry registry;
  registry.insert<DSDialect, ds_plan::DSPlanDialect>();
  mlir::MLIRContext context(registry, mlir::MLIRContext::Threading::DISABLED);
  auto module = mlir::parseSourceString<mlir::ModuleOp>(text, mlir::ParserConfig(&context));
  EXPECT_TRUE(module) << text;
  Tuning tuning;
  auto kernels = emitGpuKernels(*module, llvm::cantFail(findGpuArch(arch)), 0, &tuning);
  EXPECT_TRUE(bool(kernels)) << llvm::toString(kernels.takeError());
  return tuning;
}

/// The threads, bytes and blocks of the stages, by the configuration's name of a stage.
void checkLaunches(const EmulatedPlan &code, const TuningKey &key, const TuningCandidate &candidate, int64_t rows) {
  const auto table = nlohmann::json::parse(code.launches());
  int seen = 0;
  for (const auto &launch : table["programs"][0]["launches"]) {
    const auto &kernel = table["kernels"][launch["kernel"].get<size_t>()];
    const std::string name = kernel["name"];
    if (name.find("_" + key.builder) == std::string::npos || launch["when"][0][1] > rows || launch["when"][0][2] < rows)
      continue;
    ++seen;
    EXPECT_EQ(kernel["threads"], candidate.threads) << name;
    EXPECT_EQ(kernel["shared_bytes"], candidate.sharedBytes) << name;
    int64_t blocks = launch["grid"][0][0];
    if (launch["grid"][1].size() > 1)
      blocks *= llvm::divideCeil(key.rows, launch["grid"][1][1][1].get<int64_t>());
    EXPECT_EQ(blocks, candidate.blocks) << name;
  }
  EXPECT_EQ(seen, 1) << key.text();
}

/// Makes plans whose stages have the configurations of their spaces in turn, `count` plans at most, and runs `steps` of each.
void checkSpaces(const GemmShape &shape, const std::vector<std::pair<int32_t, int32_t>> &steps, size_t count,
                 const std::string &arch = "sm_80", int64_t maxRows = 32) {
  GemmKernel kernel(shape);
  const std::string text = kernel.text(maxRows);
  const Tuning ruled = choicesOf(text, arch);
  ASSERT_FALSE(ruled.choices.empty());
  size_t most = 0;
  std::vector<std::vector<TuningCandidate>> spaces;
  for (const TuningChoice &choice : ruled.choices) {
    EXPECT_EQ(choice.from, TuningChoice::From::model) << choice.key.text();
    EXPECT_EQ(choice.config, *tuningRule(choice.key)) << choice.key.text();
    most = std::max(most, spaces.emplace_back(*tuningSpace(choice.key)).size());
  }
  const size_t plans = std::min(count, most);
  for (size_t plan = 0; plan < plans; ++plan) {
    std::string lines;
    std::vector<const TuningCandidate *> taken;
    for (auto [choice, space] : llvm::zip_equal(ruled.choices, spaces)) {
      // Spread over the space, the whole of it where there are plans enough.
      taken.push_back(&space[most <= count ? plan % space.size() : plan * space.size() / plans]);
      lines += lineOf({choice.key, taken.back()->config, std::nullopt, ""}) + "\n";
    }
    SCOPED_TRACE(lines);
    Tuning tuning;
    Result<TuningDatabase> asked = TuningDatabase::parse(lines, "t.jsonl");
    ASSERT_TRUE(bool(asked)) << asked.error().message;
    tuning.asked = *asked;
    EmulatedPlan code(text, {}, arch, 0, &tuning);
    ASSERT_TRUE(code) << code.error();
    EXPECT_TRUE(tuning.unused().empty());
    ASSERT_EQ(tuning.choices.size(), ruled.choices.size());
    for (auto [choice, candidate] : llvm::zip_equal(ruled.choices, taken))
      checkLaunches(code, choice.key, *candidate, choice.key.leastRows());
    for (auto [batch, tokens] : steps)
      kernel.check(code, batch, tokens, 2);
    if (testing::Test::HasFailure())
      return;
  }
}

const std::vector<std::pair<int32_t, int32_t>> allSteps = {{1, 1}, {1, 5}, {3, 4}, {1, 17}, {2, 15}};

/// Every configuration.
TEST(GpuTuningSpace, wholeSpace) { checkSpaces({200, {{72, bf16, true}}}, allSteps, 1000); }

/// Some of each, of sizes that fill no block, unit or tile.
TEST(GpuTuningSpace, everyType) {
  checkSpaces({576, {{50, f16}}, "rms_norm"}, allSteps, 8);
  checkSpaces({448, {{104, int8, true}}}, allSteps, 8);
  checkSpaces({576, {{40, int4, false, "silu", true}}, "rms_norm"}, allSteps, 8);
  checkSpaces({416, {{24, int4Offsets}}}, allSteps, 8);
  checkSpaces({304, {{24, fp8Rows}}}, allSteps, 8);
}

/// Blocks with turns of their own, and blocks that take turns.
TEST(GpuTuningSpace, manyUnits) { checkSpaces({96, {{34000, bf16}}}, {{1, 1}, {1, 3}}, 8, "sm_80", 8); }

/// Rows that come in segments.
TEST(GpuTuningSpace, deepRows) {
  checkSpaces({6048, {{40, bf16}}}, {{1, 1}, {1, 16}}, 6, "sm_80", 16);
  checkSpaces({8256, {{24, int4}}}, {{1, 2}, {1, 16}}, 6, "sm_80", 16);
}

TEST(GpuTuningSpace, warpgroups) {
  checkSpaces({288, {{136, bf16}}}, {{1, 17}, {2, 15}}, 12, "sm_90a");
  checkSpaces({192, {{72, int4, true}}}, {{2, 15}}, 8, "sm_90a");
  checkSpaces({128, {{200, f16}}, "rms_norm"}, {{1, 70}, {1, 129}}, 6, "sm_90a", 129);
}

TEST(GpuTuningSpace, manyRows) { checkSpaces({256, {{264, bf16}}}, {{1, 70}, {1, 129}}, 8, "sm_80", 129); }

/// Every space has the rule's configuration, fits the machine, and is not larger than what can be looked through; with odd keys as well.
TEST(GpuTuningSpace, holdsTheRule) {
  for (const char *arch : {"sm_80", "sm_86", "sm_90a"})
    for (const char *weights : {"bf16", "f16", "int8-g64", "int8-row", "int4-g32-asym", "int4-g128", "int8-g32-f32", "fp8-g64"})
      for (int64_t n : {16, 1024, 2048, 4800, 50272, 128256})
        for (int64_t k : {32, 576, 1600, 2048, 5984, 6048, 8192, 14336})
          for (auto [builder, rows] : std::vector<std::pair<std::string, int64_t>>{
                   {"rows1", 1}, {"rows8", 8}, {"rows16", 16}, {"tiles", 32}, {"tiles", 2048}, {"wgmma", 64}, {"wgmma", 512}}) {
            if (builder == "wgmma" && std::string(arch) != "sm_90a")
              continue;
            const TuningKey key{arch, builder, weights, n, k, rows, n % 3 == 0, "plain"};
            const auto space = tuningSpace(key);
            ASSERT_TRUE(bool(space)) << space.error().message;
            const TuningConfig rule = *tuningRule(key);
            int rules = 0;
            for (const TuningCandidate &candidate : *space) {
              rules += candidate.config == rule;
              EXPECT_LE(candidate.sharedBytes, llvm::cantFail(findGpuArch(arch)).sharedBytes) << key.text();
              EXPECT_GT(candidate.us, 0);
            }
            EXPECT_EQ(rules, 1) << key.text() << " " << textOf(rule);
            EXPECT_LE(space->size(), 400u) << key.text();
          }
}

/// What the rules gave on an H200 when they were measured.
TEST(GpuTuningSpace, rules) {
  auto rule = [](const char *builder, const char *weights, int64_t n, int64_t k, int64_t rows) {
    return textOf(*tuningRule({"sm_90a", builder, weights, n, k, rows, false, "plain"}));
  };
  EXPECT_EQ(rule("rows1", "bf16", 4800, 1600, 1), "ahead 7, persistent 1, resident 2, splits 8, warps 8");
  EXPECT_EQ(rule("rows1", "bf16", 128256, 2048, 1), "ahead 8, persistent 1, resident 2, splits 1, warps 8");
  EXPECT_EQ(rule("rows8", "int8-g64", 4096, 4096, 8), "ahead 4, persistent 1, resident 1, splits 16, warps 16");
  EXPECT_EQ(rule("rows16", "bf16", 1024, 1024, 16), "ahead 2, persistent 1, resident 1, splits 16, warps 16");
  EXPECT_EQ(rule("tiles", "bf16", 2048, 2048, 512), "resident 2, stages 4, teams 1, tokens 64, units 8");
  EXPECT_EQ(rule("wgmma", "bf16", 8192, 2048, 512), "resident 1, stages 8, tokens 256, warpgroups 2");
}

TEST(GpuTuningSpace, faultsAreNamed) {
  Result<std::vector<TuningCandidate>> none = tuningSpace({"sm_90a", "rows1", "bf16", 24, 64, 1, false, "plain"});
  ASSERT_FALSE(bool(none));
  EXPECT_EQ(none.error().message, "sm_90a rows1 bf16 n 24 k 64 rows 1 plain: key 'n': expects a multiple of 16 up to 16777216");
}

} // namespace
