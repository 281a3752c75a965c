// Runs kernels of the GPU that were compiled for the processor (dsrt/emulate.h) as a GPU runs them: blocks of threads that meet at barriers
// and trade values in warps. It looks for what a GPU would not tell: accesses outside of memory, threads that do not meet, races.
#ifndef DSRT_LIB_EMULATOR_H
#define DSRT_LIB_EMULATOR_H

#include "dsrt/emulate.h"
#include "runtime/lib/Device.h"
#include "runtime/lib/EmulatorMemory.h"
#include "runtime/lib/Status.h"
#include "runtime/lib/WorkerPool.h"
#include <memory>
#include <mutex>

namespace dsrt {

class EmulatorBlock;
class EmulatorGlobalRaces;

/// What is looked for besides threads that do not meet.
///   none    nothing
///   bounds  accesses outside of the device's or the block's memory, or that are not aligned
///   all     races between the threads of a launch too, and what touches memory of launches it has not waited for
enum class EmulatorChecks { none, bounds, all };

struct EmulatorOptions {
  EmulatorChecks checks = EmulatorChecks::bounds;
  /// 0: blocks and threads run in their order; another number stands for an order of its own, and for copies that arrive early.
  uint64_t seed = 0;
  /// Threads of the processor that share the blocks; with all checks it is one.
  int32_t workers = 1;

  /// As DS_EMULATE_CHECK and DS_EMULATE_SEED of the environment have it, for the CPUs of this process. Fails with invalid argument.
  static Status fromEnvironment(EmulatorOptions &options);
};

struct EmulatedLaunch {
  std::string_view kernel; // the name, for messages
  DsEmulatedKernelFn function = nullptr;
  uint32_t grid[3] = {1, 1, 1};
  int32_t threads = 32; // of a block: a multiple of 32, up to 1024
  int32_t sharedBytes = 0;
  const void *const *args = nullptr;
  bool overlaps = false; // it may begin before the launches before it have finished, and has to wait for them
};

class Emulator {
public:
  /// Fails with out of memory.
  static Status create(const EmulatorOptions &options, std::unique_ptr<Emulator> &emulator);
  ~Emulator();

  /// The ops of the code that will run: what its symbols DS_EMULATE_OP_COUNT_SYMBOL, DS_EMULATE_OPS_SYMBOL and DS_EMULATE_OP_TEXTS_SYMBOL
  /// have. They live as long as launches of the code.
  void setOps(int32_t count, const DsEmulatedOp *described, const char *texts);
  /// Memory that kernels may touch. `name` is for messages.
  void addMemory(uint64_t address, int64_t bytes, std::string_view name);
  void removeMemory(uint64_t address);
  /// Bytes that were written from outside: no launch is waited for to read them.
  void written(uint64_t address, int64_t bytes);
  /// What was launched so far has finished for whoever launches from now on.
  void synchronized();

  /// Runs a launch to its end. Fails with internal, naming the kernel, the block, the thread and the op that went wrong; memory is then as
  /// it was at that time.
  Status launch(const EmulatedLaunch &launch);

  /// Computes a product as a library would, between the launches before and those behind: it waits for all of those, and they for it where
  /// the next one does not overlap. Fails with internal when its matrices are not in memory or not aligned.
  Status multiply(const GpuProduct &product);

  const EmulatorOptions &options() const { return chosen; }
  const EmulatorMemory &memory() const { return allocations; }
  int32_t opCount() const { return static_cast<int32_t>(opTexts.size()); }
  const DsEmulatedOp &op(int32_t number) const { return ops[number]; }
  std::string_view opText(int32_t number) const { return opTexts[number]; }
  /// Null without all checks.
  EmulatorGlobalRaces *races() { return globalRaces.get(); }

private:
  explicit Emulator(const EmulatorOptions &options);

  EmulatorOptions chosen;
  EmulatorMemory allocations;
  const DsEmulatedOp *ops = nullptr;
  std::vector<std::string_view> opTexts;
  std::unique_ptr<EmulatorGlobalRaces> globalRaces;
  std::unique_ptr<WorkerPool> pool;
  std::vector<std::unique_ptr<EmulatorBlock>> blocks; // one a worker
  uint64_t launches = 0;
};

} // namespace dsrt
#endif // DSRT_LIB_EMULATOR_H
