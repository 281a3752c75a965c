// What a model family is: a name in config.json and a function that writes its layers down. docs: CONTRIBUTING.md, "Add a model family".
#ifndef DS_LIB_IMPORT_FAMILIES_FAMILY_H
#define DS_LIB_IMPORT_FAMILIES_FAMILY_H

#include "../ModelBuilder.h"

namespace ds {

struct Family {
  const char *modelType; // in config.json
  bool decoder;          // task causal-lm; else encoder, masked-lm or sequence-classification
  /// Reads the configuration and writes the model to the builder, for the task in `facts`. Encoders return their hidden states for pooling.
  mlir::Value (*build)(ModelBuilder &);
  bool fromConfig = false; // the tensors it asks for are those of transformers' class when there are no files to look at
};

/// All families, in alphabetical order of their files.
llvm::ArrayRef<Family> allFamilies();
const Family *findFamily(llvm::StringRef modelType);

mlir::Value buildBert(ModelBuilder &);
mlir::Value buildRoberta(ModelBuilder &);
mlir::Value buildRobertaPreLayerNorm(ModelBuilder &);
mlir::Value buildBloom(ModelBuilder &);
mlir::Value buildDistilBert(ModelBuilder &);
mlir::Value buildGpt2(ModelBuilder &);
mlir::Value buildGptJ(ModelBuilder &);
mlir::Value buildGptNeo(ModelBuilder &);
mlir::Value buildGptNeoX(ModelBuilder &);
mlir::Value buildLlama(ModelBuilder &);
mlir::Value buildMistral(ModelBuilder &);
mlir::Value buildQwen2(ModelBuilder &);
mlir::Value buildOpt(ModelBuilder &);
mlir::Value buildPhi(ModelBuilder &);

// ---- What several families share ----

/// Fails unless `heads` divides `hidden`; returns hidden / heads.
int64_t headSize(ModelBuilder &, const char *key, int64_t hidden, int64_t heads);

/// The hidden and logits results of a causal model: `hidden` after its last norm, and the LM head, whose matrix is `headName` or the
/// embedding table `tableName` when `tied`.
mlir::Value causalResults(ModelBuilder &, mlir::Value hidden, const std::string &headName, const std::string &tableName, bool tied,
                          bool bias = false);

/// act(fc(x)) through two linears.
struct MlpPaths {
  std::string in, activation, out;
};
mlir::Value mlp(ModelBuilder &, mlir::Value input, const MlpPaths &paths, int64_t inner, Activation kind,
                const LinearOptions &options = {});

/// The labels of a classifier, in order, of `id2label` or `num_labels`.
std::vector<std::string> readLabels(Config &);

} // namespace ds
#endif // DS_LIB_IMPORT_FAMILIES_FAMILY_H
