// GPT-J (Wang and Komatsuzaki 2021): attention and MLP side by side behind one norm; rope turns neighbours.
#include "Family.h"

using namespace mlir;
using namespace ds;

Value ds::buildGptJ(ModelBuilder &b) {
  Config &config = b.config;
  int64_t hidden = config.size("n_embd"), layers = config.size("n_layer", std::nullopt, maxLayers);
  int64_t heads = config.size("n_head", std::nullopt, maxHeads), inner = config.size("n_inner", 4 * hidden);
  Activation activation = config.activation("activation_function", "gelu_new");
  double eps = config.eps("layer_norm_epsilon", 1e-5);
  int64_t headWidth = headSize(b, "n_head", hidden, heads), rotary = config.size("rotary_dim", 64);
  if (rotary > headWidth || rotary % 2 != 0)
    config.fail("rotary_dim", "an even number of at most " + std::to_string(headWidth));
  double rate = b.rate("resid_pdrop", 0), embeddingRate = b.rate("embd_pdrop", 0), attentionRate = b.rate("attn_pdrop", 0);
  config.require("scale_attn_weights", true);
  config.ignore({"n_ctx", "rotary"});
  b.facts.vocabSize = config.size("vocab_size");
  b.facts.hiddenSize = hidden;
  b.facts.layers = layers;
  b.facts.maxPositions = config.size("n_positions");
  std::string prefix = b.prefixOf("wte.weight", {"transformer.", ""});

  b.begin(/*decoder=*/true);
  Value x = b.dropout(b.embedding(b.inputIds, prefix + "wte", b.facts.vocabSize, hidden), embeddingRate);
  LinearOptions plain;
  plain.bias = false;
  for (int64_t i = 0; i < layers; ++i) {
    std::string path = prefix + "h." + std::to_string(i), self = path + ".attn";
    x = b.layer(path, x, [&](Value input) {
      Value normed = b.layerNorm(input, path + ".ln_1", eps);
      AttentionOptions options;
      options.heads = options.kvHeads = heads;
      options.dropout = attentionRate;
      Value query = b.rope(b.linear(normed, self + ".q_proj", hidden, plain), self + ".q_rope", RopeStyle::interleaved, heads, rotary, {});
      Value key = b.rope(b.linear(normed, self + ".k_proj", hidden, plain), self + ".k_rope", RopeStyle::interleaved, heads, rotary, {});
      Value context = b.attention(query, key, b.linear(normed, self + ".v_proj", hidden, plain), self, options);
      Value attended = b.dropout(b.linear(context, self + ".out_proj", hidden, plain), rate);
      Value wide = mlp(b, normed, {path + ".mlp.fc_in", path + ".mlp.act", path + ".mlp.fc_out"}, inner, activation);
      return b.add(b.add(attended, b.dropout(wide, rate), path), input, path);
    });
  }
  b.ignoreTensors({"attn.bias", "attn.masked_bias", "attn.embed_positions"});
  bool tied = config.flag("tie_word_embeddings", false);
  return causalResults(b, b.layerNorm(x, prefix + "ln_f", eps), "lm_head", prefix + "wte", tied, /*bias=*/true);
}
