// Products of cuBLASLt in the steps of a package, with a driver and a library that are none.
#include "FakePackage.h"
#include <cstdlib>
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <regex>

using namespace fake;

namespace {
class CublasLt : public testing::Test {
protected:
  void SetUp() override {
    setenv("DS_CUDA_LIBRARY", FAKE_CUDA, 1);
    setenv("DS_CUBLASLT_LIBRARY", FAKE_CUBLASLT, 1);
    driver = dlopen(FAKE_CUDA, RTLD_NOW | RTLD_LOCAL);
    library = dlopen(FAKE_CUBLASLT, RTLD_NOW | RTLD_LOCAL);
    ASSERT_NE(driver, nullptr) << dlerror();
    ASSERT_NE(library, nullptr) << dlerror();
    driverCalls();
    libraryCalls();
    package.addLaunches({"sm_90a"}, false, libraryLaunchesText());
  }
  void TearDown() override {
    for (const char *name : {"DS_CUDA_LIBRARY", "DS_CUBLASLT_LIBRARY", "DS_CUBLASLT", "DS_CUDA_SCHEDULE", "FAKE_CUDA_MEMORY",
                             "FAKE_CUBLASLT_FAIL", "FAKE_CUBLASLT_NONE"})
      unsetenv(name);
    dlclose(library);
    dlclose(driver);
  }
  std::string driverCalls() { return reinterpret_cast<const char *(*)()>(dlsym(driver, "fakeCudaCalls"))(); }
  std::string libraryCalls() { return reinterpret_cast<const char *(*)()>(dlsym(library, "fakeCublasLtCalls"))(); }
  int live() { return reinterpret_cast<int (*)()>(dlsym(library, "fakeCublasLtLive"))(); }
  size_t bytes() { return reinterpret_cast<size_t (*)()>(dlsym(driver, "fakeCudaBytes"))(); }
  static int count(const std::string &text, const std::string &line) {
    std::regex expression("(^|\n)" + line);
    return static_cast<int>(std::distance(std::sregex_iterator(text.begin(), text.end(), expression), std::sregex_iterator()));
  }
  static std::string noteOf(const Loaded &loaded) {
    dsrt_info info = {};
    info.size = sizeof(info);
    return dsrt_get_info(loaded.model, &info) == DSRT_OK ? info.note : "no model";
  }
  /// A prompt and two tokens behind it.
  static dsrt_status generate(const Loaded &loaded, const std::vector<int32_t> &prompt, std::vector<int32_t> &made) {
    dsrt_batch batch = batchOf(1, prompt);
    dsrt_generation generation;
    dsrt_generation_init(&generation);
    generation.max_new_tokens = 3;
    std::vector<int32_t> lengths(1);
    made.assign(3, -1);
    return dsrt_generate(loaded.model, &batch, &generation, nullptr, nullptr, made.data(), lengths.data(), nullptr);
  }
  static void expectTokens(const Loaded &loaded, const std::vector<int32_t> &prompt) {
    std::vector<int32_t> made;
    ASSERT_EQ(generate(loaded, prompt, made), DSRT_OK) << dsrt_last_error();
    EXPECT_EQ(made, expectedGreedy(prompt, 3));
  }
  /// The model runs without the library, and says so.
  void expectNone(const std::string &why) {
    Loaded loaded(package.path());
    ASSERT_EQ(loaded.status, DSRT_OK) << dsrt_last_error();
    EXPECT_EQ(noteOf(loaded), "without cuBLASLt, as " + why + ": the package's own kernels compute products of many rows");
    driverCalls();
    libraryCalls();
    expectTokens(loaded, {1, 2, 3});
    const std::string made = driverCalls();
    EXPECT_EQ(count(made, "overlapping own_product"), 1) << made;
    EXPECT_EQ(count(made, "[a-z]+ (prepare|finish)_product"), 0);
    EXPECT_EQ(count(libraryCalls(), "cublasLtMatmul"), 0);
  }

