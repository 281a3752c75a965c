// Profiles of made-up steps, whose times and counts a test can work out, and of the fake package.
#include "runtime/lib/Profile.h"
#include "FakePackage.h"
#include "runtime/lib/Hash.h"
#include "runtime/lib/ProfileNumbers.h"
#include <gtest/gtest.h>

using namespace dsrt;

namespace {
bool contains(const std::string &text, const std::string &part) { return text.find(part) != text.npos; }

std::string opJson(const std::string &name, const std::string &module, const std::string &rest) {
  return R"({"op": ")" + name + R"(", "module": ")" + module + R"(", )" + rest + "}";
}

std::string launchJson(const std::string &kernel, const std::string &rest, const std::string &ops) {
  return R"({"kernel": ")" + kernel + R"(", "family": "gemm", "module": "net", "rows": "tokens", )" + rest + R"("ops": [)" + ops + "]}";
}

std::string programJson(const std::string &launches) {
  return R"({"format": "ds-profile", "version": 1, "fusion": "generic", "programs": [{"name": "encode", "launches": [)" + launches + "]}]}";
}

/// Two launches: a linear fused with its activation, and a norm.
std::string twoLaunches() {
  std::string linear = opJson("linear", "net.0.dense", R"("weights": {"net.0.dense.weight": 512, "net.0.dense.bias": 32}, "matrix": "f32",
    "macs_per_row": 512, "flops_per_row": 1056, "compatible_flops_per_row": 1024)");
  std::string gelu = opJson("gelu", "net.0.act", R"("flops_per_row": 160, "compatible_flops_per_row": 32)");
  std::string norm = opJson("layer_norm", "net.norm", R"("weights": {"net.norm.weight": 32}, "flops_per_row": 259,
    "compatible_flops_per_row": 160)");
  return programJson(launchJson("gemm_16x32_gelu", R"("weight_bytes": 2176, "bytes_per_row": 192, )", linear + ", " + gelu) + ", " +
                     launchJson("layer_norm_32", R"("weight_bytes": 128, "bytes_per_row": 256, )", norm));
}

/// A step of B x T on two threads, by its times [threads][launches][2].
dsrt_traced_step stepOf(const std::vector<int64_t> &times, int32_t batch, int32_t tokens, int64_t begin, int64_t end) {
  dsrt_traced_step step = {};
  step.size = sizeof(step);
  step.program = "encode";
  step.batch = batch;
  step.tokens = tokens;
  step.threads = 2;
  step.launches = static_cast<int32_t>(times.size() / 4);
  step.keys = static_cast<int64_t>(batch) * tokens;
  step.pairs = static_cast<int64_t>(batch) * tokens * (tokens + 1) / 2;
  step.begin = begin;
  step.end = end;
  step.times = times.data();
  static const std::vector<int32_t> nothing(64, 0);
  step.past = nothing.data();
  return step;
}

class Described : public ::testing::Test {
protected:
  void SetUp() override {
    ASSERT_TRUE(parseProfileDescription(twoLaunches(), "p: ", description).ok());
    input.description = &description;
    input.steps = {stepOf(times, 4, 7, 1000, 2600)};
    input.modelName = "toy";
    input.weightsType = "f32";
  }

  ProfileDescription description;
  ProfileInput input;
  // The second thread has half of the first launch's work; both meet before the second launch.
  std::vector<int64_t> times = {1100, 1900, 2000, 2500, 1100, 1500, 2000, 2500};
};

MachineDescription machineOfHere() {
  MachineDescription machine = builtInMachine();
  machine.processor = currentProcessor();
  return machine;
}
} // namespace

TEST_F(Described, TimesAddUpToTheStep) {
  StepTimes of = timesOf(input.steps[0]);
  EXPECT_EQ(of.latencyNs, (std::vector<double>{800, 500}));
  EXPECT_EQ(of.idleNs, (std::vector<double>{200, 0}));
  EXPECT_EQ(of.barrierNs, (std::vector<double>{0, 100}));
  EXPECT_EQ(of.slowestNs, (std::vector<double>{800, 500}));
  EXPECT_EQ(of.outsideNs, 200);
}

