// DistilBERT (Sanh et al. 2019, arXiv:1910.01108): BERT without token types and pooler.
#include "Family.h"

using namespace mlir;
using namespace ds;

Value ds::buildDistilBert(ModelBuilder &b) {
  Config &config = b.config;
  int64_t hidden = config.size("dim"), layers = config.size("n_layers", std::nullopt, maxLayers);
  int64_t heads = config.size("n_heads", std::nullopt, maxHeads), inner = config.size("hidden_dim");
  Activation activation = config.activation("activation", "gelu");
  double rate = b.rate("dropout", 0.1), attentionRate = b.rate("attention_dropout", 0.1);
  constexpr double eps = 1e-12;               // fixed in the model's code
  config.flag("sinusoidal_pos_embds", false); // only says how the stored table was made
  config.requireEmpty("pruned_heads");
  headSize(b, "n_heads", hidden, heads);
  b.facts.vocabSize = config.size("vocab_size");
  b.facts.hiddenSize = hidden;
  b.facts.layers = layers;
  b.facts.maxPositions = config.size("max_position_embeddings");
  std::string prefix = b.prefixOf("embeddings.word_embeddings.weight", {"distilbert.", ""});

  b.begin(/*decoder=*/false);
  std::string table = prefix + "embeddings.word_embeddings", embeddings = prefix + "embeddings";
  Value x = b.embedding(b.inputIds, table, b.facts.vocabSize, hidden);
  x = b.add(x, b.embedding(b.positions, embeddings + ".position_embeddings", b.facts.maxPositions, hidden), embeddings);
  x = b.dropout(b.layerNorm(x, embeddings + ".LayerNorm", eps), rate);
  for (int64_t i = 0; i < layers; ++i) {
    std::string path = prefix + "transformer.layer." + std::to_string(i), self = path + ".attention";
    x = b.layer(path, x, [&](Value input) {
      AttentionOptions options;
      options.heads = options.kvHeads = heads;
      options.causal = false;
      options.mask = b.mask;
      options.dropout = attentionRate;
      Value query = b.linear(input, self + ".q_lin", hidden), key = b.linear(input, self + ".k_lin", hidden);
      Value context = b.attention(query, key, b.linear(input, self + ".v_lin", hidden), self, options);
      Value attended = b.layerNorm(b.add(b.linear(context, self + ".out_lin", hidden), input, self), path + ".sa_layer_norm", eps);
      Value narrow = mlp(b, attended, {path + ".ffn.lin1", path + ".ffn.activation", path + ".ffn.lin2"}, inner, activation);
      return b.layerNorm(b.add(b.dropout(narrow, rate), attended, path + ".ffn"), path + ".output_layer_norm", eps);
    });
  }
  b.result("hidden", x);
  bool tied = config.flag("tie_word_embeddings", true);
  config.flag("tie_weights_", true);
  if (b.facts.task == "masked-lm") {
    Value y = b.layerNorm(b.activation(b.linear(x, "vocab_transform", hidden), "activation", activation), "vocab_layer_norm", eps);
    Value weight = b.matrixWeight((tied ? table : "vocab_projector") + ".weight", b.facts.vocabSize, hidden);
    b.result("logits", b.linearWith(y, "vocab_projector", weight, b.vectorWeight("vocab_projector.bias", b.facts.vocabSize)));
  } else if (b.facts.task == "sequence-classification") {
    b.facts.labels = readLabels(config);
    Value first = b.linear(b.pool(x, "pre_classifier", PoolKind::cls), "pre_classifier", hidden);
    Value second = b.dropout(b.activation(first, "activation", Activation::relu), b.rate("seq_classif_dropout", 0.2));
    b.result("logits", b.linear(second, "classifier", static_cast<int64_t>(b.facts.labels.size())));
  }
  b.ignoreTensors({"position_ids", "vocab_projector.weight", "vocab_projector.bias", "vocab_transform.weight", "vocab_transform.bias",
                   "vocab_layer_norm.weight", "vocab_layer_norm.bias"});
  return x;
}
