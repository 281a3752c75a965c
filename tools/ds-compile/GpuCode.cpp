#include "GpuCode.h"
#include "ds/Target/CUDA/Emulation.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;
using namespace ds;

Result<std::vector<GpuArch>> ds::gpuTargets(const std::string &target) {
  std::vector<GpuArch> archs;
  if (target == "cpu")
    return archs;
  StringRef names = target;
  if (!names.consume_front("cuda") || (!names.empty() && !names.consume_front(":")))
    return Error::usage("--target: expects cpu, cuda or cuda:ARCH,..., got '" + target + "'");
  if (names.empty())
    names = "sm_90a";
  for (StringRef name : llvm::split(names, ',')) {
    llvm::Expected<GpuArch> arch = findGpuArch(name);
    if (!arch)
      return Error::usage("--target: " + llvm::toString(arch.takeError()));
    if (llvm::none_of(archs, [&](const GpuArch &other) { return other.name == arch->name; }))
      archs.push_back(*arch);
  }
  return archs;
}

Result<std::string> ds::emitGpuText(ModuleOp planned, ArrayRef<GpuArch> archs, const std::string &emit) {
  llvm::Expected<GpuKernels> kernels = emitGpuKernels(planned, archs);
  if (!kernels)
    return Error::internal("code: " + llvm::toString(kernels.takeError()));
  if (emit == "gpu") {
    std::string text;
    llvm::raw_string_ostream os(text);
    kernels->module->print(os);
    return text;
  }
  llvm::Expected<std::string> ptx = compileToPtx(*kernels, archs.front());
  if (!ptx)
    return Error::internal("code: " + llvm::toString(ptx.takeError()));
  return std::move(*ptx);
}

Result<std::vector<PackageFile>> ds::compileForGpu(ModuleOp planned, ArrayRef<GpuArch> archs, bool emulation,
                                                   std::vector<std::string> &notes) {
  auto failed = [](llvm::Error error) { return Error::internal("code: " + llvm::toString(std::move(error))); };
  llvm::Expected<GpuKernels> kernels = emitGpuKernels(planned, archs);
  if (!kernels)
    return failed(kernels.takeError());
  std::vector<PackageFile> files;
  std::vector<GpuModuleFile> modules;
  auto add = [&](const std::string &target, const std::string &arch, const char *suffix, std::string bytes) {
    std::string name = "code/" + (target == "emulate" ? target : arch) + suffix;
    modules.push_back({target, arch, name});
    files.push_back({name, std::move(bytes)});
  };
  const std::string ptxas = findPtxas();
  if (ptxas.empty())
    notes.push_back(
        "no ptxas in DS_PTXAS, PATH, CUDA_HOME or /usr/local/cuda: the package has PTX alone, which the driver compiles at load");
  std::vector<GpuArch> all(archs.begin(), archs.end());
  if (llvm::none_of(archs, [](const GpuArch &arch) { return arch.name == "compute_80"; }))
    all.push_back(llvm::cantFail(findGpuArch("compute_80")));
  for (const GpuArch &arch : all) {
    llvm::Expected<std::string> ptx = compileToPtx(*kernels, arch);
    if (!ptx)
      return failed(ptx.takeError());
    if (arch.name == "compute_80" || ptxas.empty()) {
      add("cuda", arch.name, ".ptx", std::move(*ptx));
      continue;
    }
    llvm::Expected<std::string> cubin = assemblePtx(*ptx, arch, ptxas);
    if (!cubin)
      return failed(cubin.takeError());
    add("cuda", arch.name, ".cubin", std::move(*cubin));
  }
  if (emulation) {
    llvm::Expected<std::string> emulated = compileForEmulation(*kernels->module);
    if (!emulated)
      return failed(emulated.takeError());
    add("emulate", "x86-64-v3", ".so", std::move(*emulated));
  }
  files.push_back({"code/launches.json", launchTable(*kernels, modules)});
  return files;
}