TEST(ProfileTimes, LaunchesWithoutABarrierShareTheirTime) {
  // Thread 0 goes on to the second launch before thread 1 has finished the first; the third did not run.
  std::vector<int64_t> times = {10, 110, 110, 210, 0, 0, 10, 210, 210, 310, 0, 0};
  dsrt_traced_step step = stepOf(times, 1, 1, 10, 310);
  StepTimes of = timesOf(step);
  EXPECT_DOUBLE_EQ(of.latencyNs[0] + of.latencyNs[1], 300);
  EXPECT_DOUBLE_EQ(of.latencyNs[0], 180); // 300 of the 500 ns that threads worked
  EXPECT_DOUBLE_EQ(of.idleNs[0] + of.idleNs[1], 50);
  EXPECT_EQ(of.slowestNs[2], 0);
  EXPECT_EQ(of.outsideNs, 0);
}

TEST_F(Described, ATreeOfModulesAndTheRegionOfAFusedLaunch) {
  Profile profile = makeProfile(input);
  ASSERT_EQ(profile.steps.size(), 1u);
  const StepProfile &step = profile.steps[0];
  EXPECT_EQ(step.totals.macs, 28 * 512);
  EXPECT_EQ(step.totals.flops, 28 * (1056 + 160 + 259));
  EXPECT_EQ(step.totals.bytes, 2176 + 28 * 192 + 128 + 28 * 256);
  const ModuleProfile &net = step.root.children.at(0), &dense = net.children.at(0).children.at(0), &act = net.children.at(0).children.at(1);
  EXPECT_EQ(net.parameters(), 576);
  EXPECT_EQ(net.children.at(0).path, "net.0");
  EXPECT_TRUE(dense.isShared && act.isShared);
  EXPECT_FALSE(net.children.at(1).isShared);
  EXPECT_DOUBLE_EQ(dense.totals.latencyNs + act.totals.latencyNs, 800);
  EXPECT_GT(dense.totals.latencyNs, act.totals.latencyNs / 2);
  EXPECT_DOUBLE_EQ(dense.totals.bytes + act.totals.bytes, 2176 + 28 * 192);
  const KernelProfile &region = step.kernels.at(0);
  EXPECT_EQ(region.ops, (std::vector<std::string>{"linear in net.*.dense", "gelu in net.*.act"}));
  std::string text = profileText(profile);
  for (const char *part : {"[shared]", "Fused regions", "attributed", "gelu in net.*.act", "no machine description", "14.34 KMACs",
                           "(dense): linear(544 = 94.44% Params, 14.34 KMACs = 100% MACs"})
    EXPECT_TRUE(contains(text, part)) << part << '\n' << text;
}

TEST(ProfileCounts, AreThoseOfDeepSpeedInItsMode) {
  // Measured with deepspeed 0.19.6 on torch 2.13.0.
  const struct {
    const char *op;
    int32_t batch, tokens;
    int64_t keys;
    double flops, macs;
  } cases[] = {
      {R"("macs_per_row": 512, "flops_per_row": 1056, "compatible_flops_per_row": 1024)", 4, 7, 28, 28672, 14336}, // linear with bias
      {R"("flops_per_row": 67, "compatible_flops_per_row": 40)", 2, 3, 6, 240, 0},                                 // affine layer norm
      {R"("flops_per_row": 59, "compatible_flops_per_row": 32)", 2, 3, 6, 192, 0},                                 // without gain and bias
      {R"("flops_per_row": 20, "compatible_flops_per_row": 4)", 2, 3, 6, 24, 0},                                   // gelu
      // scaled_dot_product_attention of 8 queries and 9 keys: every pair counts, seen or not.
      {R"("causal": true, "macs_per_pair": 128, "flops_per_pair": 276, "compatible_flops_per_pair": 256)", 2, 8, 18, 36864, 18432},
  };
  for (const auto &test : cases) {
    ProfileDescription description;
    ASSERT_TRUE(parseProfileDescription(programJson(launchJson("k", "", opJson("op", "net", test.op))), "p: ", description).ok());
    std::vector<int64_t> times = {100, 200, 100, 200};
    ProfileInput input;
    input.description = &description;
    input.compatible = true;
    input.steps = {stepOf(times, test.batch, test.tokens, 100, 200)};
    input.steps[0].keys = test.keys;
    Profile profile = makeProfile(input);
    EXPECT_EQ(profile.steps.at(0).totals.flops, test.flops) << test.op;
    EXPECT_EQ(profile.steps.at(0).totals.macs, test.macs) << test.op;
  }
}

