// Rounds matrices with regard to what they multiply: the error of a column is made up for by the columns behind it.
#ifndef DS_QUANTIZE_ERRORCORRECTION_H
#define DS_QUANTIZE_ERRORCORRECTION_H

#include "ds/Quantize/Quantizer.h"
#include <memory>

namespace ds {

/// The second moments H of what some matrices multiply, ready to round their rows. Safe to use from several threads.
///
/// For a row w and its rounded q, the mean squared error of the product is (w - q) H (w - q)^T. Columns are rounded one after the other,
/// each to the code nearest to the value that is best given the errors before it. Groups come in the order of their moments, largest first,
/// as there is most left to make up for them; the scale of a group is searched for when its turn comes, for the values that are best by
/// then, each error counted with its column's moment. Source: GPTQ, Frantar et al. 2022 (arXiv 2210.17323), algorithm 1, in the form of
/// Babai's nearest plane: with H = R R^T, R upper triangular, no inverse is needed.
class ErrorCorrection {
public:
  /// `moments` [columns, columns] f32, symmetric; `group` is the scheme's, and divides the columns. The mean of the diagonal times
  /// `damping` is added to the diagonal, so that columns that were always 0 round to the nearest. Errors: BadData, for moments that no
  /// values have (not positive semidefinite).
  static Result<ErrorCorrection> create(const float *moments, int64_t columns, int64_t group, double damping = 0.01);
  ErrorCorrection(ErrorCorrection &&) noexcept;
  ErrorCorrection &operator=(ErrorCorrection &&) noexcept;
  ~ErrorCorrection();

  /// Rounds `count` rows, `values` [count, columns], to `rows` [count], by a scheme of that group. Errors: as of `quantizeRow`; the message
  /// begins with the row's number among them.
  Result<void> quantize(const QuantizationScheme &scheme, const float *values, int64_t count, QuantizedRow *rows) const;

private:
  struct Factor;
  explicit ErrorCorrection(std::unique_ptr<Factor> factor);
  std::unique_ptr<Factor> factor;
};

/// The mean square of a product with `moments` [columns, columns], added up over `count` rows `values` [count, columns]: what a matrix, or
/// its errors, give at the layer's output.
double outputEnergy(const float *moments, int64_t columns, const float *values, int64_t count);

/// The same of what rounding to `rows` [count] leaves; `values` [count, columns] become those errors.
double errorEnergy(const float *moments, int64_t columns, const QuantizationScheme &scheme, const QuantizedRow *rows, float *values,
                   int64_t count);

} // namespace ds
#endif // DS_QUANTIZE_ERRORCORRECTION_H
