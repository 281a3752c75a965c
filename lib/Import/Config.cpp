#include "Config.h"

using namespace ds;

/// Keys that transformers writes for every model and that do not change what inference computes.
static const std::set<std::string, std::less<>> &harmlessKeys() {
  static const std::set<std::string, std::less<>> keys = {"_attn_implementation_autoset",
                                                          "_name_or_path",
                                                          "_num_labels",
                                                          "activation_dropout",
                                                          "architectures",
                                                          "attention_dropout",
                                                          "attention_probs_dropout_prob",
                                                          "attn_dropout",
                                                          "attn_pdrop",
                                                          "bad_words_ids",
                                                          "begin_suppress_tokens",
                                                          "bos_token_id",
                                                          "chunk_size_feed_forward",
                                                          "classifier_dropout",
                                                          "classifier_dropout_prob",
                                                          "cross_attention_hidden_size",
                                                          "decoder_start_token_id",
                                                          "diversity_penalty",
                                                          "do_sample",
                                                          "dropout",
                                                          "dtype",
                                                          "early_stopping",
                                                          "embd_pdrop",
                                                          "embed_dropout",
                                                          "encoder_no_repeat_ngram_size",
                                                          "eos_token_id",
                                                          "exponential_decay_length_penalty",
                                                          "finetuning_task",
                                                          "forced_bos_token_id",
                                                          "forced_eos_token_id",
                                                          "gradient_checkpointing",
                                                          "hidden_dropout",
                                                          "hidden_dropout_prob",
                                                          "id2label",
                                                          "init_std",
                                                          "initializer_range",
                                                          "is_llama_config",
                                                          "label2id",
                                                          "layerdrop",
                                                          "length_penalty",
                                                          "max_length",
                                                          "min_length",
                                                          "model_type",
                                                          "no_repeat_ngram_size",
                                                          "num_beam_groups",
                                                          "num_beams",
                                                          "num_labels",
                                                          "num_return_sequences",
                                                          "output_attentions",
                                                          "output_hidden_states",
                                                          "output_past",
                                                          "output_scores",
                                                          "pad_token_id",
                                                          "prefix",
                                                          "problem_type",
                                                          "qa_dropout",
                                                          "remove_invalid_values",
                                                          "repetition_penalty",
                                                          "resid_dropout",
                                                          "resid_pdrop",
                                                          "return_dict",
                                                          "return_dict_in_generate",
                                                          "sep_token_id",
                                                          "seq_classif_dropout",
                                                          "slow_but_exact",
                                                          "summary_activation",
                                                          "summary_first_dropout",
                                                          "summary_proj_to_labels",
                                                          "summary_type",
                                                          "summary_use_proj",
                                                          "suppress_tokens",
                                                          "task_specific_params",
                                                          "temperature",
                                                          "tf_legacy_loss",
                                                          "tokenizer_class",
                                                          "top_k",
                                                          "top_p",
                                                          "torch_dtype",
                                                          "torchscript",
                                                          "transformers.js_config",
                                                          "transformers_version",
                                                          "typical_p",
                                                          "unk_token_id",
                                                          "use_bfloat16",
                                                          "use_cache"};
  return keys;
}

void Config::fail(Error error) {
  if (!first)
    first = std::move(error);
}

void Config::fail(const char *key, const std::string &expected) { fail(reader().wrong(key, expected)); }

int64_t Config::size(const char *key, std::optional<int64_t> fallback, int64_t high) {
  used.insert(key);
  Result<int64_t> value = fallback ? reader().integerOr(key, *fallback, 1, high) : reader().integer(key, 1, high);
  if (value)
    return *value;
  fail(value.error());
  return 1;
}

int64_t Config::sizeNamed(std::initializer_list<const char *> keys, std::optional<int64_t> fallback, int64_t high) {
  const char *chosen = nullptr;
  int64_t value = 0;
  for (const char *key : keys) {
    if (!has(key))
      continue;
    int64_t found = size(key, std::nullopt, high);
    if (chosen && found != value)
      fail(key, std::to_string(value) + " as key '" + chosen + "' says");
    chosen = key;
    value = found;
  }
  return chosen ? value : size(*keys.begin(), fallback, high);
}

double Config::number(const char *key, std::optional<double> fallback, double low, double high) {
  used.insert(key);
  Result<double> value = fallback ? reader().numberOr(key, *fallback, low, high) : reader().number(key, low, high);
  if (value)
    return *value;
  fail(value.error());
  return low;
}

bool Config::flag(const char *key, bool fallback) {
  used.insert(key);
  Result<bool> value = reader().booleanOr(key, fallback);
  if (value)
    return *value;
  fail(value.error());
  return fallback;
}

