#include "Quantization.h"
#include "dialects/DSPlan/TileCodes.h"
#include "ds/Quantize/Pattern.h"
#include "ds/Quantize/QuantizedType.h"
#include "ds/Target/Package/QuantizationReport.h"
#include "ds/Transforms/Passes.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/Pass/PassManager.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/Regex.h"
#include "llvm/Support/raw_ostream.h"
#include <map>

using namespace mlir;
using namespace ds;

Result<void> Quantization::prepare() {
  schemes = {options.quantize, options.quantizeRules};
  if (StringRef(options.quantize).ends_with(".json")) {
    Result<Schemes> read = readSchemes(options.quantize);
    if (!read)
      return read.error();
    schemes.scheme = read->scheme;
    llvm::append_range(schemes.rules, read->rules);
  }
  Result<std::optional<BitBudget>> parsed = parseBudget(schemes.scheme);
  if (!parsed)
    return Error::usage("--quantize: " + parsed.error().message);
  budget = *parsed;
  if (budget && options.calibration.empty())
    return Error::usage("--quantize=" + schemes.scheme + ": expects --calibration as well");
  if (Result<SchemeChoice> scheme = parseSchemeChoice(budget ? "none" : schemes.scheme); !scheme)
    return Error::usage("--quantize: " + scheme.error().message + "; also auto:BITS, auto:DECIBELSdB or FILE.json");
  for (StringRef rule : options.quantizeRules) { // a file's are checked where they stand
    auto [pattern, name] = rule.rsplit('=');
    if (Result<SchemeChoice> scheme = parseSchemeChoice(rule.contains('=') ? name.str() : ""); !scheme)
      return Error::usage("rule '" + rule.str() + "': expects regex=scheme: " + scheme.error().message);
    if (std::string reason = whyNotPattern(pattern); !reason.empty())
      return Error::usage("rule '" + rule.str() + "': expects a POSIX extended regular expression, got '" + pattern.str() + "': " + reason);
  }
  if (options.activations != "f32" && options.activations != "int8")
    return Error::usage("--activations: expects f32 or int8, got '" + options.activations + "'");
  if (options.activations == "int8" && !isAsked())
    return Error::usage("--activations=int8: expects --quantize as well");
  if (!options.calibration.empty() && !isAsked())
    return Error::usage("--calibration: expects --quantize as well");
  if (options.scaleInputs && options.calibration.empty())
    return Error::usage("--scale-inputs: expects --calibration as well");
  if (options.observe && isAsked())
    return Error::usage("--observe-inputs: expects a model that is not quantized");
  return {};
}

Result<void> Quantization::applySchemes(ModuleOp module, const Schemes &schemes) const {
  std::string reason;
  ScopedDiagnosticHandler handler(module.getContext(), [&](Diagnostic &diagnostic) {
    if (diagnostic.getSeverity() == DiagnosticSeverity::Error && reason.empty())
      reason = diagnostic.str();
    return success(diagnostic.getSeverity() == DiagnosticSeverity::Error);
  });
  PassManager manager(module.getContext());
  QuantizeWeightsOptions quantization;
  quantization.scheme = schemes.scheme;
  quantization.activations = options.activations == "int8" ? 8 : 0;
  quantization.rules.assign(schemes.rules.begin(), schemes.rules.end());
  manager.addPass(createQuantizeWeights(quantization));
  if (succeeded(manager.run(module)))
    return {};
  return Error::badData("'" + options.model + "': " + (reason.empty() ? "quantization failed" : reason));
}

Result<CorrectedWeights> Quantization::correct(ModuleOp module, const TensorSource &tensors, const Calibration &calibration,
                                               const InputFactors *inputs, Progress &progress) const {
  CorrectionOptions correction;
  correction.threads = options.threads;
  correction.inputs = inputs;
  correction.progress = [&](int64_t done, int64_t total) { progress.advance(done, total); };
  correction.cancelled = [this] { return options.interrupted && *options.interrupted; };
  return correctWeights(module, tensors, calibration, correction);
}

