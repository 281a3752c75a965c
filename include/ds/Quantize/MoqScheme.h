// Names of MoQ's grids, and how matrices on them are stored.
#ifndef DS_QUANTIZE_MOQSCHEME_H
#define DS_QUANTIZE_MOQSCHEME_H

#include "ds/Quantize/Scheme.h"
#include <vector>

namespace ds {

/// Reads `moqB`, `moqB-asym` and `moqB-inference`, B the bits, each also with `-groupsN` behind it: N equal runs of the tensor, as
/// upstream's `quantize_groups`. Errors: Usage, for another name, fewer than 1 or more than 8 bits, and fewer than 3 behind which
/// something stands.
Result<MoqGrid> parseMoqGrid(std::string_view name);

/// The name `parseMoqGrid` reads.
std::string nameOf(const MoqGrid &grid);

/// Where the elements of a matrix lie in the tensor it is read from: (i0, i1, ...) of a box of `sizes` at offset + sum(i * stride), in
/// rows of `columns`. The tensor has `elements`.
struct StoredMatrix {
  int64_t elements, columns, offset;
  std::vector<int64_t> sizes, strides;
};

/// The scheme that holds the codes of a matrix on a grid: of as many bits, 2 where the grid is binary, as that has a code for 0,
/// with scales of f32 for whole rows, or for as many columns as no group ends within. Errors: BadData, for groups that do not divide the
/// tensor, and those that end elsewhere than behind a multiple of 16 columns of each row.
Result<QuantizationScheme> schemeOfGrid(const MoqGrid &grid, const StoredMatrix &matrix);

} // namespace ds
#endif // DS_QUANTIZE_MOQSCHEME_H
