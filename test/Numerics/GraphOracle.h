// What a random graph computes, in f64, and the steps that compiled programs are held to.
#ifndef DS_TEST_NUMERICS_GRAPHORACLE_H
#define DS_TEST_NUMERICS_GRAPHORACLE_H

#include "RandomGraph.h"
#include "ds/Import/TensorSource.h"
#include "ds/Reference/Interpreter.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"
#include <map>
#include <memory>

namespace ds::test {

/// The weights of a graph. Matrices are numbers of `weights` (f32, bf16 or f16), so that packing them as such loses nothing.
class GraphTensors : public TensorSource {
public:
  GraphTensors(const RandomGraph &graph, const std::string &weights);
  const StoredTensor *find(std::string_view name) const override;
  const std::vector<StoredTensor> &tensors() const override { return all; }

private:
  std::vector<std::vector<float>> values;
  std::vector<StoredTensor> all;
};

/// Integers of a step, by `ds.name`.
using GraphInputs = std::map<std::string, std::vector<int32_t>>;
using GraphOutputs = std::map<std::string, reference::TensorPtr>;

/// A module in a context of its own that knows what ds-opt knows; what is reported is kept.
class GraphModule {
public:
  explicit GraphModule(const std::string &text);
  ~GraphModule();
  /// Runs passes, as `--pass-pipeline` names them. False: `error()` says why.
  bool run(const std::string &pipeline);
  mlir::ModuleOp get() { return *module; }
  mlir::MLIRContext &getContext() { return *context; }
  explicit operator bool() const { return module && message.empty(); }
  const std::string &error() const { return message; }
  std::string text();

private:
  std::unique_ptr<mlir::MLIRContext> context;
  std::unique_ptr<mlir::ScopedDiagnosticHandler> handler;
  mlir::OwningOpRef<mlir::ModuleOp> module;
  std::string message;
  friend class GraphOracle;
};

/// Functions of a module in f64. Caches live as long as the oracle.
class GraphOracle {
public:
  GraphOracle(GraphModule &module, const GraphTensors &tensors);
  /// B sequences of T tokens. The results by `ds.name`; empty when the interpreter refuses: `GraphModule::error()` says why.
  GraphOutputs call(const std::string &function, const GraphInputs &inputs, int64_t batch, int64_t tokens);

private:
  GraphModule &module;
  reference::Interpreter interpreter;
};

/// One step of a program and what it must give.
struct GraphStep {
  struct Row {
    int64_t index; // of the output
    std::vector<double> values;
  };

  std::string program;
  int64_t batch = 1, tokens = 1, rows = 0;
  GraphInputs inputs;
  std::vector<int64_t> sequences; // whose caches the step works on, empty for none
  std::map<std::string, std::vector<Row>> expected;
  std::string unwanted; // the output nobody wants, may be empty
};

/// Steps in the order they must run: for an encoder several shapes and masks; for a causal model `forward` with padding, and sequences of
/// different lengths that are prefilled in chunks and decoded, against the forward function over all their tokens. Empty when the
/// interpreter refuses the graph: `error` says why. With a `cache` of int8 or bf16, of a causal model alone: the sequences alone, against
/// one prefill of all their tokens.
std::vector<GraphStep> makeGraphSteps(const RandomGraph &graph, const GraphTensors &tensors, std::string &error,
                                      const std::string &cache = "f32");

/// Bounds of the plans.
constexpr int64_t graphMaxBatch = 4, graphMaxRows = 64;

/// Sequences a step list works on.
constexpr int64_t graphMaxSequences = 3;

/// Random ids, positions and a mask for B sequences of T tokens; `holes` hides some of them.
GraphInputs makeGraphInputs(const RandomGraph &graph, Random &random, int64_t batch, int64_t tokens, bool holes);

} // namespace ds::test
#endif // DS_TEST_NUMERICS_GRAPHORACLE_H
