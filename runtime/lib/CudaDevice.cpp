// Context, memory, launches, recordings and stamps. How a module is chosen and loaded is in CudaModule.cpp.
#include "runtime/lib/CudaDevice.h"
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <unistd.h>

using namespace dsrt;
using namespace dsrt::cuda;

namespace dsrt {
class CudaRecording final : public Recording {
public:
  explicit CudaRecording(CudaDevice &device) : device(device) {}
  ~CudaRecording() override {
    if (!exec || !device.isUsable())
      return;
    // It may be running.
    if (!device.synchronize().ok())
      return;
    CudaDevice::Scope scope(device);
    device.driver.graphExecDestroy(exec);
  }
  GraphExec exec = nullptr;

private:
  CudaDevice &device;
};
} // namespace dsrt

static Status readEnvironment(bool &useGraphs, int64_t &timeoutSeconds) {
  if (const char *schedule = std::getenv("DS_CUDA_SCHEDULE"); schedule && *schedule) {
    std::string_view text = schedule;
    if (text != "graph" && text != "launches")
      return Status::invalidArgument("DS_CUDA_SCHEDULE: expects graph or launches, got ", inQuotes(text));
    useGraphs = text == "graph";
  }
  if (const char *timeout = std::getenv("DS_CUDA_TIMEOUT"); timeout && *timeout) {
    const char *end = timeout + std::strlen(timeout);
    auto [last, error] = std::from_chars(timeout, end, timeoutSeconds);
    if (error != std::errc() || last != end || timeoutSeconds < 1)
      return Status::invalidArgument("DS_CUDA_TIMEOUT: expects seconds, at least 1, got ", inQuotes(timeout));
  }
  return Status();
}

Status dsrt::makeCudaDevice(int32_t index, std::unique_ptr<Device> &device) {
  auto made = std::make_unique<CudaDevice>();
  DSRT_TRY(readEnvironment(made->useGraphs, made->timeoutSeconds));
  DSRT_TRY(made->open(index));
  device = std::move(made);
  return Status();
}

Status CudaDevice::open(int32_t wanted) {
  index = wanted;
  process = getpid();
  DSRT_TRY(Driver::open(driver));
  int count = 0, major = 0, minor = 0;
  DSRT_TRY(check(driver.deviceGetCount(&count), "cuDeviceGetCount"));
  if (count == 0)
    return Status::unavailable("no NVIDIA GPU: the driver finds none");
  if (index >= count)
    return Status::unavailable("no GPU cuda:", index, ": this machine has cuda:0", count > 1 ? concat(" to cuda:", count - 1) : "");
  char product[256] = "";
  DSRT_TRY(check(driver.deviceGet(&id, index), "cuDeviceGet"));
  DSRT_TRY(check(driver.deviceGetName(product, sizeof(product) - 1, id), "cuDeviceGetName"));
  DSRT_TRY(check(driver.deviceGetAttribute(&major, computeMajor, id), "cuDeviceGetAttribute"));
  DSRT_TRY(check(driver.deviceGetAttribute(&minor, computeMinor, id), "cuDeviceGetAttribute"));
  name = product;
  capability = major * 10 + minor;
  if (Result result = driver.primaryContextRetain(&context, id); result != success) {
    context = nullptr;
    return Status::unavailable(text(), ": the driver gives no context: ", driver.describe(result));
  }
  Scope scope(*this);
  return check(driver.streamCreate(&stream, streamNonBlocking), "cuStreamCreate");
}

/// False for a device that would not answer: in a process forked after it was opened, or when it hangs.
bool CudaDevice::isUsable() const { return context && !hangs && process == getpid(); }

CudaDevice::~CudaDevice() {
  if (!isUsable())
    return;
  {
    Scope scope(*this);
    if (stream && lost.ok())
      (void)synchronize();
    if (hangs)
      return;
    staging.free();
    library.close();
    for (Event event : events)
      driver.eventDestroy(event);
    for (uint64_t address : allocated)
      driver.memoryFree(address);
    if (module)
      driver.moduleUnload(module);
    if (stream)
      driver.streamDestroy(stream);
  }
  driver.primaryContextRelease(id);
}

