// A tensor of the reference: every element in f64, whatever its type.
#ifndef DS_REFERENCE_TENSOR_H
#define DS_REFERENCE_TENSOR_H

#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"
#include <cstdint>
#include <memory>
#include <vector>

namespace ds::reference {

/// `values` are row-major, as many as the product of `shape`. An i32 is held exactly.
struct Tensor {
  mlir::Type elementType;
  std::vector<int64_t> shape;
  std::vector<double> values;

  int64_t rank() const { return static_cast<int64_t>(shape.size()); }
  int64_t elements() const { return static_cast<int64_t>(values.size()); }
  /// Product of all sizes but the last.
  int64_t rows() const;

  /// A tensor of zeros.
  static Tensor zeros(mlir::Type elementType, std::vector<int64_t> shape);
};
using TensorPtr = std::shared_ptr<const Tensor>;

/// The nearest value of a float type (ties to even); of f64, the value itself.
double roundToType(double value, mlir::Type elementType);

/// `[2, 3]`, for messages.
std::string shapeText(llvm::ArrayRef<int64_t> shape);

/// The elements of a dense or sparse attribute of floats or i32. Fails for an attribute that holds no elements, such as a resource.
mlir::FailureOr<Tensor> tensorOf(mlir::ElementsAttr attribute);

/// Where two tensors differ first.
struct Difference {
  std::vector<int64_t> index;
  double expected, found;
};

/// The first element with `|value - expected| > atol + rtol * |expected|`. Infinities are close to themselves alone, a NaN to a NaN.
/// The shapes are equal.
std::optional<Difference> findFar(const Tensor &value, const Tensor &expected, double atol, double rtol);
/// The first element that is not the same, the sign of zeros included. The shapes are equal.
std::optional<Difference> findUnequal(const Tensor &value, const Tensor &expected);

} // namespace ds::reference
#endif // DS_REFERENCE_TENSOR_H
