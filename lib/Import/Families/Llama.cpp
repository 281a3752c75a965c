// Llama 1 to 3 (Touvron et al. 2023, arXiv:2302.13971; arXiv:2407.21783), Mistral (arXiv:2310.06825) and Qwen2 (arXiv:2407.10671): RMS
// norm, rope by halves, grouped heads, gated MLP.
#include "Family.h"

using namespace mlir;
using namespace ds;

namespace {
struct Variant {
  bool qkvBias = false, outBias = false, mlpBias = false;
  std::vector<int64_t> windows; // of each layer; 0: none
};
} // namespace

static Value decoderLayer(ModelBuilder &b, Value input, const std::string &path, const Variant &variant, int64_t window, int64_t heads,
                          int64_t kvHeads, int64_t headWidth, int64_t inner, double eps, const RopeSettings &rope, Activation kind) {
  std::string self = path + ".self_attn";
  int64_t hidden = ModelBuilder::width(input);
  LinearOptions qkv, out, wideOptions;
  qkv.bias = variant.qkvBias;
  out.bias = variant.outBias;
  wideOptions.bias = variant.mlpBias;
  Value normed = b.rmsNorm(input, path + ".input_layernorm", eps);
  Value value = b.linear(normed, self + ".v_proj", kvHeads * headWidth, qkv);
  qkv.rows = b.turnedRows(heads, headWidth);
  Value query = b.linear(normed, self + ".q_proj", heads * headWidth, qkv);
  qkv.rows = b.turnedRows(kvHeads, headWidth);
  Value key = b.linear(normed, self + ".k_proj", kvHeads * headWidth, qkv);
  query = b.rope(query, self + ".q_rope", RopeStyle::half, heads, headWidth, rope);
  key = b.rope(key, self + ".k_rope", RopeStyle::half, kvHeads, headWidth, rope);
  AttentionOptions options;
  options.heads = heads;
  options.kvHeads = kvHeads;
  options.window = window;
  options.dropout = b.rate("attention_dropout", 0);
  // Transformers' class has no dropout elsewhere, so no key says how much.
  const double rate = b.dropoutRate.value_or(0);
  Value projected = b.dropout(b.linear(b.attention(query, key, value, self, options), self + ".o_proj", hidden, out), rate);
  Value attended = b.add(projected, input, path);
  Value wide = b.rmsNorm(attended, path + ".post_attention_layernorm", eps);
  Value gate = b.activation(b.linear(wide, path + ".mlp.gate_proj", inner, wideOptions), path + ".mlp.act_fn", kind);
  Value gated = b.mul(gate, b.linear(wide, path + ".mlp.up_proj", inner, wideOptions), path + ".mlp");
  return b.add(b.dropout(b.linear(gated, path + ".mlp.down_proj", hidden, wideOptions), rate), attended, path);
}

static Value buildDecoder(ModelBuilder &b, double ropeBase, const std::function<Variant(int64_t)> &readVariant) {
  Config &config = b.config;
  int64_t hidden = config.size("hidden_size"), layers = config.size("num_hidden_layers", std::nullopt, maxLayers);
  int64_t heads = config.size("num_attention_heads", std::nullopt, maxHeads);
  int64_t kvHeads = config.size("num_key_value_heads", heads, maxHeads), inner = config.size("intermediate_size");
  // Only a given head_dim may differ from hidden / heads.
  int64_t headWidth =
      config.has("head_dim") ? config.size("head_dim", std::nullopt, 65536) : headSize(b, "num_attention_heads", hidden, heads);
  config.ignore({"head_dim"});
  if (heads % kvHeads != 0)
    config.fail("num_key_value_heads", "a divisor of the " + std::to_string(heads) + " heads");
  if (headWidth % 2 != 0)
    config.fail("head_dim", "an even size");
  double eps = config.eps("rms_norm_eps", 1e-6);
  Activation activation = config.activation("hidden_act", "silu");
  RopeSettings rope = readRope(config, ropeBase);
  Variant variant = readVariant(layers);
  variant.windows.resize(layers);
  config.ignore({"rope_interleaved", "rms_norm", "max_window_layers"});
  b.facts.vocabSize = config.size("vocab_size");
  b.facts.hiddenSize = hidden;
  b.facts.layers = layers;
  b.facts.maxPositions = config.size("max_position_embeddings", 2048);

  b.begin(/*decoder=*/true);
  if (config.failure())
    return Value();
  Value x = b.dropout(b.embedding(b.inputIds, "model.embed_tokens", b.facts.vocabSize, hidden), b.dropoutRate.value_or(0));
  for (int64_t i = 0; i < layers; ++i) {
    std::string path = "model.layers." + std::to_string(i);
    x = b.layer(path, x, [&](Value input) {
      return decoderLayer(b, input, path, variant, variant.windows[i], heads, kvHeads, headWidth, inner, eps, rope, activation);
    });
  }
  b.ignoreTensors({"rotary_emb.inv_freq", "rope_freqs.weight"});
  bool tied = config.flag("tie_word_embeddings", false);
  return causalResults(b, b.rmsNorm(x, "model.norm", eps), "lm_head", "model.embed_tokens", tied);
}

Value ds::buildLlama(ModelBuilder &b) {
  return buildDecoder(b, 10000, [&](int64_t) {
    Variant variant;
    variant.qkvBias = variant.outBias = b.config.flag("attention_bias", false);
    variant.mlpBias = b.config.flag("mlp_bias", false);
    if (b.config.size("pretraining_tp", 1) != 1)
      b.config.fail("pretraining_tp", "1, as others are not handled");
    b.config.require("rope_interleaved", false);
    return variant;
  });
}

Value ds::buildMistral(ModelBuilder &b) {
  return buildDecoder(b, 10000, [&](int64_t layers) {
    Variant variant;
    if (b.config.has("sliding_window"))
      variant.windows.assign(layers, b.config.size("sliding_window"));
    b.config.ignore({"sliding_window"});
    return variant;
  });
}

Value ds::buildQwen2(ModelBuilder &b) {
  return buildDecoder(b, 10000, [&](int64_t layers) {
    Variant variant;
    variant.qkvBias = true;
    variant.windows.assign(layers, 0);
    Config &config = b.config;
    int64_t window = config.has("sliding_window") ? config.size("sliding_window") : 0;
    bool used = config.flag("use_sliding_window", false);
    const Json *types = config.raw("layer_types");
    int64_t first = static_cast<int64_t>(config.number("max_window_layers", 28, 0, maxLayers));
    int64_t listed = types ? static_cast<int64_t>(types->elements.size()) : 0;
    config.require("use_mrope", false);
    config.ignore({"sliding_window"});
    for (int64_t i = 0; i < layers; ++i) {
      bool windowed = used && i >= first;
      if (types) {
        const Json *kind = types->kind == Json::Kind::Array && listed == layers ? &types->elements[i] : nullptr;
        windowed = kind && kind->text == "sliding_attention";
        if (!kind || (!windowed && kind->text != "full_attention"))
          config.fail("layer_types", "full_attention or sliding_attention for each of " + std::to_string(layers) + " layers");
        else if (windowed && !used)
          config.fail("use_sliding_window", "true, as key 'layer_types' has windows");
      }
      if (windowed && window == 0)
        config.fail("sliding_window", "a size, as layer " + std::to_string(i) + " has a window");
      variant.windows[i] = windowed ? window : 0;
    }
    return variant;
  });
}
