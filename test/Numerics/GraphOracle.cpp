#include "GraphOracle.h"
#include "dialects/RegisterDialects.h"
#include "ds/Pipelines/RegisterPasses.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassRegistry.h"
#include <cstring>
#include <mutex>

using namespace mlir;
using namespace ds;
using namespace ds::test;
using reference::Tensor;
using reference::TensorPtr;

GraphTensors::GraphTensors(const RandomGraph &graph, const std::string &weights) {
  for (const GraphParameter &parameter : graph.parameters) {
    Random random(graph.seed * 1000003 + all.size());
    StoredTensor tensor{parameter.name, StoredType::F32, parameter.shape, nullptr, 0, "random"};
    std::vector<float> elements(tensor.elements());
    for (float &element : elements) {
      element = static_cast<float>(parameter.center + parameter.spread * random.signedUnit());
      if (parameter.shape.size() != 2)
        continue;
      if (weights == "f16")
        element = static_cast<float>(static_cast<_Float16>(element));
      if (weights == "bf16") {
        uint32_t bits;
        memcpy(&bits, &element, 4);
        bits &= 0xFFFF0000u;
        memcpy(&element, &bits, 4);
      }
    }
    values.push_back(std::move(elements));
    tensor.data = reinterpret_cast<const uint8_t *>(values.back().data());
    tensor.bytes = values.back().size() * 4;
    all.push_back(tensor);
  }
}

const StoredTensor *GraphTensors::find(std::string_view name) const {
  for (const StoredTensor &tensor : all)
    if (tensor.name == name)
      return &tensor;
  return nullptr;
}

GraphModule::GraphModule(const std::string &text) {
  static std::once_flag once;
  std::call_once(once, registerPasses);
  DialectRegistry registry;
  registerDialects(registry);
  context = std::make_unique<MLIRContext>(registry, MLIRContext::Threading::DISABLED);
  handler = std::make_unique<ScopedDiagnosticHandler>(context.get(), [this](Diagnostic &diagnostic) {
    if (diagnostic.getSeverity() == DiagnosticSeverity::Error)
      message += (message.empty() ? "" : "; ") + diagnostic.str();
    return success();
  });
  module = parseSourceString<ModuleOp>(text, ParserConfig(context.get()));
  if (!module && message.empty())
    message = "the text is not a module";
}

GraphModule::~GraphModule() = default;

bool GraphModule::run(const std::string &pipeline) {
  // Passes on functions or programs nest by themselves.
  PassManager passes(context.get(), ModuleOp::getOperationName(), OpPassManager::Nesting::Implicit);
  std::string why;
  llvm::raw_string_ostream stream(why);
  if (failed(parsePassPipeline(pipeline, passes, stream))) {
    message += why;
    return false;
  }
  if (failed(passes.run(*module)) && message.empty())
    message = "the pipeline failed";
  return message.empty();
}

std::string GraphModule::text() {
  std::string text;
  llvm::raw_string_ostream stream(text);
  module->print(stream);
  return text;
}

GraphOracle::GraphOracle(GraphModule &module, const GraphTensors &tensors)
    : module(module), interpreter(module.get(), [&tensors](ParameterOp parameter) -> Result<std::vector<double>> {
        const StoredTensor *stored = tensors.find(parameter.getSource()->str());
        if (!stored)
          return Error::missing("tensor '" + parameter.getSource()->str() + "' is not in the graph");
        auto *first = reinterpret_cast<const float *>(stored->data);
        return std::vector<double>(first, first + stored->elements());
      }) {}

GraphOutputs GraphOracle::call(const std::string &function, const GraphInputs &inputs, int64_t batch, int64_t tokens) {
  auto callee = module.get().lookupSymbol<func::FuncOp>(function);
  if (!callee) {
    module.message = "no function @" + function;
    return {};
  }
  std::vector<TensorPtr> arguments;
  for (unsigned i = 0; i < callee.getNumArguments(); ++i) {
    std::string name = callee.getArgAttrOfType<StringAttr>(i, "ds.name").str();
    const std::vector<int32_t> &given = inputs.at(name);
    std::vector<int64_t> shape = {batch, tokens};
    if (cast<RankedTensorType>(callee.getArgumentTypes()[i]).getRank() == 1)
      shape = {static_cast<int64_t>(given.size())};
    arguments.push_back(std::make_shared<Tensor>(
        Tensor{IntegerType::get(module.context.get(), 32), shape, std::vector<double>(given.begin(), given.end())}));
  }
  FailureOr<std::vector<TensorPtr>> results = interpreter.call(function, arguments);
  if (failed(results))
    return {};
  GraphOutputs outputs;
  for (auto [index, result] : llvm::enumerate(*results))
    outputs[callee.getResultAttrOfType<StringAttr>(index, "ds.name").str()] = result;
  return outputs;
}

