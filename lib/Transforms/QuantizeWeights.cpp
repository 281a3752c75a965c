// Types of quantized matrices; what their codes are follows from the parameter's source (ds/Quantize/Quantizer.h).
#include "ds/Quantize/Pattern.h"
#include "ds/Quantize/QuantizedType.h"
#include "ds/Quantize/Quantizer.h"
#include "ds/Transforms/Passes.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Remarks.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/Regex.h"

using namespace mlir;

namespace ds {
#define GEN_PASS_DEF_QUANTIZEWEIGHTS
#include "ds/Transforms/Passes.h.inc"
} // namespace ds

using namespace ds;

static constexpr llvm::StringLiteral passName = "ds-quantize-weights";

namespace {
struct Rule {
  std::string pattern;
  SchemeChoice choice;
  bool isDefault = false; // what no other rule matches
  bool matched = false, applied = false;
  std::string kept; // the first matrix it left alone, and why
};

struct QuantizeWeights : ds::impl::QuantizeWeightsBase<QuantizeWeights> {
  using QuantizeWeightsBase::QuantizeWeightsBase;

  void runOnOperation() override {
    if (failed(readRules()))
      return signalPassFailure();
    countElements();
    llvm::MapVector<ParameterOp, SmallVector<WeightOp>> readers;
    SymbolTable symbols(getOperation());
    getOperation().walk([&](WeightOp weight) {
      if (auto parameter = symbols.lookup<ParameterOp>(weight.getParameter()))
        readers[parameter].push_back(weight);
    });
    for (auto &[parameter, weights] : readers)
      if (failed(quantize(parameter, weights)))
        return signalPassFailure();
    if (failed(checkRules()))
      return signalPassFailure();
    getOperation().walk([](GeluOp gelu) { gelu.setCoarse(isRounded(gelu.getResult())); });
  }

private:
  /// Whether linears alone read it that may round it to 8 bits, as it is or times a gate.
  static bool isRounded(Value value) {
    return !value.use_empty() && llvm::all_of(value.getUses(), [](OpOperand &use) {
      if (auto linear = dyn_cast<LinearOp>(use.getOwner()))
        return linear.getActivationBits().has_value() && &use == &linear.getInputMutable();
      return isa<MulOp>(use.getOwner()) && isRounded(use.getOwner()->getResult(0));
    });
  }

  LogicalResult readRules() {
    parsed.clear();
    if (activations != 0 && activations != 8)
      return getOperation().emitError("quantization: expects activations of 8 bits or 0, got ") << activations, failure();
    auto read = [&](StringRef pattern, StringRef name) {
      Result<SchemeChoice> choice = parseSchemeChoice(name);
      if (!choice)
        return getOperation().emitError("quantization: ") << choice.error().message, failure();
      if (std::string reason = whyNotPattern(pattern); !reason.empty())
        return getOperation().emitError("quantization: expects a POSIX extended regular expression, got '") << pattern << "': " << reason,
               failure();
      parsed.push_back({pattern.str(), *choice, false, false, false, {}});
      return success();
    };
    for (const std::string &rule : rules) {
      auto [pattern, name] = StringRef(rule).rsplit('=');
      if (failed(read(pattern, name)))
        return failure();
    }
    if (failed(read(".", scheme)))
      return failure();
    parsed.back().isDefault = true;
    return success();
  }

  /// Each rule that is asked for has done something; the scheme, which may be that of few matrices, where there are no rules.
  LogicalResult checkRules() {
    for (const Rule &rule : parsed) {
      const bool wantsNothing = rule.choice.kind == SchemeChoice::Kind::none;
      if (rule.applied || (wantsNothing && (rule.matched || rule.isDefault)) || (rule.isDefault && parsed.size() > 1))
        continue;
      InFlightDiagnostic error = getOperation().emitError("quantization: expects '");
      if (rule.isDefault)
        error << scheme << "' to quantize a matrix of the model";
      else
        error << rule.pattern << "' to match a matrix of the model" << (rule.matched ? " that can be quantized" : "");
      error << ", found none";
      if (!rule.kept.empty())
        error << ": " << rule.kept;
      else if (isShadowed(rule))
        error << " that no rule before it matches";
      return error;
    }
    return success();
  }

  bool isShadowed(const Rule &rule) {
    return llvm::any_of(getOperation().getOps<ParameterOp>(), [&](ParameterOp parameter) {
      auto matches = [&](const Rule &other) { return llvm::Regex(other.pattern).match(nameOf(parameter)); };
      return parameter.getTensorType().getRank() == 2 && matches(rule) && llvm::any_of(ArrayRef<Rule>(parsed.data(), &rule), matches);
    });
  }

  static StringRef nameOf(ParameterOp parameter) { return parameter.getSource().value_or(parameter.getSymName()); }

  /// A tensor that several parameters have parts of is all of them.
  void countElements() {
    elements.clear();
    llvm::DenseSet<std::pair<Attribute, Attribute>> seen;
    for (ParameterOp parameter : getOperation().getOps<ParameterOp>())
      if (parameter.getSource() && seen.insert({parameter.getSourceAttr(), parameter.getViewAttr()}).second)
        elements[*parameter.getSource()] += parameter.getTensorType().getNumElements();
  }

