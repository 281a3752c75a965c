// A model folder as transformers writes it.
#include "ModelSource.h"
#include "ds/Import/Safetensors.h"

using namespace ds;

static Result<Json> readJson(const std::string &folder, const std::string &name) {
  Result<std::string> text = readBeneath(folder, name);
  if (!text)
    return text.error();
  Result<Json> json = Json::parse(*text, folder + "/" + name);
  if (!json)
    return json.error();
  if (!json->isObject())
    return Error::badData("'" + folder + "/" + name + "': expects an object, found " + json->describe());
  return json;
}

/// A token id, or a list of them, of `key`.
static Result<std::vector<int64_t>> readIds(const JsonReader &reader, const char *key) {
  const Json *value = reader.find(key);
  std::vector<int64_t> ids;
  if (!value)
    return ids;
  auto valid = [](const Json &json) { return json.kind == Json::Kind::Integer && json.integer >= -1 && json.integer <= INT32_MAX; };
  if (valid(*value)) {
    if (value->integer >= 0)
      ids.push_back(value->integer);
    return ids;
  }
  if (value->kind != Json::Kind::Array)
    return reader.wrong(key, "a token id or a list of them");
  for (const Json &element : value->elements) {
    if (!valid(element))
      return reader.wrong(key, "a token id or a list of them");
    ids.push_back(element.integer);
  }
  return ids;
}

static Result<void> readTokens(ModelSource &source, const std::string &file, const Json &json) {
  JsonReader reader(file, json);
  for (auto [key, ids] : {std::pair("bos_token_id", &source.bos), {"eos_token_id", &source.eos}}) {
    Result<std::vector<int64_t>> read = readIds(reader, key);
    if (!read)
      return read.error();
    if (!read->empty())
      *ids = *read;
  }
  Result<std::vector<int64_t>> pad = readIds(reader, "pad_token_id");
  if (!pad)
    return pad.error();
  if (!pad->empty())
    source.pad = pad->front();
  return {};
}

Result<ModelSource> ds::openHuggingFace(const std::string &folder, bool weights) {
  ModelSource source;
  Result<Json> json = readJson(folder, "config.json");
  if (!json)
    return json.error();
  std::string file = folder + "/config.json";
  JsonReader reader(file, *json);
  Result<std::string> type = reader.string("model_type");
  if (!type)
    return type.error();
  source.modelType = *type;
  std::string clean = folder;
  while (clean.size() > 1 && clean.back() == '/')
    clean.pop_back();
  source.name = clean.substr(clean.rfind('/') + 1);
  if (const Json *list = json->find("architectures"); list && list->kind == Json::Kind::Array && !list->elements.empty())
    source.architecture = list->elements.front().text;
  for (const char *key : {"quantization_config", "auto_map"})
    if (json->find(key))
      return reader.wrong(key, "a key this compiler handles");
  if (Result<void> read = readTokens(source, file, *json); !read)
    return read.error();
  if (existsBeneath(folder, "generation_config.json")) {
    Result<Json> generation = readJson(folder, "generation_config.json");
    if (!generation)
      return generation.error();
    if (Result<void> read = readTokens(source, folder + "/generation_config.json", *generation); !read)
      return read.error();
  }
  if (weights) {
    Result<std::unique_ptr<TensorSource>> tensors = openSafetensorsFolder(folder);
    if (!tensors)
      return tensors.error();
    source.tensors = std::move(*tensors);
  }
  Result<std::optional<Pooling>> pooling = readPooling(folder);
  if (!pooling)
    return pooling.error();
  source.pooling = *pooling;
  for (const char *name : {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json",
                           "chat_template.jinja", "sentence_bert_config.json"}) {
    if (!existsBeneath(folder, name))
      continue;
    Result<std::string> text = readBeneath(folder, name);
    if (!text)
      return text.error();
    source.sideFiles.push_back({name, std::move(*text)});
  }
  source.config.emplace(file, std::move(*json));
  return source;
}
