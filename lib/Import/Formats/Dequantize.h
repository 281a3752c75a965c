// GGUF's blocks of quantized values, to f32. Source: ggml's block formats; equal bit for bit to gguf-py's dequantize.
#ifndef DS_LIB_IMPORT_FORMATS_DEQUANTIZE_H
#define DS_LIB_IMPORT_FORMATS_DEQUANTIZE_H

#include "ds/Import/TensorSource.h"

namespace ds {

float halfToFloat(uint16_t bits);
float bfloatToFloat(uint16_t bits);

/// Writes the values of one block (32 or 256, by `type`, which must be a type of blocks) to `out`.
void dequantizeBlock(StoredType type, const uint8_t *block, float *out);

} // namespace ds
#endif // DS_LIB_IMPORT_FORMATS_DEQUANTIZE_H
