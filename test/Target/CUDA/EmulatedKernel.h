// Kernels written in a test, compiled for emulation and run.
#ifndef DS_TEST_TARGET_CUDA_EMULATEDKERNEL_H
#define DS_TEST_TARGET_CUDA_EMULATEDKERNEL_H

#include "ds/Target/CUDA/GpuEmitter.h"
#include "runtime/lib/Emulator.h"
#include <functional>
#include <memory>
#include <string>
#include <vector>

#define EXPECT_FOUND(message, part) EXPECT_NE((message).find(part), std::string::npos) << (message)

namespace ds::test {

/// The code of one kernel whose parameters are pointers.
class EmulatedKernel {
public:
  using Body = std::function<void(GpuEmitter &e, mlir::ValueRange pointers)>;

  /// Compiles `body` as the kernel @kernel. On failure `error()` says why.
  EmulatedKernel(unsigned pointers, const Body &body);
  ~EmulatedKernel();
  EmulatedKernel(const EmulatedKernel &) = delete;
  EmulatedKernel &operator=(const EmulatedKernel &) = delete;

  const std::string &error() const { return message; }
  explicit operator bool() const { return handle != nullptr; }
  /// The shared object.
  const std::string &code() const { return bytes; }

  /// Makes an emulator whose memory is what `pointers` of `run` have.
  struct Launch {
    uint32_t blocks[3] = {1, 1, 1};
    int32_t threads = 32, sharedBytes = 0;
    dsrt::EmulatorOptions options = {};
    bool overlaps = false;
  };
  struct Memory {
    void *data;
    size_t bytes;
  };
  /// The message of the launch; empty when all went well.
  std::string run(const Launch &launch, const std::vector<Memory> &memory) const;
  /// Fills a launch for an emulator that has the memory and the ops of this kernel already.
  void use(dsrt::Emulator &emulator) const;
  dsrt::Status launch(dsrt::Emulator &emulator, const Launch &launch, const std::vector<void *> &pointers) const;

private:
  void *handle = nullptr;
  int file = -1;
  std::string message, bytes;
};

/// One block.
inline EmulatedKernel::Launch launchWith(dsrt::EmulatorChecks checks, int32_t threads, int32_t sharedBytes, uint64_t seed = 0) {
  EmulatedKernel::Launch launch;
  launch.threads = threads;
  launch.sharedBytes = sharedBytes;
  launch.options.checks = checks;
  launch.options.seed = seed;
  return launch;
}

template <typename T> EmulatedKernel::Memory memoryOf(std::vector<T> &values) { return {values.data(), values.size() * sizeof(T)}; }

} // namespace ds::test
#endif // DS_TEST_TARGET_CUDA_EMULATEDKERNEL_H
