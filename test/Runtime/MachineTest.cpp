// Descriptions of machines: what is written is read again, what is odd is refused; predictions follow from limits.
#include "dsrt/machine.h"
#include <gtest/gtest.h>

using namespace dsrt;

namespace {
MachineDescription someMachine() {
  MachineDescription machine;
  machine.processor = "A \"B\" \\ C\n";
  machine.level = "x86-64-v3";
  machine.l1Size = 32768;
  machine.l2Size = 1 << 20;
  machine.l3Size = 32 << 20;
  // 100 GFLOP/s and 10 GB/s from memory.
  machine.limits = {{1, 100e9, 25e9, 50e9, 0, 400e9, 100e9, 20e9, 10e9, 5e9, 0, 10},
                    {2, 200e9, 50e9, 100e9, 0, 800e9, 200e9, 40e9, 15e9, 8e9, 400, 10}};
  return machine;
}

std::string replaced(std::string text, const std::string &from, const std::string &to) {
  size_t at = text.find(from);
  EXPECT_NE(at, text.npos) << from;
  return at == text.npos ? text : text.replace(at, from.size(), to);
}

/// A product of [rows, 1024] with a matrix of 1024 x 1024 f32.
LaunchWork product(double rows, double workingSet) {
  LaunchWork work;
  work.family = "gemm";
  work.matrix = MatrixType::f32;
  work.rows = rows;
  work.macs = rows * 1024 * 1024;
  work.flops = 2 * work.macs;
  work.weightBytes = 4 << 20;
  work.readBytes = work.writtenBytes = rows * 4096;
  work.workingSet = workingSet;
  return work;
}
} // namespace

TEST(Machine, ReadsWhatItWrites) {
  const MachineDescription machine = someMachine();
  MachineDescription read;
  std::string error;
  ASSERT_EQ(parseMachine(machineText(machine), "m", read, error), 0) << error;
  EXPECT_EQ(machineText(read), machineText(machine));
  EXPECT_EQ(read.processor, machine.processor);
  ASSERT_EQ(read.limits.size(), 2u);
  EXPECT_EQ(read.limits[1].memoryBytes, 15e9);
  EXPECT_EQ(read.limits[1].barrierNs, 400);
  ASSERT_EQ(parseMachine(machineText(builtInMachine()), "m", read, error), 0) << error;
}

TEST(Machine, Refuses) {
  const std::string good = machineText(someMachine());
  struct {
    std::string from, to, message;
  } cases[] = {
      {"\"version\": 1", "\"version\": 2", "bad data: m: version 2, this program reads version 1"},
      {"ds-machine", "ds-package", "bad data: m: expects format 'ds-machine', found 'ds-package'"},
      {"\"l2_size\": 1048576,", "", "bad data: m: l2_size: expects an integer, found nothing"},
      {"\"l2_size\"", "\"l9_size\": 1, \"l2_size\"", "bad data: m: unknown key 'l9_size'"},
      {"x86-64-v3", "x86-64-v9",
       "bad data: m: level: expects x86-64-v2, x86-64-v3, x86-64-v4, x86-64-v4-vnni, x86-64-v4-bf16, "
       "znver4 or x86-64-v4-fp16, found 'x86-64-v9'"},
      {"\"memory_read\": 1e+10, ", "", "bad data: m: limits[0].memory_read: expects a number, found nothing"},
      {"\"memory_read\": 1e+10", "\"memory_read\": 0",
       "bad data: m: limits[0].memory_read: expects a number above 0 to 1e18, found 0.000000"},
      {"\"memory_read\": 1e+10", "\"memory_read\": \"x\"",
       "bad data: m: limits[0].memory_read: expects a number above 0 to 1e18, found 'x'"},
      {"\"threads\": 2", "\"threads\": 1", "bad data: m: limits[1].threads: expects an integer in 2..1024, found 1"},
      {"\"threads\": 2", "\"twists\": 3, \"threads\": 2", "bad data: m: limits[1]: unknown key 'twists'"},
  };
  for (const auto &test : cases) {
    MachineDescription machine;
    std::string error;
    EXPECT_EQ(parseMachine(replaced(good, test.from, test.to), "m", machine, error), 65);
    EXPECT_EQ(error, test.message);
  }
  MachineDescription machine;
  std::string error;
  EXPECT_EQ(parseMachine("[]", "m", machine, error), 65);
  EXPECT_EQ(error, "bad data: m: expects an object, found an array");
  EXPECT_EQ(readMachine("/nowhere/machine.json", machine, error), 66);
  EXPECT_EQ(error, "missing: /nowhere/machine.json: No such file or directory");
}

