// From a planned module to GPU kernels, and from those to what a package has of them.
#ifndef DS_TARGET_CUDA_CODEGEN_H
#define DS_TARGET_CUDA_CODEGEN_H

#include "mlir/IR/BuiltinOps.h"
#include "llvm/Support/Error.h"
#include <optional>
#include <string>

namespace ds {

struct Tuning;

/// The kernels of a package and how its programs launch them.
struct GpuKernels {
  /// Holds one `gpu.module @ds_kernels` of `gpu.func`s.
  mlir::OwningOpRef<mlir::ModuleOp> module;
  /// `kernels` and `programs` of code/launches.json (docs/package-format.md), in JSON.
  std::string launches;
  /// What a user may want to know, such as products that are not cuBLASLt's though that was asked for.
  std::vector<std::string> notes;
};

/// A kernel of the plan that CUDA cannot compute: what is wrong is the model, not the compiler.
class UnservedKernel : public llvm::ErrorInfo<UnservedKernel> {
public:
  static char ID;
  explicit UnservedKernel(std::string text) : text(std::move(text)) {}
  void log(llvm::raw_ostream &os) const override { os << text; }
  std::error_code convertToErrorCode() const override { return std::make_error_code(std::errc::not_supported); }

private:
  std::string text; // the kernel, the module of the model that it is first launched for, and why
};

/// A machine that code is made for, such as `sm_90a`; `compute_80` is PTX that later machines compile when it is loaded.
struct GpuArch {
  std::string name;     // "sm_90a"
  std::string features; // LLVM's: the PTX version it needs
  int number = 0;       // 90
  int64_t sharedBytes;  // of a block, at most
  /// Whether kernels take the products of warpgroups (wgmma) that the machine has; the compiler may decline.
  bool hasWarpgroups = false;

  /// The one that has them.
  static constexpr llvm::StringLiteral warpgroups = "sm_90a";
};

/// The architecture of a name: sm_80, sm_86, sm_89, sm_90, sm_90a, sm_100a, sm_120, and compute_80. Fails for others, naming these.
llvm::Expected<GpuArch> findGpuArch(llvm::StringRef name);

/// Gives every kernel of `planned` its stages, which fit each of `archs`, and lists the launches of each program. From `libraryRows` rows
/// on (17 or more; 0: never) steps have launches with products of cuBLASLt as well, for where it is there. Products are cut as `tuning`
/// says, which takes down what was chosen; without one by the entries that are built in. Fails when a buffer or a weight has no offset, and
/// with an UnservedKernel when a kernel has no builder on CUDA or its builder refuses it.
llvm::Expected<GpuKernels> emitGpuKernels(mlir::ModuleOp planned, llvm::ArrayRef<GpuArch> archs = {}, int64_t libraryRows = 0,
                                          Tuning *tuning = nullptr);

/// PTX of those kernels of `kernels.module` that `arch` has. Needs no toolkit. Fails when lowering does.
llvm::Expected<std::string> compileToPtx(const GpuKernels &kernels, const GpuArch &arch);

/// The path of ptxas: DS_PTXAS, else in PATH, CUDA_HOME, /usr/local/cuda or the Python package nvidia-cuda-nvcc; empty when there is none.
std::string findPtxas();
/// The same of nvdisasm, by DS_NVDISASM and the package nvidia-cuda-nvdisasm.
std::string findNvdisasm();

/// The machine code of `ptx`, and in `log` what ptxas says of registers and spills. Fails with the assembler's words.
llvm::Expected<std::string> assemblePtx(llvm::StringRef ptx, const GpuArch &arch, llvm::StringRef ptxas, std::string *log = nullptr);

/// The text of the machine code `cubin`, kernel by kernel. Fails with the disassembler's words.
llvm::Expected<std::string> disassembleCubin(llvm::StringRef cubin, llvm::StringRef nvdisasm);

struct GpuModuleFile {
  std::string target, arch, file;
};

/// What a device has of its own in a package that is for the CPU as well.
struct GpuPart {
  int64_t weightsOffset = 0, weightsBytes = 0; // of the data part of the weights
  int64_t cacheBytes = 0;                      // of one sequence
  std::string profile;                         // the file that says what the launches are
};

/// The text of code/launches.json: `kernels.launches` behind the list of `modules`. Without `part` the package is the device's alone.
std::string launchTable(const GpuKernels &kernels, llvm::ArrayRef<GpuModuleFile> modules,
                        const std::optional<GpuPart> &part = std::nullopt);

} // namespace ds
#endif // DS_TARGET_CUDA_CODEGEN_H