/// Two steps of one shape behind 3 and 5 tokens, with a window of 4: tokens see 4 and 4 keys, of which each step reads 5.
TEST(ProfileCounts, AWindowHidesKeys) {
  ProfileDescription description;
  const char *attention = R"("causal": true, "window": 4, "macs_per_pair": 128, "flops_per_pair": 276, "compatible_flops_per_pair": 256)";
  const std::string launch = launchJson("k", R"("bytes_per_key": 64, )", opJson("attention", "net", attention));
  ASSERT_TRUE(parseProfileDescription(programJson(launch), "p: ", description).ok());
  std::vector<int64_t> times = {100, 200, 100, 200};
  const int32_t three = 3, five = 5;
  ProfileInput input;
  input.description = &description;
  input.steps = {stepOf(times, 1, 2, 100, 200), stepOf(times, 1, 2, 100, 200)};
  input.steps[0].past = &three, input.steps[0].keys = 5, input.steps[0].pairs = 9;
  input.steps[1].past = &five, input.steps[1].keys = 7, input.steps[1].pairs = 13;
  Profile exact = makeProfile(input);
  EXPECT_EQ(exact.steps.at(0).totals.macs, 128 * 8);
  EXPECT_EQ(exact.steps.at(0).totals.flops, 276 * 8);
  EXPECT_EQ(exact.steps.at(0).totals.bytes, 64 * 5);
  input.compatible = true; // which counts every pair
  EXPECT_EQ(makeProfile(input).steps.at(0).totals.macs, 128 * 6 * 2);
}

TEST_F(Described, StepsOfOneShapeAreSummarisedByMedians) {
  std::vector<int64_t> slow = times;
  slow[5] = slow[1] = 1950;
  input.steps = {stepOf(slow, 4, 7, 0, 9000), stepOf(times, 4, 7, 1000, 2600), stepOf(times, 4, 7, 1000, 2600),
                 stepOf(times, 1, 7, 1000, 2600)};
  Profile profile = makeProfile(input);
  ASSERT_EQ(profile.steps.size(), 2u);
  EXPECT_EQ(profile.steps[0].steps, 3);
  EXPECT_EQ(profile.steps[0].ns, 1600);
  EXPECT_EQ(profile.steps[0].mostNs, 9000);
  EXPECT_EQ(profile.steps[0].launches[0].totals.latencyNs, 800);
}

TEST_F(Described, AMachineGivesRooflineAndPredictionsAndFindings) {
  input.machine = machineOfHere();
  input.machinePath = "machine.json";
  Profile profile = makeProfile(input);
  const StepProfile &step = profile.steps[0];
  EXPECT_GT(step.totals.rooflineNs, 0);
  EXPECT_GT(step.launches[0].totals.predictedNs, 0);
  EXPECT_TRUE(profile.notes.empty()) << profile.notes[0];
  ASSERT_FALSE(step.findings.empty());
  double all = 0;
  for (size_t i = 0; i < step.findings.size(); ++i) {
    all += step.findings[i].ns;
    EXPECT_TRUE(i == 0 || i + 1 == step.findings.size() || step.findings[i].ns <= step.findings[i - 1].ns);
  }
  EXPECT_LE(all, step.ns); // they do not overlap
  std::string text = profileText(profile);
  for (const char *part : {"share of the roofline", "predicted/measured", "Predictions", "Findings", "imbalance of 25%"})
    EXPECT_TRUE(contains(text, part)) << part << '\n' << text;
  input.machine->processor = "another one";
  EXPECT_TRUE(contains(profileText(makeProfile(input)), "is of another machine, 'another one'"));
}

