// BERT (Devlin et al. 2018, arXiv:1810.04805) and RoBERTa (Liu et al. 2019, arXiv:1907.11692): post-norm encoders, and RoBERTa with norms
// before attention and MLP (Ott et al. 2019, arXiv:1904.01038).
#include "Family.h"

using namespace mlir;
using namespace ds;

namespace {
struct Sizes {
  int64_t hidden, layers, heads, inner;
  double eps;
  Activation activation;
  double dropout, attentionDropout;
  bool preNorm = false; // norms before attention and MLP and behind the last layer, not behind the residual sums
};
} // namespace

static Value encoderLayer(ModelBuilder &b, Value x, const std::string &path, const Sizes &sizes) {
  std::string self = path + ".attention.self", output = path + ".attention.output";
  Value input = sizes.preNorm ? b.layerNorm(x, path + ".attention.LayerNorm", sizes.eps) : x;
  Value query = b.linear(input, self + ".query", sizes.hidden), key = b.linear(input, self + ".key", sizes.hidden);
  Value value = b.linear(input, self + ".value", sizes.hidden);
  AttentionOptions options;
  options.heads = options.kvHeads = sizes.heads;
  options.causal = false;
  options.mask = b.mask;
  options.dropout = sizes.attentionDropout;
  Value context = b.attention(query, key, value, self, options);
  Value attended = b.add(b.dropout(b.linear(context, output + ".dense", sizes.hidden), sizes.dropout), x, output);
  if (!sizes.preNorm)
    attended = b.layerNorm(attended, output + ".LayerNorm", sizes.eps);
  Value mlpInput = sizes.preNorm ? b.layerNorm(attended, path + ".intermediate.LayerNorm", sizes.eps) : attended;
  Value wide = b.linear(mlpInput, path + ".intermediate.dense", sizes.inner);
  Value narrow =
      b.linear(b.activation(wide, path + ".intermediate.intermediate_act_fn", sizes.activation), path + ".output.dense", sizes.hidden);
  Value sum = b.add(b.dropout(narrow, sizes.dropout), attended, path + ".output");
  return sizes.preNorm ? sum : b.layerNorm(sum, path + ".output.LayerNorm", sizes.eps);
}

static Sizes readSizes(ModelBuilder &b) {
  Config &config = b.config;
  Sizes sizes;
  sizes.hidden = config.size("hidden_size");
  sizes.layers = config.size("num_hidden_layers", std::nullopt, maxLayers);
  sizes.heads = config.size("num_attention_heads", std::nullopt, maxHeads);
  sizes.inner = config.size("intermediate_size");
  sizes.eps = config.eps("layer_norm_eps", 1e-12);
  sizes.activation = config.activation("hidden_act", "gelu");
  sizes.dropout = b.rate("hidden_dropout_prob", 0.1);
  sizes.attentionDropout = b.rate("attention_probs_dropout_prob", 0.1);
  headSize(b, "num_attention_heads", sizes.hidden, sizes.heads);
  config.require("position_embedding_type", "absolute");
  config.requireEmpty("pruned_heads");
  // Of the first release of BERT; no model reads them.
  config.ignore(
      {"directionality", "pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers", "pooler_size_per_head", "pooler_type"});
  b.facts.vocabSize = config.size("vocab_size");
  b.facts.hiddenSize = sizes.hidden;
  b.facts.layers = sizes.layers;
  return sizes;
}

/// Embeddings and layers; `prefix` is the model's name in its tensors.
static Value encode(ModelBuilder &b, const std::string &prefix, const Sizes &sizes, int64_t positions, int64_t types) {
  b.facts.tokenTypes = types;
  b.begin(/*decoder=*/false, /*tokenTypes=*/true);
  std::string embeddings = prefix + "embeddings";
  Value x = b.embedding(b.inputIds, embeddings + ".word_embeddings", b.facts.vocabSize, sizes.hidden);
  x = b.add(x, b.embedding(b.tokenTypes, embeddings + ".token_type_embeddings", types, sizes.hidden), embeddings);
  x = b.add(x, b.embedding(b.positions, embeddings + ".position_embeddings", positions, sizes.hidden), embeddings);
  x = b.dropout(b.layerNorm(x, embeddings + ".LayerNorm", sizes.eps), sizes.dropout);
  for (int64_t i = 0; i < sizes.layers; ++i) {
    std::string path = prefix + "encoder.layer." + std::to_string(i);
    x = b.layer(path, x, [&](Value input) { return encoderLayer(b, input, path, sizes); });
  }
  if (sizes.preNorm)
    x = b.layerNorm(x, prefix + "LayerNorm", sizes.eps);
  b.result("hidden", x);
  b.ignoreTensors({"position_ids", "pooler.dense.weight", "pooler.dense.bias", "seq_relationship.weight", "seq_relationship.bias"});
  return x;
}

