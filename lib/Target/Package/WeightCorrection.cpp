#include "ds/Target/Package/WeightCorrection.h"
#include "ForEach.h"
#include "ParameterReader.h"
#include "ds/Quantize/ErrorCorrection.h"
#include "ds/Quantize/QuantizedType.h"
#include "llvm/ADT/MapVector.h"
#include <atomic>

using namespace mlir;
using namespace ds;

static constexpr int64_t rowsTogether = 64; // whatever the threads, so that sums are the same

namespace {
/// Matrices that multiply one value.
struct Readers {
  const StoredTensor *moments = nullptr;
  SmallVector<ParameterOp> matrices;
};

class Correction {
public:
  Correction(ModuleOp module, const TensorSource &tensors, const Calibration &calibration, const InputFactors *inputFactors)
      : symbols(module), tensors(tensors), calibration(calibration), inputFactors(inputFactors) {
    module.walk([&](EmbeddingOp embedding) {
      if (ParameterOp table = parameterOf(embedding.getTable()))
        tables.insert(table);
    });
    module.walk([&](LinearOp linear) {
      if (ParameterOp parameter = parameterOf(linear.getWeight()))
        inputs[linear.getInput()].push_back(parameter);
    });
  }

  Result<void> prepare();
  Result<void> correct(const Readers &readers);

  std::vector<Readers> groups;
  CorrectedWeights result;

private:
  ParameterOp parameterOf(Value value) {
    auto weight = value.getDefiningOp<WeightOp>();
    auto parameter = weight ? symbols.lookup<ParameterOp>(weight.getParameter()) : ParameterOp();
    return parameter && parameter.getSource() ? parameter : ParameterOp();
  }
  Result<void> correct(ParameterOp parameter, const ErrorCorrection &correction, const float *moments);

  SymbolTable symbols;
  const TensorSource &tensors;
  const Calibration &calibration;
  const InputFactors *inputFactors;
  llvm::DenseSet<Operation *> tables;
  llvm::MapVector<Value, SmallVector<ParameterOp>> inputs;
};
} // namespace

Result<void> Correction::prepare() {
  llvm::DenseSet<Operation *> seen;
  StringRef unknown;
  bool isOfModel = false;
  for (auto &[value, parameters] : inputs) {
    Readers readers;
    for (ParameterOp parameter : parameters) {
      if (!readers.moments)
        readers.moments = calibration.find(parameter.getSource()->str());
      if (!quantizedTypeOf(parameter) || tables.contains(parameter) || !seen.insert(parameter).second)
        continue;
      if (std::optional<MoqGrid> grid = gridOf(parameter)) {
        result.left.push_back("'" + parameter.getSource()->str() + "': " + nameOf(*grid) + " says its values, which are not corrected");
        continue;
      }
      Result<ParameterReader> reader = ParameterReader::create(parameter, tensors);
      if (!reader)
        return reader.error();
      if (!reader->keepsStored())
        readers.matrices.push_back(parameter);
    }
    isOfModel |= readers.moments != nullptr;
    if (readers.matrices.empty())
      continue;
    if (!readers.moments) {
      unknown = *readers.matrices.front().getSource();
      for (ParameterOp parameter : readers.matrices)
        result.left.push_back("'" + parameter.getSource()->str() + "': rounded to the nearest, '" + calibration.path() +
                              "' has no moments of what it multiplies");
      continue;
    }
    for (ParameterOp parameter : readers.matrices) {
      RankedTensorType type = parameter.getTensorType();
      const int64_t columns = type.getDimSize(1);
      if (readers.moments->shape[0] != columns)
        return Error::badData("'" + calibration.path() + "': tensor '" + readers.moments->name + "': expects moments [" +
                              std::to_string(columns) + ", " + std::to_string(columns) + "] for '" + parameter.getSource()->str() +
                              "', found [" + std::to_string(readers.moments->shape[0]) + ", " + std::to_string(readers.moments->shape[1]) +
                              "]");
      // Places are made here, so that threads only fill them.
      const std::string name = parameter.getSymName().str();
      const QuantizationScheme scheme = schemeOf(quantizedTypeOf(parameter));
      result.matrices.try_emplace(name, scheme, type.getDimSize(0), columns);
      result.errors.try_emplace(name);
    }
    groups.push_back(std::move(readers));
  }
  if (!isOfModel && !unknown.empty())
    return Error::badData("'" + calibration.path() +
                          "': expects moments of what matrices of this model multiply, found none, such as of '" + unknown.str() + "'");
  return {};
}

