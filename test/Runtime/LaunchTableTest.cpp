// Every rule of launches.json, each by a change of a good one; what a record means for given sizes.
#include "runtime/lib/LaunchTable.h"
#include "FakePackage.h"
#include <gtest/gtest.h>

using namespace dsrt;

namespace {
/// The manifest of a decoder with launches.
Manifest deviceManifest() {
  fake::Package package(fake::Package::decoder);
  package.addLaunches({"sm_90a", "compute_80", "emulate"});
  Manifest manifest;
  EXPECT_TRUE(parseManifest(package.manifest, "m", manifest).ok());
  return manifest;
}
} // namespace

TEST(LaunchTable, NamesWhatIsWrong) {
  Manifest manifest = deviceManifest();
  const std::string good = fake::launchesText({"sm_90a", "compute_80", "emulate"});
  LaunchTable table;
  Status read = parseLaunches(good, "l", manifest, table);
  ASSERT_TRUE(read.ok()) << read.message();
  const struct {
    const char *from, *to, *message;
  } cases[] = {
      {"ds-launches", "other", "format: expects 'ds-launches', found 'other'"},
      {"\"version\": 1", "\"version\": 5", "version: this runtime reads versions 1 to 4, the file has version 5"},
      {"\"target\": \"cuda\"", "\"target\": \"rocm\"", "modules[0].target: expects cuda or emulate, found 'rocm'"},
      {"\"sm_90a\"", "\"sm_9a\"", "modules[0].arch: expects sm_90a, compute_80 or the like, found 'sm_9a'"},
      {"\"sm_90a\"", "\"sm_90b\"", "modules[0].arch: expects sm_90a, compute_80 or the like, found 'sm_90b'"},
      {"\"x86-64-v2\"", "\"sm_90a\"", "modules[2].arch: expects a CPU level such as x86-64-v3, found 'sm_90a'"},
      {"\"compute_80\"", "\"sm_90a\"", "modules[1].arch: sm_90a occurs twice"},
      {"code/sm_90a.cubin", "code/none", "modules[0].file: expects a name in the manifest's files with a sha256, found 'code/none'"},
      {"code/sm_90a.cubin", "weights-00001.safetensors",
       "modules[0].file: expects a name in the manifest's files with a sha256, found 'weights-00001.safetensors'"},
      {"\"fold_tokens\"", "\"fold tokens\"", "kernels[0].name: expects letters, digits, _, $ and ., found 'fold tokens'"},
      {"\"fold_tokens\"", "\"logits_1\"", "kernels: logits_1 occurs twice"},
      {"\"threads\": 32", "\"threads\": 0", "kernels[0].threads: expects an integer in 1..1024, found 0"},
      {"\"threads\": 32", "\"threads\": 2048", "kernels[0].threads: expects an integer in 1..1024, found 2048"},
      {"\"shared_bytes\": 1024", "\"shared_bytes\": 300000", "kernels[1].shared_bytes: expects an integer in 0..232448, found 300000"},
      {"\"name\": \"prefill\"", "\"name\": \"encode\"", "programs[0].name: expects a program of the manifest, found 'encode'"},
      {"\"name\": \"prefill\"", "\"name\": \"decode\"", "programs[1].name: decode occurs twice"},
      {"\"arena_bytes\": 4096", "\"arena_bytes\": 255", "programs[0].launches[0].args[5][1]: expects an integer in 0..255, found 256"},
      {"\"counters_bytes\": 64", "\"counters_bytes\": 3", "programs[0].launches[0].args[6][1]: expects an integer in 0..3, found 4"},
      {"\"kernel\": 0", "\"kernel\": 4", "programs[0].launches[0].kernel: expects an integer in 0..3, found 4"},
      {"\"launch\": 0", "\"launch\": -1", "programs[0].launches[0].launch: expects an integer in 0..1048575, found -1"},
      {"\"wants\": [0]", "\"wants\": [2]", "programs[0].launches[1].wants[0]: expects an output in 0..1, found 2"},
      {"[\"selected\", 1, 2]", "[\"rows\", 1, 2]",
       "programs[0].launches[2].when[0][0]: expects batch, tokens, token_rows or selected, found 'rows'"},
      {"[\"selected\", 1, 2]", "[\"selected\", 3, 2]",
       "programs[0].launches[2].when[0][2]: expects an integer in 3..9223372036854775807, found 2"},
      {"[\"selected\", 1, 2]", "[\"selected\", 1]", "programs[0].launches[2].when[0]: expects [size, least, most], found 2 elements"},
      {"[[1, [\"batch\", 1]], [1], [1]]", "[[1], [1]]", "programs[0].launches[0].grid: expects three dimensions, found 2 elements"},
      {"[[1, [\"batch\", 1]], [1], [1]]", "[[0], [1], [1]]",
       "programs[0].launches[0].grid[0][0]: expects an integer in 1..2147483647, found 0"},
      {"[\"batch\", 1]", "[\"batch\", 0]", "programs[0].launches[0].grid[0][1][1]: expects an integer in 1..2147483647, found 0"},
      {"[[1, [\"batch\", 1]], [1], [1]]", "[[1], [65536], [1]]",
       "programs[0].launches[0].grid[1]: expects at most 65535 blocks at max_batch 4 and max_rows 16, found 65536"},
      {"[[1, [\"batch\", 1]], [1], [1]]", "[[2000000000, [\"tokens\", 1], [\"tokens\", 1], [\"tokens\", 1]], [1], [1]]",
       "programs[0].launches[0].grid[0]: expects at most 2147483647 blocks at max_batch 4 and max_rows 16, found 8192000000000"},
      {"[[1, [\"batch\", 1]], [1], [1]]", "[[1], [9000, [\"batch\", 1], [\"tokens\", 2]], [1]]",
       "programs[0].launches[0].grid[1]: expects at most 65535 blocks at max_batch 4 and max_rows 16, found 81000"},
      {"[\"input\", 2]", "[\"input\", 4]", "programs[0].launches[0].args[2][1]: expects an integer in 0..3, found 4"},
      {"[\"output\", 0]", "[\"output\", 2]", "programs[0].launches[1].args[1][1]: expects an integer in 0..1, found 2"},
      {"[\"weights\", 0]", "[\"weights\", 129]", "programs[0].launches[2].args[2][1]: expects an integer in 0..128, found 129"},
      {"[\"kv\"]", "[\"kv\", 0]", "programs[0].launches[0].args[3]: expects [name], found 2 elements"},
      {"[\"tokens\"]", "[\"words\"]",
       "programs[0].launches[0].args[8][0]: expects arena, weights, input, output, kv, counters, i64, batch, tokens, token_rows or "
       "selected, "
       "found 'words'"},
      {"\"kernel\": 3", "\"kernel\": 1",
       "programs[0].launches[3].args: expects the parameters of another launch of hidden_states, ppi, found ppppi (p pointer, l i64, i "
       "i32)"},
  };
  for (const auto &test : cases) {
    std::string text = good;
    size_t at = text.find(test.from);
    ASSERT_NE(at, text.npos) << test.from;
    Status status = parseLaunches(text.replace(at, std::string(test.from).size(), test.to), "l", manifest, table);
    EXPECT_EQ(status.code(), DSRT_BAD_DATA) << test.message;
    EXPECT_EQ(status.message(), std::string("bad data: l: ") + test.message);
  }
  manifest.kvBytes = 0;
  EXPECT_EQ(parseLaunches(good, "l", manifest, table).message(),
            "bad data: l: programs[0].launches[0].args[3]: expects no kv in a package without a cache");
}

