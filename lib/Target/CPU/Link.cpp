#include "ds/Target/CPU/Link.h"
#include "lld/Common/Driver.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FileUtilities.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/raw_ostream.h"
#include <mutex>

LLD_HAS_DRIVER(elf)

using namespace ds;

static llvm::Error fileError(llvm::StringRef path, std::error_code code) { return llvm::createFileError(path, code); }

llvm::Expected<std::string> ds::linkSharedObject(llvm::StringRef object) {
  // LLD works on files.
  llvm::SmallString<128> input, output;
  int descriptor = -1;
  if (std::error_code code = llvm::sys::fs::createTemporaryFile("ds-code", "o", descriptor, input))
    return fileError("temporary object", code);
  llvm::FileRemover removeInput(input);
  {
    llvm::raw_fd_ostream stream(descriptor, /*shouldClose=*/true);
    stream << object;
    stream.flush();
    if (std::error_code code = stream.error()) {
      stream.clear_error();
      return fileError(input, code);
    }
  }
  if (std::error_code code = llvm::sys::fs::createTemporaryFile("ds-code", "so", output))
    return fileError("temporary shared object", code);
  llvm::FileRemover removeOutput(output);

  std::string messages;
  llvm::raw_string_ostream stream(messages);
  const char *arguments[] = {"ld.lld", "-shared", "-o",   output.c_str(),     input.c_str(), "--gc-sections", "-z",
                             "now",    "-z",      "defs", "--hash-style=gnu", "-s",          "--threads=1",   "--build-id=none"};
  static std::mutex one; // LLD keeps its state in globals
  {
    std::lock_guard lock(one);
    lld::Result result = lld::lldMain(arguments, stream, stream, {{lld::Gnu, &lld::elf::link}});
    if (result.retCode != 0)
      return llvm::createStringError("linking the code of a package failed: " + stream.str());
  }
  auto linked = llvm::MemoryBuffer::getFile(output, /*IsText=*/false, /*RequiresNullTerminator=*/false);
  if (!linked)
    return fileError(output, linked.getError());
  return (*linked)->getBuffer().str();
}
