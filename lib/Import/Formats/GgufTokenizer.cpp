#include "ds/Import/GgufTokenizer.h"
#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_map>
#include <unordered_set>

using namespace ds;
using Object = nlohmann::ordered_json;

// GGUF's kinds of tokens.
static constexpr int64_t unknownToken = 2, controlToken = 3, userDefinedToken = 4;

// How text is cut before BPE, as the models' own tokenizer.json have it.
static constexpr const char *llama3Split =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
static constexpr const char *qwen2Split =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

static Object byteLevel(bool useRegex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", useRegex}};
}

static Object splitThenBytes(const char *pattern) {
  Object split = {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}};
  return {{"type", "Sequence"}, {"pretokenizers", Object::array({split, byteLevel(false)})}};
}

/// The pre-tokenizer that `tokenizer.ggml.pre` names, or null.
static Object preTokenizer(const std::string &name) {
  if (name == "default" || name == "gpt-2")
    return byteLevel(true);
  if (name == "smollm") {
    Object digits = {{"type", "Digits"}, {"individual_digits", true}};
    return {{"type", "Sequence"}, {"pretokenizers", Object::array({digits, byteLevel(true)})}};
  }
  if (name == "llama-bpe" || name == "llama3")
    return splitThenBytes(llama3Split);
  if (name == "qwen2")
    return splitThenBytes(qwen2Split);
  return nullptr;
}

namespace {
struct Vocabulary {
  const std::vector<std::string> *tokens;
  std::vector<int64_t> types; // as many as tokens, or empty
};
} // namespace

static Result<Vocabulary> readVocabulary(const GgufContent &content) {
  const GgufValue *tokens = content.find("tokenizer.ggml.tokens"), *types = content.find("tokenizer.ggml.token_type");
  if (!tokens || tokens->kind != GgufValue::Kind::Strings || tokens->texts.empty())
    return Error::badData("'" + content.file + "': key 'tokenizer.ggml.tokens': expects an array of strings, found none");
  std::unordered_set<std::string_view> seen;
  for (const std::string &token : tokens->texts)
    if (!seen.insert(token).second)
      return Error::badData("'" + content.file + "': key 'tokenizer.ggml.tokens': expects each token once, found '" + token.substr(0, 64) +
                            "' twice");
  Vocabulary vocabulary{&tokens->texts, {}};
  if (types && types->kind == GgufValue::Kind::Integers) {
    vocabulary.types = types->integers;
    if (vocabulary.types.size() != tokens->texts.size())
      return Error::badData("'" + content.file + "': key 'tokenizer.ggml.token_type': expects " + std::to_string(tokens->texts.size()) +
                            " elements, found " + std::to_string(vocabulary.types.size()));
  }
  return vocabulary;
}

static Object vocabularyObject(const Vocabulary &vocabulary) {
  Object object = Object::object();
  // Appended as they are: an ordered object would look for each key among all before it, and readVocabulary has seen that none is there
  // twice.
  auto &members = object.get_ref<Object::object_t &>();
  for (size_t id = 0; id < vocabulary.tokens->size(); ++id)
    members.emplace_back((*vocabulary.tokens)[id], id);
  return object;
}

