// What the executor asks of a device: sizes, grids and arguments of each launch, inputs, outputs, caches.
#include "runtime/lib/DeviceModel.h"
#include "FakePackage.h"
#include <algorithm>
#include <cstring>
#include <gtest/gtest.h>
#include <map>

using namespace dsrt;

namespace {
/// Memory of the process; launches are noted.
class NotingDevice final : public Device {
public:
  struct Noted {
    std::string kernel;
    std::vector<uint32_t> grid;
    std::vector<uint64_t> values;
    std::vector<size_t> bytes;
  };
  std::string level() const override { return "noting"; }
  Status loadModule(const LaunchTable &launches, const Package &) override {
    table = &launches;
    return Status();
  }
  Status allocate(int64_t bytes, std::string_view what, uint64_t &address) override {
    if (bytes > most)
      return Status::outOfMemory(what, " needs ", bytes, " bytes");
    std::vector<uint8_t> memory(bytes);
    address = reinterpret_cast<uint64_t>(memory.data());
    blocks[std::string(what)] = address;
    memories[address] = std::move(memory);
    return Status();
  }
  void release(uint64_t address) override { memories.erase(address); }
  Status zero(uint64_t address, int64_t bytes) override {
    std::memset(reinterpret_cast<void *>(address), 0, bytes);
    return Status();
  }
  Status upload(uint64_t to, const void *from, int64_t bytes) override {
    std::memcpy(reinterpret_cast<void *>(to), from, bytes);
    return Status();
  }
  Status download(void *to, uint64_t from, int64_t bytes) override {
    std::memcpy(to, reinterpret_cast<void *>(from), bytes);
    return Status();
  }
  Status launch(const GpuLaunch &launch) override {
    Noted &noted = launches.emplace_back();
    noted.kernel = table->kernels[launch.kernel].name;
    noted.grid.assign(launch.grid, launch.grid + 3);
    for (size_t i = 0; i < launch.argCount; ++i) {
      noted.values.push_back(0);
      std::memcpy(&noted.values.back(), launch.args[i], launch.argBytes[i]);
      noted.bytes.push_back(launch.argBytes[i]);
    }
    return Status();
  }
  Status openLibrary(std::string &why, int64_t &bytes) override {
    why = whyNoLibrary;
    bytes = why.empty() ? 1 << 10 : 0;
    return Status();
  }
  Status multiply(const GpuProduct &product) override {
    launches.emplace_back().kernel = "product";
    products.push_back(product);
    return Status();
  }
  Status synchronize() override { return Status(); }

  const LaunchTable *table = nullptr;
  std::string whyNoLibrary;
  std::vector<GpuProduct> products;
  std::vector<Noted> launches;
  std::map<std::string, uint64_t> blocks; // the last of each name
  std::map<uint64_t, std::vector<uint8_t>> memories;
  int64_t most = 1 << 20;
};

struct Executor {
  explicit Executor(bool isSampled = false) : Executor(fake::launchesText({"sm_90a", "compute_80"}, isSampled)) {}
  explicit Executor(const std::string &launches) : files(fake::Package::decoder) {
    files.addLaunches();
    EXPECT_TRUE(parseManifest(files.manifest, "m", package.manifest).ok());
    EXPECT_TRUE(parseLaunches(launches, "l", package.manifest, package.launches).ok());
    package.manifest.weightsBytes = 0; // nothing is mapped here
    auto made = std::make_unique<NotingDevice>();
    device = made.get();
    model = std::make_unique<DeviceModel>(std::move(made), package);
  }
  StepArrays step(int32_t batch, int32_t tokens, std::vector<int32_t> rows) const {
    StepArrays arrays;
    arrays.reset(batch, tokens, 2);
    for (int32_t i = 0; i < batch * tokens; ++i)
      arrays.of(InputKind::inputIds)[i] = 100 + i;
    for (int32_t i = 0; i < batch; ++i)
      arrays.kv.push_back(reinterpret_cast<uint8_t *>(0x1000ull * (i + 1)));
    arrays.of(InputKind::rows) = std::move(rows);
    return arrays;
  }
  fake::Package files;
  Package package;
  NotingDevice *device = nullptr;
  std::unique_ptr<DeviceModel> model;
  Trace trace;
};
} // namespace

