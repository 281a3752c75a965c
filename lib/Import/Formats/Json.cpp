#include "ds/Import/Json.h"
#include <cmath>
#include <nlohmann/json.hpp>
#include <unordered_set>

using namespace ds;

static constexpr size_t maxDepth = 64;

namespace {
/// Builds the tree from events, so that depth and keys are checked before memory is spent on them.
class TreeBuilder : public nlohmann::json_sax<nlohmann::json> {
public:
  explicit TreeBuilder(std::string_view file) : file(file) {}

  Json root;
  std::string problem;

  bool null() override { return add(Json()); }
  bool boolean(bool value) override {
    Json json;
    json.kind = Json::Kind::Boolean;
    json.boolean = value;
    return add(std::move(json));
  }
  bool number_integer(number_integer_t value) override {
    Json json;
    json.kind = Json::Kind::Integer;
    json.integer = value;
    json.number = static_cast<double>(value);
    return add(std::move(json));
  }
  bool number_unsigned(number_unsigned_t value) override {
    if (value <= static_cast<number_unsigned_t>(std::numeric_limits<int64_t>::max()))
      return number_integer(static_cast<number_integer_t>(value));
    return number_float(static_cast<double>(value), "");
  }
  bool number_float(number_float_t value, const string_t &) override {
    if (!std::isfinite(value))
      return fail("a number that is not finite");
    Json json;
    json.kind = Json::Kind::Number;
    json.number = value;
    return add(std::move(json));
  }
  bool string(string_t &value) override {
    Json json;
    json.kind = Json::Kind::String;
    json.text = std::move(value);
    return add(std::move(json));
  }
  bool binary(binary_t &) override { return fail("binary data"); }
  bool start_object(size_t) override { return open(Json::Kind::Object); }
  bool start_array(size_t) override { return open(Json::Kind::Array); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t &value) override {
    if (!seen.back().insert(value).second)
      return fail("key '" + value + "' twice");
    stack.back().keys.push_back(std::move(value));
    return true;
  }
  bool parse_error(size_t position, const std::string &, const nlohmann::detail::exception &) override {
    problem = "expects JSON, found something else at byte " + std::to_string(position);
    return false;
  }

private:
  bool fail(const std::string &found) {
    problem = "expects JSON without surprises, found " + found;
    return false;
  }
  bool open(Json::Kind kind) {
    if (stack.size() >= maxDepth) {
      problem = "expects JSON at most " + std::to_string(maxDepth) + " levels deep, found more";
      return false;
    }
    stack.emplace_back().kind = kind;
    seen.emplace_back();
    return true;
  }
  bool close() {
    Json done = std::move(stack.back());
    stack.pop_back();
    seen.pop_back();
    return add(std::move(done));
  }
  bool add(Json json) {
    if (stack.empty())
      root = std::move(json);
    else
      stack.back().elements.push_back(std::move(json));
    return true;
  }

  std::string_view file;
  std::vector<Json> stack;
  std::vector<std::unordered_set<std::string>> seen;
};
} // namespace

Result<Json> Json::parse(std::string_view text, std::string_view file) {
  TreeBuilder builder(file);
  bool parsed = nlohmann::json::sax_parse(text.begin(), text.end(), &builder);
  if (!parsed)
    return Error::badData("'" + std::string(file) + "': " + builder.problem);
  return std::move(builder.root);
}

const Json *Json::find(std::string_view key) const {
  for (size_t i = 0; kind == Kind::Object && i < keys.size(); ++i)
    if (keys[i] == key)
      return elements[i].isNull() ? nullptr : &elements[i];
  return nullptr;
}

const char *ds::kindName(Json::Kind kind) {
  static const char *const names[] = {"null", "a boolean", "an integer", "a number", "a string", "an array", "an object"};
  return names[static_cast<int>(kind)];
}

std::string Json::describe() const {
  switch (kind) {
  case Kind::Boolean:
    return boolean ? "true" : "false";
  case Kind::Integer:
    return std::to_string(integer);
  case Kind::Number: {
    char buffer[32];
    std::snprintf(buffer, sizeof(buffer), "%.9g", number);
    return buffer;
  }
  case Kind::String:
    return "\"" + text.substr(0, 64) + (text.size() > 64 ? "...\"" : "\"");
  default:
    return kindName(kind);
  }
}

Error JsonReader::wrong(std::string_view key, const std::string &expected) const {
  const Json *value = object.find(key);
  return Error::badData("'" + file + "': key '" + std::string(key) + "': expects " + expected + ", found " +
                        (value ? value->describe() : std::string("none")));
}

Result<int64_t> JsonReader::integer(std::string_view key, int64_t low, int64_t high) const {
  const Json *value = object.find(key);
  if (!value || value->kind != Json::Kind::Integer || value->integer < low || value->integer > high)
    return wrong(key, "an integer of " + std::to_string(low) + " to " + std::to_string(high));
  return value->integer;
}

Result<double> JsonReader::number(std::string_view key, double low, double high) const {
  const Json *value = object.find(key);
  bool numeric = value && (value->kind == Json::Kind::Integer || value->kind == Json::Kind::Number);
  if (!numeric || !(value->number >= low && value->number <= high)) {
    char range[80];
    std::snprintf(range, sizeof(range), "a number of %g to %g", low, high);
    return wrong(key, range);
  }
  return value->number;
}

Result<bool> JsonReader::boolean(std::string_view key) const {
  const Json *value = object.find(key);
  if (!value || value->kind != Json::Kind::Boolean)
    return wrong(key, "true or false");
  return value->boolean;
}

Result<std::string> JsonReader::string(std::string_view key) const {
  const Json *value = object.find(key);
  if (!value || value->kind != Json::Kind::String)
    return wrong(key, "a string");
  return value->text;
}

Result<int64_t> JsonReader::integerOr(std::string_view key, int64_t fallback, int64_t low, int64_t high) const {
  return has(key) ? integer(key, low, high) : Result<int64_t>(fallback);
}

Result<double> JsonReader::numberOr(std::string_view key, double fallback, double low, double high) const {
  return has(key) ? number(key, low, high) : Result<double>(fallback);
}

Result<bool> JsonReader::booleanOr(std::string_view key, bool fallback) const { return has(key) ? boolean(key) : Result<bool>(fallback); }

Result<std::string> JsonReader::stringOr(std::string_view key, std::string fallback) const {
  return has(key) ? string(key) : Result<std::string>(std::move(fallback));
}
