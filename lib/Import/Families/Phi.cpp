// Phi 1 to 2 (Li et al. 2023, arXiv:2309.05463): attention and MLP side by side behind one norm, partial rope, biases everywhere.
#include "Family.h"

using namespace mlir;
using namespace ds;

Value ds::buildPhi(ModelBuilder &b) {
  Config &config = b.config;
  int64_t hidden = config.size("hidden_size"), layers = config.size("num_hidden_layers", std::nullopt, maxLayers);
  int64_t heads = config.size("num_attention_heads", std::nullopt, maxHeads);
  int64_t kvHeads = config.size("num_key_value_heads", heads, maxHeads), inner = config.size("intermediate_size");
  Activation activation = config.activation("hidden_act", "gelu_new");
  double eps = config.eps("layer_norm_eps", 1e-5);
  double rate = b.rate("resid_pdrop", 0), embeddingRate = b.rate("embd_pdrop", 0), attentionRate = b.rate("attention_dropout", 0);
  config.require("qk_layernorm", false);
  RopeSettings rope = readRope(config, 10000, "rope_theta", "partial_rotary_factor", 0.5);
  int64_t headWidth = headSize(b, "num_attention_heads", hidden, heads);
  int64_t rotary = static_cast<int64_t>(static_cast<double>(headWidth) * rope.partial);
  if (rotary < 2 || rotary % 2 != 0)
    config.fail("partial_rotary_factor", "an even number of turned elements, of " + std::to_string(headWidth) + " a head");
  if (heads % kvHeads != 0)
    config.fail("num_key_value_heads", "a divisor of the " + std::to_string(heads) + " heads");
  b.facts.vocabSize = config.size("vocab_size");
  b.facts.hiddenSize = hidden;
  b.facts.layers = layers;
  b.facts.maxPositions = config.size("max_position_embeddings");

  b.begin(/*decoder=*/true);
  if (config.failure())
    return Value();
  Value x = b.dropout(b.embedding(b.inputIds, "model.embed_tokens", b.facts.vocabSize, hidden), embeddingRate);
  for (int64_t i = 0; i < layers; ++i) {
    std::string path = "model.layers." + std::to_string(i), self = path + ".self_attn";
    x = b.layer(path, x, [&](Value input) {
      Value normed = b.layerNorm(input, path + ".input_layernorm", eps);
      Value query = b.rope(b.linear(normed, self + ".q_proj", hidden), self + ".q_rope", RopeStyle::half, heads, rotary, rope);
      Value key = b.rope(b.linear(normed, self + ".k_proj", kvHeads * headWidth), self + ".k_rope", RopeStyle::half, kvHeads, rotary, rope);
      AttentionOptions options;
      options.heads = heads;
      options.kvHeads = kvHeads;
      options.dropout = attentionRate;
      Value context = b.attention(query, key, b.linear(normed, self + ".v_proj", kvHeads * headWidth), self, options);
      Value attended = b.dropout(b.linear(context, self + ".dense", hidden), rate);
      Value wide = mlp(b, normed, {path + ".mlp.fc1", path + ".mlp.activation_fn", path + ".mlp.fc2"}, inner, activation);
      return b.add(b.add(attended, b.dropout(wide, rate), path), input, path);
    });
  }
  b.ignoreTensors({"rotary_emb.inv_freq"});
  bool tied = config.flag("tie_word_embeddings", false);
  return causalResults(b, b.layerNorm(x, "model.final_layernorm", eps), "lm_head", "model.embed_tokens", tied, /*bias=*/true);
}