static Object addedTokens(const Vocabulary &vocabulary) {
  Object added = Object::array();
  for (size_t id = 0; id < vocabulary.types.size(); ++id) {
    int64_t type = vocabulary.types[id];
    if (type != controlToken && type != userDefinedToken && type != unknownToken)
      continue;
    added.push_back({{"id", id},
                     {"content", (*vocabulary.tokens)[id]},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", type != userDefinedToken}});
  }
  return added;
}

static Result<Object> byteLevelBpe(const GgufContent &content, const Vocabulary &vocabulary) {
  std::string name = "default";
  if (content.find("tokenizer.ggml.pre")) {
    Result<std::string> pre = content.string("tokenizer.ggml.pre");
    if (!pre)
      return pre.error();
    name = *pre;
  }
  Object pre = preTokenizer(name);
  if (pre.is_null())
    return Error::badData("'" + content.file + "': key 'tokenizer.ggml.pre': expects default, gpt-2, smollm, llama-bpe or qwen2, found '" +
                          name + "'");
  const GgufValue *merges = content.find("tokenizer.ggml.merges");
  if (!merges || merges->kind != GgufValue::Kind::Strings)
    return Error::badData("'" + content.file + "': key 'tokenizer.ggml.merges': expects an array of strings, found none");
  Object pairs = Object::array();
  for (const std::string &merge : merges->texts) {
    size_t space = merge.find(' ', 1);
    if (space == std::string::npos || space + 1 >= merge.size())
      return Error::badData("'" + content.file + "': key 'tokenizer.ggml.merges': expects pairs of tokens, found '" + merge.substr(0, 64) +
                            "'");
    pairs.push_back({merge.substr(0, space), merge.substr(space + 1)});
  }
  Object json;
  json["normalizer"] = name == "qwen2" ? Object({{"type", "NFC"}}) : Object(nullptr);
  json["pre_tokenizer"] = pre;
  json["decoder"] = byteLevel(true);
  json["model"] = {{"type", "BPE"},
                   {"dropout", nullptr},
                   {"unk_token", nullptr},
                   {"continuing_subword_prefix", nullptr},
                   {"end_of_word_suffix", nullptr},
                   {"fuse_unk", false},
                   {"byte_fallback", false},
                   {"ignore_merges", name == "llama-bpe" || name == "llama3"},
                   {"vocab", vocabularyObject(vocabulary)},
                   {"merges", std::move(pairs)}};
  return json;
}

/// The pairs that make up each token of SentencePiece's BPE, best score first, as its own training would have merged them.
static Object mergesOfScores(const Vocabulary &vocabulary, const std::vector<float> &scores) {
  const std::vector<std::string> &tokens = *vocabulary.tokens;
  std::unordered_map<std::string_view, size_t> ids;
  for (size_t id = 0; id < tokens.size(); ++id)
    ids.emplace(tokens[id], id);
  struct Merge {
    std::string_view left, right;
    size_t leftId, rightId;
    float score;
    size_t order = 0; // among merges of equal score
  };
  std::vector<Merge> merges;
  for (size_t id = 0; id < tokens.size(); ++id) {
    std::string_view token = tokens[id];
    std::vector<Merge> own;
    for (size_t cut = 1; cut < token.size(); ++cut) {
      if ((token[cut] & 0xc0) == 0x80) // inside a character
        continue;
      auto left = ids.find(token.substr(0, cut)), right = ids.find(token.substr(cut));
      if (left != ids.end() && right != ids.end())
        own.push_back({token.substr(0, cut), token.substr(cut), left->second, right->second, scores[id]});
    }
    std::sort(own.begin(), own.end(),
              [](const Merge &a, const Merge &b) { return std::pair(a.leftId, a.rightId) < std::pair(b.leftId, b.rightId); });
    merges.insert(merges.end(), own.begin(), own.end());
  }
  for (size_t i = 0; i < merges.size(); ++i)
    merges[i].order = i;
  std::sort(merges.begin(), merges.end(),
            [](const Merge &a, const Merge &b) { return a.score != b.score ? a.score > b.score : a.order < b.order; });
  Object pairs = Object::array();
  for (const Merge &merge : merges)
    pairs.push_back({std::string(merge.left), std::string(merge.right)});
  return pairs;
}

static Result<Object> sentencePieceBpe(const GgufContent &content, const Vocabulary &vocabulary) {
  const GgufValue *scores = content.find("tokenizer.ggml.scores");
  if (!scores || scores->kind != GgufValue::Kind::Numbers || scores->numbers.size() != vocabulary.tokens->size())
    return Error::badData("'" + content.file + "': key 'tokenizer.ggml.scores': expects a number for each token");
  const GgufValue *prefix = content.find("tokenizer.ggml.add_space_prefix");
  const std::string space = "\xe2\x96\x81";
  Object normalizers = Object::array();
  if (!prefix || prefix->integer != 0)
    normalizers.push_back({{"type", "Prepend"}, {"prepend", space}});
  normalizers.push_back({{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", space}});
  Object decoders = Object::array({Object({{"type", "Replace"}, {"pattern", {{"String", space}}}, {"content", " "}}),
                                   Object({{"type", "ByteFallback"}}), Object({{"type", "Fuse"}})});
  if (!prefix || prefix->integer != 0)
    decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  std::string unknown = "<unk>";
  if (const GgufValue *id = content.find("tokenizer.ggml.unknown_token_id");
      id && id->integer >= 0 && static_cast<size_t>(id->integer) < vocabulary.tokens->size())
    unknown = (*vocabulary.tokens)[static_cast<size_t>(id->integer)];
  Object json;
  json["normalizer"] = {{"type", "Sequence"}, {"normalizers", normalizers}};
  json["pre_tokenizer"] = nullptr;
  json["decoder"] = {{"type", "Sequence"}, {"decoders", decoders}};
  json["model"] = {{"type", "BPE"},
                   {"dropout", nullptr},
                   {"unk_token", unknown},
                   {"continuing_subword_prefix", nullptr},
                   {"end_of_word_suffix", nullptr},
                   {"fuse_unk", true},
                   {"byte_fallback", true},
                   {"ignore_merges", false},
                   {"vocab", vocabularyObject(vocabulary)},
                   {"merges", mergesOfScores(vocabulary, scores->numbers)}};
  return json;
}

/// Puts the begin token before a text where the file asks for it.
static Object beginTemplate(const std::string &token, int64_t id) {
  Object single =
      Object::array({Object({{"SpecialToken", {{"id", token}, {"type_id", 0}}}}), Object({{"Sequence", {{"id", "A"}, {"type_id", 0}}}})});
  Object pair = single;
  pair.push_back({{"SpecialToken", {{"id", token}, {"type_id", 1}}}});
  pair.push_back({{"Sequence", {{"id", "B"}, {"type_id", 1}}}});
  return {{"type", "TemplateProcessing"},
          {"single", single},
          {"pair", pair},
          {"special_tokens", {{token, {{"id", token}, {"ids", {id}}, {"tokens", {token}}}}}}};
}

Result<TokenizerFiles> ds::makeTokenizer(const GgufContent &content) {
  Result<std::string> model = content.string("tokenizer.ggml.model");
  if (!model)
    return model.error();
  if (*model != "gpt2" && *model != "llama")
    return Error::badData("'" + content.file + "': key 'tokenizer.ggml.model': expects gpt2 or llama, found '" + *model + "'");
  Result<Vocabulary> vocabulary = readVocabulary(content);
  if (!vocabulary)
    return vocabulary.error();
  Result<Object> parts = *model == "gpt2" ? byteLevelBpe(content, *vocabulary) : sentencePieceBpe(content, *vocabulary);
  if (!parts)
    return parts.error();

  Object config;
  int64_t begin = -1;
  for (auto [key, name] : {std::pair("tokenizer.ggml.bos_token_id", "bos_token"),
                           {"tokenizer.ggml.eos_token_id", "eos_token"},
                           {"tokenizer.ggml.padding_token_id", "pad_token"},
                           {"tokenizer.ggml.unknown_token_id", "unk_token"}}) {
    if (!content.find(key))
      continue;
    Result<int64_t> id = content.integer(key, 0, static_cast<int64_t>(vocabulary->tokens->size()) - 1);
    if (!id)
      return id.error();
    config[name] = (*vocabulary->tokens)[static_cast<size_t>(*id)];
    if (std::string(name) == "bos_token")
      begin = *id;
  }
  const GgufValue *addBegin = content.find("tokenizer.ggml.add_bos_token");
  bool begins = addBegin ? addBegin->integer != 0 : *model == "llama";
  config["add_bos_token"] = begins;
  if (const GgufValue *chat = content.find("tokenizer.chat_template"); chat && chat->kind == GgufValue::Kind::String)
    config["chat_template"] = chat->text;

  Object json;
  json["version"] = "1.0";
  json["truncation"] = nullptr;
  json["padding"] = nullptr;
  json["added_tokens"] = addedTokens(*vocabulary);
  json["normalizer"] = (*parts)["normalizer"];
  json["pre_tokenizer"] = (*parts)["pre_tokenizer"];
  json["post_processor"] = begins && begin >= 0 ? beginTemplate((*vocabulary->tokens)[static_cast<size_t>(begin)], begin) : Object(nullptr);
  json["decoder"] = (*parts)["decoder"];
  json["model"] = std::move((*parts)["model"]);
  auto text = [](const Object &object) { return object.dump(-1, ' ', false, Object::error_handler_t::replace) + "\n"; };
  return TokenizerFiles{text(json), text(config)};
}
