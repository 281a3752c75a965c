// GPT-NeoX and Pythia (Black et al. 2022, arXiv:2204.06745): joined QKV head by head, partial rope, residuals side by side or in turn.
#include "Family.h"

using namespace mlir;
using namespace ds;

Value ds::buildGptNeoX(ModelBuilder &b) {
  Config &config = b.config;
  int64_t hidden = config.size("hidden_size"), layers = config.size("num_hidden_layers", std::nullopt, maxLayers);
  int64_t heads = config.size("num_attention_heads", std::nullopt, maxHeads), inner = config.size("intermediate_size");
  Activation activation = config.activation("hidden_act", "gelu");
  double eps = config.eps("layer_norm_eps", 1e-5);
  double rate = b.rate("hidden_dropout", 0), attentionRate = b.rate("attention_dropout", 0);
  bool parallel = config.flag("use_parallel_residual", true), bias = config.flag("attention_bias", true);
  RopeSettings rope = readRope(config, 10000, "rotary_emb_base", "rotary_pct", 0.25);
  int64_t headWidth = headSize(b, "num_attention_heads", hidden, heads);
  int64_t rotary = static_cast<int64_t>(static_cast<double>(headWidth) * rope.partial);
  if (rotary < 2 || rotary % 2 != 0)
    config.fail("rotary_pct", "an even number of turned elements, of " + std::to_string(headWidth) + " a head");
  b.facts.vocabSize = config.size("vocab_size");
  b.facts.hiddenSize = hidden;
  b.facts.layers = layers;
  b.facts.maxPositions = config.size("max_position_embeddings");
  std::string prefix = b.prefixOf("embed_in.weight", {"gpt_neox.", ""});

  b.begin(/*decoder=*/true);
  Value x = b.dropout(b.embedding(b.inputIds, prefix + "embed_in", b.facts.vocabSize, hidden), rate);
  for (int64_t i = 0; i < layers; ++i) {
    std::string path = prefix + "layers." + std::to_string(i), self = path + ".attention";
    x = b.layer(path, x, [&](Value input) {
      Value normed = b.layerNorm(input, path + ".input_layernorm", eps), joined[3];
      for (int64_t part = 0; part < 3; ++part) {
        LinearOptions options;
        options.bias = bias;
        options.rows = RowView::interleaved(heads, headWidth, part, 3);
        options.part = std::string(1, "qkv"[part]);
        joined[part] = b.linear(normed, self + ".query_key_value", hidden, options);
        if (part < 2)
          joined[part] = b.rope(joined[part], self + "." + options.part + "_rope", RopeStyle::half, heads, rotary, rope);
      }
      AttentionOptions options;
      options.heads = options.kvHeads = heads;
      options.dropout = attentionRate;
      LinearOptions dense;
      dense.bias = bias;
      Value attended = b.linear(b.attention(joined[0], joined[1], joined[2], self, options), self + ".dense", hidden, dense);
      b.dropout(attended, rate);
      Value residual = parallel ? input : b.add(attended, input, path);
      Value wide = b.layerNorm(residual, path + ".post_attention_layernorm", eps);
      wide = mlp(b, wide, {path + ".mlp.dense_h_to_4h", path + ".mlp.act", path + ".mlp.dense_4h_to_h"}, inner, activation);
      b.dropout(wide, rate);
      return parallel ? b.add(b.add(wide, attended, path), input, path) : b.add(wide, residual, path);
    });
  }
  b.ignoreTensors({"attention.bias", "attention.masked_bias", "rotary_emb.inv_freq"});
  bool tied = config.flag("tie_word_embeddings", false);
  return causalResults(b, b.layerNorm(x, prefix + "final_layer_norm", eps), "embed_out", prefix + "embed_in", tied);
}
