// The device that the runtime makes of the emulator.
#include "runtime/lib/EmulatedDevice.h"
#include "../CPU/OneLaunch.h"
#include "EmulatedKernel.h"
#include "runtime/lib/Hash.h"
#include "runtime/lib/Package.h"
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <unistd.h>

using namespace ds;
using namespace ds::test;
using namespace dsrt;
using mlir::Value;
using mlir::ValueRange;

namespace {

/// A package of one kernel, out[i] = in[i] + i.
class EmulatedDevice : public testing::Test {
protected:
  void SetUp() override {
    unsetenv("DS_EMULATE_CHECK");
    unsetenv("DS_EMULATE_SEED");
    const EmulatedKernel kernel(2, [](GpuEmitter &e, ValueRange pointers) {
      e.gridWait();
      Value i = e.add(e.mul(e.block(), 32), e.thread());
      e.store(e.add(e.load(e.i32(), e.element(pointers[0], e.i32(), i)), i), e.element(pointers[1], e.i32(), i));
    });
    ASSERT_TRUE(kernel) << kernel.error();
    package.path = (std::filesystem::temp_directory_path() / ("ds-emulated-device-" + std::to_string(getpid()))).string();
    std::filesystem::create_directories(package.path);
    std::ofstream(package.path + "/emulate.so", std::ios::binary) << kernel.code();
    FileRecord &file = package.manifest.files.emplace_back();
    file.name = "emulate.so";
    file.bytes = static_cast<int64_t>(kernel.code().size());
    file.sha256 = sha256Hex(reinterpret_cast<const uint8_t *>(kernel.code().data()), file.bytes);
    table.modules.emplace_back();
    table.modules[0].target = ModuleTarget::emulate;
    table.modules[0].arch = "x86-64-v3";
    table.modules[0].file = "emulate.so";
    table.kernels.push_back({"kernel", 32, 0});
    LaunchProgram &program = table.programs.emplace_back();
    program.name = "run";
    program.launches.emplace_back().args.resize(2);
    ASSERT_TRUE(makeEmulatedDevice(device).ok());
  }
  void TearDown() override { std::filesystem::remove_all(package.path); }

  Status launch(uint64_t from, uint64_t to, uint32_t blocks) {
    const void *args[] = {&from, &to};
    const size_t bytes[] = {8, 8};
    GpuLaunch launch;
    launch.grid[0] = blocks;
    launch.args = args;
    launch.argBytes = bytes;
    launch.argCount = 2;
    return device->launch(launch);
  }

