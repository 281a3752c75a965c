// OPT (Zhang et al. 2022, arXiv:2205.01068): learned positions that begin at 2 and count tokens, not places.
#include "Family.h"

using namespace mlir;
using namespace ds;

Value ds::buildOpt(ModelBuilder &b) {
  Config &config = b.config;
  int64_t hidden = config.size("hidden_size"), layers = config.size("num_hidden_layers", std::nullopt, maxLayers);
  int64_t heads = config.size("num_attention_heads", std::nullopt, maxHeads), inner = config.size("ffn_dim");
  int64_t embedded = config.size("word_embed_proj_dim", hidden);
  Activation activation = config.activation("activation_function", "relu");
  bool normBefore = config.flag("do_layer_norm_before", true);
  bool lastNorm = normBefore && !config.flag("_remove_final_layer_norm", false);
  config.flag("_remove_final_layer_norm", false);
  double rate = b.rate("dropout", 0.1), attentionRate = b.rate("attention_dropout", 0);
  config.require("enable_bias", true);
  config.require("layer_norm_elementwise_affine", true);
  constexpr double eps = 1e-5; // fixed in the model's code
  constexpr int64_t offset = 2;
  headSize(b, "num_attention_heads", hidden, heads);
  b.facts.vocabSize = config.size("vocab_size");
  b.facts.hiddenSize = hidden;
  b.facts.layers = layers;
  b.facts.maxPositions = config.size("max_position_embeddings");
  b.facts.positionRule = "from_mask";
  b.facts.positionOffset = offset;
  std::string prefix = b.prefixOf("embed_tokens.weight", {"model.decoder.", "decoder."});

  b.begin(/*decoder=*/true);
  LinearOptions plain;
  plain.bias = false;
  Value x = b.embedding(b.inputIds, prefix + "embed_tokens", b.facts.vocabSize, embedded);
  if (embedded != hidden)
    x = b.linear(x, prefix + "project_in", hidden, plain);
  x = b.add(x, b.embedding(b.positions, prefix + "embed_positions", b.facts.maxPositions + offset, hidden), prefix + "embed_positions");
  for (int64_t i = 0; i < layers; ++i) {
    std::string path = prefix + "layers." + std::to_string(i), self = path + ".self_attn";
    x = b.layer(path, x, [&](Value input) {
      auto norm = [&](Value value, const char *name, bool here) { return here ? b.layerNorm(value, path + name, eps) : value; };
      Value normed = norm(input, ".self_attn_layer_norm", normBefore);
      AttentionOptions options;
      options.heads = options.kvHeads = heads;
      options.dropout = attentionRate;
      Value query = b.linear(normed, self + ".q_proj", hidden), key = b.linear(normed, self + ".k_proj", hidden);
      Value context = b.attention(query, key, b.linear(normed, self + ".v_proj", hidden), self, options);
      Value attended =
          norm(b.add(b.dropout(b.linear(context, self + ".out_proj", hidden), rate), input, path), ".self_attn_layer_norm", !normBefore);
      Value wide = norm(attended, ".final_layer_norm", normBefore);
      wide = mlp(b, wide, {path + ".fc1", path + ".activation_fn", path + ".fc2"}, inner, activation);
      return norm(b.add(b.dropout(wide, rate), attended, path), ".final_layer_norm", !normBefore);
    });
  }
  if (lastNorm)
    x = b.layerNorm(x, prefix + "final_layer_norm", eps);
  if (embedded != hidden)
    x = b.linear(x, prefix + "project_out", embedded, plain);
  return causalResults(b, x, "lm_head", prefix + "embed_tokens", config.flag("tie_word_embeddings", true));
}