TEST(Machine, ScalesLimits) {
  const MachineDescription machine = someMachine();
  EXPECT_EQ(limitsAt(machine, 2).flopsF32, 200e9);
  const MachineLimits four = limitsAt(machine, 4);
  EXPECT_EQ(four.threads, 4);
  EXPECT_EQ(four.flopsF32, 400e9);
  EXPECT_EQ(four.memoryBytes, 15e9); // shared, so no more than was measured
  EXPECT_EQ(four.barrierNs, 800);
  MachineDescription sparse = machine;
  sparse.limits[1].threads = 3;
  EXPECT_EQ(limitsAt(sparse, 2).memoryBytes, 12.5e9);
  EXPECT_FALSE(currentProcessor().empty());
}

TEST(Machine, Predicts) {
  const MachineDescription machine = someMachine();
  Prediction many = predict(product(512, 1e9), machine, 1), one = predict(product(1, 1e9), machine, 1);
  EXPECT_EQ(many.bound, Bound::compute);
  EXPECT_GE(many.ns, 2 * 512 * 1048576.0 / 100);
  EXPECT_EQ(one.bound, Bound::memory);
  EXPECT_GE(one.ns, (4 << 20) / 10.0);
  EXPECT_LT(predict(product(1, 8 << 20), machine, 1).ns, one.ns); // weights that stay in L3
  EXPECT_LT(predict(product(512, 1e9), machine, 2).ns, 0.6 * many.ns);
  EXPECT_GT(predict(product(512, 1e9), machine, 1, "x86-64-v2").ns, 1.9 * many.ns);
  // The roofline is never above the prediction.
  for (double rows : {1, 4, 16, 64, 512})
    for (int threads : {1, 2}) {
      Prediction least = roofline(product(rows, 1e9), machine, threads);
      EXPECT_LE(least.ns, predict(product(rows, 1e9), machine, threads).ns);
      EXPECT_EQ(least.ns, std::max(least.computeNs, least.memoryNs));
    }
  LaunchWork empty;
  EXPECT_EQ(predict(empty, machine, 2).ns, 10);
  EXPECT_EQ(predict(empty, machine, 2).bound, Bound::launch);
  EXPECT_STREQ(nameOf(Bound::memory), "memory");
}

TEST(Machine, PredictsForALevel) {
  MachineDescription machine = someMachine();
  for (MachineLimits &limits : machine.limits)
    limits.flopsBf16 = 2 * limits.flopsF32;
  auto macNs = [&](double rows, MatrixType type, const char *level) {
    LaunchWork work = product(rows, 1e9);
    work.matrix = type;
    return predict(work, machine, 1, level).macNs;
  };
  const double f32 = macNs(512, MatrixType::f32, "x86-64-v4");
  EXPECT_EQ(macNs(512, MatrixType::f32, ""), macNs(512, MatrixType::f32, "x86-64-v3"));
  EXPECT_EQ(macNs(512, MatrixType::f32, "x86-64-v3"), 2 * f32);
  EXPECT_DOUBLE_EQ(macNs(512, MatrixType::f32, "znver4"), f32 * 11 / 16);
  EXPECT_EQ(macNs(512, MatrixType::bf16, "x86-64-v4"), f32);
  EXPECT_EQ(macNs(512, MatrixType::bf16, "x86-64-v4-bf16"), f32 / 2);
  EXPECT_EQ(macNs(512, MatrixType::bf16, "x86-64-v4-fp16"), f32 / 2); // as f16
  EXPECT_EQ(macNs(13, MatrixType::bf16, "x86-64-v4-fp16"), macNs(13, MatrixType::f32, "x86-64-v4"));
  EXPECT_EQ(macNs(512, MatrixType::rounded, "x86-64-v4-fp16"), f32 / 2);
  EXPECT_EQ(macNs(512, MatrixType::rounded, "x86-64-v4-bf16"), f32 / 2);
  EXPECT_EQ(macNs(13, MatrixType::rounded, "znver4"), macNs(13, MatrixType::f32, "x86-64-v4"));
  EXPECT_EQ(macNs(1, MatrixType::halves, "x86-64-v4-fp16"), macNs(1, MatrixType::f32, "x86-64-v4") / 2);
  machine.level = "x86-64-v4-bf16";
  EXPECT_EQ(macNs(512, MatrixType::bf16, ""), f32 / 2);

  // Bytes are multiplied from three rows on, four or two for one; what is left of that rate is within the prediction, not the roofline.
  auto roof = [&](double rows, MatrixType type, const char *level) {
    LaunchWork work = product(rows, 1e9);
    work.matrix = type;
    return roofline(work, machine, 1, level).computeNs;
  };
  EXPECT_EQ(macNs(2, MatrixType::bytes, "x86-64-v4-vnni"), macNs(2, MatrixType::f32, "x86-64-v4"));
  for (auto [level, times] :
       {std::pair("x86-64-v2", 4), {"x86-64-v3", 2}, {"x86-64-v4", 2}, {"x86-64-v4-vnni", 4}, {"x86-64-v4-fp16", 4}}) {
    EXPECT_DOUBLE_EQ(roof(512, MatrixType::f32, level) / roof(512, MatrixType::bytes, level), times) << level;
    EXPECT_GT(macNs(3, MatrixType::bytes, level), macNs(3, MatrixType::f32, level) / times) << level;
    EXPECT_LT(macNs(3, MatrixType::bytes, level), macNs(3, MatrixType::f32, level)) << level;
  }
}