static std::optional<QuantizationScheme> schemeOfParameter(ParameterOp parameter) {
  QuantizedType type = quantizedTypeOf(parameter);
  return type ? std::optional(schemeOf(type)) : std::nullopt;
}

Result<void> Quantization::checkTarget(ModuleOp module) const {
  const bool isGpu = StringRef(options.target).starts_with("cuda"), hasGpu = StringRef(options.target).contains("cuda"),
             roundsActivations = options.activations == "int8";
  SymbolTable symbols(module);
  llvm::SetVector<ParameterOp> multiplied;
  module.walk([&](LinearOp linear) {
    if (auto weight = linear.getWeight().getDefiningOp<WeightOp>())
      if (auto parameter = symbols.lookup<ParameterOp>(weight.getParameter()); parameter && quantizedTypeOf(parameter))
        multiplied.insert(parameter);
  });
  int64_t floats = 0;
  std::map<int64_t, int64_t> widened; // by bits
  for (ParameterOp parameter : multiplied) {
    const QuantizedType type = quantizedTypeOf(parameter);
    const ds_plan::Tiles tiles(type, parameter.getTensorType().getDimSize(0), parameter.getTensorType().getDimSize(1));
    if (isGpu && !tiles.hasWholeGroups())
      return Error::badData("'" + options.model + "': --target=" + options.target + ": expects groups of 32, 64 or a multiple of " +
                            std::to_string(tiles.tileDepth()) + " columns, or rows, for '" + parameter.getSource()->str() + "' of " +
                            schemeNameOf(parameter) + ", got groups of " + std::to_string(tiles.group()));
    floats += type.isE4m3();
    if (hasGpu && tiles.bits() != type.getBits())
      ++widened[type.getBits()];
  }
  if (!options.quiet)
    for (auto [bits, count] : widened)
      llvm::errs() << "ds-compile: note: --target=" << options.target << ": " << count << (count == 1 ? " matrix" : " matrices") << " of "
                   << bits << " bits lie" << (count == 1 ? "s" : "") << " in " << (bits < 4 ? 4 : 8) << " for CUDA\n";
  if (roundsActivations && floats > 0 && !options.quiet)
    llvm::errs() << "ds-compile: note: --activations=int8: " << floats << (floats == 1 ? " matrix" : " matrices")
                 << " of fp8 multiply f32, as codes of e4m3 are no integers\n";
  return {};
}

static bool isRuled(const Schemes &schemes, StringRef source) {
  return llvm::any_of(schemes.rules, [&](StringRef rule) { return llvm::Regex(rule.rsplit('=').first).match(source); });
}

/// The rule that gives one tensor a scheme.
static std::string ruleOf(StringRef source, const std::string &scheme) { return "^" + llvm::Regex::escape(source) + "$=" + scheme; }

