// BLOOM (Scao et al. 2022, arXiv:2211.05100): no positions but ALiBi's slopes (Press et al. 2021, arXiv:2108.12409), joined QKV head by
// head.
#include "Family.h"
#include <cmath>

using namespace mlir;
using namespace ds;

/// The slopes of each head: a geometric series for the largest power of two below, then every other one of the series for twice as many.
static std::vector<float> slopesOf(int64_t heads) {
  int64_t power = static_cast<int64_t>(std::exp2(std::floor(std::log2(static_cast<double>(heads)))));
  std::vector<float> slopes;
  float base = static_cast<float>(std::pow(2.0, -std::pow(2.0, -(std::log2(static_cast<double>(power)) - 3))));
  for (int64_t i = 1; i <= power; ++i)
    slopes.push_back(std::pow(base, static_cast<float>(i)));
  float between = static_cast<float>(std::pow(2.0, -std::pow(2.0, -(std::log2(static_cast<double>(2 * power)) - 3))));
  for (int64_t i = 0; i < heads - power; ++i)
    slopes.push_back(std::pow(between, static_cast<float>(1 + 2 * i)));
  return slopes;
}

Value ds::buildBloom(ModelBuilder &b) {
  Config &config = b.config;
  // The names before and after transformers 4.20.
  int64_t hidden = config.sizeNamed({"hidden_size", "n_embed"});
  int64_t layers = config.sizeNamed({"n_layer", "num_hidden_layers"}, std::nullopt, maxLayers);
  int64_t heads = config.sizeNamed({"n_head", "num_attention_heads"}, std::nullopt, maxHeads);
  double eps = config.eps("layer_norm_epsilon", 1e-5);
  double rate = b.rate("hidden_dropout", 0), attentionRate = b.rate("attention_dropout", 0);
  bool residualAfterNorm = config.flag("apply_residual_connection_post_layernorm", false);
  int64_t headWidth = headSize(b, "n_head", hidden, heads);
  config.ignore({"n_inner", "offset_alibi", "skip_bias_add", "skip_bias_add_qkv", "attention_softmax_in_fp32", "bias_dropout_fusion",
                 "masked_softmax_fusion", "pretraining_tp", "slow_but_exact", "unk_token_id"});
  b.facts.vocabSize = config.size("vocab_size");
  b.facts.hiddenSize = hidden;
  b.facts.layers = layers;
  // Slopes have no end; this is the length the model was trained at.
  b.facts.maxPositions = config.size("seq_length", 2048);
  std::string prefix = b.prefixOf("word_embeddings.weight", {"transformer.", ""});

  b.begin(/*decoder=*/true);
  Value x = b.embedding(b.inputIds, prefix + "word_embeddings", b.facts.vocabSize, hidden);
  x = b.layerNorm(x, prefix + "word_embeddings_layernorm", eps);
  Value slopes = b.constant(slopesOf(heads));
  for (int64_t i = 0; i < layers; ++i) {
    std::string path = prefix + "h." + std::to_string(i), self = path + ".self_attention";
    x = b.layer(path, x, [&](Value input) {
      Value normed = b.layerNorm(input, path + ".input_layernorm", eps), joined[3];
      for (int64_t part = 0; part < 3; ++part) {
        LinearOptions options;
        options.rows = RowView::interleaved(heads, headWidth, part, 3);
        options.part = std::string(1, "qkv"[part]);
        joined[part] = b.linear(normed, self + ".query_key_value", hidden, options);
      }
      AttentionOptions options;
      options.heads = options.kvHeads = heads;
      options.slopes = slopes;
      options.dropout = attentionRate;
      Value context = b.linear(b.attention(joined[0], joined[1], joined[2], self, options), self + ".dense", hidden);
      Value attended = b.add(b.dropout(context, rate), residualAfterNorm ? normed : input, path);
      Value wide = b.layerNorm(attended, path + ".post_attention_layernorm", eps);
      Value narrow = mlp(b, wide, {path + ".mlp.dense_h_to_4h", path + ".mlp.gelu_impl", path + ".mlp.dense_4h_to_h"}, 4 * hidden,
                         Activation::geluTanh);
      return b.add(b.dropout(narrow, rate), residualAfterNorm ? wide : attended, path);
    });
  }
  return causalResults(b, b.layerNorm(x, prefix + "ln_f", eps), "lm_head", prefix + "word_embeddings",
                       config.flag("tie_word_embeddings", true));
}
