#include "ds/Target/Package/InputScaling.h"
#include "ForEach.h"
#include "ParameterReader.h"
#include "ds/Quantize/ErrorCorrection.h"
#include "ds/Quantize/QuantizedType.h"
#include "llvm/ADT/MapVector.h"
#include <cmath>

using namespace mlir;
using namespace ds;

static constexpr int64_t mostRows = 64; // of a matrix, evenly spaced
static constexpr int steps = 5;         // of the exponent
static constexpr double greatestExponent = 0.5;

namespace {
/// Where the rows and columns of a matrix [N, K] lie in its tensor.
struct Place {
  const StoredTensor *tensor = nullptr;
  bool isTransposed = false; // the tensor is [K, ...]
  int64_t firstRow = 0;      // n of the tensor that is row 0
};

/// A value, the matrices that multiply it, and what makes it.
struct Scaled {
  const StoredTensor *moments = nullptr;
  SmallVector<ParameterOp> matrices; // all that read the value
  SmallVector<Place> places;
  SmallVector<const StoredTensor *> vectors; // that make it: gain and bias
  std::optional<Place> maker;                // the matrix whose rows make it
  std::vector<float> factors;                // chosen; empty: 1
};

class Scaling {
public:
  Scaling(ModuleOp module, const TensorSource &tensors, const Calibration &calibration);
  std::vector<Scaled> groups;
  Result<void> choose(Scaled &group) const;
  InputScales scales() const;

private:
  std::optional<Scaled> read(Value value, ArrayRef<LinearOp> linears) const;
  bool readMaker(Value value, Scaled &group) const;
  /// The parameter behind a value, if a tensor of the model has its elements and nothing else reads it.
  ParameterOp parameterOf(Value value) const;
  /// True where codes follow from values as they are read, row by row: not those of the source, nor of a grid of all its values.
  bool mayScale(ParameterOp matrix) const;
  const StoredTensor *vectorOf(Value value, int64_t size) const;
  std::optional<Place> placeOf(ParameterOp matrix) const;

  SymbolTable symbols;
  const TensorSource &tensors;
  const Calibration &calibration;
  llvm::DenseMap<Operation *, int64_t> reads;             // of parameters
  llvm::StringMap<SmallVector<ParameterOp>> parametersOf; // of tensors
};
} // namespace

Scaling::Scaling(ModuleOp module, const TensorSource &tensors, const Calibration &calibration)
    : symbols(module), tensors(tensors), calibration(calibration) {
  for (auto parameter : module.getOps<ParameterOp>())
    if (parameter.getSource())
      parametersOf[*parameter.getSource()].push_back(parameter);
  llvm::MapVector<Value, SmallVector<LinearOp>> readers;
  module.walk([&](Operation *op) {
    if (auto weight = dyn_cast<WeightOp>(op))
      reads[symbols.lookup<ParameterOp>(weight.getParameter())] += std::distance(weight->use_begin(), weight->use_end());
    if (auto linear = dyn_cast<LinearOp>(op))
      readers[linear.getInput()].push_back(linear);
  });
  for (auto &[value, linears] : readers)
    if (std::optional<Scaled> group = read(value, linears))
      groups.push_back(std::move(*group));
}

ParameterOp Scaling::parameterOf(Value value) const {
  auto weight = value ? value.getDefiningOp<WeightOp>() : WeightOp();
  auto parameter = weight ? symbols.lookup<ParameterOp>(weight.getParameter()) : ParameterOp();
  return parameter && parameter.getSource() && reads.lookup(parameter) == 1 ? parameter : ParameterOp();
}

bool Scaling::mayScale(ParameterOp matrix) const {
  if (matrix.getGrid()) // before the reader, which would fit it
    return false;
  Result<ParameterReader> reader = ParameterReader::create(matrix, tensors);
  return reader && !reader->keepsStored();
}

const StoredTensor *Scaling::vectorOf(Value value, int64_t size) const {
  ParameterOp parameter = parameterOf(value);
  if (!parameter || parameter.getView() || parametersOf.lookup(*parameter.getSource()).size() != 1)
    return nullptr;
  const StoredTensor *tensor = tensors.find(parameter.getSource()->str());
  return tensor && tensor->shape.size() == 1 && tensor->shape[0] == size ? tensor : nullptr;
}

