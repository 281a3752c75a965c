#include "EmulatedPlan.h"
#include "dialects/DSPlan/DSPlanDialect.h"
#include "ds/Target/CUDA/CodeGen.h"
#include "ds/Target/CUDA/Emulation.h"
#include "mlir/Parser/Parser.h"
#include "runtime/lib/Emulator.h"
#include "llvm/Support/raw_ostream.h"
#include <cstdlib>
#include <dlfcn.h>
#include <numeric>
#include <sys/mman.h>
#include <unistd.h>

using namespace ds;
using namespace ds::test;

/// What a package would say of the programs of `module`, so that the runtime's own reader checks the table.
static dsrt::Manifest manifestOf(mlir::ModuleOp module) {
  dsrt::Manifest manifest;
  manifest.weightsBytes = manifest.kvBytes = int64_t(1) << 40;
  manifest.files.emplace_back().name = "code";
  manifest.files.back().sha256 = "none";
  for (auto program : module.getOps<ds_plan::ProgramOp>()) {
    dsrt::ProgramRecord &record = manifest.programs.emplace_back();
    record.name = program.getSymName().str();
    record.maxBatch = static_cast<int32_t>(program.getMaxBatch());
    record.maxRows = static_cast<int32_t>(program.getMaxRows());
    for (auto input : program.getBody().getOps<ds_plan::InputOp>())
      record.inputs.resize(std::max<size_t>(record.inputs.size(), input.getIndex() + 1));
    for (auto output : program.getBody().getOps<ds_plan::OutputOp>()) {
      record.outputs.resize(std::max<size_t>(record.outputs.size(), output.getIndex() + 1));
      if (output.getRows() == ds_plan::Rows::selected)
        record.outputs[output.getIndex()].axes = dsrt::OutputAxes::rows;
    }
  }
  return manifest;
}

/// MLIR, PTX and what ptxas says, one file for each plan of the test that runs.
static void dump(const GpuKernels &kernels, const std::string &folder) {
  static int number = 0;
  std::string name = folder + "/" + testing::UnitTest::GetInstance()->current_test_info()->name() + "-" + std::to_string(number++);
  auto write = [&](const std::string &suffix, llvm::StringRef text) {
    std::error_code error;
    llvm::raw_fd_ostream(name + suffix, error) << text;
  };
  std::string text;
  llvm::raw_string_ostream(text) << *kernels.module;
  write(".mlir", text);
  GpuArch arch = llvm::cantFail(findGpuArch("sm_90a"));
  auto ptx = compileToPtx(kernels, arch);
  write(".ptx", ptx ? *ptx : llvm::toString(ptx.takeError()));
  std::string log;
  if (auto code = ptx ? assemblePtx(*ptx, arch, findPtxas(), &log) : llvm::Expected<std::string>(""))
    write(".cubin", *code);
  else
    log += llvm::toString(code.takeError());
  write(".log", log);
}

EmulatedPlan::EmulatedPlan(const std::string &text, const Change &change, const std::string &arch, int64_t libraryRows, Tuning *tuning)
    : arch(arch) {
  mlir::DialectRegistry registry;
  registry.insert<DSDialect, ds_plan::DSPlanDialect>();
  mlir::MLIRContext context(registry, mlir::MLIRContext::Threading::DISABLED);
  mlir::ScopedDiagnosticHandler handler(&context, [&](mlir::Diagnostic &diagnostic) {
    message += diagnostic.str() + "\n";
    return mlir::success();
  });
  auto module = mlir::parseSourceString<mlir::ModuleOp>(text, mlir::ParserConfig(&context));
  if (!module)
    return;
  std::vector<GpuArch> archs;
  if (!arch.empty())
    archs.push_back(llvm::cantFail(findGpuArch(arch)));
  auto kernels = emitGpuKernels(*module, archs, libraryRows, tuning);
  if (!kernels) {
    message = llvm::toString(kernels.takeError());
    return;
  }
  if (const char *folder = std::getenv("DS_TEST_DUMP"))
    dump(*kernels, folder);
  table = kernels->launches;
  told = kernels->notes;
  if (change)
    change(*kernels->module);
  auto code = compileForEmulation(*kernels->module);
  if (!code) {
    message += llvm::toString(code.takeError());
    return;
  }
  std::string launches = launchTable(*kernels, {{"emulate", "x86-64-v3", "code"}});
  if (dsrt::Status status = dsrt::parseLaunches(launches, "launches", manifestOf(*module), parsed); !status.ok()) {
    message = status.message();
    return;
  }
  // It stays open: what is opened by the name of a file is the same library for as long as one has the name.
  file = memfd_create("code", 0);
  if (write(file, code->data(), code->size()) == static_cast<ssize_t>(code->size()))
    handle = dlopen(("/proc/self/fd/" + std::to_string(file)).c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle)
    message = dlerror();
}

