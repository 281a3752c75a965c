// The products of cuBLASLt in code/launches.json.
#ifndef DSRT_LIB_LAUNCHPRODUCT_H
#define DSRT_LIB_LAUNCHPRODUCT_H

#include "runtime/lib/LaunchTable.h"
#include "runtime/lib/ManifestReader.h"

namespace dsrt {

/// Reads `product` and `library` of a launch of the plan. Fails with bad data; at no step of the program's sizes does what it accepts leave
/// the `arenaBytes` of the arena.
Status readLibraryUse(const JsonPlace &launch, const ProgramRecord &program, int64_t arenaBytes, LaunchRecord &record);

} // namespace dsrt
#endif // DSRT_LIB_LAUNCHPRODUCT_H
