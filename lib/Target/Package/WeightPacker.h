// Packs the storages of a plan into the weights file.
#ifndef DS_LIB_TARGET_PACKAGE_WEIGHTPACKER_H
#define DS_LIB_TARGET_PACKAGE_WEIGHTPACKER_H

#include "dialects/DSPlan/DSPlanDialect.h"
#include "ds/Import/Result.h"
#include "ds/Import/TensorSource.h"
#include "ds/Quantize/Quantizer.h"

namespace ds {

/// Reads rows of a `ds.parameter` as f32, through its view, from its source tensor or its inline value.
class ParameterReader {
public:
  static Result<ParameterReader> create(ParameterOp parameter, const TensorSource &tensors);
  /// Rows of a matrix, elements of a vector.
  int64_t rows() const { return rowCount; }
  /// Columns of a matrix, 1 for a vector.
  int64_t columns() const { return columnCount; }
  /// How the parameter is quantized, or null.
  QuantizedType quantizedType() const { return quantized; }
  /// Writes rows [first, first + count) to `out` [count, columns].
  Result<void> read(int64_t first, int64_t count, float *out) const;
  /// Row `index` of a quantized parameter as codes: those of the source where it is stored as the type says, else its values rounded to the
  /// nearest.
  Result<void> readCodes(int64_t index, QuantizedRow &row) const;
  /// Gives the pages of the source back to the system.
  void release() const;

private:
  Result<void> readElements(int64_t first, int64_t count, float *out) const;
  /// Where element `index` of the view lies in the source.
  int64_t placeOf(int64_t index) const;

  const TensorSource *source = nullptr;
  const StoredTensor *tensor = nullptr;
  mlir::ElementsAttr value;
  std::string name;
  QuantizedType quantized;
  bool keepsCodes = false; // of the source
  int64_t rowCount = 0, columnCount = 0, offset = 0;
  llvm::SmallVector<int64_t> sizes, strides; // of the view, row-major dense when there is none
};

/// Bytes of a storage in the weights file.
int64_t storageBytes(ds_plan::StorageOp storage);

/// Rows of a storage that are packed together: a panel, or one row.
int64_t rowsPerUnit(ds_plan::StorageOp storage);
int64_t unitCount(ds_plan::StorageOp storage);
int64_t unitBytes(ds_plan::StorageOp storage);

/// Packs units [first, first + count) of `storage` to `out`. `reader` is null for a rope table.
Result<void> packUnits(ds_plan::StorageOp storage, const ParameterReader *reader, int64_t first, int64_t count, uint8_t *out);

} // namespace ds
#endif // DS_LIB_TARGET_PACKAGE_WEIGHTPACKER_H