TEST(LaunchTable, PartOfADevice) {
  Manifest manifest = deviceManifest();
  const std::string version = "\"version\": 1";
  std::string good = fake::launchesText({"emulate"});
  good.replace(good.find(version), version.size(),
               R"("version": 2, "weights": {"offset": 4096, "bytes": 100}, "cache_bytes": 64, "profile": "tokenizer.json")");
  const int64_t room = manifest.file(manifest.weightsFile)->bytes - manifest.weightsOffset;
  ASSERT_GE(room, 4096 + 100);
  LaunchTable table;
  Status read = parseLaunches(good, "l", manifest, table);
  ASSERT_TRUE(read.ok()) << read.message();
  EXPECT_EQ(table.weightsOffset, manifest.weightsOffset + 4096);
  EXPECT_EQ(table.weightsBytes, 100);
  EXPECT_EQ(table.kvBytes, 64);
  EXPECT_EQ(table.profileFile, "tokenizer.json");
  const struct {
    const char *from, *to;
    std::string message;
  } cases[] = {
      {"\"weights\": {\"offset\": 4096, \"bytes\": 100}, ", "", "weights: expects an object, found nothing"},
      {"\"offset\": 4096", "\"offset\": 64", "weights.offset: expects a multiple of 4096, found 64"},
      {"\"offset\": 4096", "\"offset\": 8192", "weights.offset: expects an integer in 0.." + std::to_string(room) + ", found 8192"},
      {"\"bytes\": 100", "\"bytes\": 8000", "weights.bytes: expects an integer in 0.." + std::to_string(room - 4096) + ", found 8000"},
      {"\"bytes\": 100", "\"bytes\": 0", "programs[0].launches[2].args[2][1]: expects an integer in 0..0, found 4"},
      {"\"cache_bytes\": 64", "\"cache_bytes\": 0", "cache_bytes: expects an integer in 1..4398046511104, found 0"},
      {"tokenizer.json", "none.json", "profile: expects a name in the manifest's files with a sha256, found 'none.json'"},
      {"tokenizer.json", "weights-00001.safetensors",
       "profile: expects a name in the manifest's files with a sha256, found 'weights-00001.safetensors'"},
  };
  for (const auto &test : cases) {
    std::string text = good;
    size_t at = text.find(test.from);
    ASSERT_NE(at, text.npos) << test.from;
    text.replace(at, std::string(test.from).size(), test.to);
    for (size_t weight; (weight = text.find("[\"weights\", 0]")) != text.npos;)
      text.replace(weight, 14, "[\"weights\", 4]");
    EXPECT_EQ(parseLaunches(text, "l", manifest, table).message(), "bad data: l: " + test.message);
  }
}

