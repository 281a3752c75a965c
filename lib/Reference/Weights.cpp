// Reads parameters from the files of a model.
#include "ds/Import/TensorSource.h"
#include "ds/Quantize/QuantizedType.h"
#include "ds/Quantize/Quantizer.h"
#include "ds/Reference/Interpreter.h"

using namespace mlir;
using namespace ds;
using namespace ds::reference;

static Result<std::vector<double>> load(const TensorSource &source, ParameterOp parameter) {
  std::string name = parameter.getSource()->str();
  const StoredTensor *stored = source.find(name);
  if (!stored)
    return Error::missing("tensor '" + name + "' is not in the model's files");
  int64_t count = stored->elements();
  std::optional<ViewAttr> view = parameter.getView();
  int64_t wanted = parameter.getTensorType().getNumElements();
  if (!view && count != wanted)
    return Error::badData("tensor '" + name + "': expects " + std::to_string(wanted) + " elements, found " + std::to_string(count));
  int64_t last = 0;
  if (view) {
    last = view->getOffset();
    for (auto [size, stride] : llvm::zip(view->getSizes(), view->getStrides())) {
      int64_t span;
      if (llvm::MulOverflow(size - 1, stride, span) || llvm::AddOverflow(last, span, last) || last >= count)
        return Error::badData("tensor '" + name + "': its view leaves its " + std::to_string(count) + " elements");
    }
  }
  // A grid is one of the whole tensor.
  const std::optional<MoqGrid> grid = gridOf(parameter);
  const bool isPart = view && !grid;
  int64_t first = isPart ? view->getOffset() : 0;
  std::vector<float> values(isPart ? last - first + 1 : count);
  if (Result<void> read = source.readF32(*stored, first, values.size(), values.data()); !read)
    return read.error();
  source.dropPages(*stored);
  if (grid)
    if (Result<void> rounded = applyMoqGrid(*grid, values.data(), count, values.data()); !rounded)
      return Error::badData("tensor '" + name + "': " + nameOf(*grid) + ": " + rounded.error().message);
  if (!view)
    return std::vector<double>(values.begin(), values.end());
  std::vector<double> elements;
  elements.reserve(wanted);
  ArrayRef<int64_t> sizes = view->getSizes(), strides = view->getStrides();
  SmallVector<int64_t> index(sizes.size());
  for (int64_t i = 0, place = view->getOffset() - first; i < wanted; ++i) {
    elements.push_back(values[place]);
    for (size_t axis = sizes.size(); axis-- > 0;) {
      place += strides[axis];
      if (++index[axis] < sizes[axis])
        break;
      place -= sizes[axis] * strides[axis];
      index[axis] = 0;
    }
  }
  return elements;
}

/// Rounds the rows of a quantized parameter to its grid, where they are not stored on it.
static Result<void> quantize(const TensorSource &source, ParameterOp parameter, std::vector<double> &values) {
  QuantizedType type = quantizedTypeOf(parameter);
  const StoredTensor *stored = source.find(*parameter.getSource());
  if (!type || parameter.getGrid())
    return {};
  const int64_t columns = parameter.getTensorType().getDimSize(1);
  int64_t offset = 0;
  std::vector<int64_t> sizes{stored->elements()}, strides{1};
  if (std::optional<ViewAttr> view = parameter.getView())
    offset = view->getOffset(), sizes = view->getSizes().vec(), strides = view->getStrides().vec();
  if (keepsStoredCodes(stored->type, schemeOf(type), columns, offset, sizes, strides))
    return {};
  std::vector<float> row(columns);
  QuantizedRow codes;
  for (size_t first = 0; first < values.size(); first += columns) {
    std::transform(values.begin() + first, values.begin() + first + columns, row.begin(),
                   [](double value) { return static_cast<float>(value); });
    if (Result<void> rounded = quantizeRow(schemeOf(type), row.data(), columns, codes); !rounded)
      return Error::badData("row " + std::to_string(first / columns) + ", " + rounded.error().message);
    dequantizeRow(schemeOf(type), codes, row.data());
    std::copy(row.begin(), row.end(), values.begin() + first);
  }
  return {};
}

/// The values of codes that were chosen before.
static std::vector<double> valuesOf(const QuantizedMatrix &matrix, ParameterOp parameter) {
  std::vector<float> row(matrix.columns());
  std::vector<double> values;
  values.reserve(parameter.getTensorType().getNumElements());
  QuantizedRow codes;
  for (int64_t index = 0; index < parameter.getTensorType().getDimSize(0); ++index) {
    matrix.get(index, codes);
    dequantizeRow(matrix.scheme(), codes, row.data());
    values.insert(values.end(), row.begin(), row.end());
  }
  return values;
}

WeightLoader ds::reference::loadFrom(const TensorSource &source, const QuantizedMatrices *matrices) {
  return [&source, matrices](ParameterOp parameter) -> Result<std::vector<double>> {
    if (matrices)
      if (auto found = matrices->find(parameter.getSymName()); found != matrices->end())
        return valuesOf(found->second, parameter);
    Result<std::vector<double>> values = load(source, parameter);
    if (!values)
      return values;
    if (Result<void> rounded = quantize(source, parameter, *values); !rounded)
      return rounded.error();
    return values;
  };
}