/// Errors behind which a context cannot be used: cuda.h says of each that the process must end to go on.
static bool isFatal(Result result) {
  switch (result) {
  case 4:   // deinitialized
  case 214: // ECC, uncorrectable
  case 226: // NVLink, uncorrectable
  case 700: // illegal address
  case 702: // launch timeout
  case 709: // context destroyed
  case 710: // device-side assert
  case 714: // hardware stack error
  case 715: // illegal instruction
  case 716: // misaligned address
  case 717: // invalid address space
  case 718: // invalid program counter
  case 719: // launch failed
  case 999: // unknown
    return true;
  default:
    return false;
  }
}

Status CudaDevice::check(Result result, std::string_view call) {
  if (result == success)
    return Status();
  if (!isFatal(result))
    return Status::internal(name.empty() ? concat("cuda:", index) : text(), ": ", call, ": ", driver.describe(result));
  if (lost.ok())
    lost = Status::internal(text(), " is lost: ", call, ": ", driver.describe(result));
  return lost;
}

template <typename Query> Status CudaDevice::poll(const Query &query) {
  using Clock = std::chrono::steady_clock;
  constexpr std::chrono::milliseconds patience(20);
  const Clock::time_point start = Clock::now();
  for (uint32_t round = 0;; ++round) {
    Result result = query();
    if (result != notReady)
      return check(result, "waiting for kernels");
    if (round % 64 != 63)
      continue;
    Clock::duration waited = Clock::now() - start;
    if (waited > patience)
      usleep(20);
    if (waited > std::chrono::seconds(timeoutSeconds)) {
      hangs = true;
      lost = Status::internal(text(), " is lost: kernels did not end within ", timeoutSeconds, " s (DS_CUDA_TIMEOUT)");
      return lost;
    }
  }
}

Status CudaDevice::waitFor(Event event) {
  return poll([&] { return driver.eventQuery(event); });
}

Status CudaDevice::synchronize() {
  DSRT_TRY(Status(lost));
  Scope scope(*this);
  return poll([&] { return driver.streamQuery(stream); });
}

Status CudaDevice::allocate(int64_t bytes, std::string_view what, uint64_t &address) {
  DSRT_TRY(Status(lost));
  Scope scope(*this);
  Address found = 0;
  Result result = driver.memoryAllocate(&found, bytes);
  if (result == outOfMemory) {
    size_t free = 0, total = 0;
    driver.memoryGetInfo(&free, &total);
    return Status::outOfMemory(text(), ": ", what, " needs ", bytes, " bytes, ", free, " of ", total, " are free");
  }
  DSRT_TRY(check(result, "cuMemAlloc"));
  address = found;
  allocated.insert(address);
  return zero(address, bytes);
}

void CudaDevice::release(uint64_t address) {
  if (!allocated.erase(address) || !isUsable() || !synchronize().ok())
    return;
  Scope scope(*this);
  driver.memoryFree(address);
}

Status CudaDevice::zero(uint64_t address, int64_t bytes) {
  DSRT_TRY(Status(lost));
  Scope scope(*this);
  return check(driver.memorySet(address, 0, bytes, stream), "cuMemsetD8Async");
}

Status CudaDevice::upload(uint64_t to, const void *from, int64_t bytes) {
  DSRT_TRY(Status(lost));
  Scope scope(*this);
  return staging.upload(to, static_cast<const uint8_t *>(from), bytes);
}

Status CudaDevice::download(void *to, uint64_t from, int64_t bytes) {
  DSRT_TRY(Status(lost));
  Scope scope(*this);
  return staging.download(static_cast<uint8_t *>(to), from, bytes);
}

