// Packages on a GPU, with a driver that is none: graphs and launches, choice of a module, whatever can be missing or fail.
#include "FakePackage.h"
#include "runtime/lib/Sampler.h"
#include <algorithm>
#include <cstdlib>
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <regex>

using namespace fake;

namespace {
class CudaDevice : public testing::Test {
protected:
  void SetUp() override {
    setenv("DS_CUDA_LIBRARY", FAKE_CUDA, 1);
    library = dlopen(FAKE_CUDA, RTLD_NOW | RTLD_LOCAL);
    ASSERT_NE(library, nullptr) << dlerror();
    calls();
  }
  void TearDown() override {
    for (const char *name : {"DS_CUDA_LIBRARY", "DS_CUDA_SCHEDULE", "DS_CUDA_TIMEOUT", "DS_DEVICE", "DS_SAMPLE", "FAKE_CUDA_CAPABILITY",
                             "FAKE_CUDA_DEVICES", "FAKE_CUDA_VERSION", "FAKE_CUDA_MEMORY", "FAKE_CUDA_FAIL", "FAKE_CUDA_HANG"})
      unsetenv(name);
    dlclose(library);
  }
  /// What the driver was called for since the last time.
  std::string calls() { return reinterpret_cast<const char *(*)()>(dlsym(library, "fakeCudaCalls"))(); }
  size_t bytes() { return reinterpret_cast<size_t (*)()>(dlsym(library, "fakeCudaBytes"))(); }
  static int count(const std::string &text, const std::string &line) {
    std::regex expression("(^|\n)" + line);
    return static_cast<int>(std::distance(std::sregex_iterator(text.begin(), text.end(), expression), std::sregex_iterator()));
  }
  /// How loading fails; one line.
  static std::string refusal(const std::string &path, dsrt_status expected, const char *device = nullptr) {
    Loaded loaded(path, 1, nullptr, device);
    EXPECT_EQ(loaded.status, expected) << dsrt_last_error();
    std::string message = dsrt_last_error();
    EXPECT_EQ(message.find('\n'), message.npos);
    return message;
  }
  void *library = nullptr;
};

std::vector<int32_t> greedy(dsrt_model *model, const std::vector<int32_t> &prompt, int32_t count) {
  dsrt_batch batch = batchOf(1, prompt);
  dsrt_generation generation;
  dsrt_generation_init(&generation);
  generation.max_new_tokens = count;
  std::vector<int32_t> made(count), lengths(1);
  EXPECT_EQ(dsrt_generate(model, &batch, &generation, nullptr, nullptr, made.data(), lengths.data(), nullptr), DSRT_OK)
      << dsrt_last_error();
  return made;
}
} // namespace

TEST_F(CudaDevice, GeneratesByReplayingGraphs) {
  Package package(Package::decoder);
  package.addLaunches();
  {
    Loaded loaded(package.path());
    ASSERT_EQ(loaded.status, DSRT_OK) << dsrt_last_error();
    std::string atLoad = calls();
    EXPECT_EQ(count(atLoad, "cuModuleLoadDataEx sm_90a"), 1);
    EXPECT_EQ(count(atLoad, "cuFuncSetAttribute logits_1 65536"), 1);
    EXPECT_EQ(greedy(loaded.model, {1, 2, 3}, 6), expectedGreedy({1, 2, 3}, 6));
    std::string first = calls();
    EXPECT_EQ(count(first, "cuStreamBeginCapture"), 2) << "one for prefill, one for all steps of decode";
    EXPECT_EQ(count(first, "cuGraphLaunch"), 6);
    EXPECT_EQ(count(first, "overlapping fold_tokens 1x1x1 32 0"), 2) << first;
    EXPECT_EQ(count(first, "overlapping logits_1 1x1x1 256 65536"), 2) << first;
    EXPECT_EQ(count(first, "launch "), 0);
    EXPECT_EQ(count(first, "download"), 6);
    EXPECT_EQ(greedy(loaded.model, {1, 2, 3}, 6), expectedGreedy({1, 2, 3}, 6));
    EXPECT_EQ(count(calls(), "cuStreamBeginCapture"), 0);
    dsrt_info info = {};
    info.size = sizeof(info);
    ASSERT_EQ(dsrt_get_info(loaded.model, &info), DSRT_OK);
    EXPECT_STREQ(info.level, "sm_90a");
    EXPECT_STREQ(info.device, "cuda:0");
    EXPECT_STREQ(info.device_name, "Fake GPU");
    dsrt_memory memory = {};
    memory.size = sizeof(memory);
    ASSERT_EQ(dsrt_get_memory(loaded.model, &memory), DSRT_OK);
    EXPECT_EQ(memory.kv, kvBytes);
    EXPECT_EQ(memory.arena, 4096);
    EXPECT_EQ(static_cast<size_t>(memory.device), bytes());
  }
  EXPECT_EQ(bytes(), 0u);
  EXPECT_EQ(count(calls(), "cuDevicePrimaryCtxRelease"), 1);
}