std::optional<Place> Scaling::placeOf(ParameterOp matrix) const {
  const StoredTensor *tensor = tensors.find(matrix.getSource()->str());
  if (!tensor || tensor->shape.size() != 2)
    return std::nullopt;
  ArrayRef<int64_t> shape = matrix.getTensorType().getShape();
  const int64_t width = tensor->shape[1];
  std::optional<ViewAttr> view = matrix.getView();
  if (!view)
    return shape[0] == tensor->shape[0] && shape[1] == width ? std::optional(Place{tensor, false, 0}) : std::nullopt;
  if (view->getSizes() != shape)
    return std::nullopt;
  if (view->getStrides() == ArrayRef<int64_t>{width, 1} && shape[1] == width && view->getOffset() % width == 0)
    return Place{tensor, false, view->getOffset() / width};
  if (view->getStrides() == ArrayRef<int64_t>{1, width} && shape[1] == tensor->shape[0] && view->getOffset() + shape[0] <= width)
    return Place{tensor, true, view->getOffset()};
  return std::nullopt;
}

bool Scaling::readMaker(Value value, Scaled &group) const {
  const int64_t size = group.moments->shape[0];
  auto addVector = [&](Value vector) {
    if (!vector)
      return true;
    group.vectors.push_back(vectorOf(vector, size));
    return group.vectors.back() != nullptr;
  };
  if (auto norm = value.getDefiningOp<LayerNormOp>())
    return addVector(norm.getGain()) && addVector(norm.getBias());
  if (auto norm = value.getDefiningOp<RmsNormOp>())
    return addVector(norm.getGain());
  auto product = value.getDefiningOp<MulOp>();
  for (Value factor : product ? product->getOperands() : OperandRange(nullptr, 0)) {
    auto linear = factor.getDefiningOp<LinearOp>();
    ParameterOp matrix = linear && factor.hasOneUse() && !linear.getTransposed() ? parameterOf(linear.getWeight()) : ParameterOp();
    if (!matrix || matrix.getTensorType().getDimSize(0) != size)
      continue;
    group.maker = placeOf(matrix);
    return group.maker && mayScale(matrix) && addVector(linear.getBias());
  }
  return false;
}

std::optional<Scaled> Scaling::read(Value value, ArrayRef<LinearOp> linears) const {
  if (static_cast<size_t>(std::distance(value.use_begin(), value.use_end())) != linears.size())
    return std::nullopt;
  Scaled group;
  bool isQuantized = false;
  for (LinearOp linear : linears) {
    ParameterOp matrix = linear.getTransposed() ? ParameterOp() : parameterOf(linear.getWeight());
    std::optional<Place> place = matrix ? placeOf(matrix) : std::nullopt;
    if (!place || !mayScale(matrix))
      return std::nullopt;
    if (!group.moments)
      group.moments = calibration.find(matrix.getSource()->str());
    if (!group.moments || group.moments->shape[0] != matrix.getTensorType().getDimSize(1))
      return std::nullopt;
    isQuantized |= static_cast<bool>(quantizedTypeOf(matrix));
    group.matrices.push_back(matrix);
    group.places.push_back(*place);
  }
  // A factor is of a column of the tensor, so all that are read from it have to be here.
  for (const Place &place : group.places)
    if (llvm::any_of(parametersOf.lookup(place.tensor->name),
                     [&](ParameterOp other) { return !llvm::is_contained(group.matrices, other); }))
      return std::nullopt;
  if (!isQuantized || !readMaker(value, group))
    return std::nullopt;
  return group;
}

/// m^(a / 2), the square root of least and greatest 1.
static std::vector<float> factorsOf(const StoredTensor &moments, double exponent) {
  const auto *values = reinterpret_cast<const float *>(moments.data);
  const int64_t columns = moments.shape[0];
  double greatest = 0;
  for (int64_t k = 0; k < columns; ++k)
    greatest = std::max(greatest, static_cast<double>(values[k * columns + k]));
  std::vector<double> factors;
  for (int64_t k = 0; k < columns; ++k)
    factors.push_back(std::pow(std::max(static_cast<double>(values[k * columns + k]), 1e-8 * greatest), exponent / 2));
  const double middle = std::sqrt(*std::min_element(factors.begin(), factors.end()) * *std::max_element(factors.begin(), factors.end()));
  std::vector<float> all;
  for (double factor : factors)
    all.push_back(static_cast<float>(middle > 0 ? factor / middle : 1));
  return all;
}