TEST(DeviceModel, GivesEachLaunchItsArguments) {
  Executor executor;
  ASSERT_TRUE(executor.model->load().ok());
  std::vector<float> logits(3 * fake::vocab);
  StepArrays arrays = executor.step(2, 3, {2, 4, 5});
  arrays.outputs[1] = logits.data();
  Status status = executor.model->run(0, arrays, executor.trace);
  ASSERT_TRUE(status.ok()) << status.message();
  auto &launches = executor.device->launches;
  ASSERT_EQ(launches.size(), 2u); // nobody wants hidden; three rows call for logits_2
  EXPECT_EQ(launches[0].kernel, "fold_tokens");
  EXPECT_EQ(launches[0].grid, (std::vector<uint32_t>{2, 1, 1}));
  EXPECT_EQ(launches[0].bytes, (std::vector<size_t>{8, 8, 8, 8, 8, 8, 8, 4, 4}));
  EXPECT_EQ(launches[1].kernel, "logits_2");
  EXPECT_EQ(launches[1].grid, (std::vector<uint32_t>{2, 1, 1}));
  uint64_t inputs = executor.device->blocks["inputs"], arena = executor.device->blocks["the arena"];
  const std::vector<uint64_t> &values = launches[0].values;
  EXPECT_EQ(values[0], inputs + 256); // behind the caches
  EXPECT_EQ(values[1], inputs + 512);
  EXPECT_EQ(values[2], inputs + 768);
  EXPECT_EQ(values[3], inputs);
  EXPECT_EQ(values[4], 0u);
  EXPECT_EQ(values[5], arena + 256);
  EXPECT_EQ(values[6], executor.device->blocks["counters"] + 4);
  EXPECT_EQ(values[7], 2u);
  EXPECT_EQ(values[8], 3u);
  EXPECT_EQ(launches[1].values[1], inputs + 1024);
  EXPECT_EQ(launches[1].values[3], executor.device->blocks["the output logits"]);
  EXPECT_EQ(launches[1].values[4], 3u);
  EXPECT_EQ(reinterpret_cast<const uint64_t *>(inputs)[1], 0x2000u);
  EXPECT_EQ(reinterpret_cast<const int32_t *>(inputs + 256)[5], 105);
  EXPECT_EQ(reinterpret_cast<const int32_t *>(inputs + 1024)[1], 4);
  // Another program has counters of its own.
  launches.clear();
  ASSERT_TRUE(executor.model->run(1, executor.step(1, 1, {}), executor.trace).ok());
  ASSERT_EQ(launches.size(), 1u);
  EXPECT_EQ(launches[0].values[6], executor.device->blocks["counters"] + 256 + 4);
}

/// "noting" is the architecture of the device of these tests.
TEST(DeviceModel, LeavesOutKernelsOfOtherArchitectures) {
  for (const auto &[only, except, count] : {std::tuple("noting", "", 2u), {"sm_90a", "", 1u}, {"", "noting", 1u}, {"", "sm_90a", 2u}}) {
    Executor executor;
    executor.package.launches.kernels[0].only = only; // fold_tokens
    executor.package.launches.kernels[0].except = except;
    ASSERT_TRUE(executor.model->load().ok());
    std::vector<float> logits(3 * fake::vocab);
    StepArrays arrays = executor.step(2, 3, {2, 4, 5});
    arrays.outputs[1] = logits.data();
    ASSERT_TRUE(executor.model->run(0, arrays, executor.trace).ok());
    EXPECT_EQ(executor.device->launches.size(), count) << only << ", " << except;
    EXPECT_EQ(executor.device->launches.back().kernel, "logits_2");
  }
}

TEST(DeviceModel, MultipliesByALibraryWhereThereIsOne) {
  for (const char *why : {"", "it is away"}) {
    Executor executor(fake::libraryLaunchesText());
    executor.device->whyNoLibrary = why;
    ASSERT_TRUE(executor.model->load().ok());
    int64_t bytes = 0;
    for (const auto &[address, memory] : executor.device->memories)
      bytes += static_cast<int64_t>(memory.size());
    EXPECT_EQ(executor.model->memoryBytes(), bytes + (*why ? 0 : 1 << 10));
    EXPECT_EQ(executor.model->note(),
              *why ? "without cuBLASLt, as it is away: the package's own kernels compute products of many rows" : "");
    ASSERT_TRUE(executor.model->run(0, executor.step(2, 3, {}), executor.trace).ok());
    std::vector<std::string> kernels;
    for (const auto &launch : executor.device->launches)
      kernels.push_back(launch.kernel);
    if (*why) {
      EXPECT_EQ(kernels, (std::vector<std::string>{"own_product", "fold_tokens"}));
      continue;
    }
    EXPECT_EQ(kernels, (std::vector<std::string>{"prepare_product", "product", "finish_product", "fold_tokens"}));
    const GpuProduct &product = executor.device->products.at(0);
    const uint64_t arena = executor.device->blocks["the arena"];
    EXPECT_EQ(product.rows, 6);
    EXPECT_EQ(product.columns, 16);
    EXPECT_EQ(product.depth, 32);
    EXPECT_EQ(product.x, arena + 512);
    EXPECT_EQ(product.weights, arena + 3072);
    EXPECT_EQ(product.sums, arena + 16 * 128);
    executor.device->launches.clear();
    ASSERT_TRUE(executor.model->run(0, executor.step(1, 1, {}), executor.trace).ok());
    EXPECT_EQ(executor.device->launches.size(), 1u) << "one row has no product";
  }
}