/// Tokens alone come back, by graphs of their own for each way to choose; sequences end at different steps; the host would choose alike.
TEST_F(CudaDevice, ChoosesTokensOnTheDevice) {
  Package package(Package::decoder);
  package.addLaunches({"sm_90a"}, false, launchesText({"sm_90a"}, true));
  Loaded loaded(package.path());
  ASSERT_EQ(loaded.status, DSRT_OK) << dsrt_last_error();
  calls();
  EXPECT_EQ(greedy(loaded.model, {1, 2, 3}, 6), expectedGreedy({1, 2, 3}, 6));
  std::string first = calls();
  EXPECT_EQ(count(first, "cuStreamBeginCapture"), 2);
  EXPECT_EQ(count(first, "overlapping sample_greedy 1x1x1 32 0"), 2) << first;
  EXPECT_EQ(count(first, "overlapping sample_(random|penalty)"), 0) << first;
  EXPECT_EQ(count(first, "download 4"), 6) << first;
  EXPECT_EQ(count(first, "download"), 6) << first;

  // A batch with a penalty, in which rows end at different tokens.
  std::vector<int32_t> ids = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  dsrt_batch batch = batchOf(3, ids);
  auto generate = [&](dsrt_generation &generation) {
    std::vector<int32_t> made(3 * generation.max_new_tokens), lengths(3), finish(3);
    EXPECT_EQ(dsrt_generate(loaded.model, &batch, &generation, nullptr, nullptr, made.data(), lengths.data(), finish.data()), DSRT_OK)
        << dsrt_last_error();
    made.insert(made.end(), lengths.begin(), lengths.end());
    made.insert(made.end(), finish.begin(), finish.end());
    return made;
  };
  dsrt_generation generation;
  dsrt_generation_init(&generation);
  generation.max_new_tokens = 8;
  generation.repetition_penalty = 1.5f;
  std::vector<int32_t> alike = generate(generation), eos = {alike[1], alike[8 + 4]};
  generation.eos = eos.data();
  generation.eos_count = 2;
  calls();
  const std::vector<int32_t> found = generate(generation);
  EXPECT_FALSE(found[24] == found[25] && found[25] == found[26]) << found[24];
  EXPECT_GT(count(calls(), "overlapping sample_greedy [12]x1x1"), 0) << "rows that are left";
  setenv("DS_SAMPLE", "host", 1);
  EXPECT_EQ(generate(generation), found);
  EXPECT_EQ(count(calls(), "overlapping sample_"), 0);
  setenv("DS_SAMPLE", "gpu", 1);
  std::vector<int32_t> none(24), lengths(3);
  EXPECT_EQ(dsrt_generate(loaded.model, &batch, &generation, nullptr, nullptr, none.data(), lengths.data(), nullptr),
            DSRT_INVALID_ARGUMENT);
  EXPECT_STREQ(dsrt_last_error(), "invalid argument: DS_SAMPLE: expects device or host, got 'gpu'");
  unsetenv("DS_SAMPLE");

  // The numbers of a seed go by row and step.
  generation.repetition_penalty = 1;
  generation.do_sample = 1;
  generation.eos_count = 0;
  generation.seed = 5;
  const std::vector<int32_t> drawn = generate(generation);
  for (uint32_t row = 0; row < 3; ++row)
    for (uint32_t step = 0; step < 8; ++step) {
      dsrt::SamplingOptions options;
      options.seed = 5;
      EXPECT_EQ(drawn[row * 8 + step], static_cast<int32_t>(dsrt::sampleRowOf(options, row, step).random % vocab)) << row << ' ' << step;
    }
}

