// Opening a package: whatever is wrong is found before code is opened.
#include "FakePackage.h"
#include "runtime/lib/CpuLevel.h"
#include <cstdlib>
#include <gtest/gtest.h>
#include <sys/stat.h>

using namespace fake;

/// Loads and returns the message; code must not have been opened.
static std::string refusal(const std::string &path, dsrt_status expected, const char *isa = nullptr) {
  unsetenv("DSRT_FAKE_OPENED");
  Loaded loaded(path, 2, isa);
  EXPECT_EQ(loaded.status, expected) << dsrt_last_error();
  EXPECT_EQ(loaded.model, nullptr);
  EXPECT_EQ(getenv("DSRT_FAKE_OPENED"), nullptr) << "code was opened";
  return dsrt_last_error();
}

static bool contains(const std::string &text, const std::string &part) { return text.find(part) != text.npos; }

TEST(Package, Opens) {
  Package package(Package::decoder);
  unsetenv("DSRT_FAKE_OPENED");
  Loaded loaded(package.path() + "/", 2);
  ASSERT_EQ(loaded.status, DSRT_OK) << dsrt_last_error();
  EXPECT_NE(getenv("DSRT_FAKE_OPENED"), nullptr);
  EXPECT_EQ(dsrt_manifest_json(loaded.model), package.manifest);
  dsrt_info info = {};
  info.size = sizeof(info);
  ASSERT_EQ(dsrt_get_info(loaded.model, &info), DSRT_OK);
  EXPECT_EQ(info.size, sizeof(info));
  EXPECT_STREQ(info.level, "x86-64-v2");
  EXPECT_STREQ(info.task, "causal-lm");
  EXPECT_EQ(info.context, context);
  EXPECT_EQ(info.threads, 2);
  EXPECT_EQ(info.path, package.path());
  // A caller that knows less of the structure gets less.
  dsrt_info old;
  std::fill_n(reinterpret_cast<char *>(&old), sizeof(old), 0x55);
  old.size = offsetof(dsrt_info, context);
  ASSERT_EQ(dsrt_get_info(loaded.model, &old), DSRT_OK);
  EXPECT_EQ(old.max_positions, maxPositions);
  EXPECT_EQ(old.context, 0x55555555);
}

TEST(Package, OneChangedByteIsRefused) {
  Package package(Package::decoder);
  for (const char *name : {"manifest.json", "manifest.sha256", "code/x86-64-v2.so", "tokenizer.json", "weights-00001.safetensors"}) {
    std::string good = readFile(package.file(name));
    for (size_t at : {size_t(0), good.size() / 3, good.size() / 2, good.size() - 1}) {
      std::string bad = good;
      bad[at] = static_cast<char>(bad[at] ^ 1);
      writeFile(package.file(name), bad);
      std::string message = refusal(package.path(), DSRT_BAD_DATA);
      EXPECT_TRUE(contains(message, std::string(name) == "manifest.sha256" ? "manifest.json" : name)) << message;
    }
    writeFile(package.file(name), good);
  }
  Loaded loaded(package.path());
  EXPECT_EQ(loaded.status, DSRT_OK) << dsrt_last_error();
}

/// Bytes 4096..8192 of the file are the CPU's, those behind the emulator's.
TEST(Package, EachDeviceChecksItsWeights) {
  Package package(Package::decoder);
  std::string launches = launchesText({"emulate"});
  const std::string version = "\"version\": 1", weights = package.file("weights-00001.safetensors");
  launches.replace(launches.find(version), version.size(),
                   R"("version": 2, "weights": {"offset": 4096, "bytes": 128}, "cache_bytes": 64, "profile": "tokenizer.json")");
  package.addLaunches({"emulate"}, true, launches);
  const std::string good = readFile(weights);
  auto messageWith = [&](size_t changed, const char *device) {
    std::string bad = good;
    bad[changed] = static_cast<char>(bad[changed] ^ 1);
    writeFile(weights, bad);
    Loaded loaded(package.path(), 1, nullptr, device);
    return loaded.status == DSRT_OK ? std::string() : std::string(dsrt_last_error());
  };
  EXPECT_EQ(messageWith(good.size() - 1, "cpu"), "");
  EXPECT_TRUE(contains(messageWith(4100, "cpu"), "bytes 4096..8192: expects xxh3"));
  EXPECT_TRUE(contains(messageWith(good.size() - 1, "emulate"), "bytes 8192..8320: expects xxh3"));
  // Then code is opened, which is none.
  EXPECT_TRUE(contains(messageWith(4100, "emulate"), "code/emulate.so"));
  EXPECT_TRUE(contains(messageWith(0, "emulate"), "bytes 0..4096: expects xxh3")); // the header is everybody's
}

