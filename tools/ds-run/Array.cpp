#include "Array.h"
#include "Npy.h"
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <limits>

std::string Array::typeText() const {
  std::string text;
  for (int64_t size : shape)
    text += std::to_string(size) + "x";
  return text + (type == ElementType::f32 ? "f32" : "i32");
}

int64_t Array::elements() const {
  int64_t count = 0;
  return countElements(shape, count) ? count : 0;
}

bool countElements(const std::vector<int64_t> &shape, int64_t &count) {
  constexpr int64_t most = int64_t(1) << 40;
  count = 1;
  for (int64_t size : shape) {
    if (size < 0 || (size > 0 && count > most / size))
      return false;
    count *= size;
  }
  return true;
}

Failure splitName(const std::string &text, std::string &name, std::string &rest) {
  size_t at = text.find('=');
  if (at == text.npos || at == 0)
    return {2, "invalid argument: expects NAME=@file.npy or NAME=2x3xi32=values, got '" + text + "'"};
  name = text.substr(0, at);
  rest = text.substr(at + 1);
  return {};
}

static std::vector<std::string> split(const std::string &text, char separator) {
  std::vector<std::string> parts;
  for (size_t begin = 0; begin <= text.size();) {
    size_t end = std::min(text.find(separator, begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

template <typename Number> static bool readNumber(const std::string &text, Number &value) {
  if constexpr (std::is_floating_point_v<Number>) {
    char *end = nullptr;
    value = std::strtof(text.c_str(), &end);
    return !text.empty() && *end == '\0';
  } else {
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc() && end == text.data() + text.size();
  }
}

template <typename Number>
static Failure readValues(const std::string &what, const std::string &text, int64_t count, std::vector<Number> &values) {
  std::vector<std::string> parts = split(text, ',');
  if (static_cast<int64_t>(parts.size()) != count && parts.size() != 1)
    return {2, "invalid argument: " + what + ": expects one value or " + std::to_string(count) + ", got " + std::to_string(parts.size())};
  for (const std::string &part : parts) {
    Number value = 0;
    if (!readNumber(part, value))
      return {2, "invalid argument: " + what + ": expects a number, got '" + part + "'"};
    values.push_back(value);
  }
  if (parts.size() == 1)
    values.assign(count, values[0]);
  return {};
}

Failure readArray(const std::string &name, const std::string &text, Array &array) {
  array = Array();
  if (!text.empty() && text[0] == '@')
    return readNpy(text.substr(1), array);
  size_t at = text.find('=');
  std::vector<std::string> sizes = split(text.substr(0, at), 'x');
  std::string type = sizes.back();
  sizes.pop_back();
  if (at == text.npos || (type != "f32" && type != "i32"))
    return {2, "invalid argument: " + name + ": expects @file.npy or a type and values such as 2x3xi32=1, got '" + text + "'"};
  array.type = type == "f32" ? ElementType::f32 : ElementType::i32;
  for (const std::string &size : sizes) {
    int64_t value = 0;
    if (!readNumber(size, value) || value < 1)
      return {2, "invalid argument: " + name + ": expects sizes of at least 1, got '" + size + "'"};
    array.shape.push_back(value);
  }
  int64_t count = 0;
  if (!countElements(array.shape, count) || count > std::numeric_limits<int32_t>::max())
    return {2, "invalid argument: " + name + ": " + array.typeText() + " has too many elements"};
  std::string values = text.substr(at + 1);
  return array.type == ElementType::f32 ? readValues(name, values, count, array.floats) : readValues(name, values, count, array.integers);
}

Failure readIntegers(const std::string &what, const std::string &text, std::vector<int32_t> &values) {
  auto count = static_cast<int64_t>(split(text, ',').size());
  return readValues(what, text, count, values);
}

std::string printArray(const std::string &name, const Array &array) {
  std::string text = name + " " + array.typeText() + "\n";
  int64_t row = array.shape.empty() ? 1 : array.shape.back(), count = array.elements();
  for (int64_t i = 0; i < count; ++i) {
    char number[32];
    if (array.type == ElementType::f32)
      std::snprintf(number, sizeof(number), "%.6g", static_cast<double>(array.floats[i]));
    else
      std::snprintf(number, sizeof(number), "%d", array.integers[i]);
    text += std::string(i % row == 0 ? "  " : " ") + number + ((i + 1) % row == 0 ? "\n" : "");
  }
  return text;
}
