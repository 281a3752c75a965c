#include "ds/Import/Gguf.h"
#include "TensorTable.h"
#include <algorithm>
#include <cmath>
#include <cstring>

using namespace ds;

static constexpr uint64_t maxRank = 4;         // of the format
static constexpr size_t maxMetadataBytes = 64; // of a key or a tensor's name, times 1024

namespace {
/// Types of metadata values, as the file numbers them.
enum ValueType : uint32_t { U8, I8, U16, I16, U32, I32, F32, Bool, String, Array, U64, I64, F64 };

/// A cursor that never leaves the file.
class Reader {
public:
  Reader(const uint8_t *data, size_t size) : data(data), size(size) {}

  template <typename T> bool read(T &value) {
    if (size - at < sizeof(T))
      return false;
    std::memcpy(&value, data + at, sizeof(T));
    at += sizeof(T);
    return true;
  }
  bool readString(std::string &text, size_t limit) {
    uint64_t length = 0;
    if (!read(length) || length > size - at || length > limit)
      return false;
    text.assign(reinterpret_cast<const char *>(data + at), length);
    at += length;
    return true;
  }
  size_t left() const { return size - at; }
  size_t place() const { return at; }

private:
  const uint8_t *data;
  size_t size, at = 0;
};

/// Parses one file.
class Parser {
public:
  Parser(const uint8_t *data, size_t size, const std::string &name) : data(data), size(size), reader(data, size) { content.file = name; }

  Result<GgufContent> run();

private:
  Error wrong(const std::string &what) const { return Error::badData("'" + content.file + "': " + what); }
  Error truncated(const std::string &what) const {
    return wrong(what + ": expects it whole, found the end of the file's " + std::to_string(size) +
                 " bytes (or a length beyond it) at byte " + std::to_string(reader.place()));
  }
  Result<void> readScalar(const std::string &key, uint32_t type, GgufValue &value);
  Result<GgufValue> readValue(const std::string &key);
  Result<GgufValue> readArray(const std::string &key);
  Result<void> readTensors(uint64_t count);

  const uint8_t *data;
  size_t size;
  Reader reader;
  GgufContent content;
};
} // namespace

/// Bytes of a scalar; 0 for what is none.
static size_t scalarBytes(uint32_t type) {
  static constexpr size_t bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  return type < 13 ? bytes[type] : 0;
}

template <typename T> static bool readInteger(Reader &reader, GgufValue &value) {
  T raw;
  if (!reader.read(raw))
    return false;
  value.kind = GgufValue::Kind::Integer;
  if (std::is_same_v<T, uint64_t> && static_cast<uint64_t>(raw) > static_cast<uint64_t>(INT64_MAX)) {
    value.kind = GgufValue::Kind::Number;
    value.number = static_cast<double>(raw);
    return true;
  }
  value.integer = static_cast<int64_t>(raw);
  value.number = static_cast<double>(raw);
  return true;
}

template <typename T> static bool readNumber(Reader &reader, GgufValue &value) {
  T raw;
  if (!reader.read(raw))
    return false;
  value.kind = GgufValue::Kind::Number;
  value.number = raw;
  return true;
}

/// False where the file ends first.
static bool readScalar(Reader &reader, uint32_t type, GgufValue &value) {
  switch (type) {
  case U8:
    return readInteger<uint8_t>(reader, value);
  case I8:
    return readInteger<int8_t>(reader, value);
  case U16:
    return readInteger<uint16_t>(reader, value);
  case I16:
    return readInteger<int16_t>(reader, value);
  case U32:
    return readInteger<uint32_t>(reader, value);
  case I32:
    return readInteger<int32_t>(reader, value);
  case U64:
    return readInteger<uint64_t>(reader, value);
  case I64:
    return readInteger<int64_t>(reader, value);
  case F32:
    return readNumber<float>(reader, value);
  case F64:
    return readNumber<double>(reader, value);
  case Bool: {
    if (!readInteger<uint8_t>(reader, value))
      return false;
    value.kind = GgufValue::Kind::Boolean;
    return true;
  }
  default:
    return false;
  }
}

