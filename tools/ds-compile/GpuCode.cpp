#include "GpuCode.h"
#include "ds/Target/CUDA/Emulation.h"

using namespace mlir;
using namespace ds;

static constexpr const char *places = ", PATH, CUDA_HOME, /usr/local/cuda or the Python package ";

Result<void> ds::checkSass(ArrayRef<GpuArch> archs) {
  if (archs.front().name == "compute_80")
    return Error::usage("--emit=sass: expects a machine such as sm_80 first, got 'compute_80'");
  if (findPtxas().empty())
    return Error::unavailable(std::string("--emit=sass: no ptxas in DS_PTXAS") + places + "nvidia-cuda-nvcc");
  if (findNvdisasm().empty())
    return Error::unavailable(std::string("--emit=sass: no nvdisasm in DS_NVDISASM") + places + "nvidia-cuda-nvdisasm");
  return {};
}

/// A model that CUDA cannot run is refused; all else is a mistake of this program.
static Error failed(llvm::Error error) {
  const bool isModel = error.isA<UnservedKernel>();
  std::string text = llvm::toString(std::move(error));
  return isModel ? Error::badData("no kernel on CUDA: " + text) : Error::internal("code: " + text);
}

Result<std::string> ds::emitGpuText(ModuleOp planned, ArrayRef<GpuArch> archs, int64_t libraryRows, const std::string &emit,
                                    Tuning &tuning) {
  llvm::Expected<GpuKernels> kernels = emitGpuKernels(planned, archs, libraryRows, &tuning);
  if (!kernels)
    return failed(kernels.takeError());
  if (emit == "gpu") {
    std::string text;
    llvm::raw_string_ostream os(text);
    kernels->module->print(os);
    return text;
  }
  llvm::Expected<std::string> ptx = compileToPtx(*kernels, archs.front());
  if (!ptx)
    return failed(ptx.takeError());
  if (emit == "ptx")
    return std::move(*ptx);
  llvm::Expected<std::string> cubin = assemblePtx(*ptx, archs.front(), findPtxas());
  if (!cubin)
    return failed(cubin.takeError());
  llvm::Expected<std::string> sass = disassembleCubin(*cubin, findNvdisasm());
  if (!sass)
    return failed(sass.takeError());
  return std::move(*sass);
}

Result<std::vector<PackageFile>> ds::compileForGpu(ModuleOp planned, ArrayRef<GpuArch> archs, int64_t libraryRows, bool emulation,
                                                   const std::optional<GpuPart> &part, Tuning &tuning, std::vector<std::string> &notes) {
  llvm::Expected<GpuKernels> kernels = emitGpuKernels(planned, archs, libraryRows, &tuning);
  if (!kernels)
    return failed(kernels.takeError());
  llvm::append_range(notes, kernels->notes);
  std::vector<PackageFile> files;
  std::vector<GpuModuleFile> modules;
  auto add = [&](const std::string &target, const std::string &arch, const char *suffix, std::string bytes) {
    std::string name = "code/" + (target == "emulate" ? target : arch) + suffix;
    modules.push_back({target, arch, name});
    files.push_back({name, std::move(bytes)});
  };
  const std::string ptxas = findPtxas();
  if (ptxas.empty())
    notes.push_back(std::string("no ptxas in DS_PTXAS") + places +
                    "nvidia-cuda-nvcc: the package has PTX alone, which the driver compiles at load");
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
  files.push_back({"code/launches.json", launchTable(*kernels, modules, part)});
  return files;
}
