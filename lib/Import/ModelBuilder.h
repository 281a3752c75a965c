// Builds the `ds` module of one model: what a family's file is written in.
#ifndef DS_LIB_IMPORT_MODELBUILDER_H
#define DS_LIB_IMPORT_MODELBUILDER_H

#include "Config.h"
#include "ConfigOnlySource.h"
#include "dialects/DS/DSDialect.h"
#include "ds/Import/TensorSource.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include <functional>
#include <set>

namespace ds {

/// Which rows of a stored matrix make up a weight, for joined and permuted ones. In rows: `offset`, then a box of sizes and strides;
/// `total` rows are stored. Without sizes: all rows.
struct RowView {
  int64_t total = 0, offset = 0;
  llvm::SmallVector<int64_t> sizes, strides;

  /// Rows [first, first + count) of `total`.
  static RowView block(int64_t first, int64_t count, int64_t total) { return {total, first, {count}, {1}}; }
  /// Part `part` of `parts` that lie together head by head: [heads, parts, size].
  static RowView interleaved(int64_t heads, int64_t size, int64_t part, int64_t parts) {
    return {heads * parts * size, part * size, {heads, size}, {parts * size, 1}};
  }
};

/// What the manifest and the passes know of a model beside its module.
struct ModelFacts {
  std::string family, name, task;
  int64_t vocabSize = 0, hiddenSize = 0, layers = 0, maxPositions = 0, tokenTypes = 0;
  std::vector<int64_t> bos, eos;
  std::optional<int64_t> pad;
  std::vector<std::string> labels;
  std::string positionRule = "arange";
  int64_t positionOffset = 0, positionPad = 0;
};

struct LinearOptions {
  bool bias = true;
  bool transposed = false; // stored as [in, out], as GPT-2's Conv1D does
  RowView rows;            // of the stored matrix and bias
  std::string part;        // name of the rows, for the symbol
};

struct AttentionOptions {
  int64_t heads = 1, kvHeads = 1;
  double scale = 0; // 0: 1 / sqrt(head size)
  bool causal = true;
  int64_t window = 0; // 0: none
  mlir::Value mask, slopes;
  double dropout = 0; // of the weights, as `rate` gives it
};

class ModelBuilder {
public:
  ModelBuilder(mlir::MLIRContext &context, const TensorSource &tensors, Config &config);

  ModelFacts facts;
  Config &config;
  /// Of a model without weights: takes in every tensor that is asked for.
  ConfigOnlySource *made = nullptr;
  bool marksDropout = false;         // as in ImportOptions
  std::optional<double> dropoutRate; // as in ImportOptions
  /// GGUF stores the rows of a turned head as pairs (j, j + half) side by side; `turnedRows` undoes it.
  bool rowsArePaired = false;
  RowView turnedRows(int64_t heads, int64_t headWidth) const {
    return rowsArePaired ? RowView{heads * headWidth, 0, {heads, 2, headWidth / 2}, {headWidth, 1, 2}} : RowView();
  }

  // ---- The function ----
  /// Begins `@forward` (decoders) or `@encode`, with the inputs of the task.
  void begin(bool decoder, bool tokenTypes = false);
  mlir::Value inputIds, positions, mask, tokenTypes;
  /// Adds a result.
  void result(const char *name, mlir::Value value);
  /// Ends the function and gives the module, or the first error of configuration or tensors.
  Result<mlir::OwningOpRef<mlir::ModuleOp>> finish();

  // ---- Weights: `name` is the tensor's name in the files ----
  bool hasTensor(const std::string &name) const { return made || tensors.find(name) != nullptr; }
  /// The first of the prefixes with which `name` is there; the first of all when it is nowhere. Without weights, the last for task encoder,
  /// as transformers' class of hidden states has it, else the first.
  std::string prefixOf(const std::string &name, std::initializer_list<const char *> prefixes) const;
  mlir::Value vectorWeight(const std::string &name, int64_t size, const RowView &rows = {}, const std::string &part = "");
  mlir::Value matrixWeight(const std::string &name, int64_t rows, int64_t columns, const LinearOptions &options = {});
  /// A tensor made by the importer.
  mlir::Value constant(llvm::ArrayRef<float> values);
  /// Marks tensors whose name ends in `suffix` as not wanted.
  void ignoreTensors(std::initializer_list<const char *> suffixes);
  /// Tensors that nothing read and no family wants to ignore.
  std::vector<std::string> unusedTensors() const;

  // ---- Modules: `path` is the module's path, which holds its tensors `.weight` and `.bias` and is its location ----
  mlir::Value embedding(mlir::Value indices, const std::string &path, int64_t rows, int64_t columns);
  mlir::Value linear(mlir::Value input, const std::string &path, int64_t out, const LinearOptions &options = {});
  /// A product with a matrix that has another name than the module, such as tied embeddings.
  mlir::Value linearWith(mlir::Value input, const std::string &path, mlir::Value weight, mlir::Value bias);
  mlir::Value layerNorm(mlir::Value input, const std::string &path, double eps, bool bias = true);
  mlir::Value rmsNorm(mlir::Value input, const std::string &path, double eps);
  mlir::Value activation(mlir::Value input, const std::string &path, Activation kind);
  mlir::Value add(mlir::Value a, mlir::Value b, const std::string &path);
  mlir::Value mul(mlir::Value a, mlir::Value b, const std::string &path);
  mlir::Value rope(mlir::Value input, const std::string &path, RopeStyle style, int64_t heads, int64_t rotary,
                   const RopeSettings &settings);
  mlir::Value attention(mlir::Value query, mlir::Value key, mlir::Value value, const std::string &path, const AttentionOptions &options);
  mlir::Value pool(mlir::Value input, const std::string &path, PoolKind kind);
  mlir::Value l2Normalize(mlir::Value input, const std::string &path, double eps);
  mlir::Value tanh(mlir::Value input, const std::string &path);
  /// The rate of dropout that `key` says, `fallback` where it is absent or null, as transformers has it; 0 unless dropout is marked.
  double rate(const char *key, double fallback);
  /// Says that training drops elements of `value`, the result of an op, at a rate; gives it back.
  mlir::Value dropout(mlir::Value value, double rate);
  mlir::Value layer(const std::string &path, mlir::Value input, const std::function<mlir::Value(mlir::Value)> &body);

  static int64_t width(mlir::Value value);
  /// Keeps an error; building goes on and `finish` returns it.
  void fail(Error error) { config.fail(std::move(error)); }

private:
  mlir::Location at(const std::string &path);
  mlir::RankedTensorType tensorType(llvm::ArrayRef<int64_t> shape);
  mlir::Value declare(const std::string &symbol, const std::string &source, ViewAttr view, llvm::ArrayRef<int64_t> shape);
  /// The stored tensor, checked against a shape.
  void expectTensor(const std::string &name, llvm::ArrayRef<int64_t> shape);

  const TensorSource &tensors;
  mlir::OpBuilder builder;
  mlir::OwningOpRef<mlir::ModuleOp> module;
  mlir::func::FuncOp function;
  llvm::SmallVector<mlir::Value> results;
  llvm::SmallVector<std::string> resultNames;
  std::set<std::string> declared, read;
  std::vector<std::string> ignored;
  int64_t constants = 0;
};

} // namespace ds
#endif // DS_LIB_IMPORT_MODELBUILDER_H
