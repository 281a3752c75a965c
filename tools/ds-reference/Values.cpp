// Arguments and results on the command line.
#include "Values.h"
#include "ds/Reference/Npy.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Format.h"
#include <cmath>

using namespace mlir;
using namespace ds;
using namespace ds::reference;

static std::string argumentName(func::FuncOp function, unsigned index) {
  auto name = function.getArgAttrOfType<StringAttr>(index, "ds.name");
  return name ? name.str() : std::to_string(index);
}

static std::string resultName(func::FuncOp function, unsigned index) {
  auto name = function.getResultAttrOfType<StringAttr>(index, "ds.name");
  return name ? name.str() : std::to_string(index);
}

/// The place of `name` among `count` names.
template <typename NameOf> static Result<unsigned> placeOf(StringRef name, unsigned count, NameOf nameOf, const char *what) {
  std::string known;
  for (unsigned index = 0; index < count; ++index) {
    if (name == nameOf(index) || name == std::to_string(index))
      return index;
    known += (index ? ", " : "") + nameOf(index);
  }
  return Error::usage("no " + std::string(what) + " '" + name.str() + "'; there are: " + known);
}

/// `2x3xi32=1,2,3`: sizes, element type, and one value for all, or all of them, or `iota`.
static Result<Tensor> parseLiteral(StringRef text, Type elementType) {
  auto [type, list] = text.split('=');
  SmallVector<StringRef> parts;
  type.split(parts, 'x');
  std::string typeName;
  llvm::raw_string_ostream(typeName) << elementType;
  if (parts.pop_back_val() != typeName)
    return Error::usage("value '" + text.str() + "': expects SIZESx" + typeName + "=VALUES or @file.npy");
  std::vector<int64_t> shape;
  int64_t count = 1;
  for (StringRef part : parts) {
    int64_t size;
    if (part.getAsInteger(10, size) || size < 0 || llvm::MulOverflow(count, size, count) || count > (int64_t(1) << 32))
      return Error::usage("value '" + text.str() + "': expects sizes of at least 0 and at most 2^32 elements");
    shape.push_back(size);
  }
  Tensor tensor = Tensor::zeros(elementType, shape);
  if (list == "iota") {
    for (int64_t i = 0; i < count; ++i)
      tensor.values[i] = shape.empty() ? 0 : i % shape.back();
    return tensor;
  }
  SmallVector<StringRef> elements;
  list.split(elements, ',');
  if (elements.size() != 1 && static_cast<int64_t>(elements.size()) != count)
    return Error::usage("value '" + text.str() + "': expects 1 or " + std::to_string(count) + " values, found " +
                        std::to_string(elements.size()));
  bool isFloat = isa<FloatType>(elementType);
  for (int64_t i = 0; i < count; ++i) {
    StringRef element = elements[elements.size() == 1 ? 0 : i].trim();
    int32_t integer;
    double number = 0;
    if (isFloat ? element.getAsDouble(number) : element.getAsInteger(10, integer))
      return Error::usage("value '" + text.str() + "': expects " + typeName + ", found '" + element.str() + "'");
    tensor.values[i] = isFloat ? roundToType(number, elementType) : integer;
  }
  return tensor;
}

static Result<Tensor> readValue(StringRef text, Type elementType) {
  if (text.consume_front("@"))
    return readNpy(text.str(), elementType);
  return parseLiteral(text, elementType);
}

static Type elementTypeOf(Type type) {
  auto tensor = dyn_cast<RankedTensorType>(type);
  return tensor && (isa<FloatType>(tensor.getElementType()) || tensor.getElementType().isInteger(32)) ? tensor.getElementType() : Type();
}

Result<std::vector<TensorPtr>> ds::reference::readArguments(func::FuncOp function, ArrayRef<std::string> inputs) {
  std::vector<TensorPtr> arguments(function.getNumArguments());
  auto nameOf = [&](unsigned index) { return argumentName(function, index); };
  for (StringRef input : inputs) {
    auto [name, value] = input.split('=');
    Result<unsigned> place = placeOf(name, arguments.size(), nameOf, "argument");
    if (!place)
      return place.error();
    Type elementType = elementTypeOf(function.getArgumentTypes()[*place]);
    if (arguments[*place] || !elementType)
      return Error::usage("argument '" + name.str() + "' " + (elementType ? "is given twice" : "is not a tensor of floats or i32"));
    Result<Tensor> tensor = readValue(value, elementType);
    if (!tensor)
      return tensor.error();
    arguments[*place] = std::make_shared<Tensor>(std::move(*tensor));
  }
  for (auto [index, argument] : llvm::enumerate(arguments))
    if (!argument)
      return Error::usage("argument '" + nameOf(index) + "' of @" + function.getName().str() + " is not given; see --input");
  return arguments;
}

Result<void> ds::reference::writeResults(func::FuncOp function, ArrayRef<TensorPtr> results, ArrayRef<std::string> outputs) {
  for (StringRef output : outputs) {
    auto [name, value] = output.split('=');
    Result<unsigned> place = placeOf(name, results.size(), [&](unsigned index) { return resultName(function, index); }, "result");
    if (!place)
      return place.error();
    if (!value.consume_front("@"))
      return Error::usage("output '" + output.str() + "': expects NAME=@file.npy");
    if (Result<void> written = writeNpy(value.str(), *results[*place]); !written)
      return written;
  }
  return {};
}

Result<bool> ds::reference::compareResults(func::FuncOp function, ArrayRef<TensorPtr> results, ArrayRef<std::string> comparisons,
                                           double atol, double rtol, llvm::raw_ostream &out) {
  bool allHold = true;
  for (StringRef comparison : comparisons) {
    auto [name, value] = comparison.split('=');
    Result<unsigned> place = placeOf(name, results.size(), [&](unsigned index) { return resultName(function, index); }, "result");
    if (!place)
      return place.error();
    const Tensor &found = *results[*place];
    // An array is not rounded to the result's type: that would hide an error.
    bool isFloatFile = value.starts_with("@") && isa<FloatType>(found.elementType);
    Result<Tensor> expected = readValue(value, isFloatFile ? Float64Type::get(function.getContext()) : found.elementType);
    if (!expected)
      return expected.error();
    if (found.shape != expected->shape)
      return Error::badData("result '" + name.str() + "': expects shape " + shapeText(expected->shape) + ", found " +
                            shapeText(found.shape));
    double largest = 0;
    for (int64_t i = 0; i < found.elements(); ++i)
      largest = std::fmax(largest, std::fabs(found.values[i] - expected->values[i]));
    out << name << ": largest difference " << llvm::format("%.3g", largest);
    if (std::optional<Difference> far = findFar(found, *expected, atol, rtol)) {
      out << "; expects element " << shapeText(far->index) << llvm::format(" to be %.9g, got %.9g", far->expected, far->found);
      allHold = false;
    }
    out << "\n";
  }
  return allHold;
}

void ds::reference::printResults(func::FuncOp function, ArrayRef<TensorPtr> results, llvm::raw_ostream &out) {
  constexpr int64_t most = 64;
  for (auto [index, result] : llvm::enumerate(results)) {
    out << "@" << function.getName() << " " << resultName(function, index) << ": "
        << RankedTensorType::get(result->shape, result->elementType) << " =";
    for (int64_t i = 0; i < std::min(most, result->elements()); ++i)
      out << llvm::format(" %.9g", result->values[i]);
    out << (result->elements() > most ? " ...\n" : "\n");
  }
}
