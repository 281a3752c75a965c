// GPT-Neo (EleutherAI 2021): GPT-2 with attention that is local in some layers, and not scaled.
#include "Family.h"

using namespace mlir;
using namespace ds;

/// Which layers see a window alone, of `attention_types` [[["global", "local"], 12]] or `attention_layers` ["global", "local", ...].
static std::vector<bool> readLocalLayers(Config &config, int64_t layers) {
  std::vector<bool> local;
  auto add = [&](const Json &kind) {
    if (kind.kind != Json::Kind::String || (kind.text != "global" && kind.text != "local"))
      config.fail("attention_types", "lists of 'global' and 'local'");
    local.push_back(kind.text == "local");
  };
  const Json *types = config.raw("attention_types"), *list = config.raw("attention_layers");
  if (types && types->kind == Json::Kind::Array) {
    for (const Json &entry : types->elements) {
      bool pair = entry.kind == Json::Kind::Array && entry.elements.size() == 2 && entry.elements[0].kind == Json::Kind::Array &&
                  entry.elements[1].kind == Json::Kind::Integer;
      if (!pair || entry.elements[1].integer < 1 || entry.elements[1].integer > layers) {
        config.fail("attention_types", "pairs of a list and a count");
        break;
      }
      for (int64_t i = 0; i < entry.elements[1].integer && static_cast<int64_t>(local.size()) <= layers; ++i)
        for (const Json &kind : entry.elements[0].elements)
          add(kind);
    }
  } else if (list && list->kind == Json::Kind::Array) {
    for (const Json &kind : list->elements)
      add(kind);
  }
  if (static_cast<int64_t>(local.size()) != layers) {
    config.fail("attention_types", std::to_string(layers) + " layers");
    local.resize(layers);
  }
  return local;
}

Value ds::buildGptNeo(ModelBuilder &b) {
  Config &config = b.config;
  int64_t hidden = config.size("hidden_size"), layers = config.size("num_layers", std::nullopt, maxLayers);
  int64_t heads = config.size("num_heads", std::nullopt, maxHeads), inner = config.size("intermediate_size", 4 * hidden);
  int64_t window = config.size("window_size", 256);
  Activation activation = config.activation("activation_function", "gelu_new");
  double eps = config.eps("layer_norm_epsilon", 1e-5);
  headSize(b, "num_heads", hidden, heads);
  double rate = b.rate("resid_dropout", 0), embeddingRate = b.rate("embed_dropout", 0), attentionRate = b.rate("attention_dropout", 0);
  std::vector<bool> local = readLocalLayers(config, layers);
  b.facts.vocabSize = config.size("vocab_size");
  b.facts.hiddenSize = hidden;
  b.facts.layers = layers;
  b.facts.maxPositions = config.size("max_position_embeddings");
  std::string prefix = b.prefixOf("wte.weight", {"transformer.", ""});

  b.begin(/*decoder=*/true);
  Value x = b.embedding(b.inputIds, prefix + "wte", b.facts.vocabSize, hidden);
  x = b.add(x, b.embedding(b.positions, prefix + "wpe", b.facts.maxPositions, hidden), prefix + "wpe");
  b.dropout(x, embeddingRate);
  LinearOptions plain;
  plain.bias = false;
  for (int64_t i = 0; i < layers; ++i) {
    std::string path = prefix + "h." + std::to_string(i), self = path + ".attn.attention";
    x = b.layer(path, x, [&](Value input) {
      Value normed = b.layerNorm(input, path + ".ln_1", eps);
      AttentionOptions options;
      options.heads = options.kvHeads = heads;
      options.scale = 1;
      options.dropout = attentionRate;
      options.window = local[i] ? window : 0;
      Value query = b.linear(normed, self + ".q_proj", hidden, plain), key = b.linear(normed, self + ".k_proj", hidden, plain);
      Value context = b.attention(query, key, b.linear(normed, self + ".v_proj", hidden, plain), self, options);
      Value attended = b.add(b.dropout(b.linear(context, self + ".out_proj", hidden), rate), input, path);
      Value wide = b.layerNorm(attended, path + ".ln_2", eps);
      Value narrow = mlp(b, wide, {path + ".mlp.c_fc", path + ".mlp.act", path + ".mlp.c_proj"}, inner, activation);
      return b.add(b.dropout(narrow, rate), attended, path);
    });
  }
  b.ignoreTensors({"attention.bias", "attention.masked_bias"});
  return causalResults(b, b.layerNorm(x, prefix + "ln_f", eps), "lm_head", prefix + "wte", config.flag("tie_word_embeddings", true));
}