/// Of what threads share the slowest has more than its part.
TEST(Machine, SeveralThreadsWaitForTheSlowest) {
  MachineDescription machine = builtInMachine();
  const LaunchWork work = product(512, 1e9);
  const double one = predict(work, machine, 1).macNs * limitsAt(machine, 1).flopsF32;
  const double two = predict(work, machine, 2).macNs * limitsAt(machine, 2).flopsF32;
  EXPECT_GT(two, 1.05 * one);
  EXPECT_LT(two, 1.25 * one);
}

/// A new key goes to one line for each of its values, and one thread of two has the columns of keys.
TEST(Machine, SlotsOfKeysAreNotShared) {
  LaunchFacts facts;
  facts.family = "gemm";
  facts.keyBlockBytes = 4096;
  StepSizes step;
  step.batch = 16;
  step.tokens = 1;
  LaunchWork work = workOf(facts, step);
  EXPECT_EQ(work.slotBytes, 2 * 4096 * 16);
  step.tokens = 16; // whole blocks
  EXPECT_EQ(workOf(facts, step).slotBytes, 0);
  MachineDescription machine = builtInMachine();
  auto feedNs = [&](int threads) { return predict(work, machine, threads).feedNs * limitsAt(machine, threads).memoryBytes; };
  const double two = feedNs(2), one = feedNs(1);
  EXPECT_GT(two, 2 * one);
  EXPECT_LT(feedNs(4), 1.01 * two);
}

/// Against counting key by key.
TEST(Machine, CountsKeysInAWindow) {
  for (int64_t window : {0, 1, 2, 5, 16, 100})
    for (int64_t past : {0, 1, 4, 5, 15, 40})
      for (int64_t tokens : {1, 2, 5, 17}) {
        int64_t pairs = 0, first = past + tokens; // the first key that any token sees
        for (int64_t t = past; t < past + tokens; ++t)
          for (int64_t s = 0; s <= t; ++s)
            if (window == 0 || s > t - window)
              ++pairs, first = std::min(first, s);
        const SeenKeys seen = seenKeys(window, past, tokens);
        EXPECT_EQ(seen.pairs, pairs) << window << " " << past << " " << tokens;
        EXPECT_EQ(seen.keys, past + tokens - first) << window << " " << past << " " << tokens;
      }
}

TEST(Machine, CountsAStep) {
  LaunchFacts facts;
  facts.family = "attention";
  facts.causal = true;
  facts.macsPerPair = 128;
  facts.flopsPerPair = 260;
  facts.bytesPerKey = 512;
  facts.readBytesPerRow = 256;
  facts.writtenBytesPerRow = 256;
  StepSizes step;
  step.batch = 2;
  step.tokens = 3;
  step.keys = 26;  // 10 before, in each of two sequences
  step.pairs = 72; // 2 * (11 + 12 + 13)
  LaunchWork work = workOf(facts, step);
  EXPECT_EQ(work.rows, 6);
  EXPECT_EQ(work.macs, 128 * 72);
  EXPECT_EQ(work.cacheBytes, 512 * 26);
  EXPECT_EQ(work.bytes(), 512 * 26 + 6 * 512);
  facts.window = 4;
  step.windows = {{2, {8, 12}}, {4, {12, 24}}};
  EXPECT_EQ(workOf(facts, step).macs, 128 * 24);
  EXPECT_EQ(workOf(facts, step).cacheBytes, 512 * 12);
  facts.window = 0;
  facts.causal = false;
  EXPECT_EQ(workOf(facts, step).macs, 128 * 3 * 26);
  facts.rows = LaunchRows::selected;
  facts.weightBytes = 1000;
  step.rows = 0;
  EXPECT_EQ(workOf(facts, step).weightBytes, 0); // nothing to do, nothing read
}