  Rule &choose(StringRef source) {
    for (Rule &rule : parsed)
      if (rule.isDefault || llvm::Regex(rule.pattern).match(source)) {
        rule.matched = true;
        return rule;
      }
    llvm_unreachable("the scheme matches all");
  }

  /// Why the matrix cannot be quantized; empty where it can.
  static StringRef whyNot(ParameterOp parameter, ArrayRef<WeightOp> weights, bool &isTable) {
    RankedTensorType type = parameter.getTensorType();
    if (!parameter.getSource() || !type.getElementType().isF32())
      return "not f32 from the model's files";
    for (WeightOp weight : weights)
      for (OpOperand &use : weight->getUses()) {
        auto linear = dyn_cast<LinearOp>(use.getOwner());
        isTable |= isa<EmbeddingOp>(use.getOwner());
        if (!isa<EmbeddingOp>(use.getOwner()) && (!linear || &use != &linear.getWeightMutable()))
          return "read as something else than a matrix";
      }
    return type.getDimSize(1) == 0 || type.getDimSize(1) % 16 ? "columns that are no multiple of 16" : StringRef();
  }

  /// That of the blocks of `type`. Rows that are not whole blocks are rounded to codes like theirs, with scales of f32 where blocks have
  /// factors.
  static std::optional<QuantizationScheme> storedSchemeOf(ParameterOp parameter, StringRef type, int64_t elements) {
    std::optional<StoredType> stored = blockTypeNamed(type);
    if (!stored)
      return std::nullopt;
    std::optional<QuantizationScheme> scheme = schemeOfStored(*stored);
    if (scheme->factors) {
      const StoredMatrix matrix = storedMatrixOf(parameter, elements);
      scheme->factors = keepsStoredCodes(*stored, *scheme, matrix.columns, matrix.offset, matrix.sizes, matrix.strides);
    }
    return scheme;
  }

  static void keep(Rule &rule, ParameterOp parameter, StringRef name, StringRef reason) {
    if (rule.kept.empty())
      rule.kept = ("'" + name + "' is left, " + reason).str();
    remark::missed(parameter.getLoc(), remark::RemarkOpts::name("not-quantized").category(passName))
        << remark::metric("source", name) << remark::reason(reason.str().c_str());
  }

  LogicalResult quantize(ParameterOp parameter, ArrayRef<WeightOp> weights) {
    RankedTensorType type = parameter.getTensorType();
    if (type.getRank() != 2)
      return success();
    const StringRef name = nameOf(parameter);
    Rule &rule = choose(name);
    const SchemeChoice &choice = rule.choice;
    bool isTable = false;
    std::optional<QuantizationScheme> wanted;
    if (choice.kind == SchemeChoice::Kind::scheme) {
      wanted = choice.scheme;
      while (choice.adapts && wanted->group > 16 && type.getDimSize(1) % wanted->group != 0)
        wanted->group /= 2;
    } else if (choice.kind == SchemeChoice::Kind::stored) {
      if (auto stored = parameter->getAttrOfType<StringAttr>(storedTypeAttrName))
        wanted = storedSchemeOf(parameter, stored.strref(), elements.lookup(name));
      else
        keep(rule, parameter, name, "not stored in blocks");
    }
    if (!wanted && choice.kind != SchemeChoice::Kind::grid)
      return success();
    if (StringRef reason = whyNot(parameter, weights, isTable); !reason.empty()) {
      keep(rule, parameter, name, reason);
      return success();
    }
    if (choice.kind == SchemeChoice::Kind::grid) {
      Result<QuantizationScheme> scheme = schemeOfGrid(choice.grid, storedMatrixOf(parameter, elements.lookup(name)));
      if (!scheme)
        return parameter.emitError("quantization: '") << name << "': " << scheme.error().message;
      wanted = *scheme;
      parameter.setGridAttr(moqAttrOf(&getContext(), choice.grid));
    }
    if (isTable && rule.isDefault && choice.kind == SchemeChoice::Kind::scheme && wanted->bits <= 4)
      wanted->bits = 8;
    if (type.getDimSize(1) % wanted->groupOf(type.getDimSize(1)) != 0)
      return parameter.emitError("quantization: expects groups that divide the ")
             << type.getDimSize(1) << " columns of '" << name << "', got groups of " << wanted->group;
    auto quantized = RankedTensorType::get(type.getShape(), quantizedTypeOf(&getContext(), *wanted));
    parameter.setType(quantized);
    rule.applied = true;
    for (WeightOp weight : weights) {
      weight.getResult().setType(quantized);
      if (activations && !wanted->e4m3)
        for (Operation *user : weight->getUsers())
          if (auto linear = dyn_cast<LinearOp>(user))
            linear.setActivationBits(activations);
    }
    remark::passed(parameter.getLoc(), remark::RemarkOpts::name("quantized").category(passName))
        << remark::metric("source", name) << remark::metric("scheme", schemeNameOf(parameter));
    if (activations && wanted->e4m3)
      remark::missed(parameter.getLoc(), remark::RemarkOpts::name("activations-not-rounded").category(passName))
          << remark::metric("source", name) << remark::reason("codes of e4m3 are no integers");
    return success();
  }

  std::vector<Rule> parsed;
  llvm::StringMap<int64_t> elements; // of sources
};
} // namespace
