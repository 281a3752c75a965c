#include "ds/Import/TensorSource.h"
#include "Dequantize.h"
#include "TensorTable.h"
#include <algorithm>
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

using namespace ds;

const char *ds::storedTypeName(StoredType type) {
  static const char *const names[] = {"F64",  "F32",  "F16",  "BF16", "I64",  "I32",  "I16",  "I8",   "U8",   "BOOL",   "Q8_0",
                                      "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS"};
  return names[static_cast<int>(type)];
}

BlockSize ds::blockSize(StoredType type) {
  switch (type) {
  case StoredType::F64:
  case StoredType::I64:
    return {1, 8};
  case StoredType::F32:
  case StoredType::I32:
    return {1, 4};
  case StoredType::F16:
  case StoredType::BF16:
  case StoredType::I16:
    return {1, 2};
  case StoredType::I8:
  case StoredType::U8:
  case StoredType::Bool:
    return {1, 1};
  case StoredType::Q8_0:
    return {32, 34};
  case StoredType::Q4_0:
    return {32, 18};
  case StoredType::Q4_1:
    return {32, 20};
  case StoredType::Q5_0:
    return {32, 22};
  case StoredType::Q5_1:
    return {32, 24};
  case StoredType::Q2_K:
    return {256, 84};
  case StoredType::Q3_K:
    return {256, 110};
  case StoredType::Q4_K:
    return {256, 144};
  case StoredType::Q5_K:
    return {256, 176};
  case StoredType::Q6_K:
    return {256, 210};
  case StoredType::IQ4_NL:
    return {32, 18};
  case StoredType::IQ4_XS:
    return {256, 136};
  }
  return {1, 1};
}

uint64_t ds::storedTypeBytes(StoredType type) {
  BlockSize block = blockSize(type);
  return block.elements == 1 ? static_cast<uint64_t>(block.bytes) : 0;
}

template <typename T, typename Convert>
static void readPlain(const uint8_t *data, int64_t first, int64_t count, float *out, Convert convert) {
  for (int64_t i = 0; i < count; ++i) {
    T value;
    std::memcpy(&value, data + (first + i) * static_cast<int64_t>(sizeof(T)), sizeof(T));
    out[i] = convert(value);
  }
}

Result<void> TensorSource::readF32(const StoredTensor &tensor, int64_t first, int64_t count, float *out) const {
  if (first < 0 || count < 0 || first > tensor.elements() - count)
    return Error::internal("tensor '" + tensor.name + "': elements " + std::to_string(first) + " to " + std::to_string(first + count) +
                           " are outside its " + std::to_string(tensor.elements()));
  switch (tensor.type) {
  case StoredType::F32:
    std::memcpy(out, tensor.data + first * 4, static_cast<size_t>(count) * 4);
    return {};
  case StoredType::F64:
    readPlain<double>(tensor.data, first, count, out, [](double value) { return static_cast<float>(value); });
    return {};
  case StoredType::F16:
    readPlain<uint16_t>(tensor.data, first, count, out, halfToFloat);
    return {};
  case StoredType::BF16:
    readPlain<uint16_t>(tensor.data, first, count, out, bfloatToFloat);
    return {};
  case StoredType::I64:
  case StoredType::I32:
  case StoredType::I16:
  case StoredType::I8:
  case StoredType::U8:
  case StoredType::Bool:
    return Error::badData("'" + tensor.file + "': tensor '" + tensor.name + "': expects a floating type, found " +
                          storedTypeName(tensor.type));
  default:
    break;
  }
  // Whole blocks; a block that is asked for in part goes through a buffer.
  BlockSize block = blockSize(tensor.type);
  float values[256];
  while (count > 0) {
    int64_t index = first / block.elements, inside = first % block.elements, length = std::min(count, block.elements - inside);
    const uint8_t *source = tensor.data + index * block.bytes;
    if (inside == 0 && length == block.elements) {
      dequantizeBlock(tensor.type, source, out);
    } else {
      dequantizeBlock(tensor.type, source, values);
      std::memcpy(out, values + inside, static_cast<size_t>(length) * 4);
    }
    first += length, out += length, count -= length;
  }
  return {};
}

void ds::readStoredCodes(const StoredTensor &tensor, int64_t first, int64_t count, int16_t *codes, float *scales, float *offsets,
                         GroupFactors *factors) {
  const BlockSize block = blockSize(tensor.type);
  BlockCodes decoded;
  for (int64_t i = first / block.elements; i < (first + count) / block.elements; ++i) {
    decodeBlock(tensor.type, tensor.data + i * block.bytes, decoded);
    const int groups = decoded.size / decoded.group;
    codes = std::copy_n(decoded.codes, decoded.size, codes);
    scales = std::copy_n(decoded.scales, groups, scales);
    if (decoded.hasOffsets)
      offsets = std::copy_n(decoded.offsets, groups, offsets);
    if (factors)
      factors = std::copy_n(decoded.factors, groups, factors);
  }
}

void TensorSource::dropPages(const StoredTensor &tensor) const {
  uintptr_t page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  uintptr_t begin = (reinterpret_cast<uintptr_t>(tensor.data) + page - 1) / page * page;
  uintptr_t end = (reinterpret_cast<uintptr_t>(tensor.data) + tensor.bytes) / page * page;
  if (end > begin)
    madvise(reinterpret_cast<void *>(begin), end - begin, MADV_DONTNEED);
}

Result<void> TensorTable::add(MappedFile file, std::vector<StoredTensor> more) {
  for (StoredTensor &tensor : more) {
    auto [place, added] = places.emplace(tensor.name, all.size());
    if (!added)
      return Error::badData("'" + tensor.file + "': tensor '" + tensor.name + "': expects each tensor once, found it in '" +
                            all[place->second].file + "' as well");
    all.push_back(std::move(tensor));
  }
  files.push_back(std::move(file));
  return {};
}

const StoredTensor *TensorTable::find(std::string_view name) const {
  auto place = places.find(std::string(name));
  return place == places.end() ? nullptr : &all[place->second];
}