TEST_F(CudaDevice, ForwardSessionsAndRawStepsAreThoseOfTheCpu) {
  Package package(Package::decoder);
  package.addLaunches({"sm_90a"}, true);
  Loaded cpu(package.path()), gpu(package.path(), 1, nullptr, "cuda");
  ASSERT_EQ(cpu.status, DSRT_OK) << dsrt_last_error();
  ASSERT_EQ(gpu.status, DSRT_OK) << dsrt_last_error();
  std::vector<int32_t> ids, mask;
  for (int32_t i = 0; i < 6 * 7; ++i) {
    ids.push_back(i * 5 % vocab);
    mask.push_back(i % 7 >= i / 7 % 3);
  }
  dsrt_batch batch = batchOf(6, ids, &mask);
  for (const char *output : {"logits", "hidden"}) {
    std::vector<float> x(6 * 7 * (output[0] == 'l' ? vocab : hidden)), y = x;
    ASSERT_EQ(dsrt_forward(cpu.model, &batch, output, x.data(), x.size()), DSRT_OK) << dsrt_last_error();
    ASSERT_EQ(dsrt_forward(gpu.model, &batch, output, y.data(), y.size()), DSRT_OK) << dsrt_last_error();
    EXPECT_EQ(x, y) << output;
  }
  for (dsrt_model *model : {cpu.model, gpu.model}) {
    dsrt_session *session = nullptr;
    ASSERT_EQ(dsrt_session_create(model, 1, &session), DSRT_OK);
    std::vector<float> logits(vocab);
    for (const std::vector<int32_t> &part : {std::vector<int32_t>{4, 9, 1}, {7}, {7, 2}}) {
      dsrt_batch more = batchOf(1, part);
      ASSERT_EQ(dsrt_session_forward(session, &more, logits.data(), logits.size()), DSRT_OK) << dsrt_last_error();
    }
    EXPECT_EQ(logits, expectedLogits({4, 9, 1, 7, 7, 2}, {0, 1, 2, 3, 4, 5}));
    dsrt_session_free(session);
    // A step alone begins with an empty cache, though its block was used before.
    std::vector<int32_t> two = {3, 4}, at = {0, 1}, past = {2}, rows = {1};
    std::vector<float> out(vocab);
    dsrt_array inputs[] = {{"input_ids", two.data(), 2}, {"positions", at.data(), 2}, {"past", past.data(), 1}, {"rows", rows.data(), 1}};
    dsrt_array wanted = {"logits", out.data(), out.size()};
    ASSERT_EQ(dsrt_run_program(model, "prefill", 1, 2, 1, inputs, 4, &wanted, 1), DSRT_OK) << dsrt_last_error();
    EXPECT_EQ(out, expectedLogits({0, 0, 3, 4}, {0, 0, 0, 1}));
  }
}

TEST_F(CudaDevice, LaunchesOneByOneWhenAsked) {
  Package package(Package::decoder);
  package.addLaunches();
  setenv("DS_CUDA_SCHEDULE", "launches", 1);
  Loaded loaded(package.path(), 1, nullptr, "cuda:0");
  ASSERT_EQ(loaded.status, DSRT_OK) << dsrt_last_error();
  calls();
  EXPECT_EQ(greedy(loaded.model, {1, 2, 3}, 4), expectedGreedy({1, 2, 3}, 4));
  std::string made = calls();
  EXPECT_EQ(count(made, "cuGraphLaunch"), 0);
  EXPECT_EQ(count(made, "overlapping"), 0);
  EXPECT_EQ(count(made, "launch logits_1"), 4);
  setenv("DS_CUDA_SCHEDULE", "sometimes", 1);
  EXPECT_EQ(refusal(package.path(), DSRT_INVALID_ARGUMENT),
            "invalid argument: DS_CUDA_SCHEDULE: expects graph or launches, got 'sometimes'");
}

