// Random graphs at every fusion level against the f64 oracle, and each pass of fusion alone.
#include "PlannedGraph.h"
#include "mlir/IR/Verifier.h"
#include <atomic>
#include <cstdlib>
#include <gtest/gtest.h>
#include <iostream>
#include <mutex>
#include <thread>

using namespace ds;
using namespace ds::test;

/// `--seed=N`: this graph alone, at every level, with its text on standard error.
static std::optional<uint64_t> onlySeed;
/// `--graphs=N`: how many graphs each test makes; `--compiled=N`: how many of them are compiled, which takes a second of processor time
/// each.
static int64_t graphCount = 300, compiledCount = 36;
/// `--first=N`: the first seed.
static uint64_t firstSeed = 1;

namespace {

/// What went wrong, from several threads; the tests say a few of it.
class Failures {
public:
  void add(uint64_t seed, const std::string &what) {
    std::lock_guard guard(lock);
    all[seed].push_back(what);
  }
  void report(const char *test) const {
    size_t shown = 0;
    for (const auto &[seed, whats] : all)
      for (const std::string &what : whats)
        if (shown++ < (onlySeed ? 100 : 8))
          ADD_FAILURE() << "seed " << seed << ": " << what.substr(0, 1000) << "\n  to replay: numerics-test --gtest_filter=" << test
                        << " --seed=" << seed;
    if (shown > 8)
      ADD_FAILURE() << shown << " failures of " << all.size() << " graphs";
  }

private:
  std::mutex lock;
  std::map<uint64_t, std::vector<std::string>> all;
};

/// Calls `body` with `count` seeds, on as many threads as the machine has.
template <typename Body> void forSeeds(int64_t count, Body body) {
  if (onlySeed)
    return body(*onlySeed, /*index=*/int64_t(0));
  std::atomic<int64_t> next = 0;
  auto work = [&] {
    for (int64_t i = next++; i < count; i = next++)
      body(firstSeed + static_cast<uint64_t>(i), i);
  };
  std::vector<std::thread> workers;
  for (unsigned i = 1; i < std::thread::hardware_concurrency(); ++i)
    workers.emplace_back(work);
  work();
  for (std::thread &worker : workers)
    worker.join();
}

RandomGraph graphOf(uint64_t seed) {
  RandomGraph graph = makeRandomGraph(seed);
  if (onlySeed)
    std::cerr << graph.text();
  return graph;
}

const CpuLevel &bestLevel() {
  const CpuLevel *best = &allCpuLevels().front();
  for (const CpuLevel &level : allCpuLevels())
    if (machineRuns(level))
      best = &level;
  return *best;
}

const char *const fusionLevels[] = {"none", "generic", "specialized"};

/// What one graph is compiled for: in turn the fusion levels, most often the highest; every third for a lower CPU level, every fourth with
/// weights of bf16 or f16.
std::vector<GraphTarget> targetsOf(int64_t index) {
  std::vector<GraphTarget> targets;
  if (onlySeed) {
    for (const CpuLevel &level : allCpuLevels())
      for (const char *fusion : fusionLevels)
        for (const char *weights : {"f32", "bf16", "f16"})
          if (machineRuns(level))
            targets.push_back({fusion, weights, &level});
    return targets;
  }
  const char *weights = index % 4 != 3 ? "f32" : index % 8 == 3 ? "bf16" : "f16";
  const char *fusion = fusionLevels[index % 5 < 2 ? index % 5 : 2];
  const CpuLevel &level = index % 3 == 2 ? allCpuLevels()[index / 3 % 2] : bestLevel();
  targets.push_back({fusion, weights, machineRuns(level) ? &level : &bestLevel()});
  return targets;
}

/// Every graph has a plan at every fusion level, and none has more launches than without fusion.
TEST(RandomGraph, isPlannedAtEveryLevel) {
  Failures failures;
  std::atomic<int64_t> launches[3] = {};
  forSeeds(graphCount, [&](uint64_t seed, int64_t) {
    RandomGraph graph = graphOf(seed);
    GraphTensors tensors(graph, "f32");
    int64_t unfused = 0;
    for (size_t i = 0; i < 3; ++i) {
      PlannedGraph planned(graph, tensors, {fusionLevels[i], "f32", &bestLevel()}, /*planOnly=*/true);
      if (!planned.error().empty())
        return failures.add(seed, std::string("fusion ") + fusionLevels[i] + ": " + planned.error());
      if (i == 0)
        unfused = planned.launches();
      if (planned.launches() > unfused)
        failures.add(seed, std::string("fusion ") + fusionLevels[i] + " has " + std::to_string(planned.launches()) +
                               " launches, without it are " + std::to_string(unfused));
      launches[i] += planned.launches();
    }
  });
  failures.report("RandomGraph.isPlanned*");
  for (size_t i = 0; i < 3; ++i)
    RecordProperty(std::string("launches_") + fusionLevels[i], static_cast<int>(launches[i]));
}

/// Every compiled program gives what the interpreter gives for the imported module.
TEST(RandomGraph, compiledAtEveryLevelGivesTheOraclesAnswer) {
  Failures failures;
  std::atomic<int64_t> compiled = 0;
  std::mutex lock;
  double worst = 0;
  forSeeds(compiledCount, [&](uint64_t seed, int64_t index) {
    RandomGraph graph = graphOf(seed);
    std::map<std::string, std::vector<GraphStep>> steps; // by weights
    for (const GraphTarget &target : targetsOf(index)) {
      std::string name = "fusion " + target.fusion + ", weights " + target.weights + ", " + target.level->name.str() + ": ", error;
      GraphTensors tensors(graph, target.weights);
      if (steps[target.weights].empty())
        steps[target.weights] = makeGraphSteps(graph, tensors, error);
      if (!error.empty())
        return failures.add(seed, error);
      PlannedGraph planned(graph, tensors, target);
      if (!planned.error().empty()) {
        failures.add(seed, name + planned.error());
        continue;
      }
      ++compiled;
      if (std::string wrong = planned.check(steps[target.weights]); !wrong.empty())
        failures.add(seed, name + wrong);
      std::lock_guard guard(lock);
      worst = std::max(worst, planned.worstError());
    }
  });
  failures.report("RandomGraph.compiled*");
  std::cout << "compiled " << compiled << " plans; the largest error is " << worst << " of what is allowed\n";
}

/// The same with a cache of codes or of bf16, of the graphs that have a cache.
class NarrowCache : public testing::TestWithParam<const char *> {};

TEST_P(NarrowCache, compiledGivesTheOraclesAnswer) {
  Failures failures;
  std::atomic<int64_t> compiled = 0;
  std::mutex lock;
  double worst = 0;
  forSeeds(compiledCount, [&](uint64_t seed, int64_t index) {
    RandomGraph graph = graphOf(seed);
    if (!graph.isCausal)
      return;
    GraphTensors tensors(graph, "f32");
    std::string error;
    std::vector<GraphStep> steps = makeGraphSteps(graph, tensors, error, GetParam());
    if (!error.empty())
      return failures.add(seed, error);
    for (GraphTarget target : targetsOf(index)) {
      target.weights = "f32", target.cache = GetParam();
      PlannedGraph planned(graph, tensors, target);
      std::string wrong = planned.error().empty() ? planned.check(steps) : planned.error();
      if (!wrong.empty())
        failures.add(seed, "fusion " + target.fusion + ", " + target.level->name.str() + ": " + wrong);
      ++compiled;
      std::lock_guard guard(lock);
      worst = std::max(worst, planned.worstError());
    }
  });
  failures.report("*NarrowCache*");
  EXPECT_TRUE(onlySeed || compiledCount < 12 || compiled > 0);
  std::cout << "compiled " << compiled << " plans; the largest error is " << worst << " of what is allowed\n";
}

INSTANTIATE_TEST_SUITE_P(RandomGraph, NarrowCache, testing::Values("int8", "bf16"), [](const auto &info) { return info.param; });

/// A pass from `ds` to `ds`, or several.
struct PassCase {
  const char *name, *pipeline;
  /// The least of the graphs, in percent, that the pass must change: one that never applies would pass any test.
  int64_t changed;
};

class PassOnRandomGraphs : public testing::TestWithParam<PassCase> {};

/// The answers of every function of `module` for the same inputs; empty when the interpreter refuses.
std::vector<GraphOutputs> answers(GraphModule &module, const RandomGraph &graph, const GraphTensors &tensors) {
  constexpr int64_t batch = 2, tokens = 5;
  Random random(graph.seed);
  GraphInputs inputs = makeGraphInputs(graph, random, batch, tokens, /*holes=*/true);
  inputs["rows"] = {7, 0, 9};
  GraphOracle oracle(module, tensors);
  if (!graph.isCausal)
    return {oracle.call("encode", inputs, batch, tokens)};
  std::vector<GraphOutputs> all = {oracle.call("forward", inputs, batch, tokens)};
  inputs["past"] = {0, 0};
  all.push_back(oracle.call("prefill", inputs, batch, tokens));
  GraphInputs next = makeGraphInputs(graph, random, batch, 1, /*holes=*/false);
  next["past"] = {3, 5};
  next["rows"] = {1, 0};
  all.push_back(oracle.call("decode", next, batch, 1));
  return all;
}

TEST_P(PassOnRandomGraphs, givesTheSameBits) {
  Failures failures;
  std::atomic<int64_t> changed = 0, graphs = 0;
  forSeeds(graphCount, [&](uint64_t seed, int64_t) {
    RandomGraph graph = graphOf(seed);
    GraphTensors tensors(graph, "f32");
    GraphModule before(graph.text()), after(graph.text());
    for (GraphModule *module : {&before, &after})
      if (!module->run("ds-normalize,ds-insert-cache{keep-forward=1},ds-insert-padding-mask"))
        return failures.add(seed, "normalizing: " + module->error());
    std::string text = after.text();
    if (!after.run(GetParam().pipeline))
      return failures.add(seed, after.error());
    if (failed(mlir::verify(after.get())))
      return failures.add(seed, "not valid after the pass: " + after.error());
    ++graphs;
    changed += after.text() != text;
    if (onlySeed)
      std::cerr << after.text();
    std::vector<GraphOutputs> expected = answers(before, graph, tensors), found = answers(after, graph, tensors);
    if (!before.error().empty() || !after.error().empty())
      return failures.add(seed, "interpreting: " + before.error() + " | " + after.error());
    for (size_t call = 0; call < expected.size(); ++call)
      for (const auto &[name, tensor] : expected[call]) {
        if (!found[call].count(name) || found[call][name]->shape != tensor->shape)
          return failures.add(seed, "output '" + name + "' of call " + std::to_string(call) + " is gone or of another shape");
        if (auto difference = reference::findUnequal(*found[call][name], *tensor))
          return failures.add(seed, "call " + std::to_string(call) + ": output '" + name + "' at " +
                                        reference::shapeText(difference->index) + ": expected " + std::to_string(difference->expected) +
                                        ", found " + std::to_string(difference->found));
      }
  });
  failures.report("*PassOnRandomGraphs*");
  if (!onlySeed && graphs) {
    EXPECT_GE(changed * 100, GetParam().changed * graphs) << "the pass changed " << changed << " of " << graphs << " graphs";
  }
  RecordProperty("changed", static_cast<int>(changed));
}

/// Every pass that keeps a module at its level and says it is bit-exact.
constexpr PassCase passCases[] = {
    {"canonicalize", "canonicalize", 0},
    {"cse", "cse", 0},
    {"fuseQkv", "ds-fuse-qkv", 30},
    {"fuseNormLinear", "ds-fuse-norm-linear", 30},
    {"fuseLinearEpilogue", "ds-fuse-linear-epilogue", 50},
    {"fuseAttention", "ds-fuse-attention", 10},
    {"formFusionRegions", "ds-form-fusion-regions", 30},
    {"generic", "ds-fuse-norm-linear,ds-fuse-linear-epilogue,ds-form-fusion-regions", 80},
    {"specialized", "ds-fuse-qkv,ds-fuse-norm-linear,ds-fuse-linear-epilogue,ds-fuse-attention,ds-form-fusion-regions", 80},
};
INSTANTIATE_TEST_SUITE_P(passes, PassOnRandomGraphs, testing::ValuesIn(passCases), [](const auto &info) { return info.param.name; });

} // namespace

/// The number behind `--name=`, or nothing.
static std::optional<uint64_t> option(const std::string &argument, const std::string &name) {
  if (argument.rfind("--" + name + "=", 0) != 0)
    return std::nullopt;
  return std::strtoull(argument.c_str() + name.size() + 3, nullptr, 10);
}

int main(int argc, char **argv) {
  testing::InitGoogleTest(&argc, argv);
  if (const char *seed = std::getenv("DS_NUMERICS_SEED"))
    onlySeed = std::strtoull(seed, nullptr, 10);
  for (int i = 1; i < argc; ++i) {
    if (auto seed = option(argv[i], "seed"))
      onlySeed = seed;
    else if (auto count = option(argv[i], "graphs"))
      graphCount = static_cast<int64_t>(*count);
    else if (auto compiled = option(argv[i], "compiled"))
      compiledCount = static_cast<int64_t>(*compiled);
    else if (auto first = option(argv[i], "first"))
      firstSeed = *first;
    else
      return std::cerr << "numerics-test: unknown argument '" << argv[i]
                       << "'; there are --seed=N, --graphs=N, --compiled=N and --first=N\n",
             2;
  }
  return RUN_ALL_TESTS();
}