EmulatedPlan::EmulatedPlan(EmulatedPlan &&other)
    : handle(other.handle), file(other.file), message(std::move(other.message)), table(std::move(other.table)), arch(std::move(other.arch)),
      told(std::move(other.told)), parsed(std::move(other.parsed)) {
  other.handle = nullptr;
  other.file = -1;
}

EmulatedPlan::~EmulatedPlan() {
  if (handle)
    dlclose(handle);
  if (file >= 0)
    close(file);
}

namespace {
/// Values of the parameters of one launch.
class Arguments {
public:
  void add(const void *value, size_t bytes) { memcpy(&values.emplace_back(), value, bytes); }
  const void *const *list() {
    pointers.clear();
    for (const uint64_t &value : values)
      pointers.push_back(&value);
    return pointers.data();
  }

private:
  std::vector<uint64_t> values;
  std::vector<const void *> pointers;
};

/// Memory of a step that is not the caller's.
struct StepMemory {
  GuardedBytes arena, counters;
  std::vector<float *> kv;

  StepMemory(const dsrt::LaunchProgram &program, const EmulatedStep &step)
      : arena(llvm::alignTo(program.arenaBytes, 256)), counters(program.countersBytes) {
    memset(arena.as<void>(), 0xFF, arena.size()); // NaN, and -1
    for (std::span<float> block : step.kv)
      kv.push_back(block.data());
  }
};
} // namespace

static Arguments argumentsOf(const dsrt::LaunchRecord &launch, const EmulatedStep &step, const StepMemory &memory,
                             const dsrt::LaunchSizes &sizes) {
  Arguments arguments;
  for (const dsrt::LaunchArg &arg : launch.args) {
    auto pointer = [&](const void *base) { arguments.add(&base, sizeof base); };
    switch (arg.kind) {
    case dsrt::ArgKind::arena:
      pointer(memory.arena.as<uint8_t>() + arg.value);
      break;
    case dsrt::ArgKind::weights:
      pointer(step.weights.data() + arg.value);
      break;
    case dsrt::ArgKind::counters:
      pointer(memory.counters.as<uint8_t>() + arg.value);
      break;
    case dsrt::ArgKind::input:
      pointer(step.inputs[arg.value].data());
      break;
    case dsrt::ArgKind::output:
      pointer(step.outputs[arg.value].data());
      break;
    case dsrt::ArgKind::kv:
      pointer(memory.kv.data());
      break;
    case dsrt::ArgKind::sampling:
      pointer(step.sampling.data());
      break;
    case dsrt::ArgKind::chosen:
      pointer(step.chosen.data());
      break;
    case dsrt::ArgKind::constant:
      arguments.add(&arg.value, sizeof arg.value);
      break;
    case dsrt::ArgKind::size: {
      auto size = static_cast<int32_t>(sizes.of(arg.size));
      arguments.add(&size, sizeof size);
      break;
    }
    }
  }
  return arguments;
}

static dsrt::GpuProduct productOf(const dsrt::ProductRecord &product, const StepMemory &memory, const dsrt::LaunchSizes &sizes) {
  const int64_t rows = sizes.of(dsrt::StepSize::tokenRows);
  auto address = [&](const dsrt::ArenaPlace &place) { return reinterpret_cast<uint64_t>(memory.arena.as<uint8_t>() + place.at(rows)); };
  return {product.type, rows, product.columns, product.depth, address(product.x), address(product.weights), address(product.sums)};
}