  Package package;
  LaunchTable table;
  std::unique_ptr<Device> device;
};

TEST_F(EmulatedDevice, runsLaunchesInOrder) {
  ASSERT_EQ(device->loadModule(table, package).message(), "");
  EXPECT_EQ(device->level(), "emulate");
  uint64_t a = 0, b = 0;
  ASSERT_TRUE(device->allocate(256, "a", a).ok());
  ASSERT_TRUE(device->allocate(256, "b", b).ok());
  std::vector<int32_t> in(64, 5), out(64);
  ASSERT_TRUE(device->upload(a, in.data(), 256).ok());
  ASSERT_EQ(launch(a, b, 2).message(), "");
  ASSERT_EQ(launch(b, a, 2).message(), "");
  ASSERT_TRUE(device->synchronize().ok());
  ASSERT_TRUE(device->download(out.data(), a, 256).ok());
  for (int32_t i = 0; i < 64; ++i)
    EXPECT_EQ(out[i], 5 + 2 * i);
  ASSERT_TRUE(device->zero(a, 128).ok());
  ASSERT_TRUE(device->download(out.data(), a, 256).ok());
  EXPECT_EQ(out[31], 0);
  EXPECT_EQ(out[32], 69);
  device->release(b);
  Status freed = launch(a, b, 1);
  EXPECT_FOUND(freed.message(), "internal: kernel 'kernel', block (0, 0, 0), thread 0, 'llvm.store ");
  // From then on it is lost.
  EXPECT_EQ(launch(a, a, 1).message(), freed.message());
  EXPECT_EQ(device->synchronize().message(), freed.message());
}

TEST_F(EmulatedDevice, namesTheMemoryThatIsLeft) {
  ASSERT_EQ(device->loadModule(table, package).message(), "");
  uint64_t a = 0;
  ASSERT_TRUE(device->allocate(300, "the arena", a).ok());
  EXPECT_FOUND(launch(a, a, 3).message(), "thread 11, ");
  EXPECT_FOUND(device->synchronize().message(), "reads 4 bytes 0 bytes behind the end of 'the arena' of 300 bytes");
}

/// A product stands between launches; the one behind it may read its sums at once.
TEST_F(EmulatedDevice, multipliesAsALibrary) {
  ASSERT_EQ(device->loadModule(table, package).message(), "");
  std::string why = "not asked yet";
  int64_t bytes = 1;
  ASSERT_TRUE(device->openLibrary(why, bytes).ok());
  EXPECT_EQ(why, "");
  EXPECT_EQ(bytes, 0);
  constexpr int64_t rows = 3, columns = 16, depth = 32;
  for (HalfType type : {HalfType::bf16, HalfType::f16}) {
    GpuProduct product{type, rows, columns, depth, 0, 0, 0};
    ASSERT_TRUE(device->allocate(rows * depth * 2, "x", product.x).ok());
    ASSERT_TRUE(device->allocate(columns * depth * 2, "weights", product.weights).ok());
    ASSERT_TRUE(device->allocate(rows * columns * 4, "sums", product.sums).ok());
    std::vector<uint16_t> x(rows * depth), weights(columns * depth);
    std::vector<double> expected(rows * columns);
    // In f16 numbers below 2^-14 too.
    const double unit = type == HalfType::f16 ? 0x1p-18 : 1;
    auto bitsOf = [&](double value) { return toBits(static_cast<float>(value), type == HalfType::f16); };
    auto ofX = [&](int64_t row, int64_t k) { return unit * static_cast<double>((row * 7 + k * 3) % 11 - 5); };
    auto ofWeights = [](int64_t column, int64_t k) { return static_cast<double>((column * 5 + k) % 13 - 6); };
    for (int64_t k = 0; k < depth; ++k) {
      for (int64_t row = 0; row < rows; ++row)
        x[row * depth + k] = bitsOf(ofX(row, k));
      for (int64_t column = 0; column < columns; ++column) {
        weights[column * depth + k] = bitsOf(ofWeights(column, k));
        for (int64_t row = 0; row < rows; ++row)
          expected[row * columns + column] += ofX(row, k) * ofWeights(column, k);
      }
    }
    ASSERT_TRUE(device->upload(product.x, x.data(), rows * depth * 2).ok());
    ASSERT_TRUE(device->upload(product.weights, weights.data(), columns * depth * 2).ok());
    ASSERT_TRUE(device->prepareProduct(product).ok());
    ASSERT_EQ(device->multiply(product).message(), "");
    std::vector<float> sums(rows * columns);
    ASSERT_TRUE(device->download(sums.data(), product.sums, rows * columns * 4).ok());
    for (int64_t i = 0; i < rows * columns; ++i)
      ASSERT_EQ(sums[i], expected[i]) << i;
    GpuProduct shifted = product, longer = product;
    shifted.x += 64;
    ++longer.rows;
    if (type == HalfType::bf16)
      continue;
    EXPECT_FOUND(device->multiply(longer).message(),
                 "internal: product of 4 rows, 16 columns and depth 32 in f16: reads x, 256 bytes, across the end of 'x' of 192 bytes");
    ASSERT_TRUE(makeEmulatedDevice(device).ok());
    EXPECT_FOUND(device->multiply(shifted).message(), "reads x, at an address that is no multiple of 256");
  }
}

/// It stands for the first GPU of the package, or for the one that is asked for.
TEST_F(EmulatedDevice, standsForAnArchitecture) {
  for (const char *arch : {"sm_90a", "compute_80"}) {
    table.modules.emplace_back();
    table.modules.back().arch = arch;
  }
  ASSERT_EQ(device->loadModule(table, package).message(), "");
  EXPECT_EQ(device->arch(), "sm_90a");
  setenv("DS_EMULATE_ARCH", "compute_80", 1);
  ASSERT_TRUE(makeEmulatedDevice(device).ok());
  ASSERT_EQ(device->loadModule(table, package).message(), "");
  EXPECT_EQ(device->arch(), "compute_80");
  setenv("DS_EMULATE_ARCH", "sm_80", 1);
  ASSERT_TRUE(makeEmulatedDevice(device).ok());
  EXPECT_FOUND(device->loadModule(table, package).message(), "DS_EMULATE_ARCH: expects one of sm_90a, compute_80, found 'sm_80'");
  unsetenv("DS_EMULATE_ARCH");
}

TEST_F(EmulatedDevice, refusesWhatDoesNotFit) {
  table.programs[0].launches[0].args[1] = {ArgKind::size, 0, StepSize::batch};
  EXPECT_FOUND(device->loadModule(table, package).message(),
               "kernel 'kernel' has parameters of '88' bytes, a launch of program 'run' gives '84'");
  ASSERT_TRUE(makeEmulatedDevice(device).ok());
  table.kernels[0].name = "other";
  EXPECT_FOUND(device->loadModule(table, package).message(), "expects the symbols of kernel 'other', found none");
  ASSERT_TRUE(makeEmulatedDevice(device).ok());
  table.modules[0].target = ModuleTarget::cuda;
  EXPECT_FOUND(device->loadModule(table, package).message(), "unavailable: emulate: ");
  ASSERT_TRUE(makeEmulatedDevice(device).ok());
  table.modules[0].target = ModuleTarget::emulate;
  package.manifest.files[0].sha256[0] ^= 1;
  EXPECT_FOUND(device->loadModule(table, package).message(), "bad data: ");
}

} // namespace
