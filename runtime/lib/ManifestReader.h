// Typed access to JSON members with messages that name the place.
#ifndef DSRT_LIB_MANIFESTREADER_H
#define DSRT_LIB_MANIFESTREADER_H

#include "runtime/lib/Json.h"

namespace dsrt {

/// One object or array of a document and its place, such as "manifest.json: programs[0]".
struct JsonPlace {
  const JsonValue *value = nullptr;
  std::string place;

  std::string placeOf(std::string_view key) const;
  std::string placeOf(size_t index) const { return concat(place, "[", index, "]"); }
  JsonPlace element(size_t index) const { return {&value->elements[index], placeOf(index)}; }

  /// The member `key` of kind `kind`. Fails with bad data when it is absent or of another kind.
  Status member(std::string_view key, JsonKind kind, JsonPlace &out) const;
  Status text(std::string_view key, std::string &out) const;
  Status integer(std::string_view key, int64_t least, int64_t most, int64_t &out) const;
  Status integer(std::string_view key, int64_t least, int64_t most, int32_t &out) const;
  /// A finite number above 0, or `mayBeZero`, to 1e18.
  Status number(std::string_view key, bool mayBeZero, double &out) const;
  /// As `integer`; leaves `out` as it is when the member is absent or null.
  Status optionalInteger(std::string_view key, int64_t least, int64_t most, int32_t &out) const;
  /// A list of i32; empty when the member is absent or null.
  Status optionalIntegers(std::string_view key, std::vector<int32_t> &out) const;
};

/// "3", "'text'", "an object": what a message says was found.
std::string describe(const JsonValue &value);

} // namespace dsrt
#endif // DSRT_LIB_MANIFESTREADER_H
