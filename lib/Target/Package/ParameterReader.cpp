#include "ParameterReader.h"
#include "ds/Quantize/QuantizedType.h"
#include "llvm/ADT/STLExtras.h"
#include <algorithm>
#include <cmath>

using namespace mlir;
using namespace ds;

Result<ParameterReader> ParameterReader::create(ParameterOp parameter, const TensorSource &tensors, const QuantizedMatrices *matrices) {
  ParameterReader reader;
  reader.name = parameter.getSymName().str();
  RankedTensorType type = parameter.getTensorType();
  reader.rowCount = type.getDimSize(0);
  reader.columnCount = type.getRank() == 2 ? type.getDimSize(1) : 1;
  reader.quantized = quantizedTypeOf(parameter);
  if (matrices)
    if (auto found = matrices->find(reader.name); found != matrices->end())
      reader.chosen = &found->second;
  if (parameter.getValue()) {
    reader.value = *parameter.getValue();
    return reader;
  }
  reader.source = &tensors;
  reader.tensor = tensors.find(parameter.getSource()->str());
  std::string place = "parameter '" + parameter.getSymName().str() + "'";
  if (!reader.tensor)
    return Error::badData(place + ": expects tensor '" + parameter.getSource()->str() + "' in the model's files, found none");
  const int64_t stored = reader.tensor->elements();
  int64_t last = 0;
  if (std::optional<ViewAttr> view = parameter.getView()) {
    reader.offset = view->getOffset();
    reader.sizes.assign(view->getSizes().begin(), view->getSizes().end());
    reader.strides.assign(view->getStrides().begin(), view->getStrides().end());
    last = reader.offset;
    for (auto [size, stride] : llvm::zip(reader.sizes, reader.strides))
      last += (size - 1) * stride;
  } else {
    reader.sizes = {type.getNumElements()};
    reader.strides = {1};
    last = type.getNumElements() - 1;
  }
  if (last >= stored)
    return Error::badData(place + ": expects " + std::to_string(last + 1) + " elements in tensor '" + reader.tensor->name + "', found " +
                          std::to_string(stored));
  if (parameter.getGrid()) {
    if (Result<void> fitted = reader.fitGrid(parameter); !fitted)
      return fitted.error();
    return reader;
  }
  reader.keepsCodes =
      reader.quantized && keepsStoredCodes(reader.tensor->type, schemeOf(reader.quantized), reader.columnCount, reader.offset,
                                           {reader.sizes.begin(), reader.sizes.end()}, {reader.strides.begin(), reader.strides.end()});
  return reader;
}

Result<void> ParameterReader::fitGrid(ParameterOp parameter) {
  grid = gridOf(parameter);
  const int64_t elements = tensor->elements();
  auto wrong = [&](const std::string &what) {
    return Error::badData("parameter '" + name + "': tensor '" + tensor->name + "': " + nameOf(*grid) + ": " + what);
  };
  Result<QuantizationScheme> scheme = schemeOfGrid(*grid, storedMatrixOf(parameter, elements));
  if (!scheme)
    return wrong(scheme.error().message);
  if (*scheme != schemeOf(quantized))
    return wrong("expects codes as of " + nameOf(*scheme) + " for its " + std::to_string(elements) + " values, got those of " +
                 nameOf(schemeOf(quantized)));
  std::vector<float> values(elements);
  if (Result<void> read = source->readF32(*tensor, 0, elements, values.data()); !read)
    return read;
  Result<std::vector<MoqFit>> fitted = fitMoqGrid(*grid, values.data(), elements);
  if (!fitted)
    return wrong(fitted.error().message);
  fits = std::move(*fitted);
  return {};
}

void ParameterReader::readGrid(int64_t index, const float *values, QuantizedRow &row) const {
  const int64_t run = tensor->elements() / static_cast<int64_t>(fits.size()), together = schemeOf(quantized).groupOf(columnCount);
  row.codes.resize(columnCount);
  row.scales.clear(), row.offsets.clear();
  for (int64_t first = 0; first < columnCount; first += together) {
    const MoqFit &fit = fits[placeOf(index * columnCount + first) / run];
    row.scales.push_back(fit.scale);
    if (grid->asymmetric)
      row.offsets.push_back(fit.offset);
    for (int64_t k = first; k < first + together; ++k)
      row.codes[k] = static_cast<int16_t>(moqCode(*grid, fit, values[k]));
  }
}

int64_t ParameterReader::placeOf(int64_t index) const {
  int64_t place = offset;
  for (int64_t axis = static_cast<int64_t>(sizes.size()) - 1; axis >= 0; --axis) {
    place += index % sizes[axis] * strides[axis];
    index /= sizes[axis];
  }
  return place;
}

