#include "runtime/lib/EmulatedDevice.h"
#include "runtime/lib/Emulator.h"
#include "runtime/lib/Package.h"
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <unordered_map>

using namespace dsrt;

namespace {

class EmulatedDevice final : public Device {
public:
  explicit EmulatedDevice(std::unique_ptr<Emulator> emulator) : emulator(std::move(emulator)) {}

  std::string level() const override { return "emulate"; }
  std::string arch() const override { return emulatedArch; }
  Status loadModule(const LaunchTable &table, const Package &package) override;
  Status allocate(int64_t bytes, std::string_view what, uint64_t &address) override;
  void release(uint64_t address) override;
  Status zero(uint64_t address, int64_t bytes) override;
  Status upload(uint64_t to, const void *from, int64_t bytes) override;
  Status download(void *to, uint64_t from, int64_t bytes) override;
  Status launch(const GpuLaunch &launch) override;
  Status openLibrary(std::string &why, int64_t &bytes) override;
  Status multiply(const GpuProduct &product) override;
  Status synchronize() override;

private:
  struct Kernel {
    DsEmulatedKernelFn function = nullptr;
    const char *params = nullptr;
  };
  Status chooseArch(const LaunchTable &table);
  Status findKernels(const LaunchTable &table, const std::string &place);