Result<void> Parser::readScalar(const std::string &key, uint32_t type, GgufValue &value) {
  if (!::readScalar(reader, type, value))
    return truncated("key '" + key + "'");
  if (type == Bool && value.integer > 1)
    return wrong("key '" + key + "': expects a boolean of 0 or 1, found " + std::to_string(value.integer));
  return {};
}

Result<GgufValue> Parser::readArray(const std::string &key) {
  uint32_t type = 0;
  uint64_t count = 0;
  if (!reader.read(type) || !reader.read(count))
    return truncated("key '" + key + "'");
  size_t least = type == String ? 8 : scalarBytes(type);
  if (least == 0)
    return wrong("key '" + key + "': expects an array of scalars or strings, found type " + std::to_string(type));
  if (count > reader.left() / least)
    return truncated("key '" + key + "'");
  GgufValue array;
  array.kind = type == String               ? GgufValue::Kind::Strings
               : type == F32 || type == F64 ? GgufValue::Kind::Numbers
                                            : GgufValue::Kind::Integers;
  for (uint64_t i = 0; i < count; ++i) {
    if (type == String) {
      std::string text;
      if (!reader.readString(text, reader.left()))
        return truncated("key '" + key + "'");
      array.texts.push_back(std::move(text));
      continue;
    }
    GgufValue element;
    if (Result<void> read = readScalar(key, type, element); !read)
      return read.error();
    if (array.kind == GgufValue::Kind::Numbers)
      array.numbers.push_back(static_cast<float>(element.number));
    else
      array.integers.push_back(element.integer);
  }
  return array;
}

Result<GgufValue> Parser::readValue(const std::string &key) {
  uint32_t type = 0;
  if (!reader.read(type))
    return truncated("key '" + key + "'");
  if (type == Array)
    return readArray(key);
  GgufValue value;
  if (type == String) {
    value.kind = GgufValue::Kind::String;
    if (!reader.readString(value.text, reader.left()))
      return truncated("key '" + key + "'");
    return value;
  }
  if (scalarBytes(type) == 0)
    return wrong("key '" + key + "': expects a type of 0 to 12, found " + std::to_string(type));
  if (Result<void> read = readScalar(key, type, value); !read)
    return read.error();
  return value;
}

/// The types this reader knows by the numbers of ggml.
static bool parseType(uint32_t number, StoredType &type) {
  switch (number) {
  case 0:
    type = StoredType::F32;
    return true;
  case 1:
    type = StoredType::F16;
    return true;
  case 2:
    type = StoredType::Q4_0;
    return true;
  case 3:
    type = StoredType::Q4_1;
    return true;
  case 6:
    type = StoredType::Q5_0;
    return true;
  case 7:
    type = StoredType::Q5_1;
    return true;
  case 8:
    type = StoredType::Q8_0;
    return true;
  case 10:
    type = StoredType::Q2_K;
    return true;
  case 11:
    type = StoredType::Q3_K;
    return true;
  case 12:
    type = StoredType::Q4_K;
    return true;
  case 13:
    type = StoredType::Q5_K;
    return true;
  case 14:
    type = StoredType::Q6_K;
    return true;
  case 20:
    type = StoredType::IQ4_NL;
    return true;
  case 23:
    type = StoredType::IQ4_XS;
    return true;
  case 30:
    type = StoredType::BF16;
    return true;
  default:
    return false;
  }
}

/// The name of any ggml type, for messages.
static std::string ggmlTypeName(uint32_t number) {
  static const std::map<uint32_t, const char *> names = {
      {9, "Q8_1"}, {15, "Q8_K"}, {16, "IQ2_XXS"}, {17, "IQ2_XS"}, {18, "IQ3_XXS"}, {19, "IQ1_S"}, {21, "IQ3_S"}, {22, "IQ2_S"}, {24, "I8"},
      {25, "I16"}, {26, "I32"},  {27, "I64"},     {28, "F64"},    {29, "IQ1_M"},   {34, "TQ1_0"}, {35, "TQ2_0"}, {39, "MXFP4"}};
  auto found = names.find(number);
  return found == names.end() ? "number " + std::to_string(number) : found->second;
}

