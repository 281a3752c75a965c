// GGUF's blocks of quantized values, to f32. Source: ggml's block formats; equal bit for bit to gguf-py's dequantize.
#ifndef DS_LIB_IMPORT_FORMATS_DEQUANTIZE_H
#define DS_LIB_IMPORT_FORMATS_DEQUANTIZE_H

#include "ds/Import/Half.h"
#include "ds/Import/TensorSource.h"

namespace ds {

/// One block: value i is scales[i / group] * codes[i], plus offsets[i / group] where it has offsets.
struct BlockCodes {
  int16_t codes[256];
  float scales[16], offsets[16];
  GroupFactors factors[16]; // of K blocks
  int size = 0, group = 0;
  bool hasOffsets = false;
};
/// `type` must be a type of blocks.
void decodeBlock(StoredType type, const uint8_t *block, BlockCodes &out);

/// Writes the values of one block (32 or 256, by `type`, which must be a type of blocks) to `out`.
void dequantizeBlock(StoredType type, const uint8_t *block, float *out);

} // namespace ds
#endif // DS_LIB_IMPORT_FORMATS_DEQUANTIZE_H
