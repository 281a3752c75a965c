// Runs the programs of a launch table on a device: memory, inputs and outputs, the launches of a step or their recording.
#ifndef DSRT_LIB_DEVICEMODEL_H
#define DSRT_LIB_DEVICEMODEL_H

#include "runtime/lib/Device.h"
#include "runtime/lib/Package.h"
#include "runtime/lib/StepArrays.h"
#include "runtime/lib/Trace.h"
#include <list>

namespace dsrt {

class DeviceModel {
public:
  /// Opens the device of a name, which is not the CPU. Fails with unavailable, saying what is missing.
  static Status open(const DeviceName &name, const Package &package, std::unique_ptr<DeviceModel> &model);
  /// `package` lives as long as this.
  DeviceModel(std::unique_ptr<Device> device, const Package &package);

  /// Loads the module and the weights and takes the memory that all steps share. Called once, when the package has been checked.
  /// Fails as Device::loadModule, allocate and upload do.
  Status load();
  /// Runs a step whose sizes the caller has checked. Fails with out of memory (outputs, before anything runs) and internal.
  Status run(size_t program, const StepArrays &arrays, Trace &trace);

  Device &device() { return *target; }
  const Device &device() const { return *target; }
  int64_t arenaBytes() const { return arena.bytes; }
  /// What the model does without though its package has it, in one line; empty: nothing.
  const std::string &note() const { return lacking; }
  /// All that is allocated, but for caches.
  int64_t memoryBytes() const;

private:
  struct Memory {
    uint64_t address = 0;
    int64_t bytes = 0;
  };
  /// What a recording is good for.
  struct StepKey {
    size_t program = 0;
    int32_t batch = 0, tokens = 0, selected = 0;
    std::vector<bool> wanted;
    uint32_t parts = 0; // of sampling, a bit for each SamplePart; 0: no token is wanted
    bool operator==(const StepKey &other) const = default;
  };
  using Recordings = std::list<std::pair<StepKey, std::unique_ptr<Recording>>>;

  Status allocate(int64_t bytes, std::string_view what, Memory &memory);
  Status openLibrary();
  Status placeInputs(const ProgramRecord &record, const StepArrays &arrays);
  Status placeSampling(const ProgramRecord &record, const SampleArrays &sampling, size_t selected);
  Status placeOutputs(const ProgramRecord &record, const StepArrays &arrays);
  Status readOutputs(const ProgramRecord &record, const StepArrays &arrays);
  Status launchAll(const StepKey &key, std::vector<int32_t> *launched);
  /// Calls `visit(launch, grid)` with each launch that the step's sizes and the wanted outputs call for, those that choose tokens last,
  /// while it gives ok.
  template <typename Visit> Status eachLaunch(const StepKey &key, const Visit &visit) const;
  GpuProduct productOf(const StepKey &key, const ProductRecord &product) const;
  Status launchOne(const StepKey &key, const LaunchRecord &launch, const uint32_t blocks[3]);
  uint64_t addressOf(size_t program, const LaunchArg &arg) const;
  Status replay(const StepKey &key);
  Status runTraced(const StepKey &key, const StepArrays &arrays, Trace &trace, uint64_t *times);

  const Package &package;
  std::unique_ptr<Device> target;
  std::string arch;         // whose kernels run
  bool usesLibrary = false; // of products
  int64_t libraryBytes = 0;
  std::string lacking;
  Memory weights, arena, counters, inputs, chosen;
  std::vector<int64_t> countersOffsets;     // by program: what one leaves in its counters no other sees
  std::vector<bool> readsKv;                // by program
  std::vector<std::vector<Memory>> outputs; // by program and output, as large as was needed so far
  std::vector<uint8_t> staging;             // of inputs: cache addresses, then each input, as it lies in `inputs`
  std::vector<int64_t> inputOffsets;        // of the step's inputs
  int64_t samplingOffset = 0;               // of how its tokens are chosen, behind them
  Recordings recordings;                    // the last used first
};

} // namespace dsrt
#endif // DSRT_LIB_DEVICEMODEL_H