Result<void> Parser::readTensors(uint64_t count) {
  std::vector<uint64_t> offsets;
  for (uint64_t i = 0; i < count; ++i) {
    StoredTensor tensor;
    uint32_t rank = 0, type = 0;
    uint64_t offset = 0;
    if (!reader.readString(tensor.name, maxMetadataBytes * 1024) || !reader.read(rank))
      return truncated("tensor " + std::to_string(i));
    std::string place = "tensor '" + tensor.name + "'";
    if (rank > maxRank)
      return wrong(place + ": expects at most 4 sizes, found " + std::to_string(rank));
    for (uint32_t axis = 0; axis < rank; ++axis) {
      uint64_t length = 0;
      if (!reader.read(length))
        return truncated(place);
      if (length == 0 || length > INT64_MAX)
        return wrong(place + ": expects sizes of 1 to 2^63 - 1, found " + std::to_string(length));
      tensor.shape.insert(tensor.shape.begin(), static_cast<int64_t>(length));
    }
    if (!reader.read(type) || !reader.read(offset))
      return truncated(place);
    if (!parseType(type, tensor.type))
      return wrong(place + ": expects type F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K to Q6_K, IQ4_NL or IQ4_XS, found " +
                   ggmlTypeName(type));
    int64_t elements = 1;
    for (int64_t length : tensor.shape)
      if (__builtin_mul_overflow(elements, length, &elements))
        return wrong(place + ": expects a shape of fewer than 2^63 elements");
    BlockSize block = blockSize(tensor.type);
    if (block.elements > 1 && (tensor.shape.empty() || tensor.shape.back() % block.elements != 0))
      return wrong(place + ": expects rows of a multiple of " + std::to_string(block.elements) + " elements for " +
                   storedTypeName(tensor.type) + ", found " + std::to_string(tensor.shape.empty() ? 1 : tensor.shape.back()));
    if (__builtin_mul_overflow(static_cast<uint64_t>(elements / block.elements), static_cast<uint64_t>(block.bytes), &tensor.bytes))
      return wrong(place + ": expects a shape of fewer than 2^64 bytes");
    tensor.file = content.file;
    content.tensors.push_back(std::move(tensor));
    offsets.push_back(offset);
  }

  uint64_t alignment = 32;
  if (content.find("general.alignment")) {
    Result<int64_t> value = content.integer("general.alignment", 8, 1 << 20);
    if (!value)
      return value.error();
    alignment = static_cast<uint64_t>(*value);
    if ((alignment & (alignment - 1)) != 0)
      return wrong("key 'general.alignment': expects a power of two, found " + std::to_string(alignment));
  }
  uint64_t begin = (reader.place() + alignment - 1) / alignment * alignment;
  std::vector<std::pair<uint64_t, size_t>> order;
  for (size_t i = 0; i < offsets.size(); ++i) {
    StoredTensor &tensor = content.tensors[i];
    if (offsets[i] % alignment != 0)
      return wrong("tensor '" + tensor.name + "': expects an offset that is a multiple of " + std::to_string(alignment) + ", found " +
                   std::to_string(offsets[i]));
    if (begin > size || offsets[i] > size - begin || tensor.bytes > size - begin - offsets[i])
      return wrong("tensor '" + tensor.name + "': expects " + std::to_string(tensor.bytes) + " bytes at byte " +
                   std::to_string(offsets[i]) + " of the data, found a file of " + std::to_string(size) + " bytes");
    tensor.data = data + begin + offsets[i];
    order.emplace_back(offsets[i], i);
  }
  std::sort(order.begin(), order.end());
  for (size_t i = 1; i < order.size(); ++i) {
    const StoredTensor &before = content.tensors[order[i - 1].second], &tensor = content.tensors[order[i].second];
    if (order[i - 1].first + before.bytes > order[i].first)
      return wrong("tensor '" + tensor.name + "': expects bytes of its own, found an overlap with tensor '" + before.name + "'");
  }
  return {};
}

