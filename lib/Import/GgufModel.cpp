// A GGUF file of the llama or qwen2 architecture, in Hugging Face's words.
#include "ModelSource.h"
#include "ds/Import/Gguf.h"
#include "ds/Import/GgufTokenizer.h"
#include "llvm/ADT/StringRef.h"
#include <algorithm>
#include <cmath>
#include <numbers>

using namespace ds;

static void set(Json &object, const char *key, Json value) {
  object.keys.push_back(key);
  object.elements.push_back(std::move(value));
}

static Json number(double value) {
  Json json;
  json.kind = Json::Kind::Number;
  json.number = value;
  return json;
}

static Json integer(int64_t value) {
  Json json;
  json.kind = Json::Kind::Integer;
  json.integer = value;
  json.number = static_cast<double>(value);
  return json;
}

static Json boolean(bool value) {
  Json json;
  json.kind = Json::Kind::Boolean;
  json.boolean = value;
  return json;
}

static Json text(const std::string &value) {
  Json json;
  json.kind = Json::Kind::String;
  json.text = value;
  return json;
}

/// The name transformers gives a tensor; "" for what no family reads.
static std::string huggingFaceName(llvm::StringRef name) {
  static const std::pair<const char *, const char *> whole[] = {
      {"token_embd", "model.embed_tokens"}, {"output_norm", "model.norm"}, {"output", "lm_head"}};
  static const std::pair<const char *, const char *> layer[] = {
      {"attn_norm", "input_layernorm"}, {"attn_q", "self_attn.q_proj"},      {"attn_k", "self_attn.k_proj"},
      {"attn_v", "self_attn.v_proj"},   {"attn_output", "self_attn.o_proj"}, {"ffn_norm", "post_attention_layernorm"},
      {"ffn_gate", "mlp.gate_proj"},    {"ffn_up", "mlp.up_proj"},           {"ffn_down", "mlp.down_proj"}};
  auto [stem, suffix] = name.rsplit('.');
  for (auto [from, to] : whole)
    if (stem == from)
      return std::string(to) + "." + suffix.str();
  if (!stem.consume_front("blk."))
    return name.str();
  auto [index, rest] = stem.split('.');
  for (auto [from, to] : layer)
    if (rest == from)
      return "model.layers." + index.str() + "." + to + "." + suffix.str();
  return name.str();
}

namespace {
/// The tensors of a GGUF file by other names.
class RenamedTensors : public TensorSource {
public:
  explicit RenamedTensors(std::unique_ptr<TensorSource> source) : source(std::move(source)) {
    for (StoredTensor tensor : this->source->tensors()) {
      tensor.name = huggingFaceName(tensor.name);
      all.push_back(std::move(tensor));
    }
  }
  const StoredTensor *find(std::string_view name) const override {
    for (const StoredTensor &tensor : all)
      if (tensor.name == name)
        return &tensor;
    return nullptr;
  }
  const std::vector<StoredTensor> &tensors() const override { return all; }

private:
  std::unique_ptr<TensorSource> source; // keeps the file mapped
  std::vector<StoredTensor> all;
};
} // namespace

