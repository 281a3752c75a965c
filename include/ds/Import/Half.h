// Sixteen-bit floats.
#ifndef DS_IMPORT_HALF_H
#define DS_IMPORT_HALF_H

#include <cstdint>

namespace ds {

/// The value of an f16 and of a bf16, exactly.
float halfToFloat(uint16_t bits);
float bfloatToFloat(uint16_t bits);

} // namespace ds
#endif // DS_IMPORT_HALF_H
