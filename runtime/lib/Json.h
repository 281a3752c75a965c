// JSON from outside as a tree: at most 64 levels deep, no key twice, integers kept apart from other numbers.
#ifndef DSRT_LIB_JSON_H
#define DSRT_LIB_JSON_H

#include "runtime/lib/Status.h"
#include <cstdint>
#include <string>
#include <vector>

namespace dsrt {

enum class JsonKind { null, boolean, integer, number, string, array, object };

struct JsonValue {
  JsonKind kind = JsonKind::null;
  bool boolean = false;
  int64_t integer = 0;
  double number = 0;
  std::string string;
  std::vector<JsonValue> elements; // of an array, or the members of an object
  std::vector<std::string> keys;   // of an object

  /// The member of an object; null when there is none or this is no object.
  const JsonValue *find(std::string_view key) const;
};

const char *nameOf(JsonKind kind);

/// Parses `text`. Fails with bad data, naming `file` and the byte.
Status parseJson(std::string_view text, std::string_view file, JsonValue &value);

} // namespace dsrt
#endif // DSRT_LIB_JSON_H
