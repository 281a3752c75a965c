// Descriptions of GPUs, and predictions beside what was measured.
#include "dsrt/gpu_machine.h"
#include <gtest/gtest.h>

using namespace dsrt;

namespace {
constexpr const char *good =
    R"({"format": "ds-gpu-machine", "version": 1, "name": "G", "arch": "sm_86", "processors": 84, "l2_size": 6291456,
  "tensor_flops": 1e14, "flops_f32": 3e13, "l2_read": 2e12, "memory_read": 8e11, "launch_ns": 1500})";

/// A product of `rows` rows as a step of a large model has it: no weight is in L2 from the step before.
GpuLaunchFacts product(double rows, double values, double bytes, double codes) {
  GpuLaunchFacts facts;
  facts.work.family = "gemm";
  facts.work.rows = rows;
  facts.work.macs = rows * values;
  facts.work.flops = 2 * facts.work.macs;
  facts.work.weightBytes = bytes;
  facts.work.workingSet = 1e9;
  facts.codes = codes;
  return facts;
}

/// Attention over `keys` of each token.
GpuLaunchFacts attention(int tokens, double keys, int heads, int headSize, double cacheBytes) {
  GpuLaunchFacts facts;
  facts.work.family = "attention";
  facts.work.rows = facts.tokens = tokens;
  facts.work.macs = 2.0 * tokens * keys * heads * headSize;
  facts.work.cacheBytes = cacheBytes;
  facts.work.workingSet = 1e9;
  facts.heads = heads;
  return facts;
}
} // namespace

TEST(GpuMachine, Reads) {
  GpuMachine machine;
  std::string error;
  ASSERT_EQ(parseGpuMachine(good, "g", machine, error), 0) << error;
  EXPECT_EQ(machine.name, "G");
  EXPECT_EQ(machine.arch, "sm_86");
  EXPECT_EQ(machine.processors, 84);
  EXPECT_EQ(machine.l2Size, 6291456);
  EXPECT_EQ(machine.tensorFlops, 1e14);
  EXPECT_EQ(machine.flopsF32, 3e13);
  EXPECT_EQ(machine.l2Bytes, 2e12);
  EXPECT_EQ(machine.memoryBytes, 8e11);
  EXPECT_EQ(machine.launchNs, 1500);
}

TEST(GpuMachine, Refuses) {
  const struct {
    std::string from, to, message;
  } cases[] = {
      {"ds-gpu-machine", "ds-machine", "bad data: g: expects format 'ds-gpu-machine', found 'ds-machine'"},
      {"\"version\": 1", "\"version\": 2", "bad data: g: version 2, this program reads version 1"},
      {"\"arch\": \"sm_86\", ", "", "bad data: g: arch: expects a string, found nothing"},
      {"\"processors\": 84", "\"processors\": 0", "bad data: g: processors: expects an integer in 1..4096, found 0"},
      {", \"launch_ns\": 1500", "", "bad data: g: launch_ns: expects a number, found nothing"},
      {"\"l2_read\": 2e12", "\"l2_read\": 0", "bad data: g: l2_read: expects a number above 0 to 1e18, found 0.000000"},
      {"\"launch_ns\": 1500", "\"launch_ns\": \"1 us\"", "bad data: g: launch_ns: expects a number above 0 to 1e18, found '1 us'"},
      {"\"name\": \"G\"", "\"name\": \"G\", \"sms\": 84", "bad data: g: unknown key 'sms'"},
  };
  for (const auto &test : cases) {
    std::string text = good, error;
    const size_t at = text.find(test.from);
    ASSERT_NE(at, text.npos) << test.from;
    GpuMachine machine;
    EXPECT_EQ(parseGpuMachine(text.replace(at, test.from.size(), test.to), "g", machine, error), 65);
    EXPECT_EQ(error, test.message);
    EXPECT_TRUE(machine.name.empty());
  }
  GpuMachine machine;
  std::string error;
  EXPECT_EQ(readGpuMachine("/nowhere/gpu.json", machine, error), 66);
}

TEST(GpuMachine, BuiltIn) {
  EXPECT_EQ(findGpuMachine("tpu"), nullptr);
  EXPECT_EQ(findGpuMachine(""), nullptr);
  for (const char *name : {"a100", "h100", "h200"}) {
    ASSERT_NE(findGpuMachine(name), nullptr);
    EXPECT_EQ(findGpuMachine(name)->name.rfind("built-in: ", 0), 0u);
  }
  EXPECT_EQ(&gpuMachineFor("sm_80"), findGpuMachine("a100"));
  EXPECT_EQ(&gpuMachineFor("sm_90a"), findGpuMachine("h200"));
  EXPECT_LT(findGpuMachine("h100")->memoryBytes, findGpuMachine("h200")->memoryBytes);
  EXPECT_EQ(gpuMachineOfDevice("NVIDIA H200"), findGpuMachine("h200"));
  EXPECT_EQ(gpuMachineOfDevice("NVIDIA H100 80GB HBM3"), findGpuMachine("h100"));
  EXPECT_EQ(gpuMachineOfDevice("NVIDIA H100 PCIe"), nullptr) << "its memory is slower";
  EXPECT_EQ(gpuMachineOfDevice(""), nullptr);
}

