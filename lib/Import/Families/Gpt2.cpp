// GPT-2 (Radford et al. 2019): pre-norm decoder with learned positions; its matrices are stored as [in, out].
#include "Family.h"
#include <cmath>

using namespace mlir;
using namespace ds;

Value ds::buildGpt2(ModelBuilder &b) {
  Config &config = b.config;
  int64_t hidden = config.size("n_embd"), layers = config.size("n_layer", std::nullopt, maxLayers);
  int64_t heads = config.size("n_head", std::nullopt, maxHeads), inner = config.size("n_inner", 4 * hidden);
  Activation activation = config.activation("activation_function", "gelu_new");
  double eps = config.eps("layer_norm_epsilon", 1e-5);
  int64_t headWidth = headSize(b, "n_head", hidden, heads);
  double scale = config.flag("scale_attn_weights", true) ? 0 : 1;
  bool scaleByLayer = config.flag("scale_attn_by_inverse_layer_idx", false);
  config.flag("reorder_and_upcast_attn", false); // attention is computed in f32 here
  double rate = b.rate("resid_pdrop", 0.1), embeddingRate = b.rate("embd_pdrop", 0.1), attentionRate = b.rate("attn_pdrop", 0.1);
  config.requireEmpty("pruned_heads");
  config.ignore({"n_ctx"});
  b.facts.vocabSize = config.size("vocab_size");
  b.facts.hiddenSize = hidden;
  b.facts.layers = layers;
  b.facts.maxPositions = config.size("n_positions");
  std::string prefix = b.prefixOf("wte.weight", {"transformer.", ""});

  b.begin(/*decoder=*/true);
  Value x = b.embedding(b.inputIds, prefix + "wte", b.facts.vocabSize, hidden);
  x = b.add(x, b.embedding(b.positions, prefix + "wpe", b.facts.maxPositions, hidden), prefix + "wpe");
  b.dropout(x, embeddingRate);
  LinearOptions conv;
  conv.transposed = true;
  for (int64_t i = 0; i < layers; ++i) {
    std::string path = prefix + "h." + std::to_string(i);
    x = b.layer(path, x, [&](Value input) {
      Value normed = b.layerNorm(input, path + ".ln_1", eps), joined[3];
      for (int64_t part = 0; part < 3; ++part) {
        LinearOptions options = conv;
        options.rows = RowView::block(part * hidden, hidden, 3 * hidden);
        options.part = std::string(1, "qkv"[part]);
        joined[part] = b.linear(normed, path + ".attn.c_attn", hidden, options);
      }
      AttentionOptions options;
      options.heads = options.kvHeads = heads;
      options.scale = scale > 0 ? scale : 1 / std::sqrt(static_cast<double>(headWidth));
      if (scaleByLayer)
        options.scale /= static_cast<double>(i + 1);
      options.dropout = attentionRate;
      Value context = b.attention(joined[0], joined[1], joined[2], path + ".attn", options);
      Value attended = b.add(b.dropout(b.linear(context, path + ".attn.c_proj", hidden, conv), rate), input, path);
      Value wide = b.layerNorm(attended, path + ".ln_2", eps);
      Value narrow = mlp(b, wide, {path + ".mlp.c_fc", path + ".mlp.act", path + ".mlp.c_proj"}, inner, activation, conv);
      return b.add(b.dropout(narrow, rate), attended, path);
    });
  }
  b.ignoreTensors({"attn.bias", "attn.masked_bias"});
  return causalResults(b, b.layerNorm(x, prefix + "ln_f", eps), "lm_head", prefix + "wte", config.flag("tie_word_embeddings", true));
}
