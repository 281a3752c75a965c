#include "ds/Target/Package/QuantizationReport.h"
#include "ParameterReader.h"
#include "ds/Quantize/QuantizedType.h"
#include "llvm/Support/Format.h"
#include <cmath>
#include <map>

using namespace mlir;
using namespace ds;

namespace {
struct Errors {
  double signal = 0, noise = 0, greatest = 0;
  void add(float value, float quantized) {
    const double error = std::fabs(static_cast<double>(value) - static_cast<double>(quantized));
    signal += static_cast<double>(value) * static_cast<double>(value);
    noise += error * error;
    greatest = std::max(greatest, error);
  }
};
} // namespace

static Result<Errors> errorsOf(ParameterOp parameter, const QuantizationScheme &scheme, const TensorSource &tensors,
                               const QuantizedMatrices *matrices) {
  Result<ParameterReader> reader = ParameterReader::create(parameter, tensors, matrices);
  if (!reader)
    return reader.error();
  Errors errors;
  QuantizedRow codes;
  std::vector<float> values(reader->columns()), quantized(reader->columns());
  for (int64_t row = 0; row < reader->rows(); ++row) {
    if (Result<void> read = reader->read(row, 1, values.data()); !read)
      return read.error();
    if (Result<void> read = reader->readCodes(row, codes); !read)
      return read.error();
    dequantizeRow(scheme, codes, quantized.data());
    for (auto [value, grid] : llvm::zip_equal(values, quantized))
      errors.add(value, grid);
  }
  reader->release();
  return errors;
}

static void printRatio(llvm::raw_ostream &out, double signal, double noise) {
  if (noise > 0)
    out << llvm::format("%9.1f", 10 * std::log10(signal / noise));
  else
    out << "    exact";
}

Result<std::string> ds::quantizationReport(ModuleOp module, const TensorSource &tensors, const CorrectedWeights *corrected) {
  std::string text;
  llvm::raw_string_ostream out(text);
  if (mainScheme(module).empty())
    return text;
  auto nameOf = [](ParameterOp parameter) { // of a part of a tensor its own as well: q, k and v of one
    std::string name = parameter.getSource()->str();
    return parameter.getView() ? name + " (" + parameter.getSymName().str() + ")" : name;
  };
  for (ParameterOp parameter : module.getOps<ParameterOp>()) {
    QuantizedType type = quantizedTypeOf(parameter);
    const bool isMatrix = parameter.getSource() && parameter.getTensorType().getRank() == 2;
    if (!type && !isMatrix)
      continue;
    if (text.empty())
      out << "quantized:  bits  SQNR dB  greatest error" << (corrected ? "  output dB" : "") << "  scheme          tensor\n";
    if (!type) { // --weights says what it is
      out << llvm::format("%16s%9s%16s", "-", "-", "-") << (corrected ? "          -" : "") << llvm::format("  %-15s ", "none")
          << nameOf(parameter) << "\n";
      continue;
    }
    const QuantizationScheme scheme = schemeOf(type);
    Result<Errors> errors = errorsOf(parameter, scheme, tensors, corrected ? &corrected->matrices : nullptr);
    if (!errors)
      return errors.error();
    out << llvm::format("%16.2f", scheme.bitsOfWeight(parameter.getTensorType().getDimSize(1)));
    printRatio(out, errors->signal, errors->noise);
    out << llvm::format("%16.3g", errors->greatest);
    if (corrected) {
      auto found = corrected->errors.find(parameter.getSymName());
      out << "  ";
      if (found != corrected->errors.end())
        printRatio(out, found->second.signal, found->second.noise);
      else
        out << "        -";
    }
    out << llvm::format("  %-15s ", schemeNameOf(parameter).c_str()) << nameOf(parameter) << "\n";
  }
  return text;
}

std::string ds::mainScheme(ModuleOp module) {
  std::map<std::string, int64_t> weights;
  for (ParameterOp parameter : module.getOps<ParameterOp>())
    if (quantizedTypeOf(parameter))
      weights[schemeNameOf(parameter)] += parameter.getTensorType().getNumElements();
  auto most = llvm::max_element(weights, [](auto &a, auto &b) { return a.second < b.second; });
  return most == weights.end() ? "" : most->first;
}