  std::unique_ptr<Emulator> emulator;
  Code code;
  const LaunchTable *launches = nullptr;
  std::vector<Kernel> kernels; // of the table
  std::unordered_map<uint64_t, Mapping> memory;
  std::string emulatedArch;
  bool isBehindProduct = false; // the next launch is
  Status lost;                  // ok until a launch fails
};

/// The architecture that DS_EMULATE_ARCH names, else the first one of the package.
Status EmulatedDevice::chooseArch(const LaunchTable &table) {
  const char *wanted = getenv("DS_EMULATE_ARCH");
  if (wanted && !*wanted)
    wanted = nullptr;
  for (const ModuleRecord &module : table.modules)
    if (module.target == ModuleTarget::cuda && (!wanted || module.arch == wanted)) {
      emulatedArch = module.arch;
      return Status();
    }
  if (wanted)
    return Status::invalidArgument("DS_EMULATE_ARCH: expects one of ", table.archs(ModuleTarget::cuda), ", found ", inQuotes(wanted));
  return Status();
}

Status EmulatedDevice::loadModule(const LaunchTable &table, const Package &package) {
  launches = &table;
  DSRT_TRY(chooseArch(table));
  const CpuLevel machine = machineCpuLevel();
  const ModuleRecord *best = nullptr;
  for (const ModuleRecord &module : table.modules)
    if (module.target == ModuleTarget::emulate && cpuLevelOf(module.arch).value_or(CpuLevel::none) <= machine)
      best = &module;
  if (!best)
    return Status::unavailable("emulate: ", package.path, " has code for ", table.archs(ModuleTarget::emulate), ", this machine is ",
                               nameOf(machine));
  const std::string place = concat(package.path, "/", best->file);
  DSRT_TRY(package.openCode(best->file, code));
  const auto *abi = static_cast<const int32_t *>(code.address(DS_EMULATE_ABI_SYMBOL));
  if (!abi || *abi != DS_EMULATE_ABI)
    return Status::badData(place, ": this runtime emulates abi ", DS_EMULATE_ABI, ", the code has ", abi ? concat("abi ", *abi) : "none");
  return findKernels(table, place);
}

Status EmulatedDevice::findKernels(const LaunchTable &table, const std::string &place) {
  const auto *opCount = static_cast<const int32_t *>(code.address(DS_EMULATE_OP_COUNT_SYMBOL));
  const auto *ops = static_cast<const DsEmulatedOp *>(code.address(DS_EMULATE_OPS_SYMBOL));
  const auto *texts = static_cast<const char *>(code.address(DS_EMULATE_OP_TEXTS_SYMBOL));
  if (!opCount || !ops || !texts)
    return Status::badData(place, ": expects the symbols of its ops, " DS_EMULATE_OP_COUNT_SYMBOL " and others");
  emulator->setOps(*opCount, ops, texts);
  for (const KernelRecord &record : table.kernels) {
    Kernel kernel;
    kernel.function = reinterpret_cast<DsEmulatedKernelFn>(code.address(DS_EMULATED_PREFIX + record.name));
    kernel.params = static_cast<const char *>(code.address(DS_EMULATE_PARAMS_PREFIX + record.name));
    if (!kernel.function || !kernel.params)
      return Status::badData(place, ": expects the symbols of kernel ", inQuotes(record.name), ", found none");
    kernels.push_back(kernel);
  }
  for (const LaunchProgram &program : table.programs)
    DSRT_TRY(program.eachLaunch([&](const LaunchRecord &launch) {
      if (launch.product)
        return Status();
      std::string given;
      for (const LaunchArg &arg : launch.args)
        given += static_cast<char>('0' + arg.bytes());
      if (given != kernels[launch.kernel].params)
        return Status::badData(place, ": kernel ", inQuotes(table.kernels[launch.kernel].name), " has parameters of ",
                               inQuotes(kernels[launch.kernel].params), " bytes, a launch of program ", inQuotes(program.name), " gives ",
                               inQuotes(given));
      return Status();
    }));
  return Status();
}

Status EmulatedDevice::allocate(int64_t bytes, std::string_view what, uint64_t &address) {
  Mapping mapping;
  DSRT_TRY(Mapping::anonymous(bytes, /*huge=*/false, mapping));
  address = reinterpret_cast<uint64_t>(mapping.data());
  emulator->addMemory(address, bytes, what);
  memory.emplace(address, std::move(mapping));
  return Status();
}

void EmulatedDevice::release(uint64_t address) {
  emulator->removeMemory(address);
  memory.erase(address);
}

Status EmulatedDevice::zero(uint64_t address, int64_t bytes) {
  memset(reinterpret_cast<void *>(address), 0, bytes);
  emulator->written(address, bytes);
  return lost;
}

Status EmulatedDevice::upload(uint64_t to, const void *from, int64_t bytes) {
  memcpy(reinterpret_cast<void *>(to), from, bytes);
  emulator->written(to, bytes);
  return lost;
}

Status EmulatedDevice::download(void *to, uint64_t from, int64_t bytes) {
  DSRT_TRY(synchronize());
  memcpy(to, reinterpret_cast<const void *>(from), bytes);
  return Status();
}

Status EmulatedDevice::launch(const GpuLaunch &launch) {
  DSRT_TRY(Status(lost));
  const KernelRecord &record = launches->kernels[launch.kernel];
  EmulatedLaunch emulated;
  emulated.kernel = record.name;
  emulated.function = kernels[launch.kernel].function;
  std::copy(std::begin(launch.grid), std::end(launch.grid), emulated.grid);
  emulated.threads = record.threads;
  emulated.sharedBytes = record.sharedBytes;
  emulated.args = launch.args;
  emulated.overlaps = !isBehindProduct;
  isBehindProduct = false;
  lost = emulator->launch(emulated);
  return lost;
}

/// The emulator computes products itself.
Status EmulatedDevice::openLibrary(std::string &why, int64_t &bytes) {
  why.clear();
  bytes = 0;
  return Status();
}

Status EmulatedDevice::multiply(const GpuProduct &product) {
  DSRT_TRY(Status(lost));
  isBehindProduct = true;
  lost = emulator->multiply(product);
  return lost;
}

Status EmulatedDevice::synchronize() {
  emulator->synchronized();
  return lost;
}

} // namespace

Status dsrt::makeEmulatedDevice(std::unique_ptr<Device> &device) {
  EmulatorOptions options;
  DSRT_TRY(EmulatorOptions::fromEnvironment(options));
  std::unique_ptr<Emulator> emulator;
  DSRT_TRY(Emulator::create(options, emulator));
  device = std::make_unique<EmulatedDevice>(std::move(emulator));
  return Status();
}