TEST(DeviceModel, GivesSamplingWhatItReads) {
  Executor executor(true);
  ASSERT_TRUE(executor.model->load().ok());
  StepArrays arrays = executor.step(2, 3, {2, 5});
  const std::vector<int32_t> seen = {7, 8, 9};
  std::vector<int32_t> tokens(2, 55);
  DsSampleRow row = {};
  row.temperature = 0.5f;
  row.random = 77;
  row.penalty = 2;
  arrays.sampling.isGreedy = false;
  arrays.sampling.rows = {row, row};
  arrays.sampling.seen = {nullptr, &seen};
  arrays.sampling.tokens = tokens.data();
  Status status = executor.model->run(0, arrays, executor.trace);
  ASSERT_TRUE(status.ok()) << status.message();
  auto &launches = executor.device->launches;
  ASSERT_EQ(launches.size(), 4u); // logits for the device alone, the penalty, a random choice, none that is greedy
  EXPECT_EQ(launches[1].kernel, "logits_1");
  EXPECT_EQ(launches[2].kernel, "sample_penalty");
  EXPECT_EQ(launches[3].kernel, "sample_random");
  const std::vector<uint64_t> &values = launches[3].values;
  EXPECT_EQ(values[0], executor.device->blocks["the output logits"]);
  EXPECT_EQ(values[1], executor.device->blocks["inputs"] + 1280); // behind the caches and four inputs
  EXPECT_EQ(values[2], executor.device->blocks["chosen tokens"]);
  const auto *rows = reinterpret_cast<const DsSampleRow *>(values[1]);
  EXPECT_EQ(rows[1].random, 77u);
  EXPECT_EQ(rows[0].seen_count, 0);
  ASSERT_EQ(rows[1].seen_count, 3);
  EXPECT_EQ(reinterpret_cast<const int32_t *>(values[1])[rows[1].seen_begin + 2], 9);
  EXPECT_EQ(tokens, (std::vector<int32_t>{0, 0})) << "what the device has there";
  // Without rows nothing is chosen.
  launches.clear();
  ASSERT_TRUE(executor.model->run(0, executor.step(2, 3, {2, 5}), executor.trace).ok());
  EXPECT_EQ(launches.size(), 1u);
  arrays.sampling.rows.pop_back();
  EXPECT_EQ(executor.model->run(0, arrays, executor.trace).message(), "internal: prefill: sampling: expects 2 rows, 4 at most, got 1");
  Executor without;
  ASSERT_TRUE(without.model->load().ok());
  arrays.sampling.rows.push_back(row);
  EXPECT_EQ(without.model->run(0, arrays, without.trace).message(), "internal: prefill: tokens are wanted of a program that chooses none");
}

TEST(DeviceModel, OutputsGrowBeforeAnythingRuns) {
  Executor executor;
  ASSERT_TRUE(executor.model->load().ok());
  std::vector<float> hidden(16 * fake::hidden, -1);
  StepArrays arrays = executor.step(1, 1, {});
  arrays.outputs[0] = hidden.data();
  ASSERT_TRUE(executor.model->run(0, arrays, executor.trace).ok());
  int64_t before = executor.model->memoryBytes();
  executor.device->launches.clear();
  executor.device->most = 256;
  StepArrays larger = executor.step(1, 16, {0, 1, 2, 3});
  larger.outputs[0] = hidden.data();
  EXPECT_EQ(executor.model->run(0, larger, executor.trace).message(), "out of memory: the output logits needs 512 bytes");
  EXPECT_TRUE(executor.device->launches.empty());
  executor.device->most = 1 << 20;
  ASSERT_TRUE(executor.model->run(0, larger, executor.trace).ok());
  EXPECT_EQ(executor.model->memoryBytes(), before + 256);
  EXPECT_EQ(hidden[0], 0); // what the device has there: nothing wrote it
  EXPECT_EQ(hidden.back(), 0);
}

TEST(DeviceModel, RefusesWhatWouldReadBeyond) {
  Executor executor;
  ASSERT_TRUE(executor.model->load().ok());
  StepArrays arrays = executor.step(2, 1, {});
  arrays.kv.pop_back();
  EXPECT_EQ(executor.model->run(0, arrays, executor.trace).message(), "internal: prefill: expects 2 caches, got 1");
  arrays = executor.step(2, 1, {});
  arrays.of(InputKind::positions).pop_back();
  EXPECT_EQ(executor.model->run(0, arrays, executor.trace).message(), "internal: prefill: positions: expects 2 elements, got 1");
}
