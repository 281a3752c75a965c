// The code of one CPU level: a sealed copy in memory, hashed, then opened.
#ifndef DSRT_LIB_CODE_H
#define DSRT_LIB_CODE_H

#include "dsrt/package.h"
#include "runtime/lib/Memory.h"

namespace dsrt {

class Code {
public:
  Code() = default;
  Code(Code &&other) noexcept;
  Code &operator=(Code &&other) noexcept;
  ~Code();

  /// Copies the file at `path` to sealed memory and checks the copy's size and SHA-256. Opens nothing.
  /// Fails with missing, bad data (another size or hash).
  static Status copy(const std::string &path, int64_t bytes, const std::string &sha256, Code &code);
  /// Opens the copy and checks its ABI. Fails with bad data.
  Status open();
  /// Finds a program. Fails with bad data when the code lacks it.
  Status find(const std::string &symbol, DsProgramFn &program) const;
  /// The address of any symbol; null when the code lacks it.
  void *address(const std::string &symbol) const;
  /// How many launches the program of a name has. Fails with bad data when the code does not say a sensible number.
  Status findLaunches(const std::string &name, int32_t &launches) const;

private:
  std::string path;
  Descriptor sealed;
  void *handle = nullptr;
};

} // namespace dsrt
#endif // DSRT_LIB_CODE_H
