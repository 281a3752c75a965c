// An NVIDIA GPU through the driver API: one stream of its primary context.
#ifndef DSRT_LIB_CUDADEVICE_H
#define DSRT_LIB_CUDADEVICE_H

#include "runtime/lib/CublasLt.h"
#include "runtime/lib/CudaStaging.h"
#include <unordered_set>

namespace dsrt {

/// Opens GPU `index`. DS_CUDA_SCHEDULE chooses how steps run: `graph` (default) replays recorded graphs, in which a kernel may begin before
/// the one before has ended (programmatic dependent launch, sm_90 and later); `launches` launches kernel by kernel, one behind the other.
/// DS_CUDA_TIMEOUT: seconds after which work that does not end makes the device lost; 300.
/// Fails with unavailable (no driver, no GPU, no such GPU, a driver too old) and with invalid argument (the environment).
Status makeCudaDevice(int32_t index, std::unique_ptr<Device> &device);

class CudaDevice final : public Device {
public:
  ~CudaDevice() override;

  std::string level() const override { return loadedArch; }
  std::string product() const override { return name; }
  Status loadModule(const LaunchTable &table, const Package &package) override;
  Status allocate(int64_t bytes, std::string_view what, uint64_t &address) override;
  void release(uint64_t address) override;
  Status zero(uint64_t address, int64_t bytes) override;
  Status upload(uint64_t to, const void *from, int64_t bytes) override;
  Status download(void *to, uint64_t from, int64_t bytes) override;
  Status launch(const GpuLaunch &launch) override;
  Status openLibrary(std::string &why, int64_t &bytes) override;
  Status prepareProduct(const GpuProduct &product) override;
  Status multiply(const GpuProduct &product) override;
  Status synchronize() override;
  bool records() const override { return useGraphs; }
  Status beginRecording() override;
  Status endRecording(std::unique_ptr<Recording> &recording) override;
  Status replay(const Recording &recording) override;
  Status stamp() override;
  Status stamps(std::vector<int64_t> &ns) override;

private:
  friend Status makeCudaDevice(int32_t index, std::unique_ptr<Device> &device);
  friend class CudaStaging;
  friend class CudaRecording;

  /// The device's context is the calling thread's while it lives.
  class Scope {
  public:
    explicit Scope(CudaDevice &device) : device(device), pushed(device.driver.contextPush(device.context) == cuda::success) {}
    ~Scope() {
      cuda::Context before;
      if (pushed)
        device.driver.contextPop(&before);
    }
    Scope(const Scope &) = delete;
    Scope &operator=(const Scope &) = delete;

  private:
    CudaDevice &device;
    bool pushed;
  };

  Status open(int32_t index);
  /// What a call gave; `call` names it. Errors that leave no way on make the device lost: every later call fails alike.
  Status check(cuda::Result result, std::string_view call);
  /// Polls until work is done; a device that does not finish in time is lost.
  Status waitFor(cuda::Event event);
  template <typename Query> Status poll(const Query &query);
  bool isUsable() const;
  std::string text() const { return concat("cuda:", index, " (", name, ")"); }

  std::vector<const ModuleRecord *> candidates(const LaunchTable &table) const;
  Status loadImage(const ModuleRecord &record, const Package &package, bool &isRefused);
  Status findKernels(const LaunchTable &table, const ModuleRecord &record);
  Status checkParameters(const LaunchTable &table, const ModuleRecord &record);

  cuda::Driver driver;
  int32_t index = 0, process = 0;
  std::string name, loadedArch;
  cuda::DeviceId id = 0;
  int capability = 0; // 90 of 9.0
  cuda::Context context = nullptr;
  cuda::Stream stream = nullptr;
  cuda::Module module = nullptr;
  std::vector<cuda::Function> functions; // by kernel
  const LaunchTable *table = nullptr;
  bool useGraphs = true, isRecording = false;
  bool overlaps = false, recordsOverlap = false; // launches may begin before the one before has ended; also in a recording
  bool isBehindProduct = false;                  // the next launch is; it begins when the product has ended
  int64_t timeoutSeconds = 300;
  Status lost; // ok while the device is not
  bool hangs = false;
  std::unordered_set<uint64_t> allocated;
  CudaStaging staging{*this};
  cublaslt::Library library;
  uint64_t libraryWorkspace = 0;
  std::vector<cuda::Event> events; // of stamps; the first `stampCount` are in use
  size_t stampCount = 0;
};

} // namespace dsrt
#endif // DSRT_LIB_CUDADEVICE_H