TEST_F(CudaDevice, TracesByEvents) {
  Package package(Package::decoder);
  package.addLaunches();
  Loaded loaded(package.path());
  ASSERT_EQ(loaded.status, DSRT_OK) << dsrt_last_error();
  ASSERT_EQ(dsrt_trace_start(loaded.model, 10), DSRT_OK);
  calls();
  EXPECT_EQ(greedy(loaded.model, {1, 2, 3}, 3), expectedGreedy({1, 2, 3}, 3));
  std::string made = calls();
  EXPECT_EQ(count(made, "cuGraphLaunch"), 0);
  EXPECT_EQ(count(made, "overlapping"), 0);
  ASSERT_EQ(dsrt_trace_stop(loaded.model), DSRT_OK);
  ASSERT_EQ(dsrt_trace_count(loaded.model, nullptr), 3);
  dsrt_traced_step step = {};
  step.size = sizeof(step);
  ASSERT_EQ(dsrt_trace_get(loaded.model, 1, &step), DSRT_OK);
  EXPECT_STREQ(step.program, "decode");
  EXPECT_EQ(step.threads, 1);
  ASSERT_EQ(step.launches, 3);
  EXPECT_EQ(step.keys, 4);
  EXPECT_EQ(step.times[1] - step.times[0], 1000);
  EXPECT_EQ(step.times[2], 0) << "nobody wanted hidden";
  EXPECT_EQ(step.times[3], 0);
  EXPECT_EQ(step.times[4], step.times[1]);
  EXPECT_EQ(step.times[5] - step.times[4], 1000);
  EXPECT_GE(step.times[0], step.begin);
  const char *text = nullptr;
  size_t length = 0;
  EXPECT_EQ(dsrt_profile_report(loaded.model, nullptr, &text, &length), DSRT_OK) << dsrt_last_error();
  EXPECT_NE(std::string(text).find("--profile-machine takes a100, h100, h200"), std::string::npos) << text;
  dsrt_profile_options options;
  dsrt_profile_options_init(&options);
  options.machine = "h100";
  EXPECT_EQ(dsrt_profile_report(loaded.model, &options, &text, &length), DSRT_OK) << dsrt_last_error();
  for (const char *part : {"processor:  Fake GPU", "machine:    h100 (built-in: NVIDIA H100 SXM)", "predicted/measured",
                           "h100 is of another machine, 'built-in: NVIDIA H100 SXM', and this is 'Fake GPU'"})
    EXPECT_NE(std::string(text).find(part), std::string::npos) << part << '\n' << text;
  options.machine = "h300";
  EXPECT_EQ(dsrt_profile_report(loaded.model, &options, &text, &length), DSRT_MISSING);
  EXPECT_EQ(greedy(loaded.model, {1, 2, 3}, 3), expectedGreedy({1, 2, 3}, 3));
  EXPECT_EQ(count(calls(), "cuGraphLaunch"), 3);
}

TEST_F(CudaDevice, TakesTheBestModule) {
  Package package(Package::decoder);
  package.addLaunches({"compute_80", "sm_80", "sm_86", "sm_90a", "sm_90", "sm_100a", "compute_90"});
  const std::pair<const char *, const char *> cases[] = {{"80", "sm_80"},       {"86", "sm_86"},      {"87", "sm_86"},
                                                         {"89", "sm_86"},       {"90", "sm_90a"},     {"100", "sm_100a"},
                                                         {"103", "compute_90"}, {"120", "compute_90"}};
  for (const auto &[capability, arch] : cases) {
    setenv("FAKE_CUDA_CAPABILITY", capability, 1);
    Loaded loaded(package.path());
    ASSERT_EQ(loaded.status, DSRT_OK) << dsrt_last_error();
    dsrt_info info = {};
    info.size = sizeof(info);
    ASSERT_EQ(dsrt_get_info(loaded.model, &info), DSRT_OK);
    EXPECT_STREQ(info.level, arch) << capability;
  }
  setenv("FAKE_CUDA_CAPABILITY", "75", 1);
  EXPECT_EQ(refusal(package.path(), DSRT_UNAVAILABLE), "unavailable: cuda:0 (Fake GPU) is sm_75; " + package.path() +
                                                           " has kernels for compute_80, sm_80, sm_86, sm_90a, sm_90, sm_100a, compute_90");
}