Result<GgufContent> Parser::run() {
  uint32_t magic = 0, version = 0;
  uint64_t tensorCount = 0, keyCount = 0;
  if (!reader.read(magic) || magic != 0x46554747)
    return wrong("expects a GGUF file, found other bytes at its begin");
  if (!reader.read(version) || (version != 2 && version != 3))
    return wrong("expects GGUF version 2 or 3, found " + std::to_string(version));
  if (!reader.read(tensorCount) || !reader.read(keyCount))
    return truncated("the header");
  // The least a tensor and a key take.
  if (tensorCount > reader.left() / 24 || keyCount > reader.left() / 13)
    return wrong("expects counts that fit the file, found " + std::to_string(tensorCount) + " tensors and " + std::to_string(keyCount) +
                 " keys in " + std::to_string(size) + " bytes");
  for (uint64_t i = 0; i < keyCount; ++i) {
    std::string key;
    if (!reader.readString(key, maxMetadataBytes * 1024))
      return truncated("key " + std::to_string(i));
    Result<GgufValue> value = readValue(key);
    if (!value)
      return value.error();
    if (!content.metadata.emplace(key, std::move(*value)).second)
      return wrong("key '" + key + "': expects each key once, found it twice");
  }
  if (Result<void> done = readTensors(tensorCount); !done)
    return done.error();
  return std::move(content);
}

Result<GgufContent> ds::parseGguf(const uint8_t *data, size_t size, const std::string &name) { return Parser(data, size, name).run(); }

static Error wrongKey(const GgufContent &content, const std::string &key, const std::string &expected) {
  const GgufValue *value = content.find(key);
  std::string found = "none";
  if (value) {
    static const char *const kinds[] = {"", "", "", "", "an array", "an array", "an array"};
    found = kinds[static_cast<int>(value->kind)];
    if (value->kind == GgufValue::Kind::String)
      found = "'" + value->text.substr(0, 64) + "'";
    else if (value->kind == GgufValue::Kind::Number)
      found = std::to_string(value->number);
    else if (found.empty())
      found = std::to_string(value->integer);
  }
  return Error::badData("'" + content.file + "': key '" + key + "': expects " + expected + ", found " + found);
}

Result<int64_t> GgufContent::integer(const std::string &key, int64_t low, int64_t high) const {
  const GgufValue *value = find(key);
  if (!value || value->kind != GgufValue::Kind::Integer || value->integer < low || value->integer > high)
    return wrongKey(*this, key, "an integer of " + std::to_string(low) + " to " + std::to_string(high));
  return value->integer;
}

Result<double> GgufContent::number(const std::string &key, double low, double high) const {
  const GgufValue *value = find(key);
  bool numeric = value && (value->kind == GgufValue::Kind::Number || value->kind == GgufValue::Kind::Integer);
  if (!numeric || !(value->number >= low && value->number <= high))
    return wrongKey(*this, key, "a number of " + std::to_string(low) + " to " + std::to_string(high));
  return value->number;
}

Result<std::string> GgufContent::string(const std::string &key) const {
  const GgufValue *value = find(key);
  if (!value || value->kind != GgufValue::Kind::String)
    return wrongKey(*this, key, "a string");
  return value->text;
}

Result<GgufFile> ds::openGguf(const std::string &path) {
  Result<MappedFile> file = MappedFile::open(path);
  if (!file)
    return file.error();
  Result<GgufContent> content = parseGguf(file->data(), file->size(), path);
  if (!content)
    return content.error();
  auto table = std::make_unique<TensorTable>();
  if (Result<void> added = table->add(std::move(*file), std::move(content->tensors)); !added)
    return added.error();
  content->tensors.clear();
  return GgufFile{std::move(*content), std::move(table)};
}