TEST_F(Described, AGpuGivesItsPredictionsBesideTheMemoryFloor) {
  const GpuMachine &h200 = *findGpuMachine("h200");
  input.gpu = h200;
  input.machinePath = "h200";
  input.device = "cuda:0";
  input.deviceProduct = "NVIDIA H200";
  input.steps[0].threads = 1;
  Profile profile = makeProfile(input);
  EXPECT_EQ(profile.processor, "NVIDIA H200");
  const StepProfile &step = profile.steps[0];
  StepSizes sizes{4, 7, 0, 28, 112, 2176 + 128};
  for (size_t i = 0; i < 2; ++i) {
    const GpuPrediction expected = predict(gpuLaunchOf(description.programs[0].launches[i].facts, sizes), h200);
    const Totals &totals = step.launches[i].totals;
    EXPECT_DOUBLE_EQ(totals.predictedNs, expected.ns);
    EXPECT_DOUBLE_EQ(totals.memoryNs, expected.floorNs);
    EXPECT_DOUBLE_EQ(totals.computeNs, expected.peakNs);
    EXPECT_DOUBLE_EQ(totals.rooflineNs, std::max(expected.floorNs, expected.peakNs));
  }
  std::string text = profileText(profile);
  for (const char *part : {"processor:  NVIDIA H200", "machine:    h200 (built-in: NVIDIA H200)", "memory floor", "predicted/measured",
                           "note: traced launches do not overlap"})
    EXPECT_TRUE(contains(text, part)) << part << '\n' << text;
  EXPECT_FALSE(contains(text, "another machine")) << text;
  std::string json = profileJson(profile);
  for (const char *part :
       {"\"flops_tensor\": 703000000000000.0", "\"level\": \"sm_90a\"", "\"is_this_machine\": true", "\"memory_floor_ns\""})
    EXPECT_TRUE(contains(json, part)) << part << '\n' << json;
  input.deviceProduct = "NVIDIA A100-SXM4-80GB";
  EXPECT_TRUE(contains(profileText(makeProfile(input)),
                       "h200 is of another machine, 'built-in: NVIDIA H200', and this is 'NVIDIA A100-SXM4-80GB'"));
  input.device = "emulate";
  input.deviceProduct = "";
  text = profileText(makeProfile(input));
  EXPECT_TRUE(contains(text, "times are the emulator's")) << text;
  EXPECT_FALSE(contains(text, "another machine")) << text;
  input.gpu.reset();
  EXPECT_TRUE(contains(profileText(makeProfile(input)), "--profile-machine takes a100, h100, h200 or a file that describes a GPU"));
}

TEST_F(Described, APageHoldsItsDataAndLoadsNothing) {
  input.modelName = "</script><b>";
  Profile profile = makeProfile(input);
  std::string page = profilePage(profile);
  EXPECT_EQ(page.find("</script>"), page.find("</script>\n<script>"));
  for (const char *part : {"https://", "@DATA@", "@STYLE@", "@SCRIPT@", " src=", "<link"})
    EXPECT_FALSE(contains(page, part)) << part;
  std::string trace = profileTrace(profile);
  for (const char *part : {"\"traceEvents\"", "\"thread 1\"", "\"gemm_16x32_gelu\"", "\"ph\":\"X\""})
    EXPECT_TRUE(contains(trace, part)) << part;
}

TEST(Profile, WhatIsNotDescribedHasTimesAlone) {
  std::vector<int64_t> times = {100, 200, 100, 200};
  ProfileInput input;
  input.steps = {stepOf(times, 1, 1, 100, 250)};
  EXPECT_TRUE(contains(profileText(makeProfile(input)), "the package has no profile.json"));
  ProfileDescription description;
  ASSERT_TRUE(parseProfileDescription(twoLaunches(), "p: ", description).ok());
  input.description = &description;
  EXPECT_TRUE(contains(profileText(makeProfile(input)), "profile.json does not describe the 1 launches of program encode"));
}

TEST(ProfileDescription, NamesWhatIsWrong) {
  const std::pair<std::string, std::string> cases[] = {
      {"{", "expects JSON"},
      {R"({"format": "other"})", "p: format: expects 'ds-profile', found 'other'"},
      {programJson(R"({"kernel": 1})"), "p: programs[0].launches[0].kernel: expects a string, found 1"},
      {programJson(launchJson("k", R"("weight_bytes": "x", )", "")), "weight_bytes: expects a number from 0 on, found 'x'"},
      {programJson(launchJson("k", R"("bytes_per_row": -1, )", "")), "bytes_per_row: expects a number from 0 on, found -1"},
      {programJson(launchJson("k", "", "3")), "ops[0].op: expects a string, found nothing"},
  };
  for (const auto &[text, message] : cases) {
    ProfileDescription description;
    Status status = parseProfileDescription(text, "p: ", description);
    EXPECT_EQ(status.code(), DSRT_BAD_DATA);
    EXPECT_TRUE(contains(status.message(), message)) << status.message();
  }
}