TEST_F(CudaDevice, KernelsThatCannotWaitDoNotOverlap) {
  Package package(Package::decoder);
  package.addLaunches({"compute_80"});
  Loaded loaded(package.path());
  ASSERT_EQ(loaded.status, DSRT_OK) << dsrt_last_error();
  greedy(loaded.model, {1}, 2);
  std::string made = calls();
  EXPECT_EQ(count(made, "overlapping"), 0);
  EXPECT_EQ(count(made, "cuGraphLaunch"), 2);
}

TEST_F(CudaDevice, NamesWhatIsMissing) {
  Package package(Package::decoder), onlyCpu(Package::decoder), emulated(Package::decoder);
  package.addLaunches();
  emulated.addLaunches({"emulate"}, true);
  const std::string path = package.path();
  EXPECT_EQ(refusal(path, DSRT_UNAVAILABLE, "cpu"),
            "unavailable: " + path + " has kernels for cuda (sm_90a, compute_80), nothing for the device cpu");
  EXPECT_EQ(refusal(path, DSRT_UNAVAILABLE, "emulate"),
            "unavailable: " + path + " has kernels for cuda (sm_90a, compute_80), nothing for the device emulate");
  EXPECT_EQ(refusal(onlyCpu.path(), DSRT_UNAVAILABLE, "cuda:1"),
            "unavailable: " + onlyCpu.path() + " has code for x86-64-v2, nothing for the device cuda:1");
  EXPECT_EQ(refusal(emulated.path(), DSRT_UNAVAILABLE, "cuda"),
            "unavailable: " + emulated.path() + " has code for x86-64-v2 and kernels for emulate, nothing for the device cuda:0");
  for (const char *name : {"gpu", "cuda:", "cuda:-1", "cuda:x", "cuda:1 ", "CPU"})
    EXPECT_EQ(refusal(path, DSRT_INVALID_ARGUMENT, name),
              "invalid argument: device: expects cpu, cuda, cuda:N or emulate, got '" + std::string(name) + "'");
  setenv("DS_DEVICE", "tpu", 1);
  EXPECT_EQ(refusal(path, DSRT_INVALID_ARGUMENT), "invalid argument: DS_DEVICE: expects cpu, cuda, cuda:N or emulate, got 'tpu'");
  setenv("DS_DEVICE", "cuda:1", 1);
  EXPECT_EQ(refusal(path, DSRT_UNAVAILABLE), "unavailable: no GPU cuda:1: this machine has cuda:0");
  setenv("FAKE_CUDA_DEVICES", "3", 1);
  EXPECT_EQ(refusal(path, DSRT_UNAVAILABLE, "cuda:3"), "unavailable: no GPU cuda:3: this machine has cuda:0 to cuda:2");
  setenv("FAKE_CUDA_DEVICES", "0", 1);
  EXPECT_EQ(refusal(path, DSRT_UNAVAILABLE, "cuda"), "unavailable: no NVIDIA GPU: the driver finds none");
  setenv("FAKE_CUDA_FAIL", "cuInit=100", 1);
  EXPECT_EQ(refusal(path, DSRT_UNAVAILABLE, "cuda"), "unavailable: no NVIDIA GPU: cuInit: CUDA_ERROR_NO_DEVICE (as asked)");
  setenv("DS_CUDA_LIBRARY", "/nowhere/libcuda.so.1", 1);
  EXPECT_EQ(refusal(path, DSRT_UNAVAILABLE, "cuda").rfind("unavailable: no NVIDIA driver: /nowhere/libcuda.so.1: cannot open", 0), 0u)
      << dsrt_last_error();
  setenv("DS_CUDA_LIBRARY", "libc.so.6", 1);
  EXPECT_EQ(refusal(path, DSRT_UNAVAILABLE, "cuda"),
            "unavailable: the NVIDIA driver (libc.so.6) has no cuInit; a driver for CUDA 11.4 or later is needed");
}