/// Llama 3.1 and later store by what each frequency is divided, in place of the numbers of config.json that they were made of. Finds those
/// numbers again: the published models all have these bounds, and the greatest divisor is the factor.
static Result<Json> readRopeFactors(const GgufContent &content, const TensorSource &tensors, const StoredTensor &tensor, double base) {
  constexpr double low = 1, high = 4, original = 8192;
  std::vector<float> factors(static_cast<size_t>(tensor.elements()));
  if (Result<void> read = tensors.readF32(tensor, 0, tensor.elements(), factors.data()); !read)
    return read.error();
  double factor = factors.empty() ? 0 : *std::max_element(factors.begin(), factors.end());
  for (size_t i = 0; i < factors.size(); ++i) {
    double wavelength = 2 * std::numbers::pi * std::pow(base, static_cast<double>(i) / static_cast<double>(factors.size()));
    double smooth = std::clamp((original / wavelength - low) / (high - low), 0.0, 1.0);
    double expected = 1 / ((1 - smooth) / factor + smooth);
    if (!(std::abs(factors[i] - expected) <= 1e-3 * expected))
      return Error::badData("'" + content.file + "': tensor 'rope_freqs.weight': expects the factors of Llama 3 (" +
                            std::to_string(expected) + " at " + std::to_string(i) + "), found " + std::to_string(factors[i]));
  }
  Json scaling;
  scaling.kind = Json::Kind::Object;
  set(scaling, "rope_type", text("llama3"));
  set(scaling, "factor", number(factor));
  set(scaling, "low_freq_factor", number(low));
  set(scaling, "high_freq_factor", number(high));
  set(scaling, "original_max_position_embeddings", number(original));
  return scaling;
}

/// config.json's keys, of the metadata. `prefix` is the architecture's name and a dot.
static Result<Json> makeConfig(const GgufContent &content, const std::string &prefix, const TensorSource &tensors) {
  Json config;
  config.kind = Json::Kind::Object;
  struct Size {
    const char *key, *name;
    bool needed;
  };
  const Size sizes[] = {{"embedding_length", "hidden_size", true},
                        {"block_count", "num_hidden_layers", true},
                        {"feed_forward_length", "intermediate_size", true},
                        {"attention.head_count", "num_attention_heads", true},
                        {"attention.head_count_kv", "num_key_value_heads", false},
                        {"context_length", "max_position_embeddings", true},
                        {"attention.key_length", "head_dim", false}};
  std::set<std::string> known = {"vocab_size",
                                 "rope.dimension_count",
                                 "rope.freq_base",
                                 "rope.scaling.type",
                                 "rope.scaling.factor",
                                 "attention.layer_norm_rms_epsilon",
                                 "attention.value_length",
                                 "attention.layer_norm_epsilon"};
  int64_t hidden = 0, heads = 1;
  for (const Size &size : sizes) {
    known.insert(size.key);
    if (!size.needed && !content.find(prefix + size.key))
      continue;
    Result<int64_t> value = content.integer(prefix + size.key, 1, maxSize);
    if (!value)
      return value.error();
    set(config, size.name, integer(*value));
    if (std::string(size.name) == "hidden_size")
      hidden = *value;
    if (std::string(size.name) == "num_attention_heads")
      heads = *value;
  }
  for (const auto &[key, value] : content.metadata)
    if (llvm::StringRef(key).starts_with(prefix) && known.count(key.substr(prefix.size())) == 0)
      return Error::badData("'" + content.file + "': key '" + key + "': expects a key this architecture handles, found another");

  Result<double> eps = content.number(prefix + "attention.layer_norm_rms_epsilon", 1e-30, 1);
  if (!eps)
    return eps.error();
  set(config, "rms_norm_eps", number(static_cast<double>(static_cast<float>(*eps))));
  Result<double> base =
      content.find(prefix + "rope.freq_base") ? content.number(prefix + "rope.freq_base", 1, 1e12) : Result<double>(10000.0);
  if (!base)
    return base.error();
  set(config, "rope_theta", number(*base));
  int64_t headWidth = hidden / heads;
  if (const GgufValue *length = content.find(prefix + "attention.key_length"))
    headWidth = length->integer;
  for (const char *key : {"rope.dimension_count", "attention.value_length"})
    if (content.find(prefix + key))
      if (Result<int64_t> value = content.integer(prefix + key, headWidth, headWidth); !value)
        return value.error();
  if (const StoredTensor *tensor = tensors.find("rope_freqs.weight")) {
    if (tensor->elements() != headWidth / 2)
      return Error::badData("'" + content.file + "': tensor 'rope_freqs.weight': expects " + std::to_string(headWidth / 2) +
                            " factors, found " + std::to_string(tensor->elements()));
    Result<Json> scaling = readRopeFactors(content, tensors, *tensor, *base);
    if (!scaling)
      return scaling.error();
    set(config, "rope_scaling", std::move(*scaling));
  } else if (content.find(prefix + "rope.scaling.type")) {
    Result<std::string> kind = content.string(prefix + "rope.scaling.type");
    if (!kind)
      return kind.error();
    if (*kind == "linear") {
      Result<double> factor = content.number(prefix + "rope.scaling.factor", 1e-6, 1e6);
      if (!factor)
        return factor.error();
      Json scaling;
      scaling.kind = Json::Kind::Object;
      set(scaling, "rope_type", text("linear"));
      set(scaling, "factor", number(*factor));
      set(config, "rope_scaling", scaling);
    } else if (*kind != "none") {
      return Error::badData("'" + content.file + "': key '" + prefix + "rope.scaling.type': expects none or linear, found '" + *kind + "'");
    }
  }
  const StoredTensor *table = tensors.find("model.embed_tokens.weight");
  if (!table || table->shape.size() != 2)
    return Error::badData("'" + content.file + "': tensor 'token_embd.weight': expects a matrix, found none");
  set(config, "vocab_size", integer(table->shape[0]));
  set(config, "tie_word_embeddings", boolean(tensors.find("lm_head.weight") == nullptr));
  // A bias that is stored is used; a family without such biases refuses the key.
  for (const char *name : {"gate_proj", "up_proj", "down_proj"})
    if (tensors.find("model.layers.0.mlp." + std::string(name) + ".bias")) {
      set(config, "mlp_bias", boolean(true));
      break;
    }
  if (prefix == "llama.")
    set(config, "attention_bias", boolean(tensors.find("model.layers.0.self_attn.q_proj.bias") != nullptr));
  return config;
}

