#include "CompiledPlan.h"
#include "dialects/DSPlan/DSPlanDialect.h"
#include "ds/Target/CPU/CodeGen.h"
#include "mlir/Parser/Parser.h"
#include <barrier>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <sys/mman.h>
#include <thread>
#include <unistd.h>

using namespace ds;
using namespace ds::test;

GuardedBytes::GuardedBytes(size_t bytes) : bytes(bytes) {
  // An emulator may touch lanes that a masked load leaves out (qemu 7.2 does): it gets room for a few vectors.
  const size_t slack = std::getenv("DS_TEST_EMULATED") ? 256 : 0;
  const size_t page = 4096, room = (bytes + 63) / 64 * 64 + slack;
  mapped = (room + page - 1) / page * page + page;
  mapping = static_cast<uint8_t *>(mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  mprotect(mapping + mapped - page, page, PROT_NONE);
  data = mapping + mapped - page - room;
}

GuardedBytes::~GuardedBytes() { munmap(mapping, mapped); }

CompiledPlan::CompiledPlan(const std::string &text, const CpuLevel &level) {
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
  auto codes = compileForCpu(*module, level);
  if (!codes) {
    message = llvm::toString(codes.takeError());
    return;
  }
  const std::string &bytes = codes->front().bytes;
  // It stays open: what is opened by the name of a file is the same library for as long as one has the name.
  file = memfd_create("code", 0);
  if (write(file, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()))
    handle = dlopen(("/proc/self/fd/" + std::to_string(file)).c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle)
    message = dlerror();
}

CompiledPlan::CompiledPlan(CompiledPlan &&other) : handle(other.handle), file(other.file), message(std::move(other.message)) {
  other.handle = nullptr;
  other.file = -1;
}

CompiledPlan::~CompiledPlan() {
  if (handle)
    dlclose(handle);
  if (file >= 0)
    close(file);
}

void *CompiledPlan::symbol(const std::string &name) const { return dlsym(handle, name.c_str()); }

void CompiledPlan::run(const std::string &program, const StepData &data, int32_t threads) const {
  std::barrier<> meeting(threads);
  DsStep step{};
  step.abi = DS_ABI;
  step.batch = data.batch;
  step.tokens = data.tokens;
  step.rows = data.rows;
  step.inputs = data.inputs.data();
  step.outputs = data.outputs.data();
  step.kv = data.kv.data();
  step.weights = static_cast<const uint8_t *>(data.weights);
  step.arena = static_cast<uint8_t *>(data.arena);
  step.barrier = [](void *meeting, int32_t) { static_cast<std::barrier<> *>(meeting)->arrive_and_wait(); };
  step.barrier_context = &meeting;
  step.trace = data.trace;
  step.state = static_cast<uint8_t *>(data.state);
  auto function = reinterpret_cast<DsProgramFn>(symbol(DS_PROGRAM_PREFIX + program));
  std::vector<std::thread> others;
  for (int32_t thread = 1; thread < threads; ++thread)
    others.emplace_back(function, &step, thread, threads);
  function(&step, 0, threads);
  for (std::thread &other : others)
    other.join();
}

bool test::machineRuns(const CpuLevel &level) {
  if (level.name == "x86-64-v4-fp16")
    return __builtin_cpu_supports("x86-64-v4") && __builtin_cpu_supports("avx512fp16");
  if (level.name == "x86-64-v4-bf16" || level.name == "znver4")
    return __builtin_cpu_supports("x86-64-v4") && __builtin_cpu_supports("avx512bf16");
  if (level.name == "x86-64-v4-vnni")
    return __builtin_cpu_supports("x86-64-v4") && __builtin_cpu_supports("avx512vnni");
  if (level.name == "x86-64-v4")
    return __builtin_cpu_supports("x86-64-v4");
  if (level.name == "x86-64-v3")
    return __builtin_cpu_supports("x86-64-v3");
  return __builtin_cpu_supports("x86-64-v2");
}