TEST(ProfileNumbers, AreThoseOfDeepSpeed) {
  EXPECT_EQ(withPrefix(455'740'000, "MACs"), "455.74 MMACs");
  EXPECT_EQ(withPrefix(0, "MACs"), "0 MACs");
  EXPECT_EQ(parametersText(38'600'000), "38.6 M");
  EXPECT_EQ(parametersText(590'592), "590.59 K");
  EXPECT_EQ(timeText(188'940'000), "188.94 ms");
  EXPECT_EQ(timeText(76'290), "76.29 us");
  EXPECT_EQ(timeText(0), "0 s");
  EXPECT_EQ(percentText(61.75, 100), "61.75%");
}

// ---- The C API on the fake package ------------------------------------------------------------------------------------------------

TEST(ProfileApi, ReportsWhatWasTraced) {
  fake::Package package(fake::Package::encoder);
  std::string text = twoLaunches();
  fake::writeFile(package.file("profile.json"), text);
  package.replace("\"files\": {", "\"files\": {\"profile.json\": {\"bytes\": " + std::to_string(text.size()) + ", \"sha256\": \"" +
                                      sha256Hex(text.data(), text.size()) + "\"}, ");
  fake::Loaded loaded(package.path(), 2);
  ASSERT_EQ(loaded.status, DSRT_OK) << dsrt_last_error();
  dsrt_profile_options options;
  dsrt_profile_options_init(&options);
  const char *report = nullptr;
  size_t length = 0;
  ASSERT_EQ(dsrt_profile_report(loaded.model, nullptr, &report, &length), DSRT_OK) << dsrt_last_error();
  EXPECT_TRUE(contains(report, "no step was traced"));
  std::vector<int32_t> ids = {1, 2, 3, 4};
  dsrt_batch batch = fake::batchOf(1, ids);
  std::vector<float> out(fake::hidden);
  ASSERT_EQ(dsrt_trace_start(loaded.model, 2), DSRT_OK);
  for (int i = 0; i < 3; ++i)
    ASSERT_EQ(dsrt_forward(loaded.model, &batch, "embedding", out.data(), out.size()), DSRT_OK);
  EXPECT_EQ(dsrt_profile_report(loaded.model, nullptr, &report, &length), DSRT_INVALID_ARGUMENT);
  ASSERT_EQ(dsrt_trace_stop(loaded.model), DSRT_OK);
  ASSERT_EQ(dsrt_profile_report(loaded.model, nullptr, &report, &length), DSRT_OK) << dsrt_last_error();
  EXPECT_EQ(std::string(report).size(), length);
  for (const char *part : {"encode, batch 1 x 4 tokens", "2 steps (medians) on 2 threads", "gemm_16x32_gelu", "1 further steps were not"})
    EXPECT_TRUE(contains(report, part)) << part << '\n' << report;
  options.failure = "out of luck";
  for (const char *name : {"p.html", "p.json", "p.trace.json", "p.txt"}) {
    ASSERT_EQ(dsrt_profile_write(loaded.model, &options, package.file(name).c_str()), DSRT_OK) << dsrt_last_error();
    EXPECT_TRUE(contains(fake::readFile(package.file(name)), "the run failed: out of luck")) << name;
  }
  ASSERT_EQ(dsrt_profile_write(nullptr, &options, package.file("none.html").c_str()), DSRT_OK) << dsrt_last_error();
  EXPECT_EQ(dsrt_profile_write(loaded.model, &options, package.file("p.pdf").c_str()), DSRT_INVALID_ARGUMENT);
  EXPECT_EQ(dsrt_profile_write(loaded.model, &options, package.file("no/p.txt").c_str()), DSRT_CANNOT_WRITE);
  options.machine = "nowhere.json";
  EXPECT_EQ(dsrt_profile_report(loaded.model, &options, &report, &length), DSRT_MISSING);
  EXPECT_TRUE(contains(dsrt_last_error(), "missing: nowhere.json: ")) << dsrt_last_error();
  fake::writeFile(package.file("m.json"), "{}");
  std::string machine = package.file("m.json");
  options.machine = machine.c_str();
  EXPECT_EQ(dsrt_profile_report(loaded.model, &options, &report, &length), DSRT_BAD_DATA);
  options.machine = nullptr;
  for (int32_t dsrt_profile_options::*field : {&dsrt_profile_options::format, &dsrt_profile_options::depth, &dsrt_profile_options::top}) {
    dsrt_profile_options bad = options;
    bad.*field = -7;
    EXPECT_EQ(dsrt_profile_report(loaded.model, &bad, &report, &length), DSRT_INVALID_ARGUMENT);
  }
}
