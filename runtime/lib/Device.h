// What the executor of a launch table (DeviceModel.h) needs of a device. Everything runs in the order it was asked for, on one stream.
#ifndef DSRT_LIB_DEVICE_H
#define DSRT_LIB_DEVICE_H

#include "runtime/lib/LaunchTable.h"
#include <memory>

namespace dsrt {

class Package;

/// One launch of a kernel of the table. `args` points to the value of each parameter in order, as cuLaunchKernel takes them: 8 bytes of a
/// pointer or an i64, 4 of an i32, as `argBytes` says. Both lists are the caller's and live until `launch` returns.
struct GpuLaunch {
  int32_t kernel = 0;           // of LaunchTable::kernels, which says threads and shared memory
  uint32_t grid[3] = {1, 1, 1}; // none is 0
  const void *const *args = nullptr;
  const size_t *argBytes = nullptr;
  size_t argCount = 0;
};

/// A product of a library (ProductRecord), with addresses.
struct GpuProduct {
  HalfType type = HalfType::bf16;
  int64_t rows = 0, columns = 0, depth = 0;
  uint64_t x = 0, weights = 0, sums = 0;
};

/// A sequence of launches that was recorded and can be run again.
class Recording {
public:
  virtual ~Recording();
};

/// Addresses are the device's own; 0 is none. What was allocated and not released goes with the device. Calls come from one thread at a
/// time, not always the same one. A device that is lost (a kernel that faulted) fails every call from then on.
class Device {
public:
  virtual ~Device();

  /// The architecture of the module that runs, such as "sm_90a", "compute_80" or "emulate"; after loadModule.
  virtual std::string level() const = 0;
  /// The architecture whose kernels run where kernels differ between them (KernelRecord::isOn).
  virtual std::string arch() const { return level(); }
  /// The product's name, such as "NVIDIA H200"; empty where there is none.
  virtual std::string product() const { return std::string(); }
  /// Takes the module of `table` that this device runs, from `package` (readSmallFile gives its checked bytes, openCode opens host code),
  /// and finds every kernel. Called once. Fails with unavailable when no module is for this device, saying what it is and what there is,
  /// and with bad data when a module is not what the table says. `table` lives as long as the device.
  virtual Status loadModule(const LaunchTable &table, const Package &package) = 0;

  /// Zeroed memory, aligned to 256. Fails with out of memory, with numbers; `what` names the memory.
  virtual Status allocate(int64_t bytes, std::string_view what, uint64_t &address) = 0;
  virtual void release(uint64_t address) = 0;
  virtual Status zero(uint64_t address, int64_t bytes) = 0;
  /// The bytes at `from` may change once this returns.
  virtual Status upload(uint64_t to, const void *from, int64_t bytes) = 0;
  /// The bytes are at `to` when this returns.
  virtual Status download(void *to, uint64_t from, int64_t bytes) = 0;
  /// Puts the launch behind those before. What goes wrong while it runs may be told by a later call.
  virtual Status launch(const GpuLaunch &launch) = 0;
  /// Opens the library whose products `multiply` puts behind the launches before; called once, after loadModule, before the others. `why`
  /// says in a few words why there is none, and is empty where there is; `bytes` is the device's memory that it takes. Fails with out of
  /// memory.
  virtual Status openLibrary(std::string &why, int64_t &bytes);
  /// What has to be done before a product of these sizes is recorded for the first time; its `sums` may be written.
  virtual Status prepareProduct(const GpuProduct &product);
  /// Fails with internal, with the library's name of what went wrong.
  virtual Status multiply(const GpuProduct &product);
  /// Waits for all that was asked for.
  virtual Status synchronize() = 0;

  /// A device that records: launches between `beginRecording` and `endRecording` do not run until they are replayed.
  virtual bool records() const { return false; }
  virtual Status beginRecording();
  virtual Status endRecording(std::unique_ptr<Recording> &recording);
  virtual Status replay(const Recording &recording);

  /// Time stamps: `stamp` marks where the work before it is done, in order from 0; `stamps` waits and gives the ns since stamp 0 of each
  /// and forgets them. By default they are the clock's once the work before is done.
  virtual Status stamp();
  virtual Status stamps(std::vector<int64_t> &ns);

private:
  std::vector<int64_t> stamped;
};

} // namespace dsrt
#endif // DSRT_LIB_DEVICE_H
