// Reads GGUF files, versions 2 and 3, little endian. Source: the GGUF specification in ggml's docs.
#ifndef DS_IMPORT_GGUF_H
#define DS_IMPORT_GGUF_H

#include "ds/Import/SafeOpen.h"
#include "ds/Import/TensorSource.h"
#include <map>
#include <memory>

namespace ds {

/// A metadata value. Arrays hold values of one kind.
struct GgufValue {
  enum class Kind { Integer, Number, Boolean, String, Integers, Numbers, Strings };
  Kind kind = Kind::Integer;
  int64_t integer = 0; // also a boolean
  double number = 0;   // also an integer
  std::string text;
  std::vector<int64_t> integers;
  std::vector<float> numbers;
  std::vector<std::string> texts;
};

/// What a GGUF file says, with its tensors pointing into the mapped bytes. Shapes are in torch's order.
struct GgufContent {
  std::string file;
  std::map<std::string, GgufValue> metadata;
  std::vector<StoredTensor> tensors;

  const GgufValue *find(const std::string &key) const {
    auto found = metadata.find(key);
    return found == metadata.end() ? nullptr : &found->second;
  }
  /// Typed metadata. Fails with BadData, naming the file and the key.
  Result<int64_t> integer(const std::string &key, int64_t low, int64_t high) const;
  Result<double> number(const std::string &key, double low, double high) const;
  Result<std::string> string(const std::string &key) const;
};

/// Reads header, metadata and tensor places; checks every length against the file before it takes memory. Fails with BadData.
Result<GgufContent> parseGguf(const uint8_t *data, size_t size, const std::string &name);

struct GgufFile {
  GgufContent content; // its tensors have moved to `tensors`
  std::unique_ptr<TensorSource> tensors;
};

/// Opens a GGUF file.
Result<GgufFile> openGguf(const std::string &path);

} // namespace ds
#endif // DS_IMPORT_GGUF_H