Status CudaDevice::launch(const GpuLaunch &launch) {
  DSRT_TRY(Status(lost));
  Scope scope(*this);
  const KernelRecord &kernel = table->kernels[launch.kernel];
  auto threads = static_cast<unsigned>(kernel.threads), shared = static_cast<unsigned>(kernel.sharedBytes);
  void **args = const_cast<void **>(launch.args);
  const uint32_t *grid = launch.grid;
  Function function = functions[launch.kernel];
  Result result;
  // Between stamps a kernel runs alone, and what the kernels of a library let begin early is theirs to know.
  const bool mayOverlap = useGraphs && stampCount == 0 && !isBehindProduct && (isRecording ? recordsOverlap : overlaps);
  isBehindProduct = false;
  if (mayOverlap) {
    LaunchAttribute attribute = {};
    attribute.id = programmaticSerialization;
    attribute.value.allowed = 1;
    LaunchConfig config = {grid[0], grid[1], grid[2], threads, 1, 1, shared, stream, &attribute, 1};
    result = driver.launchKernelEx(&config, function, args, nullptr);
  } else {
    result = driver.launchKernel(function, grid[0], grid[1], grid[2], threads, 1, 1, shared, stream, args, nullptr);
  }
  return result == success ? Status() : check(result, concat("launching ", kernel.name));
}

Status CudaDevice::openLibrary(std::string &why, int64_t &bytes) {
  DSRT_TRY(Status(lost));
  bytes = 0;
  {
    Scope scope(*this);
    if (!library.open(driver.version, text(), why))
      return Status();
  }
  DSRT_TRY(allocate(cublaslt::Library::workspaceBytes, "the workspace of cuBLASLt", libraryWorkspace));
  bytes = cublaslt::Library::workspaceBytes;
  return Status();
}

/// The library loads its kernels when they run first, which a recording may not see.
Status CudaDevice::prepareProduct(const GpuProduct &product) { return library.knows(product) ? Status() : multiply(product); }

Status CudaDevice::multiply(const GpuProduct &product) {
  DSRT_TRY(Status(lost));
  Scope scope(*this);
  isBehindProduct = true;
  return library.multiply(product, libraryWorkspace, stream);
}

Status CudaDevice::beginRecording() {
  DSRT_TRY(Status(lost));
  Scope scope(*this);
  DSRT_TRY(check(driver.streamBeginCapture(stream, captureThreadLocal), "cuStreamBeginCapture"));
  isRecording = true;
  isBehindProduct = false;
  return Status();
}

Status CudaDevice::endRecording(std::unique_ptr<Recording> &recording) {
  isRecording = false;
  Scope scope(*this);
  Graph graph = nullptr;
  DSRT_TRY(check(driver.streamEndCapture(stream, &graph), "cuStreamEndCapture"));
  auto made = std::make_unique<CudaRecording>(*this);
  Result result = driver.graphInstantiate(&made->exec, graph, 0);
  if (result != success)
    made->exec = nullptr;
  driver.graphDestroy(graph);
  DSRT_TRY(check(result, "cuGraphInstantiateWithFlags"));
  recording = std::move(made);
  return Status();
}

Status CudaDevice::replay(const Recording &recording) {
  DSRT_TRY(Status(lost));
  Scope scope(*this);
  return check(driver.graphLaunch(static_cast<const CudaRecording &>(recording).exec, stream), "cuGraphLaunch");
}

Status CudaDevice::stamp() {
  DSRT_TRY(Status(lost));
  Scope scope(*this);
  if (stampCount == events.size()) {
    Event event = nullptr;
    DSRT_TRY(check(driver.eventCreate(&event, 0), "cuEventCreate"));
    events.push_back(event);
  }
  return check(driver.eventRecord(events[stampCount++], stream), "cuEventRecord");
}

Status CudaDevice::stamps(std::vector<int64_t> &ns) {
  ns.clear();
  size_t count = stampCount;
  stampCount = 0;
  DSRT_TRY(synchronize());
  Scope scope(*this);
  for (size_t i = 0; i < count; ++i) {
    float ms = 0;
    DSRT_TRY(check(driver.eventElapsedTime(&ms, events[0], events[i]), "cuEventElapsedTime"));
    ns.push_back(static_cast<int64_t>(static_cast<double>(ms) * 1e6));
  }
  return Status();
}
