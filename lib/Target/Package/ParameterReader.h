// Reads parameters of a module as rows of values or codes.
#ifndef DS_LIB_TARGET_PACKAGE_PARAMETERREADER_H
#define DS_LIB_TARGET_PACKAGE_PARAMETERREADER_H

#include "dialects/DS/DSDialect.h"
#include "ds/Import/TensorSource.h"
#include "ds/Quantize/QuantizedMatrix.h"
#include <atomic>
#include <limits>
#include <memory>

namespace ds {

/// Reads rows of a `ds.parameter` as f32, through its view, from its source tensor or its inline value.
class ParameterReader {
public:
  /// `matrices`, which may be null and outlives the reader, has codes that count before those of the source. Of a parameter with a grid
  /// the whole source is read once. Errors: BadData, by name of the parameter.
  static Result<ParameterReader> create(ParameterOp parameter, const TensorSource &tensors, const QuantizedMatrices *matrices = nullptr);
  /// Rows of a matrix, elements of a vector.
  int64_t rows() const { return rowCount; }
  /// Columns of a matrix, 1 for a vector.
  int64_t columns() const { return columnCount; }
  /// How the parameter is quantized, or null.
  QuantizedType quantizedType() const { return quantized; }
  /// From now on `read` refuses what is NaN or infinite, as codes do.
  void expectFinite() { expectsFinite = true; }
  /// The element of lowest number that `read` found to be NaN or infinite; `none` while there is none.
  int64_t firstNotFinite() const { return *notFinite; }
  /// Groups that `readCodes` rounded to zeros, as their scale is too small for its type.
  int64_t vanishedGroups() const { return *vanished; }
  /// The file the parameter comes from; empty where its values are in the program.
  std::string file() const { return tensor ? tensor->file : ""; }
  static constexpr int64_t none = std::numeric_limits<int64_t>::max();
  /// Writes rows [first, first + count) to `out` [count, columns]. Errors: BadData, by the element's number, where that is expected.
  Result<void> read(int64_t first, int64_t count, float *out) const;
  /// Row `index` of a quantized parameter as codes: those chosen for it, or of its grid, or of the source where it is stored as the type
  /// says, else its values rounded to the nearest.
  Result<void> readCodes(int64_t index, QuantizedRow &row) const;
  /// True where the source is stored as the type says.
  bool keepsStored() const { return keepsCodes; }
  /// Gives the pages of the source back to the system.
  void release() const;

private:
  Result<void> fitGrid(ParameterOp parameter);
  void readGrid(int64_t index, const float *values, QuantizedRow &row) const;
  Result<void> readRows(int64_t first, int64_t count, float *out) const;
  Result<void> readElements(int64_t first, int64_t count, float *out) const;
  /// Where element `index` of the view lies in the source.
  int64_t placeOf(int64_t index) const;

  const TensorSource *source = nullptr;
  const StoredTensor *tensor = nullptr;
  const QuantizedMatrix *chosen = nullptr;
  mlir::ElementsAttr value;
  std::string name;
  QuantizedType quantized;
  bool keepsCodes = false; // of the source
  bool expectsFinite = false;
  // Readers are moved.
  std::unique_ptr<std::atomic<int64_t>> notFinite = std::make_unique<std::atomic<int64_t>>(none);
  std::unique_ptr<std::atomic<int64_t>> vanished = std::make_unique<std::atomic<int64_t>>(0);
  std::optional<MoqGrid> grid;
  std::vector<MoqFit> fits; // of the grid's groups
  int64_t rowCount = 0, columnCount = 0, offset = 0;
  llvm::SmallVector<int64_t> sizes, strides; // of the view, row-major dense when there is none
};

} // namespace ds
#endif // DS_LIB_TARGET_PACKAGE_PARAMETERREADER_H
