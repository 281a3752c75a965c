#include "Npy.h"
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <limits>
#include <sstream>
#include <unistd.h>

static Failure badData(const std::string &path, const std::string &reason) { return {65, "bad data: " + path + ": " + reason}; }

static Failure readWhole(const std::string &path, std::string &content) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream)
    return {66, "missing: " + path + ": " + strerror(errno)};
  std::ostringstream text;
  text << stream.rdbuf();
  if (!stream)
    return {66, "missing: " + path + ": cannot be read"};
  content = text.str();
  return {};
}

/// What follows `'key':` in the header's dictionary, up to the end of the value.
static std::string valueOf(const std::string &header, const std::string &key) {
  size_t at = header.find("'" + key + "':");
  if (at == header.npos)
    return "";
  at = header.find_first_not_of(' ', at + key.size() + 3);
  if (at == header.npos)
    return "";
  size_t end = header[at] == '(' ? header.find(')', at) : header[at] == '\'' ? header.find('\'', at + 1) : header.find_first_of(",}", at);
  if (end == header.npos)
    return "";
  return header.substr(at, end - at + (header[at] == '(' || header[at] == '\''));
}

static bool readShape(const std::string &text, std::vector<int64_t> &shape) {
  if (text.size() < 2 || text.front() != '(' || text.back() != ')')
    return false;
  for (size_t at = 1; at + 1 < text.size();) {
    if (text[at] == ' ' || text[at] == ',') {
      ++at;
      continue;
    }
    int64_t size = 0;
    size_t begin = at;
    for (; at < text.size() && text[at] >= '0' && text[at] <= '9' && at - begin < 15; ++at)
      size = size * 10 + (text[at] - '0');
    if (at == begin)
      return false;
    shape.push_back(size);
  }
  return true;
}

template <typename Stored> static Stored loadAt(const char *data, int64_t index) {
  Stored value;
  std::memcpy(&value, data + index * sizeof(Stored), sizeof(Stored));
  return value;
}

static Failure convert(const std::string &path, const std::string &type, const char *data, int64_t count, Array &array) {
  array.type = type[2] == 'f' ? ElementType::f32 : ElementType::i32;
  for (int64_t i = 0; i < count; ++i) {
    if (type == "'<f4'")
      array.floats.push_back(loadAt<float>(data, i));
    else if (type == "'<f8'")
      array.floats.push_back(static_cast<float>(loadAt<double>(data, i)));
    else if (type == "'<i4'")
      array.integers.push_back(loadAt<int32_t>(data, i));
    else {
      auto value = loadAt<int64_t>(data, i);
      if (value < std::numeric_limits<int32_t>::min() || value > std::numeric_limits<int32_t>::max())
        return badData(path, "element " + std::to_string(i) + ": expects an i32, found " + std::to_string(value));
      array.integers.push_back(static_cast<int32_t>(value));
    }
  }
  return {};
}

Failure readNpy(const std::string &path, Array &array) {
  std::string content;
  if (Failure failure = readWhole(path, content))
    return failure;
  if (content.size() < 12 || content.compare(0, 6, "\x93NUMPY") != 0)
    return badData(path, "expects an .npy file");
  auto byte = [&](size_t at) { return static_cast<size_t>(static_cast<unsigned char>(content[at])); };
  size_t major = byte(6), begin = major == 1 ? 10 : 12;
  if (major < 1 || major > 3)
    return badData(path, "expects .npy version 1 to 3, found " + std::to_string(major));
  size_t length = byte(8) | byte(9) << 8;
  if (major > 1)
    length |= byte(10) << 16 | byte(11) << 24;
  if (length > content.size() - begin)
    return badData(path, "expects a header of " + std::to_string(length) + " bytes, found " + std::to_string(content.size() - begin));
  std::string header = content.substr(begin, length), type = valueOf(header, "descr");
  if (type != "'<f4'" && type != "'<f8'" && type != "'<i4'" && type != "'<i8'")
    return badData(path, "expects elements of <f4, <f8, <i4 or <i8, found " + (type.empty() ? "none" : type));
  if (valueOf(header, "fortran_order") != "False")
    return badData(path, "expects C order");
  int64_t count = 0;
  if (!readShape(valueOf(header, "shape"), array.shape) || !countElements(array.shape, count))
    return badData(path, "expects a shape, found '" + valueOf(header, "shape") + "'");
  int64_t width = type[3] - '0', found = static_cast<int64_t>(content.size() - begin - length);
  if (found != count * width)
    return badData(path, "expects " + std::to_string(count * width) + " bytes of data, found " + std::to_string(found));
  return convert(path, type, content.data() + begin + length, count, array);
}

Failure writeNpy(const std::string &path, const Array &array) {
  std::string shape;
  for (int64_t size : array.shape)
    shape += std::to_string(size) + ",";
  std::string header = std::string("{'descr': '") + (array.type == ElementType::f32 ? "<f4" : "<i4") +
                       "', 'fortran_order': False, 'shape': (" + shape + "), }";
  header += std::string(63 - (10 + header.size()) % 64, ' ') + '\n';
  std::string temporary = path + ".tmp-" + std::to_string(getpid());
  std::ofstream stream(temporary, std::ios::binary | std::ios::trunc);
  const char prefix[] = {
      '\x93', 'N', 'U', 'M', 'P', 'Y', 1, 0, static_cast<char>(header.size() & 255), static_cast<char>(header.size() >> 8)};
  stream.write(prefix, sizeof(prefix));
  stream << header;
  const void *data = array.type == ElementType::f32 ? static_cast<const void *>(array.floats.data()) : array.integers.data();
  stream.write(static_cast<const char *>(data), array.elements() * 4);
  stream.close();
  if (!stream || std::rename(temporary.c_str(), path.c_str()) != 0) {
    std::string reason = strerror(errno);
    std::remove(temporary.c_str());
    return {73, "cannot write: " + path + ": " + reason};
  }
  return {};
}
