// A folder that appears whole or not at all.
#ifndef DS_LIB_TARGET_PACKAGE_ATOMICFOLDER_H
#define DS_LIB_TARGET_PACKAGE_ATOMICFOLDER_H

#include "ds/Import/Result.h"
#include <string>

namespace ds {

/// Files are written to `<path>.tmp-<pid>`; `commit` syncs and renames it to `path`, replacing an older package there. Without a commit the
/// destructor removes what was written.
class AtomicFolder {
public:
  /// Fails with CannotWrite when `path` holds something that is not a package, or when its parent cannot be written.
  static Result<AtomicFolder> create(const std::string &path);
  AtomicFolder(AtomicFolder &&other) noexcept;
  AtomicFolder &operator=(AtomicFolder &&) = delete;
  ~AtomicFolder();

  /// Opens a new file for writing, with the folders on its way. The caller closes it by `closeFile`.
  Result<int> openFile(const std::string &name);
  /// Syncs and closes.
  Result<void> closeFile(int file, const std::string &name);
  Result<void> writeFile(const std::string &name, const std::string &content);
  /// Where file `name` lies until the commit.
  std::string fullName(const std::string &name) const { return work + "/" + name; }
  /// What it will be called.
  std::string finalName(const std::string &name) const { return path + "/" + name; }
  Result<void> commit();

private:
  explicit AtomicFolder(std::string path, std::string work) : path(std::move(path)), work(std::move(work)) {}

  std::string path, work;
};

/// Writes all of `size` bytes at `offset`, or says why not, naming `name`.
Result<void> writeAt(int file, const void *data, size_t size, int64_t offset, const std::string &name);

} // namespace ds
#endif // DS_LIB_TARGET_PACKAGE_ATOMICFOLDER_H
