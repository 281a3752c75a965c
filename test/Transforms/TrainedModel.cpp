#include "TrainedModel.h"
#include "../Numerics/RandomGraph.h"
#include "ds/Transforms/Passes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"
#include <cmath>

using namespace mlir;
using namespace ds;
using namespace ds::test;
using reference::Tensor;
using reference::TensorPtr;

static constexpr int64_t batch = 2, tokens = 5, vocabulary = 5;

/// Multiples of 2^-12 below 2: a step of 2^-18 stays exact in f32, so that differences of the loss are clean.
static Result<std::vector<double>> makeWeight(ParameterOp parameter) {
  RankedTensorType type = parameter.getTensorType();
  StringRef name = parameter.getSymName();
  uint64_t seed = 1;
  for (char c : name)
    seed = seed * 131 + static_cast<unsigned char>(c);
  Random random(seed);
  const bool isGain = type.getRank() == 1 && !name.ends_with("bias");
  std::vector<double> values(type.getNumElements());
  for (double &value : values)
    value = std::round(((isGain ? 1 : 0) + (isGain ? 0.25 : 0.5) * random.signedUnit()) * 4096) / 4096;
  return values;
}

TrainedModel::TrainedModel(const std::string &text, const TrainingOptions &options)
    : context(MLIRContext::Threading::DISABLED), handler(&context, [this](Diagnostic &diagnostic) {
        if (diagnostic.getSeverity() == DiagnosticSeverity::Error)
          message += (message.empty() ? "" : "; ") + diagnostic.str();
        return success();
      }) {
  context.loadDialect<DSDialect, ds_plan::DSPlanDialect, func::FuncDialect>();
  module = parseSourceString<ModuleOp>(text, &context);
  if (!module)
    return;
  if (options.dropout > 0)
    module->walk([&](Operation *op) {
      if (isa<EmbeddingOp, AttentionOp>(op) || (isa<LinearOp>(op) && isa<LayerOp>(op->getParentOp())))
        op->setAttr(dropoutAttrName, Builder(&context).getF64FloatAttr(options.dropout));
    });
  PassManager passes(&context);
  passes.addPass(createInsertLoss({options.smoothing}));
  passes.addPass(createInsertDropout());
  if (options.layerDrop)
    passes.addPass(createInsertLayerDrop());
  passes.addPass(createDifferentiate({options.recompute}));
  if (failed(passes.run(*module)) && message.empty())
    message = "the passes failed";
  interpreter = std::make_unique<reference::Interpreter>(*module, makeWeight);
}

TensorPtr TrainedModel::argument(const std::string &name, RankedTensorType type) {
  auto facts = (*module)->getAttrOfType<DictionaryAttr>("ds.positions");
  const auto offset = static_cast<double>(facts ? facts.getAs<IntegerAttr>("offset").getInt() : 0);
  Tensor tensor{type.getElementType(), {}, {}};
  if (type.getRank() == 2)
    tensor.shape = {batch, tokens};
  else
    tensor.shape = {type.isDynamicDim(0) ? 4 : type.getDimSize(0)};
  for (int64_t i = 0; i < (type.getRank() == 2 ? batch * tokens : tensor.shape[0]); ++i) {
    if (name == "input_ids")
      tensor.values.push_back(static_cast<double>(i * 7 % vocabulary));
    else if (name == "positions")
      tensor.values.push_back(static_cast<double>(i % tokens) + offset);
    else if (name == "mask")
      tensor.values.push_back(i != 3 && i != 9);
    else if (name == "token_type_ids")
      tensor.values.push_back(static_cast<double>(i % 2));
    else if (name == "rows")
      tensor.values.push_back(std::vector<double>{7, 1, 7, 4}[i]); // one twice
    else if (name == "labels")
      tensor.values.push_back(i == 1 ? -100 : static_cast<double>(i % 3));
    else if (name == "loss_scale")
      tensor.values.push_back(lossScale);
    else
      tensor.values.push_back(1); // gates and scales of layers
  }
  if (auto found = given.find(name); found != given.end()) {
    tensor.values = found->second;
    if (!type.isDynamicDim(0)) // as many layers as there are
      tensor.values.resize(type.getDimSize(0));
    tensor.shape[0] = static_cast<int64_t>(tensor.values.size()) / (type.getRank() == 2 ? tokens : 1);
  }
  return std::make_shared<Tensor>(std::move(tensor));
}

std::vector<TensorPtr> TrainedModel::call(const std::string &function) {
  auto callee = module->lookupSymbol<func::FuncOp>(function);
  std::vector<TensorPtr> arguments;
  for (unsigned i = 0; i < callee.getNumArguments(); ++i)
    arguments.push_back(
        argument(callee.getArgAttrOfType<StringAttr>(i, "ds.name").str(), cast<RankedTensorType>(callee.getArgumentTypes()[i])));
  auto results = interpreter->call(function, arguments);
  return failed(results) ? std::vector<TensorPtr>() : *results;
}

double TrainedModel::loss(const std::string &function) {
  std::vector<TensorPtr> results = call(function);
  double sum = results.empty() ? std::nan("") : 0;
  for (double row : results.empty() ? std::vector<double>() : results[0]->values)
    sum += lossScale * row;
  return sum;
}