/// The mean square of the error at the output of some rows of a matrix, corrected, with columns multiplied by `factors`.
static Result<double> errorWith(const std::vector<float> &factors, const float *moments, const QuantizationScheme &scheme,
                                std::vector<float> values) {
  const auto columns = static_cast<int64_t>(factors.size()), count = static_cast<int64_t>(values.size()) / columns;
  const std::vector<float> divided = dividedMoments(moments, factors);
  Result<ErrorCorrection> correction = ErrorCorrection::create(divided.data(), columns, scheme.groupOf(columns));
  if (!correction)
    return correction.error();
  for (size_t i = 0; i < values.size(); ++i)
    values[i] *= factors[i % columns];
  std::vector<QuantizedRow> rows(count);
  if (Result<void> done = correction->quantize(scheme, values.data(), count, rows.data()); !done)
    return done.error();
  return errorEnergy(divided.data(), columns, scheme, rows.data(), values.data(), count);
}

Result<void> Scaling::choose(Scaled &group) const {
  const auto *moments = reinterpret_cast<const float *>(group.moments->data);
  const int64_t columns = group.moments->shape[0];
  std::vector<std::vector<float>> candidates(1, std::vector<float>(columns, 1));
  for (int step = 1; step <= steps; ++step)
    candidates.push_back(factorsOf(*group.moments, static_cast<double>(step) / steps * greatestExponent));
  std::vector<double> errors(candidates.size());
  for (ParameterOp matrix : group.matrices) {
    QuantizedType type = quantizedTypeOf(matrix);
    if (!type)
      continue;
    Result<ParameterReader> reader = ParameterReader::create(matrix, tensors);
    if (!reader)
      return reader.error();
    const int64_t every = llvm::divideCeil(reader->rows(), mostRows), count = llvm::divideCeil(reader->rows(), every);
    std::vector<float> values(count * columns);
    for (int64_t i = 0; i < count; ++i)
      if (Result<void> read = reader->read(i * every, 1, values.data() + i * columns); !read)
        return read;
    for (size_t c = 0; c < candidates.size(); ++c) {
      Result<double> error = errorWith(candidates[c], moments, schemeOf(type), values);
      if (!error)
        return Error::badData("parameter '" + matrix.getSymName().str() + "': " + error.error().message);
      errors[c] += *error * static_cast<double>(every);
    }
  }
  const auto best = std::min_element(errors.begin(), errors.end()) - errors.begin();
  if (best)
    group.factors = std::move(candidates[best]);
  return {};
}

/// Multiplies factors from `first` on.
static void multiply(std::vector<float> &to, int64_t size, int64_t first, ArrayRef<float> factors, bool inverse) {
  to.resize(size, 1);
  for (auto [k, factor] : llvm::enumerate(factors))
    to[first + static_cast<int64_t>(k)] = inverse ? 1 / factor : factor;
}

InputScales Scaling::scales() const {
  InputScales scales;
  for (const Scaled &group : groups) {
    if (group.factors.empty())
      continue;
    scales.inputs.emplace(group.moments->name, group.factors);
    for (const Place &place : group.places) {
      TensorFactors &factors = scales.tensors[place.tensor->name];
      multiply(place.isTransposed ? factors.rows : factors.columns, static_cast<int64_t>(group.factors.size()), 0, group.factors, false);
    }
    for (const StoredTensor *vector : group.vectors)
      multiply(scales.tensors[vector->name].columns, vector->shape[0], 0, group.factors, true);
    if (const std::optional<Place> &maker = group.maker) {
      TensorFactors &factors = scales.tensors[maker->tensor->name];
      multiply(maker->isTransposed ? factors.columns : factors.rows, maker->tensor->shape[maker->isTransposed ? 1 : 0], maker->firstRow,
               group.factors, true);
    }
  }
  return scales;
}

Result<InputScales> ds::chooseInputScales(ModuleOp module, const TensorSource &tensors, const Calibration &calibration,
                                          const CorrectionOptions &options) {
  Scaling scaling(module, tensors, calibration);
  Result<void> chosen = forEach(scaling.groups.size(), options.threads, [&](size_t index) -> Result<void> {
    if (options.cancelled && options.cancelled())
      return Error::cannotWrite("interrupted: nothing was written");
    return scaling.choose(scaling.groups[index]);
  });
  if (!chosen)
    return chosen.error();
  return scaling.scales();
}
