// The `programs` of a manifest.
#ifndef DSRT_LIB_MANIFESTPROGRAMS_H
#define DSRT_LIB_MANIFESTPROGRAMS_H

#include "runtime/lib/Manifest.h"
#include "runtime/lib/ManifestReader.h"

namespace dsrt {

/// Reads `programs` into `manifest`, whose model and cache are read, and checks that the task has the programs it needs.
Status readPrograms(const JsonPlace &root, Manifest &manifest);

} // namespace dsrt
#endif // DSRT_LIB_MANIFESTPROGRAMS_H
