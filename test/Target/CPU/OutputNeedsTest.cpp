// Launches that serve one output alone run where it is asked for.
#include "ds/Analysis/OutputNeeds.h"
#include "CompiledPlan.h"
#include "dialects/DS/DSDialect.h"
#include "mlir/Parser/Parser.h"
#include <gtest/gtest.h>

using namespace ds;
using namespace ds::test;

namespace {

constexpr int32_t rows = 5, values = rows * 7, launches = 5;

/// x to a, a to b to c, which serve `hidden` alone, c to `hidden`, a to `logits`; what stands for CHAIN is before the launches to b and c.
std::string planOf(const std::string &chain) {
  std::string text = R"(
ds_plan.kernel @copy "copy" schedule {} {
^bb0(%x: tensor<?x?x7xf32>):
  ds_plan.return %x : tensor<?x?x7xf32>
}
ds_plan.program @run max_batch 64 max_rows 64 arena 16384 kv_bytes 0 {
  %x = ds_plan.buffer tokens offset 0 : memref<?x7xf32>
  %a = ds_plan.buffer tokens offset 4096 : memref<?x7xf32>
  %b = ds_plan.buffer tokens offset 8192 : memref<?x7xf32>
  %c = ds_plan.buffer tokens offset 12288 : memref<?x7xf32>
  %hidden = ds_plan.output "hidden" 0 tokens : memref<?x7xf32>
  %logits = ds_plan.output "logits" 1 tokens : memref<?x7xf32>
  ds_plan.launch @copy ins(%x : memref<?x7xf32>) outs(%a : memref<?x7xf32>)
  ds_plan.barrier
  ds_plan.launch @copy CHAIN ins(%a : memref<?x7xf32>) outs(%b : memref<?x7xf32>)
  ds_plan.barrier
  ds_plan.launch @copy CHAIN ins(%b : memref<?x7xf32>) outs(%c : memref<?x7xf32>)
  ds_plan.barrier
  ds_plan.launch @copy ins(%c : memref<?x7xf32>) outs(%hidden : memref<?x7xf32>)
  ds_plan.launch @copy ins(%a : memref<?x7xf32>) outs(%logits : memref<?x7xf32>)
}
)";
  for (size_t at; (at = text.find("CHAIN ")) != std::string::npos;)
    text.replace(at, 6, chain);
  return text;
}

TEST(OutputNeeds, runsWhatIsAskedFor) {
  for (const char *chain : {"", "chain 0 "})
    for (bool wantsHidden : {false, true})
      for (int32_t threads : {1, 2}) {
        CompiledPlan code(planOf(chain), *findCpuLevel("x86-64-v2"));
        ASSERT_TRUE(code) << code.error();
        GuardedBytes arena(16384), hidden(values * 4), logits(values * 4);
        std::vector<uint64_t> trace(threads * launches * 2);
        for (int32_t i = 0; i < values; ++i) {
          arena.as<float>()[i] = static_cast<float>(i + 1);
          for (int32_t at : {1024, 2048, 3072})
            arena.as<float>()[at + i] = -1;
        }
        StepData step;
        step.tokens = rows;
        step.outputs = {wantsHidden ? hidden.as<void>() : nullptr, logits.as<void>()};
        step.arena = arena.as<void>();
        step.trace = trace.data();
        code.run("run", step, threads);
        for (int32_t i = 0; i < values; ++i) {
          ASSERT_EQ(logits.as<float>()[i], static_cast<float>(i + 1));
          ASSERT_EQ(arena.as<float>()[2048 + i], wantsHidden ? static_cast<float>(i + 1) : -1);
          ASSERT_EQ(arena.as<float>()[3072 + i], wantsHidden ? static_cast<float>(i + 1) : -1);
          if (wantsHidden)
            ASSERT_EQ(hidden.as<float>()[i], static_cast<float>(i + 1));
        }
        for (int32_t launch = 0; launch < launches; ++launch)
          EXPECT_EQ(trace[launch * 2] != 0, wantsHidden || launch == 0 || launch == 4) << launch << chain;
      }
}

/// A chain of which one launch serves `hidden` alone and the other both runs as a whole.
TEST(OutputNeeds, mixedChainsRun) {
  std::string text = planOf("chain 0 ");
  const std::string last = "ins(%a : memref<?x7xf32>) outs(%logits";
  text.replace(text.find(last), last.size(), "ins(%b : memref<?x7xf32>) outs(%logits");
  CompiledPlan code(text, *findCpuLevel("x86-64-v2"));
  ASSERT_TRUE(code) << code.error();
  for (int32_t threads : {1, 2, 3}) {
    GuardedBytes arena(16384), logits(values * 4);
    for (int32_t i = 0; i < values; ++i)
      arena.as<float>()[i] = static_cast<float>(i + 1);
    StepData step;
    step.tokens = rows;
    step.outputs = {nullptr, logits.as<void>()};
    step.arena = arena.as<void>();
    code.run("run", step, threads);
    for (int32_t i = 0; i < values; ++i)
      ASSERT_EQ(logits.as<float>()[i], static_cast<float>(i + 1));
  }
}

/// What `launchesForOneOutput` says of each launch: the output's name, or nothing.
std::vector<std::string> needsOf(const std::string &program) {
  mlir::MLIRContext context;
  context.loadDialect<ds_plan::DSPlanDialect, DSDialect>();
  auto module = mlir::parseSourceString<mlir::ModuleOp>(program, mlir::ParserConfig(&context));
  std::vector<std::string> names;
  if (!module)
    return names;
  auto run = *module->getOps<ds_plan::ProgramOp>().begin();
  auto found = launchesForOneOutput(run);
  for (auto launch : run.getOps<ds_plan::LaunchOp>()) {
    ds_plan::OutputOp output = found.lookup(launch);
    names.push_back(output ? output.getName().str() : "");
  }
  return names;
}

TEST(OutputNeeds, ofBuffersOneOutputReads) {
  EXPECT_EQ(needsOf(planOf("")), (std::vector<std::string>{"", "hidden", "hidden", "", ""}));
  // With a single output nothing is left out: a step without it is none.
  std::string single = planOf("");
  for (const char *line : {"  %logits = ds_plan.output \"logits\" 1 tokens : memref<?x7xf32>\n",
                           "  ds_plan.launch @copy ins(%a : memref<?x7xf32>) outs(%logits : memref<?x7xf32>)\n"})
    single.erase(single.find(line), std::string(line).size());
  EXPECT_EQ(needsOf(single), (std::vector<std::string>{"", "", "", ""}));
  // A buffer that is written again, and read by both outputs behind that, serves both.
  std::string twice = planOf("");
  const std::string last = "ins(%a : memref<?x7xf32>) outs(%logits";
  twice.replace(twice.find(last), last.size(), "ins(%b : memref<?x7xf32>) outs(%logits");
  EXPECT_EQ(needsOf(twice), (std::vector<std::string>{"", "", "hidden", "", ""}));
}

} // namespace
