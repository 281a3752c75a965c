#include "SchemeFile.h"
#include "Budget.h"
#include "ds/Import/Json.h"
#include "ds/Import/SafeOpen.h"
#include "ds/Quantize/Pattern.h"
#include "ds/Quantize/Scheme.h"
#include <algorithm>

using namespace ds;

static Result<void> expectKeys(const JsonReader &reader, std::initializer_list<std::string_view> known) {
  for (const std::string &key : reader.value().keys)
    if (std::find(known.begin(), known.end(), key) == known.end())
      return Error::badData("'" + reader.fileName() + "': unknown key '" + key + "'");
  return {};
}

/// Key `key` of an object of the file, whose value is wrong.
static Error wrongValue(const JsonReader &reader, const char *key, const std::string &reason) {
  return Error::badData("'" + reader.fileName() + "': key '" + key + "': " + reason);
}

/// Of one rule.
static Result<std::string> readRule(const JsonReader &rule) {
  if (Result<void> known = expectKeys(rule, {"match", "scheme"}); !known)
    return known.error();
  Result<std::string> match = rule.string("match"), scheme = rule.string("scheme");
  if (!match || !scheme)
    return match ? scheme : match;
  if (std::string reason = whyNotPattern(*match); !reason.empty())
    return wrongValue(rule, "match", "expects a POSIX extended regular expression, found '" + *match + "': " + reason);
  if (Result<SchemeChoice> choice = parseSchemeChoice(*scheme); !choice)
    return wrongValue(rule, "scheme", choice.error().message);
  return *match + "=" + *scheme;
}

Result<Schemes> ds::readSchemes(const std::string &path) {
  Result<MappedFile> file = MappedFile::open(path);
  if (!file)
    return file.error();
  Result<Json> json = Json::parse(std::string_view(reinterpret_cast<const char *>(file->data()), file->size()), path);
  if (!json)
    return json.error();
  if (!json->isObject())
    return Error::badData("'" + path + "': expects an object, found " + json->describe());
  JsonReader reader(path, *json);
  if (Result<void> known = expectKeys(reader, {"scheme", "rules"}); !known)
    return known.error();
  Schemes schemes;
  Result<std::string> scheme = reader.stringOr("scheme", "none");
  if (!scheme)
    return scheme.error();
  schemes.scheme = *scheme;
  Result<std::optional<BitBudget>> budget = parseBudget(*scheme);
  if (!budget)
    return wrongValue(reader, "scheme", budget.error().message);
  if (Result<SchemeChoice> choice = parseSchemeChoice(*budget ? "none" : *scheme); !choice)
    return wrongValue(reader, "scheme", choice.error().message);
  const Json *rules = reader.find("rules");
  if (rules && rules->kind != Json::Kind::Array)
    return reader.wrong("rules", "an array");
  for (size_t i = 0; rules && i < rules->elements.size(); ++i) {
    const std::string place = path + ": rules[" + std::to_string(i) + "]";
    if (!rules->elements[i].isObject())
      return Error::badData("'" + place + "': expects an object of match and scheme, found " + rules->elements[i].describe());
    Result<std::string> rule = readRule(JsonReader(place, rules->elements[i]));
    if (!rule)
      return rule.error();
    schemes.rules.push_back(*rule);
  }
  return schemes;
}