std::string Config::text(const char *key, std::optional<std::string> fallback) {
  used.insert(key);
  Result<std::string> value = fallback ? reader().stringOr(key, *fallback) : reader().string(key);
  if (value)
    return *value;
  fail(value.error());
  return "";
}

Activation Config::activation(const char *key, const char *fallback) {
  static const std::pair<const char *, Activation> kinds[] = {
      {"gelu", Activation::gelu},          {"gelu_new", Activation::geluTanh},   {"gelu_pytorch_tanh", Activation::geluTanh},
      {"gelu_fast", Activation::geluTanh}, {"relu", Activation::relu},           {"silu", Activation::silu},
      {"swish", Activation::silu},         {"quick_gelu", Activation::quickGelu}};
  std::string name = text(key, fallback), names;
  for (auto [known, kind] : kinds) {
    if (name == known)
      return kind;
    names += (names.empty() ? "" : ", ") + std::string(known);
  }
  fail(key, "one of " + names);
  return Activation::gelu;
}

const Json *Config::raw(const char *key) {
  used.insert(key);
  return json.find(key);
}

void Config::require(const char *key, bool value) {
  if (flag(key, value) != value)
    fail(key, std::string(value ? "true" : "false") + ", as the other is not handled");
}

void Config::require(const char *key, const char *value) {
  if (text(key, value) != value)
    fail(key, std::string("'") + value + "', as others are not handled");
}

void Config::requireEmpty(const char *key) {
  const Json *value = raw(key);
  bool list = value && (value->kind == Json::Kind::Array || value->isObject());
  if (value && !(list && value->elements.empty()))
    fail(key, "none in it, as others are not handled");
}

void Config::ignore(std::initializer_list<const char *> keys) {
  for (const char *key : keys)
    used.insert(key);
}

Result<void> Config::finish() const {
  if (first)
    return *first;
  for (const std::string &key : json.keys)
    if (json.find(key) && used.count(key) == 0 && harmlessKeys().count(key) == 0)
      return Error::badData("'" + file + "': key '" + key + "': expects a key this family handles, found " + json.find(key)->describe());
  return {};
}

RopeSettings ds::readRope(Config &config, double base, const char *baseKey, const char *partialKey, double partial) {
  RopeSettings rope;
  rope.base = config.number(baseKey, base, 1, 1e12);
  rope.partial = partialKey ? config.number(partialKey, partial, 0.0, 1.0) : partial;
  for (const char *key : {"rope_parameters", "rope_scaling"}) {
    const Json *json = config.raw(key);
    if (!json)
      continue;
    if (!json->isObject()) {
      config.fail(key, "an object");
      continue;
    }
    JsonReader reader(config.fileName() + "': '" + key, *json);
    auto number = [&](const char *name, double fallback, double low, double high) {
      Result<double> value = reader.numberOr(name, fallback, low, high);
      if (!value)
        config.fail(value.error());
      return value ? *value : fallback;
    };
    rope.base = number("rope_theta", rope.base, 1, 1e12);
    rope.partial = number("partial_rotary_factor", rope.partial, 0, 1);
    Result<std::string> kind = reader.has("rope_type") ? reader.string("rope_type") : reader.stringOr("type", "default");
    if (!kind) {
      config.fail(kind.error());
      continue;
    }
    if (*kind == "default")
      continue;
    if (*kind != "linear" && *kind != "llama3") {
      config.fail(reader.wrong(reader.has("rope_type") ? "rope_type" : "type", "default, linear or llama3, as others are not handled"));
      continue;
    }
    rope.kind = *kind;
    // These have no value to fall back to: without them the scaling is not known.
    auto needed = [&](const char *name, double low, double high) {
      Result<double> value = reader.number(name, low, high);
      if (!value)
        config.fail(value.error());
      return value ? *value : low;
    };
    rope.factor = needed("factor", 1e-6, 1e6);
    if (*kind == "llama3") {
      rope.low = needed("low_freq_factor", 1e-6, 1e6);
      rope.high = needed("high_freq_factor", 1e-6, 1e6);
      rope.original = needed("original_max_position_embeddings", 1, 1e9);
      if (rope.high <= rope.low)
        config.fail(reader.wrong("high_freq_factor", "a number above low_freq_factor"));
    }
    for (const std::string &name : json->keys) {
      static const std::set<std::string> known = {
          "rope_theta", "partial_rotary_factor", "rope_type",        "type",
          "factor",     "low_freq_factor",       "high_freq_factor", "original_max_position_embeddings"};
      if (json->find(name) && known.count(name) == 0)
        config.fail(reader.wrong(name, "a key this kind of rope has"));
    }
  }
  return rope;
}