Result<void> ParameterReader::readElements(int64_t first, int64_t count, float *out) const {
  int64_t run = strides.back() == 1 ? sizes.back() : 1;
  while (count > 0) {
    int64_t at = placeOf(first), length = std::min(count, run == 1 ? 1 : run - first % run);
    if (Result<void> result = source->readF32(*tensor, at, length, out); !result)
      return result;
    first += length, out += length, count -= length;
  }
  return {};
}

Result<void> ParameterReader::read(int64_t first, int64_t count, float *out) const {
  if (Result<void> read = readRows(first, count, out); !read)
    return read;
  const float *begin = out, *end = begin + count * columnCount,
              *found = std::find_if(begin, end, [](float value) { return !std::isfinite(value); });
  if (found == end)
    return {};
  const int64_t element = first * columnCount + (found - begin);
  if (expectsFinite)
    return Error::badData("parameter '" + name + "'" + (tensor ? ": tensor '" + tensor->name + "'" : "") + ": element " +
                          std::to_string(element) + ": expects a finite value, got " + std::to_string(*found));
  int64_t lowest = *notFinite;
  while (element < lowest && !notFinite->compare_exchange_weak(lowest, element))
    ;
  return {};
}

Result<void> ParameterReader::readRows(int64_t first, int64_t count, float *out) const {
  if (value) {
    auto values = value.tryGetValues<APFloat>();
    if (!values)
      return Error::internal("inline parameter value is not of floats");
    int64_t begin = first * columnCount;
    for (int64_t i = 0; i < count * columnCount; ++i) {
      APFloat element = (*values)[begin + i];
      bool lossy = false;
      element.convert(APFloat::IEEEsingle(), APFloat::rmNearestTiesToEven, &lossy);
      out[i] = element.convertToFloat();
    }
    return {};
  }
  // A transposed matrix is read along its columns, where its elements lie side by side.
  if (sizes.size() == 2 && strides[0] == 1 && strides[1] != 1 && sizes[0] == rowCount) {
    std::vector<float> column(count);
    for (int64_t k = 0; k < columnCount; ++k) {
      if (Result<void> result = source->readF32(*tensor, offset + first + k * strides[1], count, column.data()); !result)
        return result;
      for (int64_t n = 0; n < count; ++n)
        out[n * columnCount + k] = column[n];
    }
    return {};
  }
  return readElements(first * columnCount, count * columnCount, out);
}

Result<void> ParameterReader::readCodes(int64_t index, QuantizedRow &row) const {
  const QuantizationScheme scheme = schemeOf(quantized);
  if (chosen) {
    chosen->get(index, row);
    return {};
  }
  if (keepsCodes) {
    row.codes.resize(columnCount);
    row.scales.resize(columnCount / scheme.groupOf(columnCount));
    row.offsets.resize(scheme.asymmetric ? row.scales.size() : 0);
    row.factors.resize(scheme.factors ? row.scales.size() : 0);
    readStoredCodes(*tensor, placeOf(index * columnCount), columnCount, row.codes.data(), row.scales.data(), row.offsets.data(),
                    scheme.factors ? row.factors.data() : nullptr);
    for (const std::vector<float> *numbers : {&row.scales, &row.offsets})
      for (auto [group, number] : llvm::enumerate(*numbers))
        if (!std::isfinite(number))
          return Error::badData("parameter '" + name + "', row " + std::to_string(index) + ", group " + std::to_string(group) +
                                ": expects a finite " + (numbers == &row.scales ? "scale" : "offset") + ", found " +
                                (std::isnan(number) ? "NaN" : "infinity"));
    return {};
  }
  std::vector<float> values(columnCount);
  if (Result<void> read = readRows(index, 1, values.data()); !read) // rounding refuses what is not finite
    return read;
  if (grid) {
    readGrid(index, values.data(), row);
    return {};
  }
  if (Result<void> rounded = quantizeRow(scheme, values.data(), columnCount, row); !rounded)
    return Error::badData("parameter '" + name + "', row " + std::to_string(index) + ", " + rounded.error().message);
  const int64_t group = scheme.groupOf(columnCount);
  for (auto [g, scale] : llvm::enumerate(row.scales))
    if (auto first = values.begin() + static_cast<int64_t>(g) * group;
        scale == 0 && (!scheme.asymmetric || row.offsets[g] == 0) && std::any_of(first, first + group, [](float v) { return v != 0; }))
      ++*vanished;
  return {};
}

void ParameterReader::release() const {
  if (source)
    source->dropPages(*tensor);
}
