// Which module of a package a GPU runs, and what is checked of it before anything runs.
#include "runtime/lib/CudaDevice.h"
#include "runtime/lib/Package.h"
#include <algorithm>
#include <cstring>
#include <tuple>

using namespace dsrt;
using namespace dsrt::cuda;

/// The modules this GPU can run, the best first: its own architecture, then the nearest before it of its generation, then PTX, the newest
/// first. What carries an a runs on one architecture alone.
std::vector<const ModuleRecord *> CudaDevice::candidates(const LaunchTable &launches) const {
  std::vector<const ModuleRecord *> found;
  for (const ModuleRecord &module : launches.modules) {
    bool sameGeneration = module.version / 10 == capability / 10;
    bool runs = module.version == capability || (!module.thisArchOnly && module.version < capability && (module.isPtx || sameGeneration));
    if (module.target == ModuleTarget::cuda && runs)
      found.push_back(&module);
  }
  auto rank = [](const ModuleRecord *module) { return std::tuple(!module->isPtx, module->version, module->thisArchOnly); };
  std::sort(found.begin(), found.end(), [&](const auto *a, const auto *b) { return rank(a) > rank(b); });
  return found;
}

/// `isRefused`: the driver does not take this module, but may take another.
Status CudaDevice::loadImage(const ModuleRecord &record, const Package &package, bool &isRefused) {
  isRefused = false;
  std::string image;
  DSRT_TRY(package.readSmallFile(record.file, image));
  char log[4096] = "";
  int options[] = {jitErrorLog, jitErrorLogBytes};
  void *values[] = {log, reinterpret_cast<void *>(sizeof(log) - 1)};
  Result result = driver.moduleLoadDataEx(&module, image.c_str(), record.isPtx ? 2 : 0, options, values);
  if (result == success)
    return Status();
  module = nullptr;
  std::string why = driver.describe(result);
  if (log[0])
    why += ": " + inQuotes(std::string_view(log, std::min(std::strlen(log), std::strcspn(log, "\n"))));
  isRefused = result == invalidImage || result == noBinaryForGpu || result == invalidPtx || result == unsupportedPtxVersion ||
              result == jitCompilerNotFound;
  if (isRefused)
    return Status::unavailable(text(), ": its driver for CUDA ", driver.versionText(), " does not take ", record.file, ": ", why);
  if (result == outOfMemory)
    return Status::outOfMemory(text(), ": loading ", record.file, ": ", why);
  return check(result, concat("loading ", record.file));
}

Status CudaDevice::loadModule(const LaunchTable &launches, const Package &package) {
  table = &launches;
  std::vector<const ModuleRecord *> usable = candidates(launches);
  if (usable.empty())
    return Status::unavailable(text(), " is sm_", capability, "; ", package.path, " has kernels for ", launches.archs(ModuleTarget::cuda));
  Scope scope(*this);
  Status first;
  for (const ModuleRecord *record : usable) {
    bool isRefused = false;
    Status status = loadImage(*record, package, isRefused);
    if (status.ok()) {
      loadedArch = record->arch;
      // Kernels wait for those before them by an instruction that exists since sm_90; others must not begin early.
      overlaps = capability >= 90 && record->version >= 90 && driver.launchKernelEx;
      recordsOverlap = overlaps && driver.version >= 12030; // older ones cannot record it
      return findKernels(launches, *record);
    }
    if (first.ok())
      first = status;
    if (!isRefused)
      break;
  }
  return first;
}

Status CudaDevice::findKernels(const LaunchTable &launches, const ModuleRecord &record) {
  int sharedMost = 0;
  DSRT_TRY(check(driver.deviceGetAttribute(&sharedMost, sharedMemoryOptin, id), "cuDeviceGetAttribute"));
  for (const KernelRecord &kernel : launches.kernels) {
    Function function = nullptr;
    if (!kernel.isOn(record.arch)) {
      functions.push_back(nullptr);
      continue;
    }
    Result result = driver.moduleGetFunction(&function, module, kernel.name.c_str());
    if (result == notFound)
      return Status::badData(record.file, ": expects the kernel ", kernel.name, ", found none");
    DSRT_TRY(check(result, "cuModuleGetFunction"));
    int threadsMost = 0, staticBytes = 0;
    DSRT_TRY(check(driver.functionGetAttribute(&threadsMost, maxThreadsPerBlock, function), "cuFuncGetAttribute"));
    DSRT_TRY(check(driver.functionGetAttribute(&staticBytes, staticSharedBytes, function), "cuFuncGetAttribute"));
    if (kernel.threads > threadsMost)
      return Status::badData(record.file, ": ", kernel.name, " runs with ", threadsMost, " threads at most, the launches have ",
                             kernel.threads);
    if (kernel.sharedBytes + staticBytes > sharedMost)
      return Status::unavailable(text(), ": ", kernel.name, " needs ", kernel.sharedBytes + staticBytes,
                                 " bytes of shared memory, a block has ", sharedMost);
    if (kernel.sharedBytes > 0)
      DSRT_TRY(check(driver.functionSetAttribute(function, maxDynamicSharedBytes, kernel.sharedBytes), "cuFuncSetAttribute"));
    functions.push_back(function);
  }
  return checkParameters(launches, record);
}

/// Where the driver knows the parameters of a kernel, they are those of its launches: a launch with others would read beyond its values.
Status CudaDevice::checkParameters(const LaunchTable &launches, const ModuleRecord &record) {
  if (!driver.functionGetParameter)
    return Status();
  std::vector<bool> checked(functions.size(), false);
  for (const LaunchProgram &program : launches.programs)
    DSRT_TRY(program.eachLaunch([&](const LaunchRecord &launch) {
      if (launch.product)
        return Status();
      if (checked[launch.kernel] || !functions[launch.kernel])
        return Status();
      checked[launch.kernel] = true;
      const std::string &kernel = launches.kernels[launch.kernel].name;
      size_t offset = 0, bytes = 0;
      for (size_t i = 0; i < launch.args.size(); ++i)
        if (driver.functionGetParameter(functions[launch.kernel], i, &offset, &bytes) != success || bytes != launch.args[i].bytes())
          return Status::badData(record.file, ": ", kernel, ": expects parameter ", i, " of ", launch.args[i].bytes(), " bytes, found ",
                                 bytes);
      if (driver.functionGetParameter(functions[launch.kernel], launch.args.size(), &offset, &bytes) == success)
        return Status::badData(record.file, ": ", kernel, ": expects ", launch.args.size(), " parameters, found more");
      return Status();
    }));
  return Status();
}
