#include "ds/Import/Safetensors.h"
#include "TensorTable.h"
#include "ds/Import/Json.h"
#include <algorithm>
#include <cstring>
#include <map>
#include <set>

using namespace ds;

static constexpr uint64_t maxHeaderBytes = 100'000'000; // of the format
static constexpr size_t maxRank = 8;

static bool parseType(const std::string &name, StoredType &type) {
  static const std::map<std::string, StoredType> types = {
      {"F64", StoredType::F64}, {"F32", StoredType::F32}, {"F16", StoredType::F16}, {"BF16", StoredType::BF16}, {"I64", StoredType::I64},
      {"I32", StoredType::I32}, {"I16", StoredType::I16}, {"I8", StoredType::I8},   {"U8", StoredType::U8},     {"BOOL", StoredType::Bool}};
  auto found = types.find(name);
  if (found == types.end())
    return false;
  type = found->second;
  return true;
}

/// One entry of the header. Offsets count from the end of the header.
static Result<StoredTensor> parseEntry(const std::string &file, const std::string &name, const Json &entry, const uint8_t *data,
                                       uint64_t size, uint64_t &begin, uint64_t &end) {
  auto wrong = [&](const std::string &what) { return Error::badData("'" + file + "': tensor '" + name + "': " + what); };
  if (!entry.isObject())
    return wrong("expects an object, found " + entry.describe());
  StoredTensor tensor;
  tensor.name = name;
  tensor.file = file;
  const Json *type = entry.find("dtype"), *shape = entry.find("shape"), *offsets = entry.find("data_offsets");
  if (!type || type->kind != Json::Kind::String)
    return wrong("expects a dtype, found " + (type ? type->describe() : "none"));
  if (!parseType(type->text, tensor.type))
    return wrong("expects dtype F64, F32, F16, BF16, I64, I32, I16, I8, U8 or BOOL, found " + type->describe());
  if (!shape || shape->kind != Json::Kind::Array || shape->elements.size() > maxRank)
    return wrong("expects a shape of at most " + std::to_string(maxRank) + " sizes, found " + (shape ? shape->describe() : "none"));
  uint64_t bytes = storedTypeBytes(tensor.type);
  for (const Json &element : shape->elements) {
    if (element.kind != Json::Kind::Integer || element.integer < 0)
      return wrong("expects sizes of at least 0, found " + element.describe());
    tensor.shape.push_back(element.integer);
    if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(element.integer), &bytes))
      return wrong("expects a shape of fewer than 2^64 bytes");
  }
  bool pair = offsets && offsets->kind == Json::Kind::Array && offsets->elements.size() == 2 &&
              offsets->elements[0].kind == Json::Kind::Integer && offsets->elements[1].kind == Json::Kind::Integer;
  if (!pair || offsets->elements[0].integer < 0 || offsets->elements[1].integer < offsets->elements[0].integer)
    return wrong("expects data_offsets of begin and end, found " + (offsets ? offsets->describe() : "none"));
  begin = static_cast<uint64_t>(offsets->elements[0].integer);
  end = static_cast<uint64_t>(offsets->elements[1].integer);
  if (end > size)
    return wrong("expects data within the file's " + std::to_string(size) + " bytes of data, found an end at " + std::to_string(end));
  if (end - begin != bytes)
    return wrong("expects " + std::to_string(bytes) + " bytes for its shape, found " + std::to_string(end - begin));
  tensor.data = data + begin;
  tensor.bytes = bytes;
  return tensor;
}

