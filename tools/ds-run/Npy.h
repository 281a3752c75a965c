// Arrays in .npy files. Format: numpy.lib.format, versions 1 to 3.
#ifndef DS_TOOLS_DS_RUN_NPY_H
#define DS_TOOLS_DS_RUN_NPY_H

#include "Array.h"

/// Reads f4 and f8 as f32, i4 and i8 as i32; C order. Fails with 66 (not there) or 65 (another type or order, a size that differs
/// from the shape's, an i8 beyond i32).
Failure readNpy(const std::string &path, Array &array);

/// Writes a file beside `path` and renames it. Fails with 73.
Failure writeNpy(const std::string &path, const Array &array);

#endif // DS_TOOLS_DS_RUN_NPY_H
