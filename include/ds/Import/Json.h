// Untrusted JSON as a tree: at most 64 levels deep, valid UTF-8, no key twice, every number finite. Getters name file and key.
#ifndef DS_IMPORT_JSON_H
#define DS_IMPORT_JSON_H

#include "ds/Import/Result.h"
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace ds {

class Json {
public:
  enum class Kind { Null, Boolean, Integer, Number, String, Array, Object };

  Kind kind = Kind::Null;
  bool boolean = false;
  int64_t integer = 0;
  double number = 0; // also of an integer
  std::string text;
  std::vector<Json> elements;    // of an array, or the members of an object
  std::vector<std::string> keys; // of an object

  /// Parses `text`; `file` opens every message. Fails with BadData, naming the byte.
  static Result<Json> parse(std::string_view text, std::string_view file);

  bool isNull() const { return kind == Kind::Null; }
  bool isObject() const { return kind == Kind::Object; }
  /// The member of an object, or null; a member that is JSON's null counts as absent.
  const Json *find(std::string_view key) const;
  /// What it is, for messages: `object`, `7`, `"text"`.
  std::string describe() const;
};

const char *kindName(Json::Kind kind);

/// Reads members of one object and says where it failed: `config.json: key 'num_heads': expects an integer of 1 to 65536, found -1`.
class JsonReader {
public:
  JsonReader(std::string file, const Json &object) : file(std::move(file)), object(object) {}

  bool has(std::string_view key) const { return object.find(key) != nullptr; }
  const Json *find(std::string_view key) const { return object.find(key); }
  Result<int64_t> integer(std::string_view key, int64_t low, int64_t high) const;
  Result<double> number(std::string_view key, double low, double high) const;
  Result<bool> boolean(std::string_view key) const;
  Result<std::string> string(std::string_view key) const;
  /// The same, with a value for an absent key.
  Result<int64_t> integerOr(std::string_view key, int64_t fallback, int64_t low, int64_t high) const;
  Result<double> numberOr(std::string_view key, double fallback, double low, double high) const;
  Result<bool> booleanOr(std::string_view key, bool fallback) const;
  Result<std::string> stringOr(std::string_view key, std::string fallback) const;

  /// An error about `key`.
  Error wrong(std::string_view key, const std::string &expected) const;
  const std::string &fileName() const { return file; }
  const Json &value() const { return object; }

private:
  std::string file;
  const Json &object;
};

} // namespace ds
#endif // DS_IMPORT_JSON_H
