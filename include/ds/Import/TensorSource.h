// Stored tensors of a model, read a few elements at a time from mapped files.
#ifndef DS_IMPORT_TENSORSOURCE_H
#define DS_IMPORT_TENSORSOURCE_H

#include "ds/Import/Result.h"
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ds {

/// Element types of safetensors and GGUF. Those with a `_` name are GGUF's blocks.
enum class StoredType {
  F64,
  F32,
  F16,
  BF16,
  I64,
  I32,
  I16,
  I8,
  U8,
  Bool,
  Q8_0,
  Q4_0,
  Q4_1,
  Q5_0,
  Q5_1,
  Q2_K,
  Q3_K,
  Q4_K,
  Q5_K,
  Q6_K,
  IQ4_NL,
  IQ4_XS
};

/// The name of a type as its format spells it.
const char *storedTypeName(StoredType type);

/// A tensor in a mapped file. `shape` is in torch's order: a matrix is [rows, columns], columns side by side.
struct StoredTensor {
  std::string name;
  StoredType type;
  std::vector<int64_t> shape;
  const uint8_t *data;
  size_t bytes;
  std::string file;

  int64_t elements() const {
    int64_t count = 1;
    for (int64_t size : shape)
      count *= size;
    return count;
  }
};

/// The tensors of a model. Keeps its files mapped while it lives; safe to read from several threads.
class TensorSource {
public:
  virtual ~TensorSource() = default;
  /// The tensor called `name`, or null.
  virtual const StoredTensor *find(std::string_view name) const = 0;
  virtual const std::vector<StoredTensor> &tensors() const = 0;

  /// Elements [first, first + count) in row-major order, as f32 (dequantized), to `out`. Any range within the tensor.
  virtual Result<void> readF32(const StoredTensor &tensor, int64_t first, int64_t count, float *out) const;
  /// Gives the tensor's pages back to the system; a later read maps them in again.
  void dropPages(const StoredTensor &tensor) const;
};

/// Elements and bytes of a block: 1 and the element's bytes for plain types.
struct BlockSize {
  int64_t elements;
  int64_t bytes;
};
BlockSize blockSize(StoredType type);

/// A group of a K block: its scale is an integer times the block's, its offset as well.
struct GroupFactors {
  float scale = 0, offset = 0; // the block's, values of f16
  int16_t ofScale = 0, ofOffset = 0;
};

/// Codes, scales and offsets of elements [first, first + count), whole blocks, of a tensor of blocks: value = scale * code (+ offset), each
/// operation rounded to f32. `offsets` may be null for types that have none. Of K blocks, what scales and offsets are made of goes to
/// `factors` unless it is null.
void readStoredCodes(const StoredTensor &tensor, int64_t first, int64_t count, int16_t *codes, float *scales, float *offsets,
                     GroupFactors *factors = nullptr);

} // namespace ds
#endif // DS_IMPORT_TENSORSOURCE_H