TEST(Package, ShorterLongerOrMissingFilesAreRefused) {
  Package package(Package::encoder);
  for (const char *name : {"manifest.json", "manifest.sha256", "code/x86-64-v2.so", "tokenizer.json", "weights-00001.safetensors"}) {
    std::string good = readFile(package.file(name));
    for (const std::string &bad : {good.substr(0, good.size() - 1), good + "x", std::string()}) {
      writeFile(package.file(name), bad);
      refusal(package.path(), DSRT_BAD_DATA);
    }
    std::filesystem::remove(package.file(name));
    EXPECT_TRUE(contains(refusal(package.path(), DSRT_MISSING), name));
    ASSERT_EQ(mkfifo(package.file(name).c_str(), 0600), 0);
    EXPECT_TRUE(contains(refusal(package.path(), DSRT_BAD_DATA), "expects a regular file"));
    std::filesystem::remove(package.file(name));
    writeFile(package.file(name), good);
  }
  refusal(package.path() + "-not-there", DSRT_MISSING);
}

TEST(Package, AnotherVersionIsRefusedByName) {
  Package package(Package::decoder);
  package.replace("\"version\": 1", "\"version\": 2");
  EXPECT_TRUE(contains(refusal(package.path(), DSRT_BAD_DATA), "this runtime reads version 1, the package has version 2"));
}

TEST(Package, AManifestAMillionDeepIsRefused) {
  Package package(Package::decoder);
  package.rewrite(std::string(1000000, '['));
  EXPECT_TRUE(contains(refusal(package.path(), DSRT_BAD_DATA), "nested deeper than 64 levels"));
}

TEST(Package, AnotherAbiOrMissingProgramIsRefused) {
  Package package(Package::decoder);
  package.replace("\"abi\": 3", "\"abi\": 4");
  EXPECT_TRUE(contains(refusal(package.path(), DSRT_BAD_DATA), "the package has abi 4"));
}

TEST(Package, ALevelBeyondTheMachineIsRefused) {
  Package package(Package::decoder);
  package.replace("{\"level\": \"x86-64-v2\"", "{\"level\": \"x86-64-v4\"");
  std::string message = refusal(package.path(), DSRT_UNAVAILABLE, "x86-64-v2");
  EXPECT_EQ(message, "unavailable: " + package.path() + " has code for x86-64-v4; this machine runs x86-64-v2" +
                         (dsrt::machineCpuLevel() > dsrt::CpuLevel::v2 ? ", as it was asked to" : ""));
  setenv("DS_FORCE_ISA", "x86-64-v2", 1);
  refusal(package.path(), DSRT_UNAVAILABLE);
  setenv("DS_FORCE_ISA", "pentium", 1);
  EXPECT_EQ(refusal(package.path(), DSRT_INVALID_ARGUMENT),
            "invalid argument: DS_FORCE_ISA: expects x86-64-v2, x86-64-v3, x86-64-v4, x86-64-v4-vnni, x86-64-v4-bf16, "
            "znver4 or x86-64-v4-fp16, got 'pentium'");
  unsetenv("DS_FORCE_ISA");
}

TEST(Package, ManyModelsLiveSideBySide) {
  Package first(Package::decoder), second(Package::encoder);
  for (int round = 0; round < 5; ++round) {
    Loaded a(first.path()), b(second.path()), c(first.path(), 2);
    ASSERT_EQ(a.status, DSRT_OK) << dsrt_last_error();
    ASSERT_EQ(b.status, DSRT_OK) << dsrt_last_error();
    ASSERT_EQ(c.status, DSRT_OK) << dsrt_last_error();
    std::vector<int32_t> ids = {1, 2, 3};
    dsrt_batch batch = batchOf(1, ids);
    std::vector<float> x(3 * vocab), y(3 * vocab);
    EXPECT_EQ(dsrt_forward(a.model, &batch, "logits", x.data(), x.size()), DSRT_OK);
    EXPECT_EQ(dsrt_forward(c.model, &batch, "logits", y.data(), y.size()), DSRT_OK);
    EXPECT_EQ(x, y);
  }
}

TEST(Package, BadOptionsAreRefused) {
  Package package(Package::decoder);
  dsrt_model *model = nullptr;
  EXPECT_EQ(dsrt_load(nullptr, nullptr, &model), DSRT_INVALID_ARGUMENT);
  EXPECT_EQ(dsrt_load(package.path().c_str(), nullptr, nullptr), DSRT_INVALID_ARGUMENT);
  dsrt_load_options options;
  dsrt_load_options_init(&options);
  options.threads = -3;
  EXPECT_EQ(dsrt_load(package.path().c_str(), &options, &model), DSRT_INVALID_ARGUMENT);
  EXPECT_STREQ(dsrt_last_error(), "invalid argument: threads: expects 0..1024, got -3");
  options.threads = 1;
  options.skip_hashes = 1;
  std::string weights = readFile(package.file("weights-00001.safetensors"));
  weights[4100] = 1;
  writeFile(package.file("weights-00001.safetensors"), weights);
  EXPECT_EQ(dsrt_load(package.path().c_str(), &options, &model), DSRT_OK) << dsrt_last_error();
  dsrt_free(model);
  dsrt_free(nullptr);
  EXPECT_EQ(dsrt_session_length(nullptr, 0), -1);
  dsrt_session_free(nullptr);
}
