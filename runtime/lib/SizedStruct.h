// Structures of the C API that begin with their size: an older caller's is shorter than ours, a newer caller's longer.
#ifndef DSRT_LIB_SIZEDSTRUCT_H
#define DSRT_LIB_SIZEDSTRUCT_H

#include "runtime/lib/Status.h"
#include <algorithm>
#include <cstring>

namespace dsrt {

/// Copies what `given` holds over the defaults in `known`. Fails with invalid argument for null or a size that cannot be.
template <typename Struct> Status readSized(const Struct *given, const char *name, Struct &known) {
  if (!given)
    return Status::invalidArgument(name, ": expects a structure, got null");
  if (given->size < sizeof(size_t) || given->size > 4096)
    return Status::invalidArgument(name, ": expects its size in the first field, got ", given->size);
  std::memcpy(&known, given, std::min(given->size, sizeof(Struct)));
  return Status();
}

/// Copies `known` to `out`, as much as out->size says; the size stays.
template <typename Struct> Status writeSized(const Struct &known, const char *name, Struct *out) {
  Struct probe;
  DSRT_TRY(readSized(out, name, probe));
  size_t size = probe.size;
  std::memcpy(out, &known, std::min(size, sizeof(Struct)));
  out->size = size;
  return Status();
}

} // namespace dsrt
#endif // DSRT_LIB_SIZEDSTRUCT_H
