// Imports a model: configuration and weights of a Hugging Face folder or a GGUF file become a module of `ds`.
#ifndef DS_IMPORT_IMPORT_H
#define DS_IMPORT_IMPORT_H

#include "ds/Import/Result.h"
#include "ds/Import/TensorSource.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/OwningOpRef.h"
#include <memory>
#include <optional>

namespace ds {

struct ImportOptions {
  std::string task;    // causal-lm, encoder, masked-lm, sequence-classification; empty: what the configuration says
  bool strict = false; // tensors that no module reads are an error, not a note
  /// Of a folder only the configuration is read. Every tensor that transformers' class of it has is there, of zeros: whoever trains the
  /// model draws them.
  bool randomWeights = false;
  /// Ops whose results lose elements in training are marked with their rates, `ds.dropout`; `dropoutRate` is that of all of them in place
  /// of what the configuration says.
  bool dropout = false;
  std::optional<double> dropoutRate = std::nullopt;
};

/// A file that goes into the package as it is.
struct SideFile {
  std::string name;
  std::string content;
};

struct ImportedModel {
  mlir::OwningOpRef<mlir::ModuleOp> module; // phase `imported`
  std::unique_ptr<TensorSource> tensors;    // where the sources of its parameters are
  std::vector<SideFile> sideFiles;          // tokenizer, generation defaults, chat template
  std::vector<std::string> notes;           // what was left out, by name
};

/// Imports the model at `path`. No weight is read but for its place and type.
/// Fails with Missing, or BadData: an unknown architecture, a configuration key that is not handled, a tensor that is missing or has
/// another shape than the configuration says, a family that cannot be built from a configuration alone. The message names it.
Result<ImportedModel> importModel(mlir::MLIRContext &context, const std::string &path, const ImportOptions &options = {});

} // namespace ds
#endif // DS_IMPORT_IMPORT_H