Result<ModelSource> ds::openGgufModel(const std::string &path) {
  Result<GgufFile> file = openGguf(path);
  if (!file)
    return file.error();
  const GgufContent &content = file->content;
  Result<std::string> architecture = content.string("general.architecture");
  if (!architecture)
    return architecture.error();
  if (*architecture != "llama" && *architecture != "qwen2")
    return Error::badData("'" + path + "': key 'general.architecture': expects llama or qwen2, found '" + *architecture + "'");
  ModelSource source;
  source.modelType = *architecture;
  source.rowsArePaired = *architecture == "llama";
  source.name = path.substr(path.rfind('/') + 1);
  if (content.find("general.name"))
    if (Result<std::string> name = content.string("general.name"))
      source.name = *name;
  auto renamed = std::make_unique<RenamedTensors>(std::move(file->tensors));
  Result<Json> config = makeConfig(content, *architecture + ".", *renamed);
  if (!config)
    return config.error();
  source.tensors = std::move(renamed);
  source.config.emplace(path, std::move(*config));
  for (auto [key, ids] : {std::pair("tokenizer.ggml.bos_token_id", &source.bos), {"tokenizer.ggml.eos_token_id", &source.eos}})
    if (content.find(key)) {
      Result<int64_t> id = content.integer(key, 0, INT32_MAX);
      if (!id)
        return id.error();
      ids->push_back(*id);
    }
  if (content.find("tokenizer.ggml.padding_token_id")) {
    Result<int64_t> id = content.integer("tokenizer.ggml.padding_token_id", 0, INT32_MAX);
    if (!id)
      return id.error();
    source.pad = *id;
  }
  if (content.find("tokenizer.ggml.model")) {
    Result<TokenizerFiles> tokenizer = makeTokenizer(content);
    if (!tokenizer)
      return tokenizer.error();
    source.sideFiles.push_back({"tokenizer.json", std::move(tokenizer->tokenizer)});
    source.sideFiles.push_back({"tokenizer_config.json", std::move(tokenizer->tokenizerConfig)});
  }
  return source;
}
