// A loaded model: its package, its threads, its working memory, and how one step of a program is run.
#ifndef DSRT_LIB_MODEL_H
#define DSRT_LIB_MODEL_H

#include "runtime/lib/DeviceModel.h"
#include <mutex>

namespace dsrt {

struct Program {
  const ProgramRecord *record = nullptr;
  DsProgramFn function = nullptr; // of CPU code
  int32_t launches = 0;           // that it traces
};

/// The cache of a sequence, in this process's memory or on the model's device.
struct KvBlock {
  Mapping memory;
  uint64_t onDevice = 0;
  uint8_t *address() const { return onDevice ? reinterpret_cast<uint8_t *>(onDevice) : memory.data(); }
};

class Model {
public:
  /// Opens a package; called once, on a new model. Fails as dsrt_load does.
  Status load(const std::string &path, const dsrt_load_options &options);

  const Manifest &manifest() const { return package.manifest; }
  bool isDecoder() const { return manifest().model.task == Task::causalLm && !manifest().trains(); }
  /// The program of a name; null when the package has none.
  const Program *program(std::string_view name) const;
  /// The program whose outputs forward gives: encode or prefill; evaluate of a package that trains.
  const Program &forwardProgram() const { return *program(manifest().trains() ? "evaluate" : isDecoder() ? "prefill" : "encode"); }
  /// What training keeps from step to step, parameters first; empty in other packages.
  const Mapping &state() const { return stateMemory; }
  /// Fails with invalid argument in a process forked after the load, which has no workers. Asked before the lock, which another thread may
  /// have held when the process was forked.
  Status checkProcess() const;
  /// Runs a step. Fails with out of memory (the arena) and internal (sizes beyond the program's), and as `checkProcess`.
  Status run(const Program &program, const StepArrays &arrays);

  /// True where a step of prefill or decode chooses its tokens itself (StepArrays::sampling): on a device, by a package that has it.
  bool choosesTokens() const;

  /// A cache block, `kvBytes` long; given back with releaseKv. Fails with out of memory.
  Status acquireKv(KvBlock &block);
  void releaseKv(KvBlock block);
  /// Makes every byte of a block zero.
  Status clearKv(uint8_t *block);
  dsrt_memory memory() const;
  /// The code that runs, such as "x86-64-v3" or "sm_90a"; lives as long as the model.
  const std::string &level() const { return levelName; }
  const std::string &deviceText() const { return deviceName; }
  const std::string &deviceProduct() const { return productName; }
  /// What it does without though its package has it, in one line; empty: nothing.
  const std::string &note() const { return noteText; }

  Package package;
  std::unique_ptr<WorkerPool> pool;
  Trace trace;
  std::string profileText;   // of profile.json, once it was asked for
  std::string profileReport; // the last one
  mutable std::mutex mutex;  // held by every call of the C API that runs something

private:
  /// Parameters begin as the weights file has them, the rest as zeros.
  Status beginState();
  Status loadOnDevice(const DeviceName &device, bool skipHashes);

  std::vector<Program> programs;
  Mapping arena, stateMemory;
  std::unique_ptr<DeviceModel> onDevice; // null: programs run on the CPU
  std::string levelName, deviceName, productName, noteText;
  std::vector<KvBlock> freeKv;
  int64_t kvBlocks = 0; // in use and free
};

/// Cache blocks of a number of sequences, given back when it goes.
class KvBlocks {
public:
  explicit KvBlocks(Model &model) : model(model) {}
  ~KvBlocks();
  KvBlocks(const KvBlocks &) = delete;
  KvBlocks &operator=(const KvBlocks &) = delete;
  Status acquire(size_t count);
  uint8_t *operator[](size_t index) const { return blocks[index].address(); }

private:
  Model &model;
  std::vector<KvBlock> blocks;
};

} // namespace dsrt
#endif // DSRT_LIB_MODEL_H