  void *driver = nullptr, *library = nullptr;
  Package package{Package::decoder};
};
} // namespace

/// The kernels around a product abort where its sums are wrong.
TEST_F(CublasLt, MultipliesInGraphs) {
  {
    Loaded loaded(package.path());
    ASSERT_EQ(loaded.status, DSRT_OK) << dsrt_last_error();
    EXPECT_EQ(noteOf(loaded), "");
    dsrt_memory memory = {};
    memory.size = sizeof(memory);
    ASSERT_EQ(dsrt_get_memory(loaded.model, &memory), DSRT_OK);
    EXPECT_GT(memory.device, 32 << 20);
    EXPECT_EQ(static_cast<size_t>(memory.device), bytes());
    driverCalls();
    expectTokens(loaded, {1, 2, 3});
    std::string first = driverCalls(), asked = libraryCalls();
    EXPECT_EQ(count(asked, "cublasLtMatmulAlgoGetHeuristic 3x16x32"), 1) << asked;
    EXPECT_EQ(count(asked, "cublasLtMatmul(?=\n)"), 2);
    EXPECT_EQ(count(first, "product at once"), 1) << "the library loads what it runs before it is recorded";
    EXPECT_EQ(count(first, "product captured"), 1);
    EXPECT_EQ(count(first, "cuGraphLaunch"), 3);
    // What comes behind the product waits for it as it would without programmatic launches.
    EXPECT_EQ(count(first, "overlapping prepare_product 1x1x1 32 0\nproduct captured\nlaunch finish_product"), 1) << first;
    EXPECT_EQ(count(first, "overlapping fold_tokens"), 2);
    EXPECT_EQ(count(first, "[a-z]+ own_product"), 0);
    expectTokens(loaded, {4, 5, 6});
    EXPECT_EQ(libraryCalls(), "") << "one graph for all";
    expectTokens(loaded, {4, 5, 6, 7});
    EXPECT_EQ(count(libraryCalls(), "cublasLtMatmulAlgoGetHeuristic 4x16x32"), 1);
    EXPECT_EQ(live(), 1 + 2 * 4) << "a handle, and for each of two sizes a description and three layouts";
  }
  EXPECT_EQ(live(), 0);
  EXPECT_EQ(bytes(), 0u);
}

TEST_F(CublasLt, MultipliesLaunchByLaunch) {
  setenv("DS_CUDA_SCHEDULE", "launches", 1);
  Loaded loaded(package.path());
  ASSERT_EQ(loaded.status, DSRT_OK) << dsrt_last_error();
  driverCalls();
  for (int i = 0; i < 2; ++i)
    expectTokens(loaded, {1, 2, 3});
  const std::string made = driverCalls();
  EXPECT_EQ(count(made, "launch prepare_product 1x1x1 32 0\nproduct at once\nlaunch finish_product"), 2) << made;
  EXPECT_EQ(count(libraryCalls(), "cublasLtMatmulAlgoGetHeuristic"), 1);
}

/// Its time is that of the launch whose stage it is.
TEST_F(CublasLt, IsTraced) {
  Loaded loaded(package.path());
  ASSERT_EQ(loaded.status, DSRT_OK) << dsrt_last_error();
  ASSERT_EQ(dsrt_trace_start(loaded.model, 10), DSRT_OK);
  driverCalls();
  expectTokens(loaded, {1, 2, 3});
  EXPECT_EQ(count(driverCalls(), "cuGraphLaunch"), 0);
  ASSERT_EQ(dsrt_trace_stop(loaded.model), DSRT_OK);
  dsrt_traced_step step = {};
  step.size = sizeof(step);
  ASSERT_EQ(dsrt_trace_get(loaded.model, 0, &step), DSRT_OK);
  EXPECT_STREQ(step.program, "prefill");
  ASSERT_EQ(step.launches, 3);
  EXPECT_EQ(step.times[1] - step.times[0], 4000) << "prepare, product, finish and fold_tokens";
}