TEST(LaunchTable, KernelsOfOneArchitecture) {
  Manifest manifest = deviceManifest();
  const std::string from = R"("threads": 32)", text = fake::launchesText({"sm_90a", "compute_80", "emulate"});
  LaunchTable table;
  auto read = [&](const std::string &key) {
    std::string changed = text;
    return parseLaunches(changed.replace(changed.find(from), from.size(), from + ", " + key), "l", manifest, table).message();
  };
  ASSERT_EQ(read(R"("only": "sm_90a")"), "");
  EXPECT_TRUE(table.kernels[0].isOn("sm_90a"));
  EXPECT_FALSE(table.kernels[0].isOn("compute_80") || table.kernels[0].isOn(""));
  ASSERT_EQ(read(R"("except": "sm_90a")"), "");
  EXPECT_FALSE(table.kernels[0].isOn("sm_90a"));
  EXPECT_TRUE(table.kernels[0].isOn("compute_80") && table.kernels[0].isOn(""));
  EXPECT_TRUE(table.kernels[1].isOn("sm_90a") && table.kernels[1].isOn("compute_80"));
  EXPECT_EQ(read(R"("only": "rocm")"), "bad data: l: kernels[0].only: expects sm_90a or the like, found 'rocm'");
  EXPECT_EQ(read(R"("only": "sm_90a", "except": "sm_80")"), "bad data: l: kernels[0].except: expects none beside only");
}