TEST_F(CudaDevice, ADriverTooOldTakesPtxOrIsNamed) {
  Package package(Package::decoder), ptx(Package::decoder);
  package.addLaunches();
  ptx.addLaunches({"compute_80"});
  setenv("FAKE_CUDA_FAIL", "cuModuleLoadDataEx=222", 1);
  setenv("FAKE_CUDA_VERSION", "11080", 1);
  EXPECT_EQ(refusal(ptx.path(), DSRT_UNAVAILABLE), "unavailable: cuda:0 (Fake GPU): its driver for CUDA 11.8 does not take "
                                                   "code/compute_80.ptx: CUDA_ERROR_UNSUPPORTED_PTX_VERSION (as asked)");
  calls();
  refusal(package.path(), DSRT_UNAVAILABLE);
  std::string made = calls();
  EXPECT_EQ(count(made, "cuModuleLoadDataEx sm_90a"), 1);
  EXPECT_EQ(count(made, "cuModuleLoadDataEx compute_80"), 1);
}

TEST_F(CudaDevice, ModulesAreWhatTheTableSays) {
  auto text = [](const std::string &from, const std::string &to) {
    std::string launches = launchesText();
    return launches.replace(launches.find(from), from.size(), to);
  };
  const std::pair<std::string, std::string> cases[] = {
      {text("\"fold_tokens\"", "\"fold_nothing\""), "bad data: code/sm_90a.cubin: expects the kernel fold_nothing, found none"},
      {text("\"threads\": 32", "\"threads\": 512"),
       "bad data: code/sm_90a.cubin: fold_tokens runs with 256 threads at most, the launches have 512"},
      {text("\"shared_bytes\": 1024", "\"shared_bytes\": 200000"),
       "unavailable: cuda:0 (Fake GPU): hidden_states needs 200000 bytes of shared memory, a block has 102400"},
      {text("[\"i64\", 0]", "[\"batch\"]"), "bad data: code/sm_90a.cubin: fold_tokens: expects parameter 4 of 4 bytes, found 8"}};
  for (const auto &[launches, message] : cases) {
    Package package(Package::decoder);
    std::string both = launches;
    if (size_t at = both.rfind("[\"i64\", 0]"); message.find("parameter") != message.npos)
      both.replace(at, 10, "[\"batch\"]");
    package.addLaunches({"sm_90a", "compute_80"}, false, both);
    EXPECT_EQ(refusal(package.path(), message[0] == 'b' ? DSRT_BAD_DATA : DSRT_UNAVAILABLE), message);
  }
}

TEST_F(CudaDevice, OneChangedByteIsRefused) {
  Package package(Package::decoder);
  package.addLaunches();
  for (const char *name : {"code/launches.json", "code/sm_90a.cubin", "code/compute_80.ptx", "weights-00001.safetensors"}) {
    std::string good = readFile(package.file(name)), bad = good;
    bad[bad.size() / 2] ^= 1;
    writeFile(package.file(name), bad);
    EXPECT_NE(refusal(package.path(), DSRT_BAD_DATA).find(name), std::string::npos) << dsrt_last_error();
    writeFile(package.file(name), good);
  }
  EXPECT_EQ(count(calls(), "cuModuleLoadDataEx"), 0);
}

TEST_F(CudaDevice, OutOfMemoryIsToldWithNumbers) {
  Package package(Package::decoder);
  package.addLaunches();
  setenv("FAKE_CUDA_MEMORY", "1000", 1);
  EXPECT_EQ(refusal(package.path(), DSRT_UNAVAILABLE),
            "out of memory: cuda:0 (Fake GPU): the arena needs 4096 bytes, 744 of 1000 are free");
  EXPECT_EQ(bytes(), 0u);
  unsetenv("FAKE_CUDA_MEMORY");
  Loaded loaded(package.path());
  ASSERT_EQ(loaded.status, DSRT_OK);
  setenv("FAKE_CUDA_MEMORY", std::to_string(bytes() + 300).c_str(), 1);
  dsrt_session *session = nullptr;
  EXPECT_EQ(dsrt_session_create(loaded.model, 2, &session), DSRT_UNAVAILABLE);
  EXPECT_NE(std::string(dsrt_last_error()).find("the cache of a sequence needs 192 bytes"), std::string::npos) << dsrt_last_error();
}

