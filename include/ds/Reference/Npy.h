// Reads and writes NumPy's .npy files. Source: NEP 1, "A simple file format for NumPy arrays".
#ifndef DS_REFERENCE_NPY_H
#define DS_REFERENCE_NPY_H

#include "ds/Import/Result.h"
#include "ds/Reference/Tensor.h"

namespace ds::reference {

/// Reads a C-ordered little-endian array of f2, f4, f8, i1, i2, i4, i8, u1 or bool, as a tensor of `elementType`; floats are rounded to
/// it, integers must fit i32. Fails with Missing, or BadData.
Result<Tensor> readNpy(const std::string &path, mlir::Type elementType);

/// Writes floats as f8 and integers as i4. Fails with CannotWrite.
Result<void> writeNpy(const std::string &path, const Tensor &tensor);

} // namespace ds::reference
#endif // DS_REFERENCE_NPY_H