Result<void> Correction::correct(const Readers &readers) {
  const auto *moments = reinterpret_cast<const float *>(readers.moments->data);
  const int64_t columns = readers.moments->shape[0];
  std::vector<float> scaled;
  if (inputFactors)
    if (auto found = inputFactors->find(readers.moments->name); found != inputFactors->end()) {
      scaled = dividedMoments(moments, found->second);
      moments = scaled.data();
    }
  std::map<int64_t, ErrorCorrection> corrections; // by group
  for (ParameterOp parameter : readers.matrices) {
    const int64_t group = result.matrices.find(parameter.getSymName())->second.scheme().groupOf(columns);
    auto found = corrections.find(group);
    if (found == corrections.end()) {
      Result<ErrorCorrection> created = ErrorCorrection::create(moments, columns, group);
      if (!created)
        return Error::badData("'" + calibration.path() + "': tensor '" + readers.moments->name + "': " + created.error().message);
      found = corrections.emplace(group, std::move(*created)).first;
    }
    if (Result<void> done = correct(parameter, found->second, moments); !done)
      return done;
  }
  return {};
}

Result<void> Correction::correct(ParameterOp parameter, const ErrorCorrection &correction, const float *moments) {
  Result<ParameterReader> reader = ParameterReader::create(parameter, tensors);
  if (!reader)
    return reader.error();
  const std::string name = parameter.getSymName().str();
  QuantizedMatrix &matrix = result.matrices.find(name)->second;
  OutputError &error = result.errors.find(name)->second;
  const int64_t columns = reader->columns();
  std::vector<float> values(rowsTogether * columns);
  std::vector<QuantizedRow> rows(rowsTogether);
  for (int64_t first = 0; first < reader->rows(); first += rowsTogether) {
    const int64_t count = std::min(rowsTogether, reader->rows() - first);
    if (Result<void> read = reader->read(first, count, values.data()); !read)
      return read;
    if (Result<void> chosen = correction.quantize(matrix.scheme(), values.data(), count, rows.data()); !chosen)
      return Error::badData("parameter '" + name + "', rows from " + std::to_string(first) + ": " + chosen.error().message);
    error.signal += outputEnergy(moments, columns, values.data(), count);
    for (int64_t i = 0; i < count; ++i)
      matrix.set(first + i, rows[i]);
    error.noise += errorEnergy(moments, columns, matrix.scheme(), rows.data(), values.data(), count);
  }
  reader->release();
  return {};
}

Result<CorrectedWeights> ds::correctWeights(ModuleOp module, const TensorSource &tensors, const Calibration &calibration,
                                            const CorrectionOptions &options) {
  Correction correction(module, tensors, calibration, options.inputs);
  if (Result<void> prepared = correction.prepare(); !prepared)
    return prepared.error();
  std::atomic<int64_t> done = 0;
  Result<void> corrected = forEach(correction.groups.size(), options.threads, [&](size_t index) -> Result<void> {
    if (options.cancelled && options.cancelled())
      return Error::cannotWrite("interrupted: nothing was written");
    if (Result<void> one = correction.correct(correction.groups[index]); !one)
      return one;
    if (options.progress)
      options.progress(++done, static_cast<int64_t>(correction.groups.size()));
    return {};
  });
  if (!corrected)
    return corrected.error();
  return std::move(correction.result);
}