/// dense, activation, norm, then the embedding table or a matrix of its own.
static void maskedLmHead(ModelBuilder &b, Value hidden, const std::string &dense, const std::string &norm, Activation activation,
                         double eps, const std::string &decoder, const std::string &bias, const std::string &table) {
  Value x = b.activation(b.linear(hidden, dense, ModelBuilder::width(hidden)), dense, activation);
  x = b.layerNorm(x, norm, eps);
  bool tied = b.config.flag("tie_word_embeddings", true);
  Value weight = b.matrixWeight(tied ? table : decoder + ".weight", b.facts.vocabSize, ModelBuilder::width(x));
  // The bias is tied together with the matrix; an untied head reads its own.
  bool ownBias = !tied && b.hasTensor(decoder + ".bias");
  b.result("logits", b.linearWith(x, decoder, weight, b.vectorWeight(ownBias ? decoder + ".bias" : bias, b.facts.vocabSize)));
  b.ignoreTensors({"decoder.weight", "decoder.bias", "predictions.bias", "lm_head.bias"});
}

Value ds::buildBert(ModelBuilder &b) {
  Sizes sizes = readSizes(b);
  b.facts.maxPositions = b.config.size("max_position_embeddings");
  std::string prefix = b.prefixOf("embeddings.word_embeddings.weight", {"bert.", ""});
  Value hidden = encode(b, prefix, sizes, b.facts.maxPositions, b.config.size("type_vocab_size", 2));
  if (b.facts.task == "masked-lm") {
    std::string head = "cls.predictions";
    maskedLmHead(b, hidden, head + ".transform.dense", head + ".transform.LayerNorm", sizes.activation, sizes.eps, head + ".decoder",
                 head + ".bias", prefix + "embeddings.word_embeddings.weight");
  } else if (b.facts.task == "sequence-classification") {
    b.facts.labels = readLabels(b.config);
    Value first = b.pool(hidden, prefix + "pooler", PoolKind::cls);
    Value pooled = b.tanh(b.linear(first, prefix + "pooler.dense", sizes.hidden), prefix + "pooler.activation");
    b.dropout(pooled, b.rate("classifier_dropout", sizes.dropout));
    b.result("logits", b.linear(pooled, "classifier", static_cast<int64_t>(b.facts.labels.size())));
  }
  b.config.flag("tie_word_embeddings", true);
  b.ignoreTensors({"cls.predictions.bias", "cls.predictions.transform.dense.weight", "cls.predictions.transform.dense.bias",
                   "cls.predictions.transform.LayerNorm.weight", "cls.predictions.transform.LayerNorm.bias",
                   "cls.predictions.transform.LayerNorm.gamma", "cls.predictions.transform.LayerNorm.beta"});
  return hidden;
}

static Value buildRobertaLike(ModelBuilder &b, const char *model, bool preNorm) {
  Sizes sizes = readSizes(b);
  sizes.preNorm = preNorm;
  int64_t pad = static_cast<int64_t>(b.config.number("pad_token_id", 1, 0, maxSize)), rows = b.config.size("max_position_embeddings");
  // Positions of tokens begin behind the padding's own, so that many rows of the table are left.
  b.facts.maxPositions = rows - pad - 1;
  if (b.facts.maxPositions < 1)
    b.config.fail("max_position_embeddings", "more than pad_token_id + 1");
  b.facts.positionRule = "from_ids";
  b.facts.positionPad = pad;
  std::string prefix = b.prefixOf("embeddings.word_embeddings.weight", {model, ""});
  Value hidden = encode(b, prefix, sizes, rows, b.config.size("type_vocab_size", 2));
  if (b.facts.task == "masked-lm") {
    maskedLmHead(b, hidden, "lm_head.dense", "lm_head.layer_norm", Activation::gelu, sizes.eps, "lm_head.decoder", "lm_head.bias",
                 prefix + "embeddings.word_embeddings.weight");
  } else if (b.facts.task == "sequence-classification") {
    b.facts.labels = readLabels(b.config);
    double rate = b.rate("classifier_dropout", sizes.dropout);
    Value first = b.dropout(b.pool(hidden, "classifier", PoolKind::cls), rate);
    Value inner = b.dropout(b.tanh(b.linear(first, "classifier.dense", sizes.hidden), "classifier.activation"), rate);
    b.result("logits", b.linear(inner, "classifier.out_proj", static_cast<int64_t>(b.facts.labels.size())));
  }
  b.config.flag("tie_word_embeddings", true);
  b.ignoreTensors({"lm_head.bias", "lm_head.dense.weight", "lm_head.dense.bias", "lm_head.layer_norm.weight", "lm_head.layer_norm.bias"});
  return hidden;
}

Value ds::buildRoberta(ModelBuilder &b) { return buildRobertaLike(b, "roberta.", /*preNorm=*/false); }

Value ds::buildRobertaPreLayerNorm(ModelBuilder &b) { return buildRobertaLike(b, "roberta_prelayernorm.", /*preNorm=*/true); }
