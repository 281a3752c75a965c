// A loaded model: its package, its threads, its working memory, and how one step of a program is run.
#ifndef DSRT_LIB_MODEL_H
#define DSRT_LIB_MODEL_H

#include "runtime/lib/Package.h"
#include "runtime/lib/Trace.h"
#include <mutex>

namespace dsrt {

struct Program {
  const ProgramRecord *record = nullptr;
  DsProgramFn function = nullptr;
  int32_t launches = 0; // that it traces
};

/// The arrays of one step. Those that a program does not declare are ignored; the caller fills those it may declare.
struct StepArrays {
  int32_t batch = 0, tokens = 0;
  std::vector<int32_t> inputs[inputKindCount]; // by InputKind
  std::vector<uint8_t *> kv;                   // [batch], decoders
  std::vector<float *> outputs;                // by output of the program; null: not wanted

  std::vector<int32_t> &of(InputKind kind) { return inputs[static_cast<int>(kind)]; }
  const std::vector<int32_t> &of(InputKind kind) const { return inputs[static_cast<int>(kind)]; }
  /// Sizes for `batch` x `tokens`, all zero, no rows, no outputs.
  void reset(int32_t newBatch, int32_t newTokens, size_t outputCount);
};

class Model {
public:
  /// Opens a package; called once, on a new model. Fails as dsrt_load does.
  Status load(const std::string &path, const dsrt_load_options &options);

  const Manifest &manifest() const { return package.manifest; }
  bool isDecoder() const { return manifest().model.task == Task::causalLm; }
  /// The program of a name; null when the package has none.
  const Program *program(std::string_view name) const;
  /// The program whose outputs forward gives: encode or prefill.
  const Program &forwardProgram() const { return *program(isDecoder() ? "prefill" : "encode"); }
  /// Runs a step. Fails with out of memory (the arena) and internal (sizes beyond the program's; a forked process).
  Status run(const Program &program, const StepArrays &arrays);

  /// A cache block, `kvBytes` long; given back with releaseKv. Fails with out of memory.
  Status acquireKv(Mapping &block);
  void releaseKv(Mapping block);
  dsrt_memory memory() const;

  Package package;
  std::unique_ptr<WorkerPool> pool;
  Trace trace;
  std::string profileText;   // of profile.json, once it was asked for
  std::string profileReport; // the last one
  mutable std::mutex mutex;  // held by every call of the C API that runs something

private:
  std::vector<Program> programs;
  Mapping arena;
  std::vector<Mapping> freeKv;
  int64_t kvBytesInUse = 0;
};

/// Cache blocks of a number of sequences, given back when it goes.
class KvBlocks {
public:
  explicit KvBlocks(Model &model) : model(model) {}
  ~KvBlocks();
  KvBlocks(const KvBlocks &) = delete;
  KvBlocks &operator=(const KvBlocks &) = delete;
  Status acquire(size_t count);
  uint8_t *operator[](size_t index) const { return blocks[index].data(); }

private:
  Model &model;
  std::vector<Mapping> blocks;
};

} // namespace dsrt
#endif // DSRT_LIB_MODEL_H