Result<Schemes> Quantization::allocate(ModuleOp module, const TensorSource &tensors, const Calibration &calibration,
                                       Progress &progress) const {
  // All that can be quantized in 8 bits, then the same in few, where no rule says otherwise.
  OwningOpRef<ModuleOp> wide = module.clone(), narrow = module.clone();
  if (Result<void> applied = applySchemes(*wide, {"int8", schemes.rules}); !applied)
    return applied.error();
  Schemes four = {"none", schemes.rules};
  llvm::MapVector<StringRef, SmallVector<ParameterOp>> sources;
  auto addRule = [&](Schemes &to, StringRef source, int64_t bits) {
    if (!isRuled(schemes, source))
      to.rules.push_back(
          ruleOf(source, "int" + std::to_string(bits) + "-g" + std::to_string(schemeOfParameter(sources[source].front())->group)));
  };
  for (ParameterOp parameter : wide->getOps<ParameterOp>())
    if (schemeOfParameter(parameter))
      sources[*parameter.getSource()].push_back(parameter);
  llvm::StringSet<> tables; // which keep 8 bits
  SymbolTable symbols(*wide);
  wide->walk([&](EmbeddingOp embedding) {
    if (auto weight = embedding.getTable().getDefiningOp<WeightOp>())
      if (auto parameter = symbols.lookup<ParameterOp>(weight.getParameter()); parameter && parameter.getSource())
        tables.insert(*parameter.getSource());
  });
  for (auto &[source, parameters] : sources)
    if (!tables.contains(source))
      addRule(four, source, measuredBits);
  if (Result<void> applied = applySchemes(*narrow, four); !applied)
    return applied.error();
  Result<CorrectedWeights> inFour = correct(*narrow, tensors, calibration, nullptr, progress);
  if (!inFour)
    return inFour.error();

  // On GPUs codes lie in 4 or 8 bits.
  const std::vector<int64_t> rungs =
      StringRef(options.target).contains("cuda") ? std::vector<int64_t>{4, 8} : std::vector<int64_t>{3, 4, 5, 6, 7, 8};
  std::vector<BudgetItem> items;
  for (auto &[source, parameters] : sources) {
    BudgetItem &item = items.emplace_back();
    double own = 0;
    bool isFixed = isRuled(schemes, source);
    item.sizes.resize(rungs.size());
    for (ParameterOp parameter : parameters) {
      const auto count = static_cast<double>(parameter.getTensorType().getNumElements());
      const int64_t columns = parameter.getTensorType().getDimSize(1);
      QuantizationScheme scheme = *schemeOfParameter(parameter);
      item.weights += count;
      own += count * scheme.bitsOfWeight(columns);
      for (auto [bits, size] : llvm::zip_equal(rungs, item.sizes)) {
        scheme.bits = bits;
        size += count * scheme.bitsOfWeight(columns);
      }
      auto error = inFour->errors.find(parameter.getSymName());
      if (error == inFour->errors.end() || tables.contains(source))
        isFixed = true;
      else
        item.signal += error->second.signal, item.noise += error->second.noise;
    }
    if (isFixed)
      item.sizes = {own};
  }
  Result<std::vector<size_t>> chosen = allocateBits(*budget, rungs, items);
  if (!chosen)
    return Error::usage("--quantize=" + schemes.scheme + ": " + chosen.error().message);
  Schemes mixed = {"none", schemes.rules};
  for (auto [source, item, rung] : llvm::zip_equal(llvm::make_first_range(sources), items, *chosen))
    addRule(mixed, source, item.isFixed() ? rungs.back() : rungs[rung]);
  return mixed;
}

Result<void> Quantization::run(ModuleOp module, const TensorSource &tensors, Progress &progress) {
  if (!isAsked())
    return {};
  std::optional<Calibration> calibration;
  if (!options.calibration.empty()) {
    Result<Calibration> opened = Calibration::open(options.calibration);
    if (!opened)
      return opened.error();
    calibration = std::move(*opened);
    progress.stage("quantize");
  }
  Schemes chosen = schemes;
  if (budget) {
    Result<Schemes> allocated = allocate(module, tensors, *calibration, progress);
    if (!allocated)
      return allocated.error();
    chosen = std::move(*allocated);
  }
  if (Result<void> applied = applySchemes(module, chosen); !applied)
    return applied;
  if (Result<void> served = checkTarget(module); !served)
    return served;
  if (mainScheme(module).empty())
    return Error::badData("'" + options.model + "': --quantize=" + options.quantize +
                          ": expects a matrix of the model that no rule leaves as it is, found none");
  if (!calibration)
    return {};
  InputFactors inputs;
  if (options.scaleInputs) {
    CorrectionOptions scaling;
    scaling.threads = options.threads;
    scaling.cancelled = [this] { return options.interrupted && *options.interrupted; };
    Result<InputScales> scales = chooseInputScales(module, tensors, *calibration, scaling);
    if (!scales)
      return scales.error();
    inputs = std::move(scales->inputs);
    scaled = std::make_unique<ScaledTensors>(tensors, std::move(scales->tensors));
  }
  Result<CorrectedWeights> corrected = correct(module, this->tensors(tensors), *calibration, &inputs, progress);
  if (!corrected)
    return corrected.error();
  weights = std::move(*corrected);
  if (!options.quiet)
    for (const std::string &line : weights->left)
      llvm::errs() << "ds-compile: note: " << line << "\n";
  return {};
}
