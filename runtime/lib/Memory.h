// Memory from the kernel that is given back when its owner goes: anonymous blocks and files.
#ifndef DSRT_LIB_MEMORY_H
#define DSRT_LIB_MEMORY_H

#include "runtime/lib/Status.h"
#include <cstdint>

namespace dsrt {

/// A mapped range of pages.
class Mapping {
public:
  Mapping() = default;
  Mapping(Mapping &&other) noexcept { swap(other); }
  Mapping &operator=(Mapping &&other) noexcept {
    swap(other);
    return *this;
  }
  ~Mapping();

  uint8_t *data() const { return address; }
  int64_t size() const { return bytes; }

  /// Zeroed memory, resident as it is touched. `huge` asks for 2 MiB pages. Fails with out of memory.
  static Status anonymous(int64_t bytes, bool huge, Mapping &mapping);
  /// `bytes` of a file, read-only. An empty file maps to nothing. `place` names it in messages.
  static Status file(int descriptor, int64_t bytes, std::string_view place, Mapping &mapping);

  /// Gives the memory of a file back; its bytes are read anew when they are touched. Nothing else forgets.
  void forget();

private:
  void swap(Mapping &other);
  uint8_t *address = nullptr;
  int64_t bytes = 0;
  bool isFile = false;
};

/// An open file descriptor.
class Descriptor {
public:
  explicit Descriptor(int number = -1) : number(number) {}
  Descriptor(Descriptor &&other) noexcept : number(other.number) { other.number = -1; }
  Descriptor &operator=(Descriptor &&other) noexcept;
  ~Descriptor();
  int get() const { return number; }
  int release();

private:
  int number;
};

/// Opens a regular file for reading. Fails with missing (not there, not readable) or bad data (not a regular file).
Status openFile(const std::string &path, Descriptor &descriptor, int64_t &bytes);

/// Reads a file of `most` bytes or less. Fails as openFile does, and with bad data for a longer one.
Status readWholeFile(const std::string &path, int64_t most, std::string &text);

} // namespace dsrt
#endif // DSRT_LIB_MEMORY_H
