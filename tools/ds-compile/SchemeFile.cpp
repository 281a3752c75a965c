#include "SchemeFile.h"
#include "ds/Import/Json.h"
#include "llvm/Support/MemoryBuffer.h"
#include <algorithm>

using namespace ds;

static Result<void> expectKeys(const JsonReader &reader, std::initializer_list<std::string_view> known) {
  for (const std::string &key : reader.value().keys)
    if (std::find(known.begin(), known.end(), key) == known.end())
      return Error::badData("'" + reader.fileName() + "': unknown key '" + key + "'");
  return {};
}

Result<Schemes> ds::readSchemes(const std::string &path) {
  auto file = llvm::MemoryBuffer::getFile(path);
  if (!file)
    return Error::missing("cannot read '" + path + "': " + file.getError().message());
  Result<Json> json = Json::parse(std::string_view((*file)->getBufferStart(), (*file)->getBufferSize()), path);
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
  const Json *rules = reader.find("rules");
  if (rules && rules->kind != Json::Kind::Array)
    return reader.wrong("rules", "an array");
  for (size_t i = 0; rules && i < rules->elements.size(); ++i) {
    if (!rules->elements[i].isObject())
      return reader.wrong("rules", "objects of match and scheme");
    JsonReader rule(path + ": rules[" + std::to_string(i) + "]", rules->elements[i]);
    Result<std::string> match = rule.string("match"), of = rule.string("scheme");
    for (const Result<void> &bad :
         {expectKeys(rule, {"match", "scheme"}), match ? Result<void>() : match.error(), of ? Result<void>() : of.error()})
      if (!bad)
        return bad.error();
    schemes.rules.push_back(*match + "=" + *of);
  }
  return schemes;
}
