// nlohmann's SAX interface feeds the tree, so depth and keys are judged while the text is read.
#include "runtime/lib/Json.h"
#define JSON_NOEXCEPTION 1
#include <limits>
#include <nlohmann/json.hpp>
#include <unordered_set>

using namespace dsrt;

namespace {
constexpr size_t deepest = 64;

class TreeBuilder final : public nlohmann::json_sax<nlohmann::json> {
public:
  TreeBuilder(JsonValue &root) : root(root) {}
  std::string reason;

  bool null() override { return add(JsonKind::null) != nullptr; }
  bool boolean(bool flag) override {
    JsonValue *value = add(JsonKind::boolean);
    value->boolean = flag;
    return true;
  }
  bool number_integer(number_integer_t number) override {
    JsonValue *value = add(JsonKind::integer);
    value->integer = number;
    value->number = static_cast<double>(number);
    return true;
  }
  bool number_unsigned(number_unsigned_t number) override {
    bool fits = number <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
    JsonValue *value = add(fits ? JsonKind::integer : JsonKind::number);
    value->integer = fits ? static_cast<int64_t>(number) : 0;
    value->number = static_cast<double>(number);
    return true;
  }
  bool number_float(number_float_t number, const string_t &) override {
    JsonValue *value = add(JsonKind::number);
    value->number = number;
    return true;
  }
  bool string(string_t &text) override {
    add(JsonKind::string)->string = std::move(text);
    return true;
  }
  bool binary(binary_t &) override { return false; }
  bool start_object(size_t) override { return open(JsonKind::object); }
  bool key(string_t &name) override {
    if (!seen.back().insert(name).second) {
      reason = concat("key ", inQuotes(name), " occurs twice");
      return false;
    }
    nextKey = std::move(name);
    return true;
  }
  bool end_object() override { return close(); }
  bool start_array(size_t) override { return open(JsonKind::array); }
  bool end_array() override { return close(); }
  bool parse_error(size_t position, const std::string &, const nlohmann::detail::exception &) override {
    reason = concat("expects JSON, stops making sense at byte ", position);
    return false;
  }

private:
  JsonValue *add(JsonKind kind) {
    JsonValue *value = &root;
    if (!path.empty()) {
      JsonValue &parent = *path.back();
      if (parent.kind == JsonKind::object)
        parent.keys.push_back(std::move(nextKey));
      value = &parent.elements.emplace_back();
    }
    value->kind = kind;
    return value;
  }
  bool open(JsonKind kind) {
    if (path.size() >= deepest) {
      reason = concat("nested deeper than ", deepest, " levels");
      return false;
    }
    // Only the innermost container grows, so the pointers of those around it stay valid.
    path.push_back(add(kind));
    seen.emplace_back();
    return true;
  }
  bool close() {
    path.pop_back();
    seen.pop_back();
    return true;
  }

  JsonValue &root;
  std::vector<JsonValue *> path;
  std::vector<std::unordered_set<std::string>> seen;
  std::string nextKey;
};
} // namespace

const JsonValue *JsonValue::find(std::string_view key) const {
  for (size_t i = 0; i < keys.size(); ++i)
    if (keys[i] == key)
      return &elements[i];
  return nullptr;
}

const char *dsrt::nameOf(JsonKind kind) {
  switch (kind) {
  case JsonKind::null:
    return "null";
  case JsonKind::boolean:
    return "a boolean";
  case JsonKind::integer:
    return "an integer";
  case JsonKind::number:
    return "a number";
  case JsonKind::string:
    return "a string";
  case JsonKind::array:
    return "an array";
  case JsonKind::object:
    return "an object";
  }
  return "nothing";
}

Status dsrt::parseJson(std::string_view text, std::string_view file, JsonValue &value) {
  value = JsonValue();
  TreeBuilder builder(value);
  if (!nlohmann::json::sax_parse(text.begin(), text.end(), &builder))
    return Status::badData(file, ": ", builder.reason.empty() ? "expects JSON" : builder.reason);
  return Status();
}