/// The arena has 4096 bytes, a step 16 rows.
TEST(LaunchTable, ProductsOfALibrary) {
  Manifest manifest = deviceManifest();
  const std::string good = fake::libraryLaunchesText();
  LaunchTable table;
  Status read = parseLaunches(good, "l", manifest, table);
  ASSERT_TRUE(read.ok()) << read.message();
  EXPECT_TRUE(table.hasProducts());
  const std::vector<LaunchRecord> &launches = table.programs[0].launches;
  EXPECT_EQ(launches[0].library, LibraryUse::with);
  EXPECT_FALSE(launches[0].product);
  ASSERT_TRUE(launches[1].product);
  EXPECT_EQ(launches[1].kernel, -1);
  EXPECT_EQ(launches[1].product->type, HalfType::bf16);
  EXPECT_EQ(launches[1].product->columns, 16);
  EXPECT_EQ(launches[1].product->depth, 32);
  EXPECT_EQ(launches[1].product->weights.at(16), 3072);
  EXPECT_EQ(launches[1].product->sums.at(1), 16 * 128);
  EXPECT_EQ(launches[1].product->sums.at(129), 16 * 256);
  EXPECT_EQ(launches[3].library, LibraryUse::without);
  EXPECT_EQ(launches[4].library, LibraryUse::any);
  const struct {
    const char *from, *to, *message;
  } cases[] = {
      {"\"type\": \"bf16\"", "\"type\": \"f32\"", "[1].product.type: expects bf16 or f16, found 'f32'"},
      {"\"columns\": 16", "\"columns\": 24", "[1].product.columns: expects a multiple of 16, found 24"},
      {"\"columns\": 16", "\"columns\": 0", "[1].product.columns: expects an integer in 1..16777216, found 0"},
      {"\"depth\": 32", "\"depth\": 8", "[1].product.depth: expects a multiple of 16, found 8"},
      {"\"x\": {\"offset\": 512", "\"x\": {\"offset\": 500", "[1].product.x.offset: expects a multiple of 256, found 500"},
      {"\"x\": {\"offset\": 512", "\"x\": {\"offset\": 4352", "[1].product.x.offset: expects an integer in 0..4096, found 4352"},
      {"\"x\": {", "\"y\": {", "[1].product.x: expects an object, found nothing"},
      {"\"bytes_per_row\": 16", "\"bytes_per_row\": 15", "[1].product.sums.bytes_per_row: expects a multiple of 2, found 15"},
      {"\"bytes_per_row\": 16", "\"bytes_per_row\": -2", "[1].product.sums.bytes_per_row: expects an integer in 0..1073741824, found -2"},
      {"\"x\": {\"offset\": 512", "\"x\": {\"offset\": 3328",
       "[1].product.x: expects to end within the 4096 bytes of the arena at 16 rows, found 4352"},
      {"\"weights\": {\"offset\": 3072", "\"weights\": {\"offset\": 3328",
       "[1].product.weights: expects to end within the 4096 bytes of the arena at 16 rows, found 4352"},
      {"\"bytes_per_row\": 16", "\"bytes_per_row\": 32",
       "[1].product.sums: expects to end within the 4096 bytes of the arena at 16 rows, found 5120"},
      {"\"library\": true", "\"library\": 1", "[0].library: expects a boolean, found 1"},
      {"16}}, \"library\": true", "16}}, \"library\": false", "[1].library: expects true beside a product"},
      {"16}}, \"library\": true", "16}}, \"kernel\": 0, \"library\": true", "[1].kernel: expects none beside a product"},
      {"{\"product\": {", "{\"product\": 1, \"was\": {", "[1].product: expects an object, found 1"},
  };
  for (const auto &test : cases) {
    std::string text = good;
    size_t at = text.find(test.from);
    ASSERT_NE(at, text.npos) << test.from;
    Status status = parseLaunches(text.replace(at, std::string(test.from).size(), test.to), "l", manifest, table);
    EXPECT_EQ(status.message(), std::string("bad data: l: programs[0].launches") + test.message);
  }
  // Versions before know of no product.
  std::string old = good;
  const std::string version = "\"version\": 4";
  Status status = parseLaunches(old.replace(old.find(version), version.size(), "\"version\": 3"), "l", manifest, table);
  EXPECT_EQ(status.message(), "bad data: l: programs[0].launches[1].kernel: expects an integer, found nothing");
}