GraphInputs ds::test::makeGraphInputs(const RandomGraph &graph, Random &random, int64_t batch, int64_t tokens, bool holes) {
  GraphInputs inputs;
  for (int64_t b = 0; b < batch; ++b) {
    // Padding on the right or on the left, holes, or a sequence of padding alone.
    int64_t kind = holes ? random.below(8) : 7, length = 1 + random.below(tokens), skipped = 0;
    for (int64_t t = 0; t < tokens; ++t) {
      bool seen = kind < 3 ? t < length : kind < 5 ? t >= tokens - length : kind == 5 ? random.chance(2, 3) : kind != 6;
      skipped += kind >= 3 && kind < 5 && !seen;
      inputs["input_ids"].push_back(static_cast<int32_t>(random.below(graph.vocabulary)));
      inputs["positions"].push_back(static_cast<int32_t>(t - std::min(t, skipped) + graph.positionOffset));
      inputs["mask"].push_back(seen ? (random.chance(1, 9) ? 7 : 1) : 0);
      inputs["token_type_ids"].push_back(graph.typeCount ? static_cast<int32_t>(random.below(graph.typeCount)) : 0);
    }
  }
  return inputs;
}

/// Expects every row of `outputs`.
static void expectAll(GraphStep &step, const GraphOutputs &outputs) {
  for (const auto &[name, tensor] : outputs) {
    int64_t width = tensor->shape.back();
    for (int64_t row = 0; row < tensor->rows(); ++row)
      step.expected[name].push_back(
          {row, std::vector<double>(tensor->values.begin() + row * width, tensor->values.begin() + (row + 1) * width)});
  }
}

static std::vector<int32_t> someRows(Random &random, int64_t count, int64_t tokens) {
  std::vector<int32_t> rows(count);
  for (int32_t &row : rows)
    row = static_cast<int32_t>(random.below(tokens));
  return rows;
}

/// One call of the whole function, against `oracle`.
static bool addWholeSteps(std::vector<GraphStep> &steps, const RandomGraph &graph, GraphOracle &oracle, Random &random, int64_t count) {
  const std::vector<std::pair<int64_t, int64_t>> shapes = {{1, 1}, {1, 3},  {1, 16}, {1, 17}, {1, 43}, {2, 20},
                                                           {3, 5}, {4, 16}, {2, 32}, {3, 17}, {4, 1}};
  int64_t first = random.below(static_cast<int64_t>(shapes.size()));
  for (int64_t i = 0; i < count; ++i) {
    auto [batch, tokens] = shapes[(first + i * 4) % static_cast<int64_t>(shapes.size())]; // 4 and their number share no divisor
    GraphStep step;
    step.program = graph.function();
    step.batch = batch, step.tokens = tokens;
    step.inputs = makeGraphInputs(graph, random, batch, tokens, random.chance(3, 4));
    step.rows = random.below(5);
    step.inputs["rows"] = someRows(random, step.rows, batch * tokens);
    GraphOutputs outputs = oracle.call(graph.function(), step.inputs, batch, tokens);
    if (outputs.empty())
      return false;
    expectAll(step, outputs);
    steps.push_back(std::move(step));
  }
  return true;
}

namespace {
/// Sequences of a causal model that advance step by step.
class Sequences {
public:
  Sequences(const RandomGraph &graph, Random &random, int64_t count, int64_t length, int64_t slots)
      : graph(graph), random(random), count(count), length(length), slots(slots), done(count, 0),
        all(makeGraphInputs(graph, random, count, length, /*holes=*/false)) {}

  /// What all tokens give, by `function`: without a cache, or from an empty one.
  bool computeAll(GraphOracle &oracle, const std::string &function) {
    GraphInputs inputs = all;
    inputs["past"].assign(count, 0);
    for (int64_t row = 0; row < count * length; ++row)
      inputs["rows"].push_back(static_cast<int32_t>(row));
    return !(whole = oracle.call(function, inputs, count, length)).empty();
  }