/// Launches of benchmarks/gpu/results/nvidia-h200.json: decoding the 1B and 8B shapes of Llama behind 512 tokens, BERT with 512.
TEST(GpuMachine, PredictsWhatWasMeasured) {
  const struct {
    const char *name;
    GpuLaunchFacts launch;
    double us;
  } cases[] = {
      {"1B qkv", product(1, 3072 * 2048, 12591104, 0), 5.018},
      {"1B output", product(1, 2048 * 2048, 8388608, 0), 3.227},
      {"1B up", product(1, 16384 * 2048, 67117056, 0), 17.428},
      {"1B down", product(1, 8192 * 2048, 33554432, 0), 9.724},
      {"1B head", product(1, 128256.0 * 2048, 525336576, 0), 134.4},
      {"8B up", product(1, 28672 * 4096, 234897408, 0), 61.668},
      {"8B down", product(1, 14336 * 4096, 117440512, 0), 29.071},
      {"8B head", product(1, 128256.0 * 4096, 1050673152, 0), 257.28},
      {"1B up, int8", product(1, 16384 * 2048, 34611200, 16384 * 2048), 10.166},
      {"1B up, int4", product(1, 16384 * 2048, 17833984, 16384 * 2048), 8.692},
      {"1B down, int4", product(1, 8192 * 2048, 8912896, 8192 * 2048), 6.366},
      {"1B attention", attention(1, 513, 32, 64, 2.0 * 513 * 8 * 64 * 4), 5.526},
      {"8B attention", attention(1, 513, 32, 128, 2.0 * 513 * 8 * 128 * 4), 7.474},
      {"BERT-base up", product(512, 768 * 3072, 4737024, 0), 21.109},
      {"BERT-base down", product(512, 768 * 3072, 4721664, 0), 25.699},
      {"BERT-base output", product(512, 768 * 768, 1182720, 0), 10.499},
      {"BERT-base attention", attention(512, 512, 12, 64, 0), 18.693},
      {"BERT-large up", product(512, 1024 * 4096, 8413184, 0), 37.765},
      {"BERT-large attention", attention(512, 512, 16, 64, 0), 22.517},
      {"8B attention of 8192 tokens", attention(8192, 4096, 32, 128, 0), 3892.952},
  };
  for (const auto &test : cases) {
    const double us = predict(test.launch, *findGpuMachine("h200")).ns / 1e3;
    EXPECT_NEAR(us / test.us, 1, 0.26) << test.name << ": predicted " << us << " us, measured " << test.us;
  }
}

TEST(GpuMachine, LaunchesOfAStep) {
  LaunchFacts facts;
  facts.family = "gemm";
  facts.macsPerRow = 1000;
  facts.flopsPerRow = 2100;
  facts.weightBytes = 640;
  facts.codes = 1000;
  facts.heads = 4;
  const GpuLaunchFacts launch = gpuLaunchOf(facts, {2, 3, 6, 6, 12, 1e9});
  EXPECT_EQ(launch.work.rows, 6);
  EXPECT_EQ(launch.work.macs, 6000);
  EXPECT_EQ(launch.work.weightBytes, 640);
  EXPECT_EQ(launch.codes, 1000);
  EXPECT_EQ(launch.heads, 4);
  EXPECT_EQ(launch.batch, 2);
  EXPECT_EQ(launch.tokens, 3);
  GpuMachine machine;
  machine.tensorFlops = 1e12;
  machine.flopsF32 = 2e11;
  machine.l2Bytes = machine.memoryBytes = 1e12;
  machine.processors = 1;
  EXPECT_DOUBLE_EQ(predict(launch, machine).peakNs, 12) << "12000 FLOP at 1e12, and 600 others in 6 ns beside them";
}

TEST(GpuMachine, BoundsAndFloors) {
  const GpuMachine &h200 = *findGpuMachine("h200"), &a100 = *findGpuMachine("a100");
  const GpuPrediction head = predict(product(1, 128256.0 * 2048, 525336576, 0), h200);
  EXPECT_EQ(head.bound, Bound::memory);
  EXPECT_NEAR(head.floorNs, 525336576 / 4510.0, 1);
  EXPECT_GT(head.ns, head.floorNs);
  EXPECT_GT(predict(product(1, 128256.0 * 2048, 525336576, 0), a100).ns, 2 * head.ns);
  EXPECT_EQ(predict(product(1, 576 * 576, 663552, 0), h200).bound, Bound::launch);
  EXPECT_EQ(predict(product(4096, 4096 * 4096, 33554432, 0), h200).bound, Bound::compute);
  // The weights of a small model stay in L2.
  GpuLaunchFacts small = product(1, 8192 * 2048, 33554432, 0);
  small.work.workingSet = 40e6;
  EXPECT_LT(predict(small, h200).floorNs, predict(product(1, 8192 * 2048, 33554432, 0), h200).floorNs);
  // Nine rows cost what sixteen do; none costs nothing.
  EXPECT_EQ(predict(product(9, 4e9, 1e6, 0), h200).computeNs, predict(product(16, 4e9, 1e6, 0), h200).computeNs);
  EXPECT_EQ(predict(product(0, 4e6, 0, 0), h200).ns, 0);
}