TEST(LaunchTable, LaunchesThatChooseTokens) {
  Manifest manifest = deviceManifest();
  const std::string good = fake::launchesText({"sm_90a"}, true);
  LaunchTable table;
  Status read = parseLaunches(good, "l", manifest, table);
  ASSERT_TRUE(read.ok()) << read.message();
  EXPECT_EQ(table.programs[0].sampledOutput, 1);
  EXPECT_EQ(table.programs[0].launchCount, 3);
  ASSERT_EQ(table.programs[0].sampling.size(), 3u);
  EXPECT_EQ(table.programs[0].sampling[2].part, SamplePart::random);
  EXPECT_EQ(table.programs[0].sampling[2].args[2].kind, ArgKind::chosen);
  int32_t count = 0;
  EXPECT_TRUE(table.programs[1].eachLaunch([&](const LaunchRecord &) { return ++count, Status(); }).ok());
  EXPECT_EQ(count, 7);
  const struct {
    const char *from, *to, *message;
  } cases[] = {
      {"\"sampling\": {\"output\": 1", "\"sampling\": {\"output\": 2", "sampling.output: expects an integer in 0..1, found 2"},
      {"\"sampling\": {\"output\": 1", "\"sampling\": {\"output\": 0", "sampling.output: expects an output of rows, found 0"},
      {"\"part\": \"greedy\"", "\"part\": \"beam\"",
       "sampling.launches[1].part: expects greedy, random, top_k, top_p or penalty, found 'beam'"},
      {"[\"chosen\"]", "[\"chosen\", 1]", "sampling.launches[0].args[2]: expects [name], found 2 elements"},
      {"[\"kv\"]", "[\"chosen\"]", "launches[0].args[3]: expects chosen in launches that choose tokens alone"},
      {"[\"kv\"]", "[\"sampling\"]", "launches[0].args[3]: expects sampling in launches that choose tokens alone"},
  };
  for (const auto &test : cases) {
    std::string text = good;
    size_t at = text.find(test.from);
    ASSERT_NE(at, text.npos) << test.from;
    Status status = parseLaunches(text.replace(at, std::string(test.from).size(), test.to), "l", manifest, table);
    EXPECT_EQ(status.message(), std::string("bad data: l: programs[0].") + test.message);
  }
}

TEST(LaunchTable, CutAtEveryByte) {
  Manifest manifest = deviceManifest();
  const std::string good = fake::launchesText({"sm_90a", "compute_80", "emulate"});
  LaunchTable table;
  for (size_t length = 0; length + 2 < good.size(); ++length)
    EXPECT_EQ(parseLaunches(std::string_view(good).substr(0, length), "l", manifest, table).code(), DSRT_BAD_DATA) << length;
}

TEST(LaunchTable, KeepsWhatItReads) {
  Manifest manifest = deviceManifest();
  LaunchTable table;
  ASSERT_TRUE(parseLaunches(fake::launchesText({"sm_90a", "compute_80", "emulate"}), "l", manifest, table).ok());
  EXPECT_EQ(manifest.launchesFile, "code/launches.json");
  EXPECT_TRUE(manifest.code.empty());
  EXPECT_EQ(table.archs(ModuleTarget::cuda), "sm_90a, compute_80");
  EXPECT_EQ(table.modules[0].version, 90);
  EXPECT_TRUE(table.modules[0].thisArchOnly);
  EXPECT_TRUE(table.modules[1].isPtx);
  ASSERT_EQ(table.programs.size(), 2u);
  EXPECT_EQ(table.programs[1].name, "decode");
  EXPECT_EQ(table.programs[0].launchCount, 3);
  const LaunchRecord &fold = table.programs[0].launches[0];
  EXPECT_EQ(fold.args[4].kind, ArgKind::constant);
  EXPECT_EQ(fold.args[8].size, StepSize::tokens);
  EXPECT_EQ(fold.args[8].bytes(), 4u);
}

TEST(LaunchTable, SizesDecideWhatRuns) {
  LaunchRecord launch;
  launch.when = {{StepSize::selected, 2, 5}, {StepSize::tokens, 1, 8}};
  launch.grid[0] = {6, {{StepSize::tokenRows, 8}}};
  launch.grid[1] = {1, {{StepSize::selected, 1}, {StepSize::batch, 2}}};
  uint32_t blocks[3];
  ASSERT_TRUE(launch.runs(LaunchSizes(3, 7, 5), blocks));
  EXPECT_EQ(blocks[0], 18u); // 6 * ceil(21 / 8)
  EXPECT_EQ(blocks[1], 10u); // 5 * ceil(3 / 2)
  EXPECT_EQ(blocks[2], 1u);
  EXPECT_FALSE(launch.runs(LaunchSizes(3, 7, 6), blocks));
  EXPECT_FALSE(launch.runs(LaunchSizes(3, 7, 1), blocks));
  EXPECT_FALSE(launch.runs(LaunchSizes(1, 9, 3), blocks));
  launch.when.clear();
  EXPECT_FALSE(launch.runs(LaunchSizes(1, 1, 0), blocks)) << "a dimension is 0";
}