  /// Sequence `which[i]` advances by `news[i]` tokens in a step of T tokens; what is behind them is padding.
  GraphStep advance(const std::string &program, const std::vector<int64_t> &which, const std::vector<int64_t> &news, int64_t tokens) {
    GraphStep step;
    step.program = program;
    step.batch = static_cast<int64_t>(which.size()), step.tokens = tokens;
    step.sequences = which;
    std::vector<std::pair<int64_t, int64_t>> real; // row of the step, token of all sequences
    for (int64_t b = 0; b < step.batch; ++b) {
      int64_t past = done[which[b]];
      step.inputs["past"].push_back(static_cast<int32_t>(past));
      for (int64_t t = 0; t < tokens; ++t) {
        bool isReal = t < news[b];
        int64_t token = which[b] * length + past + t;
        step.inputs["input_ids"].push_back(isReal ? all["input_ids"][token] : static_cast<int32_t>(random.below(graph.vocabulary)));
        step.inputs["positions"].push_back(static_cast<int32_t>(std::min(past + t, slots - 1) + graph.positionOffset));
        if (isReal)
          real.push_back({b * tokens + t, token});
      }
      done[which[b]] += news[b];
    }
    for (const auto &[name, tensor] : whole)
      if (name != "logits")
        for (auto [row, token] : real)
          step.expected[name].push_back({row, rowOf(*tensor, token)});
    // The programs with a cache give logits of chosen tokens.
    step.rows = random.chance(1, 6) ? 0 : program == "decode" ? step.batch : 1 + random.below(4);
    step.inputs["rows"] = {};
    for (int64_t r = 0; r < step.rows; ++r) {
      auto [row, token] = random.pick(real);
      step.inputs["rows"].push_back(static_cast<int32_t>(row));
      step.expected["logits"].push_back({r, rowOf(*whole.at("logits"), token)});
    }
    return step;
  }

  int64_t left(int64_t sequence) const { return length - done[sequence]; }

private:
  static std::vector<double> rowOf(const Tensor &tensor, int64_t row) {
    auto first = tensor.values.begin() + row * tensor.shape.back();
    return std::vector<double>(first, first + tensor.shape.back());
  }

  const RandomGraph &graph;
  Random &random;
  int64_t count, length, slots;
  std::vector<int64_t> done; // tokens of each sequence
  GraphInputs all;
  GraphOutputs whole;
};
} // namespace

static bool addCachedSteps(std::vector<GraphStep> &steps, const RandomGraph &graph, GraphOracle &oracle, Random &random,
                           const std::string &function) {
  int64_t slots = graph.maxPositions / 16 * 16, count = 1 + random.below(graphMaxSequences);
  int64_t length = random.chance(1, 4) ? slots : 24 + random.below(slots - 24); // the last slot is reached now and then
  Sequences sequences(graph, random, count, length, slots);
  if (!sequences.computeAll(oracle, function))
    return false;
  std::vector<int64_t> which;
  for (int64_t b = 0; b < count; ++b) {
    which.push_back(b);
    if (random.chance(3, 4)) { // alone first, so that pasts differ
      int64_t news = std::min(random.pick<int64_t>({1, 3, 8, 16, 17}), length - 6);
      steps.push_back(sequences.advance("prefill", {b}, {news}, news));
    }
  }
  std::swap(which[0], which[random.below(count)]);
  auto together = [&](const std::string &program, int64_t tokens) {
    std::vector<int64_t> present, news;
    for (int64_t b : which)
      if (sequences.left(b) > 0) {
        present.push_back(b);
        news.push_back(std::min(sequences.left(b), program == "decode" || random.chance(1, 2) ? tokens : 1 + random.below(tokens)));
      }
    if (!present.empty())
      steps.push_back(sequences.advance(program, present, news, tokens));
  };
  together("prefill", random.pick<int64_t>({1, 2, 3, 5, 16, 17, 21}));
  for (int64_t i = 0; i < 3; ++i)
    together("decode", 1);
  together("prefill", random.pick<int64_t>({1, 4, 16, 21}));
  together("decode", 1);
  return true;
}

std::vector<GraphStep> ds::test::makeGraphSteps(const RandomGraph &graph, const GraphTensors &tensors, std::string &error,
                                                const std::string &cache) {
  const bool isNarrow = cache != "f32";
  Random random(graph.seed ^ 0x57E9);
  std::vector<GraphStep> steps;
  GraphModule plain(graph.text()), masked(graph.text(graph.isCausal));
  if (!plain || !masked || (isNarrow && !plain.run("ds-insert-cache{elements=" + cache + "}"))) {
    error = "parsing: " + plain.error() + masked.error();
    return {};
  }
  GraphOracle plainOracle(plain, tensors), maskedOracle(masked, tensors);
  bool all = (isNarrow || addWholeSteps(steps, graph, maskedOracle, random, graph.isCausal ? 2 : 4)) &&
             (!graph.isCausal || addCachedSteps(steps, graph, plainOracle, random, isNarrow ? "prefill" : "forward"));
  if (!all) {
    error = "interpreting: " + plain.error() + masked.error();
    return {};
  }
  if (graph.results.size() > 1)
    for (GraphStep &step : steps)
      if (random.chance(1, 6))
        step.unwanted = random.pick(graph.results).name;
  return steps;
}