std::string EmulatedPlan::runOnce(const EmulatedStep &step, uint64_t seed) const {
  const dsrt::LaunchProgram &program = parsed.programs.front();
  StepMemory memory(program, step);
  dsrt::EmulatorOptions options;
  options.checks = dsrt::EmulatorChecks::all;
  options.seed = seed;
  std::unique_ptr<dsrt::Emulator> emulator;
  if (dsrt::Status status = dsrt::Emulator::create(options, emulator); !status.ok())
    return status.message();
  emulator->setOps(*static_cast<const int32_t *>(dlsym(handle, DS_EMULATE_OP_COUNT_SYMBOL)),
                   static_cast<const DsEmulatedOp *>(dlsym(handle, DS_EMULATE_OPS_SYMBOL)),
                   static_cast<const char *>(dlsym(handle, DS_EMULATE_OP_TEXTS_SYMBOL)));
  auto add = [&](const void *begin, size_t bytes, const std::string &name) {
    if (bytes)
      emulator->addMemory(reinterpret_cast<uint64_t>(begin), static_cast<int64_t>(bytes), name);
  };
  add(memory.arena.as<void>(), program.arenaBytes, "arena");
  add(memory.counters.as<void>(), memory.counters.size(), "counters");
  add(memory.kv.data(), memory.kv.size() * sizeof(float *), "kv");
  add(step.weights.data(), step.weights.size(), "weights");
  for (size_t i = 0; i < step.inputs.size(); ++i)
    add(step.inputs[i].data(), step.inputs[i].size_bytes(), "input " + std::to_string(i));
  for (size_t i = 0; i < step.outputs.size(); ++i)
    add(step.outputs[i].data(), step.outputs[i].size_bytes(), "output " + std::to_string(i));
  for (size_t i = 0; i < step.kv.size(); ++i)
    add(step.kv[i].data(), step.kv[i].size_bytes(), "kv of sequence " + std::to_string(i));
  add(step.sampling.data(), step.sampling.size(), "sampling");
  add(step.chosen.data(), step.chosen.size_bytes(), "chosen");

  const dsrt::LaunchSizes sizes(step.batch, step.tokens, step.rows);
  bool isBehindProduct = false;
  dsrt::Status status = program.eachLaunch([&](const dsrt::LaunchRecord &launch) -> dsrt::Status {
    dsrt::EmulatedLaunch emulated;
    auto isUnwanted = [&](int32_t output) { return step.outputs[output].empty(); };
    const bool samples = &launch >= program.sampling.data() && &launch < program.sampling.data() + program.sampling.size();
    const bool isOfOthers = launch.library != dsrt::LibraryUse::any && (launch.library == dsrt::LibraryUse::with) != hasLibrary;
    if (std::any_of(launch.wants.begin(), launch.wants.end(), isUnwanted) || isOfOthers ||
        (!launch.product && !parsed.kernels[launch.kernel].isOn(arch)) || !launch.runs(sizes, emulated.grid) ||
        (samples && !(step.parts >> static_cast<int>(launch.part) & 1)))
      return dsrt::Status();
    if (launch.product) {
      isBehindProduct = true;
      ++products;
      return emulator->multiply(productOf(*launch.product, memory, sizes));
    }
    const dsrt::KernelRecord &kernel = parsed.kernels[launch.kernel];
    emulated.kernel = kernel.name;
    emulated.function = reinterpret_cast<DsEmulatedKernelFn>(dlsym(handle, (DS_EMULATED_PREFIX + kernel.name).c_str()));
    if (!emulated.function)
      return dsrt::Status::internal("no function of kernel ", kernel.name);
    emulated.threads = kernel.threads;
    emulated.sharedBytes = kernel.sharedBytes;
    Arguments arguments = argumentsOf(launch, step, memory, sizes);
    emulated.args = arguments.list();
    emulated.overlaps = !isBehindProduct; // also the first: a step before may be running
    isBehindProduct = false;
    return emulator->launch(emulated);
  });
  if (!status.ok())
    return status.message();
  for (size_t i = 0; i < memory.counters.size(); ++i)
    if (memory.counters.as<uint8_t>()[i])
      return "counter " + std::to_string(i / 4) + " is not 0 at the end";
  return "";
}

std::string EmulatedPlan::run(const EmulatedStep &step, size_t seedCount) const {
  std::vector<std::span<float>> written(step.outputs);
  written.insert(written.end(), step.kv.begin(), step.kv.end());
  written.push_back(step.chosen);
  auto contents = [&] {
    std::vector<std::vector<float>> copies;
    for (std::span<float> memory : written)
      copies.emplace_back(memory.begin(), memory.end());
    return copies;
  };
  auto sameBytes = [](const std::vector<float> &a, std::span<float> b) {
    return a.empty() || memcmp(a.data(), b.data(), b.size_bytes()) == 0;
  };
  std::vector<uint64_t> seeds(seedCount);
  std::iota(seeds.begin(), seeds.end(), 0);
  if (const char *seed = std::getenv("DS_EMULATE_SEED"))
    seeds = {std::strtoull(seed, nullptr, 10)};
  const auto before = contents();
  std::vector<std::vector<float>> first;
  for (uint64_t seed : seeds) {
    for (size_t i = 0; i < written.size(); ++i)
      std::copy(before[i].begin(), before[i].end(), written[i].begin());
    if (std::string what = runOnce(step, seed); !what.empty())
      return "seed " + std::to_string(seed) + ": " + what;
    if (first.empty())
      first = contents();
    for (size_t i = 0; i < written.size(); ++i)
      if (!sameBytes(first[i], written[i]))
        return "seed " + std::to_string(seed) + " gives other results than seed " + std::to_string(seeds[0]);
  }
  return "";
}
