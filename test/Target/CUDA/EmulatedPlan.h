// Compiles the text of a planned module for the GPU and runs its programs on the emulator, in several orders.
#ifndef DS_TEST_TARGET_CUDA_EMULATEDPLAN_H
#define DS_TEST_TARGET_CUDA_EMULATEDPLAN_H

#include "../CPU/OneLaunch.h"
#include "dsrt/emulate.h"
#include "mlir/IR/BuiltinOps.h"
#include "runtime/lib/LaunchTable.h"
#include <functional>
#include <span>

namespace ds {
struct Tuning;
}

namespace ds::test {

/// What a program works on. Memory is the device's: nothing else may be touched, and f32 and bytes begin at multiples of 64 at least.
struct EmulatedStep {
  int32_t batch = 1, tokens = 1, rows = 0;
  std::vector<std::span<int32_t>> inputs;
  std::vector<std::span<float>> outputs; // an empty one is not wanted
  std::vector<std::span<float>> kv;      // of each sequence
  std::span<uint8_t> weights;
  // Where tokens are chosen: DsSampleRow of each row and what they have seen, the tokens, and a bit for each dsrt::SamplePart.
  std::span<uint8_t> sampling;
  std::span<float> chosen; // i32
  uint32_t parts = 0;
};

inline std::span<float> all(const Floats &values) { return {values.as<float>(), static_cast<size_t>(values.count)}; }
inline std::span<uint8_t> bytesOf(const GuardedBytes &bytes) { return {bytes.as<uint8_t>(), bytes.size()}; }

/// The kernels of a plan, compiled for the emulator.
class EmulatedPlan {
public:
  /// What a test does to the kernels before they are compiled.
  using Change = std::function<void(mlir::ModuleOp)>;

  /// The kernels of a package for `arch` alone; empty: what every machine has. From `libraryRows` rows on (0: never) steps have products of
  /// cuBLASLt, which the emulator computes. `tuning` as emitGpuKernels has it. On failure `error()` says why.
  explicit EmulatedPlan(const std::string &text, const Change &change = {}, const std::string &arch = {}, int64_t libraryRows = 0,
                        Tuning *tuning = nullptr);
  ~EmulatedPlan();
  EmulatedPlan(EmulatedPlan &&other);

  explicit operator bool() const { return handle != nullptr; }
  const std::string &error() const { return message; }
  const std::vector<std::string> &notes() const { return told; }
  /// `kernels` and `programs` of code/launches.json.
  const std::string &launches() const { return table; }

  /// From now on cuBLASLt is not there.
  void closeLibrary() { hasLibrary = false; }
  /// Products of it in all runs so far.
  int64_t libraryProducts() const { return products; }

  /// Runs the plan's only program once for each of some seeds, with all checks, from what outputs and caches hold at first. They have to
  /// become the same each time. The arena is poisoned, and counters have to be 0 again. Returns what went wrong, or nothing.
  std::string run(const EmulatedStep &step, size_t seedCount = 5) const;

private:
  std::string runOnce(const EmulatedStep &step, uint64_t seed) const;

  void *handle = nullptr;
  int file = -1;
  std::string message, table, arch;
  std::vector<std::string> told;
  dsrt::LaunchTable parsed; // without modules
  bool hasLibrary = true;
  mutable int64_t products = 0;
};

} // namespace ds::test
#endif // DS_TEST_TARGET_CUDA_EMULATEDPLAN_H
