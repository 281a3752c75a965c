#include "runtime/lib/Emulator.h"
#include "runtime/lib/CpuBudget.h"
#include "runtime/lib/EmulatorBlock.h"
#include <cstdlib>

using namespace dsrt;

Status EmulatorOptions::fromEnvironment(EmulatorOptions &options) {
  if (const char *text = getenv("DS_EMULATE_CHECK"); text && *text) {
    const std::string_view name = text;
    if (name != "none" && name != "bounds" && name != "all")
      return Status::invalidArgument("DS_EMULATE_CHECK: expects none, bounds or all, found ", inQuotes(name));
    options.checks = name == "none" ? EmulatorChecks::none : name == "all" ? EmulatorChecks::all : EmulatorChecks::bounds;
  }
  if (const char *text = getenv("DS_EMULATE_SEED"); text && *text) {
    char *end = nullptr;
    options.seed = strtoull(text, &end, 10);
    if (*end != '\0' || *text == '-')
      return Status::invalidArgument("DS_EMULATE_SEED: expects a number from 0, found ", inQuotes(text));
  }
  return chooseThreads(0, options.workers);
}

Emulator::Emulator(const EmulatorOptions &options) : chosen(options) {}
Emulator::~Emulator() = default;

Status Emulator::create(const EmulatorOptions &options, std::unique_ptr<Emulator> &emulator) {
  emulator.reset(new Emulator(options));
  if (options.checks == EmulatorChecks::all) {
    emulator->chosen.workers = 1; // accesses have one order
    emulator->globalRaces = std::make_unique<EmulatorGlobalRaces>();
  }
  for (int32_t worker = 0; worker < emulator->chosen.workers; ++worker)
    emulator->blocks.push_back(std::make_unique<EmulatorBlock>(*emulator));
  return WorkerPool::create(emulator->chosen.workers, /*pin=*/-1, emulator->pool);
}

void Emulator::setOps(int32_t count, const DsEmulatedOp *described, const char *texts) {
  ops = described;
  opTexts.clear();
  for (int32_t i = 0; i < count; ++i) {
    opTexts.emplace_back(texts);
    texts += opTexts.back().size() + 1;
  }
}

void Emulator::addMemory(uint64_t address, int64_t bytes, std::string_view name) { allocations.add(address, bytes, name); }

void Emulator::removeMemory(uint64_t address) {
  if (const EmulatorMemory::Block *block = allocations.find(address, 1))
    written(address, static_cast<int64_t>(block->bytes));
  allocations.remove(address);
}

void Emulator::written(uint64_t address, int64_t bytes) {
  if (globalRaces)
    globalRaces->forget(address, bytes);
}

void Emulator::synchronized() {
  if (globalRaces)
    globalRaces->synchronized();
}

Status Emulator::launch(const EmulatedLaunch &launch) {
  if (launch.threads < 32 || launch.threads > EmulatorBlock::mostThreads || launch.threads % 32 != 0)
    return Status::internal("kernel '", launch.kernel, "': expects a multiple of 32 up to 1024 threads, found ", launch.threads);
  EmulatedRun run(launch);
  run.number = ++launches;
  run.blockCount = uint64_t(launch.grid[0]) * launch.grid[1] * launch.grid[2];
  if (run.blockCount > UINT32_MAX)
    return Status::internal("kernel '", launch.kernel, "': ", run.blockCount, " blocks are too many to emulate");
  if (chosen.seed) {
    uint64_t state = chosen.seed * 0x9E3779B97F4A7C15 + run.number;
    run.order.resize(run.blockCount);
    for (uint32_t i = 0; i < run.blockCount; ++i) { // Fisher and Yates, from the inside out
      state = state * 6364136223846793005 + 1442695040888963407;
      const uint32_t j = static_cast<uint32_t>((state >> 33) % (i + 1));
      run.order[i] = run.order[j];
      run.order[j] = i;
    }
  }
  if (globalRaces)
    globalRaces->launchBegins(run.number, run.blockCount);
  if (run.blockCount == 1 || !pool->usable()) {
    DSRT_TRY(blocks[0]->work(run));
  } else {
    Status status;
    pool->run([&](int32_t worker) {
      if (Status tried = blocks[worker]->work(run); !tried.ok()) {
        std::lock_guard lock(run.mutex);
        status = tried;
      }
    });
    DSRT_TRY(status);
  }
  return run.message.empty() ? Status() : Status::internal(run.message);
}
