// The modules that sentence-transformers runs behind an encoder (Reimers and Gurevych 2019, arXiv:1908.10084).
#include "ModelSource.h"

using namespace ds;

static Result<PoolKind> readKind(const std::string &folder, const std::string &path) {
  std::string name = (path.empty() ? "" : path + "/") + "config.json";
  Result<std::string> text = readBeneath(folder, name);
  if (!text)
    return text.error();
  std::string file = folder + "/" + name;
  Result<Json> json = Json::parse(*text, file);
  if (!json)
    return json.error();
  JsonReader reader(file, *json);
  struct Mode {
    const char *key;
    std::optional<PoolKind> kind;
  };
  const Mode modes[] = {{"pooling_mode_cls_token", PoolKind::cls},           {"pooling_mode_mean_tokens", PoolKind::mean},
                        {"pooling_mode_lasttoken", PoolKind::last},          {"pooling_mode_max_tokens", std::nullopt},
                        {"pooling_mode_mean_sqrt_len_tokens", std::nullopt}, {"pooling_mode_weightedmean_tokens", std::nullopt}};
  std::optional<PoolKind> found;
  for (const Mode &mode : modes) {
    Result<bool> on = reader.booleanOr(mode.key, false);
    if (!on)
      return on.error();
    if (!*on)
      continue;
    if (!mode.kind)
      return reader.wrong(mode.key, "false, as this pooling is not handled");
    if (found)
      return reader.wrong(mode.key, "one pooling at a time");
    found = mode.kind;
  }
  Result<bool> prompts = reader.booleanOr("include_prompt", true);
  if (!prompts)
    return prompts.error();
  if (!found)
    return Error::badData("'" + file + "': expects pooling_mode_cls_token, pooling_mode_mean_tokens or pooling_mode_lasttoken, found none");
  return *found;
}

Result<std::optional<Pooling>> ds::readPooling(const std::string &folder) {
  if (!existsBeneath(folder, "modules.json"))
    return std::optional<Pooling>();
  Result<std::string> text = readBeneath(folder, "modules.json");
  if (!text)
    return text.error();
  std::string file = folder + "/modules.json";
  Result<Json> json = Json::parse(*text, file);
  if (!json)
    return json.error();
  if (json->kind != Json::Kind::Array)
    return Error::badData("'" + file + "': expects a list of modules, found " + json->describe());
  std::optional<Pooling> pooling;
  for (const Json &module : json->elements) {
    JsonReader reader(file, module);
    Result<std::string> type = reader.string("type"), path = reader.stringOr("path", "");
    if (!type)
      return type.error();
    if (!path)
      return path.error();
    std::string kind = type->substr(type->rfind('.') + 1);
    if (kind == "Transformer") {
      if (!path->empty())
        return reader.wrong("path", "'', as a model in a folder of its own is not handled");
      continue;
    }
    if (kind == "Pooling" && !pooling) {
      Result<PoolKind> mode = readKind(folder, *path);
      if (!mode)
        return mode.error();
      pooling = Pooling{*mode, false};
    } else if (kind == "Normalize" && pooling) {
      pooling->normalize = true;
    } else {
      return reader.wrong("type", "Transformer, Pooling, then Normalize, as others are not handled");
    }
  }
  return pooling;
}
