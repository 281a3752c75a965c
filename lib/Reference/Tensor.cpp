// Tensors of the reference: rounding, attributes, comparison.
#include "ds/Reference/Tensor.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/raw_ostream.h"
#include <bit>
#include <cmath>

using namespace mlir;
using namespace ds::reference;

int64_t Tensor::rows() const {
  int64_t count = 1;
  for (size_t axis = 0; axis + 1 < shape.size(); ++axis)
    count *= shape[axis];
  return count;
}

Tensor Tensor::zeros(Type elementType, std::vector<int64_t> shape) {
  int64_t count = 1;
  for (int64_t size : shape)
    count *= size;
  return {elementType, std::move(shape), std::vector<double>(count)};
}

double ds::reference::roundToType(double value, Type elementType) {
  if (elementType.isF32())
    return static_cast<float>(value);
  auto type = dyn_cast<FloatType>(elementType);
  if (!type || type.isF64())
    return value;
  llvm::APFloat rounded(value);
  bool losesInfo;
  rounded.convert(type.getFloatSemantics(), llvm::APFloat::rmNearestTiesToEven, &losesInfo);
  return FloatAttr::getValueAsDouble(rounded);
}

std::string ds::reference::shapeText(ArrayRef<int64_t> shape) {
  std::string text = "[";
  for (auto [axis, size] : llvm::enumerate(shape))
    text += (axis ? ", " : "") + (size < 0 ? std::string("?") : std::to_string(size));
  return text + "]";
}

FailureOr<Tensor> ds::reference::tensorOf(ElementsAttr attribute) {
  ShapedType type = attribute.getShapedType();
  Tensor tensor{type.getElementType(), type.getShape().vec(), {}};
  tensor.values.reserve(type.getNumElements());
  if (isa<FloatType>(type.getElementType())) {
    auto values = attribute.tryGetValues<llvm::APFloat>();
    if (!values)
      return failure();
    for (const llvm::APFloat &value : *values)
      tensor.values.push_back(FloatAttr::getValueAsDouble(value));
    return tensor;
  }
  auto values = attribute.tryGetValues<llvm::APInt>();
  if (!values)
    return failure();
  for (const llvm::APInt &value : *values)
    tensor.values.push_back(static_cast<double>(value.getSExtValue()));
  return tensor;
}

/// The first element for which `differ` holds.
template <typename Differ> static std::optional<Difference> findFirst(const Tensor &value, const Tensor &expected, Differ differ) {
  for (int64_t i = 0; i < value.elements(); ++i) {
    if (!differ(value.values[i], expected.values[i]))
      continue;
    std::vector<int64_t> index(value.shape.size());
    int64_t rest = i;
    for (size_t axis = index.size(); axis-- > 0; rest /= value.shape[axis])
      index[axis] = rest % value.shape[axis];
    return Difference{std::move(index), expected.values[i], value.values[i]};
  }
  return std::nullopt;
}

std::optional<Difference> ds::reference::findFar(const Tensor &value, const Tensor &expected, double atol, double rtol) {
  return findFirst(value, expected, [&](double found, double wanted) {
    if (std::isnan(found) || std::isnan(wanted))
      return std::isnan(found) != std::isnan(wanted);
    if (std::isinf(found) || std::isinf(wanted))
      return found != wanted;
    return !(std::fabs(found - wanted) <= atol + rtol * std::fabs(wanted));
  });
}

std::optional<Difference> ds::reference::findUnequal(const Tensor &value, const Tensor &expected) {
  return findFirst(value, expected, [](double found, double wanted) {
    if (std::isnan(found) || std::isnan(wanted))
      return std::isnan(found) != std::isnan(wanted);
    return std::bit_cast<uint64_t>(found) != std::bit_cast<uint64_t>(wanted);
  });
}