Result<std::vector<StoredTensor>> ds::parseSafetensors(const uint8_t *data, size_t size, const std::string &name) {
  auto wrong = [&](const std::string &what) { return Error::badData("'" + name + "': " + what); };
  uint64_t header = 0;
  if (size < 8)
    return wrong("expects a safetensors file, found " + std::to_string(size) + " bytes");
  std::memcpy(&header, data, 8);
  if (header > maxHeaderBytes || header > size - 8)
    return wrong("expects a header within the file, found a length of " + std::to_string(header) + " in a file of " + std::to_string(size) +
                 " bytes");
  if (header == 0 || data[8] != '{')
    return wrong("expects a safetensors header that begins with '{'");
  Result<Json> json = Json::parse({reinterpret_cast<const char *>(data) + 8, header}, name);
  if (!json)
    return json.error();
  const uint8_t *begin = data + 8 + header;
  uint64_t bytes = size - 8 - header;
  std::vector<StoredTensor> tensors;
  std::vector<std::pair<uint64_t, uint64_t>> ranges;
  for (size_t i = 0; i < json->keys.size(); ++i) {
    if (json->keys[i] == "__metadata__")
      continue;
    uint64_t first = 0, last = 0;
    Result<StoredTensor> tensor = parseEntry(name, json->keys[i], json->elements[i], begin, bytes, first, last);
    if (!tensor)
      return tensor.error();
    tensors.push_back(std::move(*tensor));
    ranges.emplace_back(first, last);
  }
  std::sort(ranges.begin(), ranges.end());
  uint64_t end = 0;
  for (auto [first, last] : ranges) {
    if (first != end)
      return wrong(std::string("expects tensors side by side, found ") + (first < end ? "an overlap" : "a hole") + " at byte " +
                   std::to_string(std::min(first, end)) + " of the data");
    end = last;
  }
  if (end != bytes)
    return wrong("expects " + std::to_string(end) + " bytes of data, found " + std::to_string(bytes));
  return tensors;
}

Result<std::vector<StoredTensor>> ds::parseSafetensors(const MappedFile &file) {
  return parseSafetensors(file.data(), file.size(), file.path());
}

static Result<std::map<std::string, std::string>> readIndex(const std::string &folder, const std::string &indexName) {
  Result<std::string> text = readBeneath(folder, indexName);
  if (!text)
    return text.error();
  std::string path = folder + "/" + indexName;
  Result<Json> json = Json::parse(*text, path);
  if (!json)
    return json.error();
  const Json *map = json->find("weight_map");
  if (!map || !map->isObject())
    return Error::badData("'" + path + "': key 'weight_map': expects an object, found " + (map ? map->describe() : "none"));
  std::map<std::string, std::string> shards;
  for (size_t i = 0; i < map->keys.size(); ++i) {
    if (map->elements[i].kind != Json::Kind::String)
      return Error::badData("'" + path + "': tensor '" + map->keys[i] + "': expects a file name, found " + map->elements[i].describe());
    shards[map->keys[i]] = map->elements[i].text;
  }
  return shards;
}

Result<std::unique_ptr<TensorSource>> ds::openSafetensorsFolder(const std::string &folder) {
  auto table = std::make_unique<TensorTable>();
  if (existsBeneath(folder, "model.safetensors")) {
    Result<MappedFile> file = MappedFile::openBeneath(folder, "model.safetensors");
    if (!file)
      return file.error();
    Result<std::vector<StoredTensor>> tensors = parseSafetensors(*file);
    if (!tensors)
      return tensors.error();
    if (Result<void> added = table->add(std::move(*file), std::move(*tensors)); !added)
      return added.error();
    return std::unique_ptr<TensorSource>(std::move(table));
  }
  const std::string indexName = "model.safetensors.index.json";
  if (!existsBeneath(folder, indexName)) {
    bool pickled = existsBeneath(folder, "pytorch_model.bin") || existsBeneath(folder, "pytorch_model.bin.index.json");
    return Error::missing(
        "'" + folder + "': expects model.safetensors or " + indexName +
        (pickled ? ", found pytorch_model.bin, which can run code when it is read: save it as safetensors" : ", found neither"));
  }
  Result<std::map<std::string, std::string>> index = readIndex(folder, indexName);
  if (!index)
    return index.error();
  std::set<std::string> files;
  for (const auto &[tensor, file] : *index)
    files.insert(file);
  for (const std::string &name : files) {
    Result<MappedFile> file = MappedFile::openBeneath(folder, name);
    if (!file)
      return file.error();
    Result<std::vector<StoredTensor>> tensors = parseSafetensors(*file);
    if (!tensors)
      return tensors.error();
    for (const StoredTensor &tensor : *tensors) {
      auto entry = index->find(tensor.name);
      if (entry == index->end() || entry->second != name)
        return Error::badData("'" + folder + "/" + indexName + "': tensor '" + tensor.name + "': expects file '" + name + "', found " +
                              (entry == index->end() ? "none" : "'" + entry->second + "'"));
    }
    if (Result<void> added = table->add(std::move(*file), std::move(*tensors)); !added)
      return added.error();
  }
  for (const auto &[tensor, file] : *index)
    if (!table->find(tensor))
      return Error::badData("'" + folder + "/" + file + "': tensor '" + tensor + "': expects it here as " + indexName +
                            " says, found none");
  return std::unique_ptr<TensorSource>(std::move(table));
}
