// The device that the runtime makes of the emulator.
#include "runtime/lib/EmulatedDevice.h"
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
