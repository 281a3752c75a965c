#include "runtime/lib/ManifestReader.h"
#include <cmath>
#include <limits>

using namespace dsrt;

std::string dsrt::describe(const JsonValue &value) {
  if (value.kind == JsonKind::integer)
    return std::to_string(value.integer);
  if (value.kind == JsonKind::string)
    return inQuotes(value.string);
  return nameOf(value.kind);
}

std::string JsonPlace::placeOf(std::string_view key) const {
  // A top-level key follows the file's name.
  bool inside = place.size() >= 2 && place.compare(place.size() - 2, 2, ": ") == 0;
  return concat(place, inside ? "" : ".", key);
}

Status JsonPlace::member(std::string_view key, JsonKind kind, JsonPlace &out) const {
  const JsonValue *found = value->find(key);
  if (!found)
    return Status::badData(placeOf(key), ": expects ", nameOf(kind), ", found nothing");
  if (found->kind != kind)
    return Status::badData(placeOf(key), ": expects ", nameOf(kind), ", found ", describe(*found));
  out = {found, placeOf(key)};
  return Status();
}

Status JsonPlace::text(std::string_view key, std::string &out) const {
  JsonPlace found;
  DSRT_TRY(member(key, JsonKind::string, found));
  out = found.value->string;
  return Status();
}

static Status inRange(const JsonPlace &found, int64_t least, int64_t most) {
  if (found.value->kind != JsonKind::integer || found.value->integer < least || found.value->integer > most)
    return Status::badData(found.place, ": expects an integer in ", least, "..", most, ", found ", describe(*found.value));
  return Status();
}

Status JsonPlace::integer(std::string_view key, int64_t least, int64_t most, int64_t &out) const {
  JsonPlace found;
  DSRT_TRY(member(key, JsonKind::integer, found));
  DSRT_TRY(inRange(found, least, most));
  out = found.value->integer;
  return Status();
}

Status JsonPlace::integer(std::string_view key, int64_t least, int64_t most, int32_t &out) const {
  int64_t wide = 0;
  DSRT_TRY(integer(key, least, most, wide));
  out = static_cast<int32_t>(wide);
  return Status();
}

Status JsonPlace::number(std::string_view key, bool mayBeZero, double &out) const {
  const JsonValue *found = value->find(key);
  if (!found)
    return Status::badData(placeOf(key), ": expects a number, found nothing");
  const bool isNumber = found->kind == JsonKind::integer || found->kind == JsonKind::number;
  if (!isNumber || !std::isfinite(found->number) || found->number < 0 || found->number > 1e18 || (found->number == 0 && !mayBeZero))
    return Status::badData(placeOf(key), ": expects a number ", mayBeZero ? "of 0" : "above 0", " to 1e18, found ",
                           isNumber ? std::to_string(found->number) : describe(*found));
  out = found->number;
  return Status();
}

Status JsonPlace::optionalInteger(std::string_view key, int64_t least, int64_t most, int32_t &out) const {
  const JsonValue *found = value->find(key);
  return found && found->kind != JsonKind::null ? integer(key, least, most, out) : Status();
}

Status JsonPlace::optionalIntegers(std::string_view key, std::vector<int32_t> &out) const {
  const JsonValue *found = value->find(key);
  if (!found || found->kind == JsonKind::null)
    return Status();
  JsonPlace list;
  DSRT_TRY(member(key, JsonKind::array, list));
  for (size_t i = 0; i < list.value->elements.size(); ++i) {
    JsonPlace element = list.element(i);
    DSRT_TRY(inRange(element, std::numeric_limits<int32_t>::min(), std::numeric_limits<int32_t>::max()));
    out.push_back(static_cast<int32_t>(element.value->integer));
  }
  return Status();
}
