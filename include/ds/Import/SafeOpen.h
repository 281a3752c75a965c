// Opens the files of an untrusted model folder: nothing outside it, nothing but regular files.
#ifndef DS_IMPORT_SAFEOPEN_H
#define DS_IMPORT_SAFEOPEN_H

#include "ds/Import/Result.h"
#include <cstddef>
#include <cstdint>
#include <string>

namespace ds {

/// A regular file, mapped for reading. Moves, does not copy.
class MappedFile {
public:
  MappedFile() = default;
  MappedFile(MappedFile &&other) noexcept;
  MappedFile &operator=(MappedFile &&other) noexcept;
  ~MappedFile();

  /// Maps the file called `path`. Fails with Missing, or BadData for what is not a regular file.
  static Result<MappedFile> open(const std::string &path);
  /// Maps `name` beneath `folder`: a relative name without `..`, and no link on the way but a Hugging Face cache's own
  /// (`<folder>/../../blobs/<hash>`). Fails with BadData for a name that leaves the folder.
  static Result<MappedFile> openBeneath(const std::string &folder, const std::string &name);

  const uint8_t *data() const { return bytes; }
  size_t size() const { return length; }
  const std::string &path() const { return name; }

private:
  static Result<MappedFile> map(int file, const std::string &path);

  const uint8_t *bytes = nullptr;
  size_t length = 0;
  std::string name;
};

/// True when `folder` has a file or link called `name`.
bool existsBeneath(const std::string &folder, const std::string &name);

/// The whole of a file beneath `folder`, at most `limit` bytes.
Result<std::string> readBeneath(const std::string &folder, const std::string &name, size_t limit = size_t(256) << 20);

} // namespace ds
#endif // DS_IMPORT_SAFEOPEN_H
