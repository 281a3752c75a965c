// The programs of NVIDIA's toolkit: from PTX to machine code, and from that to its text.
#include "ds/Target/CUDA/CodeGen.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FileUtilities.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Program.h"
#include "llvm/Support/raw_ostream.h"

using namespace ds;
namespace fs = llvm::sys::fs;
namespace path = llvm::sys::path;

/// `folder`/nvidia/cu13/bin/`name` and the like, where Python's packages of the toolkit have it; empty where there is none.
static std::string inPythonPackages(llvm::StringRef folder, llvm::StringRef name) {
  llvm::SmallString<256> root(folder);
  path::append(root, "nvidia");
  std::error_code error;
  std::vector<std::string> found;
  for (fs::directory_iterator entry(root, error), end; !error && entry != end; entry.increment(error)) {
    llvm::SmallString<256> program(entry->path());
    path::append(program, "bin", name);
    if (fs::can_execute(program))
      found.push_back(program.str().str());
  }
  return found.empty() ? std::string() : *llvm::max_element(found); // the order of a folder is no order
}

/// A program of the toolkit: where `variable` says, else in PATH, CUDA_HOME, /usr/local/cuda, or the packages of the Python environment
/// that is active or that this program lies in.
static std::string findProgram(const char *variable, llvm::StringRef name) {
  if (const char *given = std::getenv(variable))
    return given;
  if (llvm::ErrorOr<std::string> found = llvm::sys::findProgramByName(name))
    return *found;
  const char *home = std::getenv("CUDA_HOME"), *environment = std::getenv("VIRTUAL_ENV");
  for (std::string folder : {home ? std::string(home) : std::string(), std::string("/usr/local/cuda")})
    if (std::string program = folder + "/bin/" + name.str(); !folder.empty() && fs::can_execute(program))
      return program;
  if (environment) {
    llvm::SmallString<256> library(environment);
    path::append(library, "lib");
    std::error_code error;
    for (fs::directory_iterator entry(library, error), end; !error && entry != end; entry.increment(error)) {
      llvm::SmallString<256> packages(entry->path());
      path::append(packages, "site-packages");
      if (std::string program = inPythonPackages(packages, name); !program.empty())
        return program;
    }
  }
  // site-packages/ds_mlir/bin/ds-compile
  llvm::SmallString<256> own(fs::getMainExecutable(nullptr, reinterpret_cast<void *>(&inPythonPackages)));
  for (int i = 0; i < 3; ++i)
    path::remove_filename(own);
  return own.empty() ? std::string() : inPythonPackages(own, name);
}

std::string ds::findPtxas() { return findProgram("DS_PTXAS", "ptxas"); }

std::string ds::findNvdisasm() { return findProgram("DS_NVDISASM", "nvdisasm"); }

namespace {
/// Files that are gone when it is.
class TemporaryFile {
public:
  explicit TemporaryFile(const char *suffix) {
    if (!fs::createTemporaryFile("ds-kernels", suffix, path))
      remover.setFile(path);
  }
  bool isMade() const { return !path.empty(); }
  llvm::StringRef name() const { return path; }
  bool write(llvm::StringRef content) const {
    std::error_code error;
    llvm::raw_fd_ostream file(path, error);
    if (!error) {
      file << content;
      file.close();
      error = file.error();
    }
    file.clear_error();
    return !error;
  }
  std::string read() const {
    llvm::ErrorOr<std::unique_ptr<llvm::MemoryBuffer>> buffer = llvm::MemoryBuffer::getFile(path);
    return buffer ? (*buffer)->getBuffer().str() : std::string();
  }

private:
  llvm::SmallString<128> path;
  llvm::FileRemover remover;
};
} // namespace

llvm::Expected<std::string> ds::assemblePtx(llvm::StringRef ptx, const GpuArch &arch, llvm::StringRef ptxas, std::string *log) {
  TemporaryFile input("ptx"), output("cubin"), messages("log");
  if (!input.isMade() || !output.isMade() || !messages.isMade() || !input.write(ptx))
    return llvm::createStringError("cannot write temporary files for ptxas");
  std::string target = "-arch=" + arch.name;
  llvm::StringRef arguments[] = {ptxas, target, "-O3", "-v", "--split-compile=0", input.name(), "-o", output.name()};
  std::optional<llvm::StringRef> redirects[] = {std::nullopt, messages.name(), messages.name()};
  int code = llvm::sys::ExecuteAndWait(ptxas, arguments, std::nullopt, redirects);
  std::string said = messages.read();
  if (log)
    *log = said;
  if (code != 0)
    return llvm::createStringError("code for " + arch.name + ": " + ptxas + ": " + llvm::StringRef(said).split('\n').first);
  return output.read();
}

llvm::Expected<std::string> ds::disassembleCubin(llvm::StringRef cubin, llvm::StringRef nvdisasm) {
  TemporaryFile input("cubin"), output("sass"), messages("log");
  if (!input.isMade() || !output.isMade() || !messages.isMade() || !input.write(cubin))
    return llvm::createStringError("cannot write temporary files for nvdisasm");
  // Code alone, without the tables that debuggers read.
  llvm::StringRef arguments[] = {nvdisasm, "-c", input.name()};
  std::optional<llvm::StringRef> redirects[] = {std::nullopt, output.name(), messages.name()};
  std::string reason;
  if (llvm::sys::ExecuteAndWait(nvdisasm, arguments, std::nullopt, redirects, 0, 0, &reason) != 0)
    return llvm::createStringError(nvdisasm + ": " + (reason.empty() ? llvm::StringRef(messages.read()).split('\n').first.str() : reason));
  return output.read();
}