TEST_F(CublasLt, SaysWhyThereIsNone) {
  setenv("DS_CUBLASLT", "off", 1);
  expectNone("DS_CUBLASLT is off");
  EXPECT_EQ(live(), 0);
  setenv("DS_CUBLASLT", "on", 1);
  setenv("DS_CUBLASLT_LIBRARY", "/nowhere/libcublasLt.so", 1);
  expectNone("there is no /nowhere/libcublasLt.so");
  setenv("DS_CUBLASLT_LIBRARY", FAKE_CUDA, 1);
  expectNone(std::string(FAKE_CUDA) + " has no cublasLtCreate");
  setenv("DS_CUBLASLT_LIBRARY", FAKE_CUBLASLT, 1);
  setenv("FAKE_CUBLASLT_FAIL", "cublasLtCreate=1", 1);
  expectNone(std::string(FAKE_CUBLASLT) + " does not start: cublasLtCreate: CUBLAS_STATUS_NOT_INITIALIZED");
}

TEST_F(CublasLt, NamesWhatFails) {
  {
    Loaded loaded(package.path());
    ASSERT_EQ(loaded.status, DSRT_OK) << dsrt_last_error();
    std::vector<int32_t> made;
    const std::string sizes = " for 3 rows, 16 columns and depth 32 in bf16", place = "internal: cuda:0 (Fake GPU): cuBLASLt: ";
    const struct {
      const char *fails, *message;
    } cases[] = {{"cublasLtMatmulDescCreate=3", "cublasLtMatmulDescCreate: CUBLAS_STATUS_ALLOC_FAILED"},
                 {"cublasLtMatrixLayoutCreate=7", "cublasLtMatrixLayoutCreate: CUBLAS_STATUS_INVALID_VALUE"},
                 {"cublasLtMatmulPreferenceCreate=3", "cublasLtMatmulPreferenceCreate: CUBLAS_STATUS_ALLOC_FAILED"},
                 {"cublasLtMatmulAlgoGetHeuristic=15", "cublasLtMatmulAlgoGetHeuristic: CUBLAS_STATUS_NOT_SUPPORTED"},
                 {"cublasLtMatmul=13", "cublasLtMatmul: CUBLAS_STATUS_EXECUTION_FAILED"},
                 {"cublasLtMatmul=99", "cublasLtMatmul: status 99"}};
    for (const auto &test : cases) {
      setenv("FAKE_CUBLASLT_FAIL", test.fails, 1);
      EXPECT_EQ(generate(loaded, {1, 2, 3}, made), DSRT_INTERNAL);
      EXPECT_EQ(dsrt_last_error(), place + test.message + sizes);
    }
    unsetenv("FAKE_CUBLASLT_FAIL");
    expectTokens(loaded, {1, 2, 3});
    setenv("FAKE_CUBLASLT_NONE", "1", 1);
    EXPECT_EQ(generate(loaded, {1, 2, 3, 4}, made), DSRT_INTERNAL);
    EXPECT_EQ(dsrt_last_error(),
              place + "cublasLtMatmulAlgoGetHeuristic: CUBLAS_STATUS_NOT_SUPPORTED for 4 rows, 16 columns and depth 32 in bf16");
  }
  EXPECT_EQ(live(), 0);
  setenv("FAKE_CUDA_MEMORY", "1000000", 1);
  Loaded full(package.path());
  EXPECT_EQ(full.status, DSRT_UNAVAILABLE);
  EXPECT_EQ(std::string(dsrt_last_error()).find("out of memory: cuda:0 (Fake GPU): the workspace of cuBLASLt needs 33554432 bytes, "), 0u)
      << dsrt_last_error();
  setenv("DS_CUBLASLT", "maybe", 1);
  Loaded wrong(package.path());
  EXPECT_EQ(wrong.status, DSRT_INVALID_ARGUMENT);
  EXPECT_STREQ(dsrt_last_error(), "invalid argument: DS_CUBLASLT: expects on or off, got 'maybe'");
}