TEST_F(CudaDevice, ALostDeviceSaysSoFromThenOn) {
  Package package(Package::decoder);
  package.addLaunches();
  {
    Loaded loaded(package.path());
    ASSERT_EQ(loaded.status, DSRT_OK);
    setenv("FAKE_CUDA_FAIL", "cuGraphLaunch=700", 1);
    std::vector<int32_t> ids = {1, 2};
    std::vector<float> out(2 * vocab);
    dsrt_batch batch = batchOf(1, ids);
    const std::string message = "internal: cuda:0 (Fake GPU) is lost: cuGraphLaunch: CUDA_ERROR_ILLEGAL_ADDRESS (as asked)";
    EXPECT_EQ(dsrt_forward(loaded.model, &batch, "logits", out.data(), out.size()), DSRT_INTERNAL);
    EXPECT_EQ(dsrt_last_error(), message);
    unsetenv("FAKE_CUDA_FAIL");
    EXPECT_EQ(dsrt_forward(loaded.model, &batch, "logits", out.data(), out.size()), DSRT_INTERNAL);
    EXPECT_EQ(dsrt_last_error(), message);
  }
  Loaded again(package.path());
  EXPECT_EQ(greedy(again.model, {1, 2}, 3), expectedGreedy({1, 2}, 3));
}

TEST_F(CudaDevice, WorkThatDoesNotEndIsGivenUp) {
  Package package(Package::decoder);
  package.addLaunches();
  setenv("DS_CUDA_TIMEOUT", "1", 1);
  Loaded loaded(package.path());
  ASSERT_EQ(loaded.status, DSRT_OK);
  setenv("FAKE_CUDA_HANG", "1", 1);
  std::vector<int32_t> ids = {1, 2};
  std::vector<float> out(2 * vocab);
  dsrt_batch batch = batchOf(1, ids);
  EXPECT_EQ(dsrt_forward(loaded.model, &batch, "logits", out.data(), out.size()), DSRT_INTERNAL);
  EXPECT_STREQ(dsrt_last_error(), "internal: cuda:0 (Fake GPU) is lost: kernels did not end within 1 s (DS_CUDA_TIMEOUT)");
  setenv("DS_CUDA_TIMEOUT", "soon", 1);
  EXPECT_EQ(refusal(package.path(), DSRT_INVALID_ARGUMENT), "invalid argument: DS_CUDA_TIMEOUT: expects seconds, at least 1, got 'soon'");
}

TEST_F(CudaDevice, OnlySoManyGraphsAreKept) {
  Package package(Package::decoder);
  package.addLaunches();
  Loaded loaded(package.path());
  ASSERT_EQ(loaded.status, DSRT_OK);
  calls();
  // Every shape of prefill with both outputs: more than are kept.
  int steps = 0;
  for (int32_t tokens = 1; tokens <= 16; ++tokens)
    for (int32_t selected = 0; selected < std::min(tokens + 1, 6); ++selected) {
      std::vector<int32_t> ids(tokens, 3), positions(tokens, 0), past = {0}, rows(selected, 0);
      std::vector<float> out(tokens * hidden);
      dsrt_array inputs[] = {{"input_ids", ids.data(), ids.size()},
                             {"positions", positions.data(), positions.size()},
                             {"past", past.data(), 1},
                             {"rows", rows.data(), rows.size()}};
      dsrt_array wanted = {"hidden", out.data(), out.size()};
      ASSERT_EQ(dsrt_run_program(loaded.model, "prefill", 1, tokens, selected, inputs, 4, &wanted, 1), DSRT_OK) << dsrt_last_error();
      ++steps;
    }
  std::string made = calls();
  EXPECT_EQ(count(made, "cuGraphInstantiate"), steps);
  EXPECT_GE(steps - count(made, "cuGraphExecDestroy"), 1);
  EXPECT_LE(steps - count(made, "cuGraphExecDestroy"), 64);
}
