// Compiles the text of a planned module and runs its programs.
#ifndef DS_TEST_TARGET_CPU_COMPILEDPLAN_H
#define DS_TEST_TARGET_CPU_COMPILEDPLAN_H

#include "ds/Target/CPU/Level.h"
#include "dsrt/package.h"
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace ds::test {

/// What a program works on; `step` is filled from it.
struct StepData {
  int32_t batch = 1, tokens = 1, rows = 0;
  std::vector<const int32_t *> inputs;
  std::vector<void *> outputs;
  std::vector<uint8_t *> kv;
  const void *weights = nullptr;
  void *arena = nullptr;
  uint64_t *trace = nullptr;
  void *state = nullptr; // of storages `in` a part, at the offset they have; programs write it
};

/// Bytes that begin at a multiple of 64, followed by a page that must not be touched.
class GuardedBytes {
public:
  explicit GuardedBytes(size_t bytes);
  ~GuardedBytes();
  GuardedBytes(const GuardedBytes &) = delete;
  GuardedBytes &operator=(const GuardedBytes &) = delete;
  /// The first byte. Where 64 does not divide `bytes`, up to 63 bytes lie between the end and the page; some
  /// more with DS_TEST_EMULATED in the environment.
  template <typename T> T *as() const { return reinterpret_cast<T *>(data); }
  size_t size() const { return bytes; }

private:
  uint8_t *mapping = nullptr, *data = nullptr;
  size_t mapped = 0, bytes = 0;
};

/// The code of one level, opened.
class CompiledPlan {
public:
  /// Compiles `text` for `level`. On failure `error()` says why.
  CompiledPlan(const std::string &text, const CpuLevel &level);
  ~CompiledPlan();
  CompiledPlan(CompiledPlan &&other);

  const std::string &error() const { return message; }
  explicit operator bool() const { return handle != nullptr; }
  /// The address of an exported symbol, or null.
  void *symbol(const std::string &name) const;
  /// Runs `program` with `threads` threads; barriers wait for all of them.
  void run(const std::string &program, const StepData &data, int32_t threads) const;

private:
  void *handle = nullptr;
  int file = -1;
  std::string message;
};

/// Whether this machine runs the level.
bool machineRuns(const CpuLevel &level);

} // namespace ds::test
#endif // DS_TEST_TARGET_CPU_COMPILEDPLAN_H
