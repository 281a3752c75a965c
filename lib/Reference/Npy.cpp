// NumPy's array files.
#include "ds/Reference/Npy.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/raw_ostream.h"
#include <cmath>

using namespace mlir;
using namespace ds;
using namespace ds::reference;

static constexpr llvm::StringLiteral magic("\x93NUMPY");

namespace {
struct Header {
  std::string type; // `<f4`
  std::vector<int64_t> shape;
  int64_t elements = 1;
  size_t dataOffset = 0;
};
} // namespace

/// What stands behind `'key':` in the header's dictionary.
static StringRef member(StringRef dictionary, StringRef key) {
  size_t place = dictionary.find(("'" + key + "':").str());
  return place == StringRef::npos ? StringRef() : dictionary.drop_front(place + key.size() + 3).ltrim();
}

static std::optional<Header> parseHeader(StringRef bytes) {
  if (!bytes.starts_with(magic) || bytes.size() < 12)
    return std::nullopt;
  uint8_t version = bytes[6];
  size_t lengthBytes = version == 1 ? 2 : 4, start = 8 + lengthBytes;
  if (version < 1 || version > 3)
    return std::nullopt;
  size_t length = lengthBytes == 2 ? llvm::support::endian::read16le(bytes.data() + 8) : llvm::support::endian::read32le(bytes.data() + 8);
  if (length > bytes.size() - start)
    return std::nullopt;
  StringRef dictionary = bytes.substr(start, length), type = member(dictionary, "descr"), shape = member(dictionary, "shape");
  Header header;
  header.dataOffset = start + length;
  if (!member(dictionary, "fortran_order").starts_with("False") || !type.consume_front("'") || !shape.consume_front("(") ||
      !shape.contains(')'))
    return std::nullopt;
  header.type = type.take_until([](char c) { return c == '\''; }).str();
  SmallVector<StringRef> sizes;
  shape.take_until([](char c) { return c == ')'; }).split(sizes, ',', -1, /*KeepEmpty=*/false);
  for (StringRef text : sizes) {
    int64_t size;
    if (text.trim().empty())
      continue;
    if (text.trim().getAsInteger(10, size) || size < 0 || llvm::MulOverflow(header.elements, size, header.elements))
      return std::nullopt;
    header.shape.push_back(size);
  }
  return header;
}

template <typename T> static void copyAs(const char *data, std::vector<double> &out) {
  for (size_t i = 0; i < out.size(); ++i)
    out[i] = static_cast<double>(llvm::support::endian::read<T, llvm::endianness::little>(data + i * sizeof(T)));
}

static void copyHalf(const char *data, std::vector<double> &out) {
  for (size_t i = 0; i < out.size(); ++i) {
    llvm::APFloat value(llvm::APFloat::IEEEhalf(), llvm::APInt(16, llvm::support::endian::read16le(data + i * 2)));
    out[i] = FloatAttr::getValueAsDouble(value);
  }
}

Result<Tensor> ds::reference::readNpy(const std::string &path, Type elementType) {
  auto file = llvm::MemoryBuffer::getFile(path, /*IsText=*/false, /*RequiresNullTerminator=*/false);
  if (!file)
    return Error::missing(path + ": " + file.getError().message());
  StringRef bytes = (*file)->getBuffer();
  std::optional<Header> header = parseHeader(bytes);
  if (!header)
    return Error::badData(path + ": expects a C-ordered .npy file");
  struct Reader {
    const char *type;
    size_t bytes;
    bool isFloat;
    void (*copy)(const char *, std::vector<double> &);
  };
  static const Reader readers[] = {
      {"<f2", 2, true, copyHalf},         {"<f4", 4, true, copyAs<float>},    {"<f8", 8, true, copyAs<double>},
      {"|i1", 1, false, copyAs<int8_t>},  {"|u1", 1, false, copyAs<uint8_t>}, {"|b1", 1, false, copyAs<uint8_t>},
      {"<i2", 2, false, copyAs<int16_t>}, {"<i4", 4, false, copyAs<int32_t>}, {"<i8", 8, false, copyAs<int64_t>}};
  const Reader *reader = llvm::find_if(readers, [&](const Reader &reader) { return header->type == reader.type; });
  if (reader == std::end(readers))
    return Error::badData(path + ": expects f2, f4, f8, i1, i2, i4, i8, u1 or bool, little-endian, found '" + header->type + "'");
  if ((bytes.size() - header->dataOffset) / reader->bytes != static_cast<size_t>(header->elements) ||
      (bytes.size() - header->dataOffset) % reader->bytes != 0)
    return Error::badData(path + ": expects " + std::to_string(header->elements) + " elements, found " +
                          std::to_string(bytes.size() - header->dataOffset) + " bytes");
  bool wantsFloat = isa<FloatType>(elementType);
  if (wantsFloat != reader->isFloat)
    return Error::badData(path + ": expects " + (wantsFloat ? "floats" : "integers") + ", found '" + header->type + "'");
  Tensor tensor{elementType, header->shape, std::vector<double>(header->elements)};
  reader->copy(bytes.data() + header->dataOffset, tensor.values);
  for (double &value : tensor.values) {
    if (wantsFloat)
      value = roundToType(value, elementType);
    else if (std::fabs(value) > INT32_MAX && value != INT32_MIN)
      return Error::badData(path + ": expects integers of 32 bits");
  }
  return tensor;
}

Result<void> ds::reference::writeNpy(const std::string &path, const Tensor &tensor) {
  bool isFloat = isa<FloatType>(tensor.elementType);
  std::string shape;
  for (int64_t size : tensor.shape)
    shape += std::to_string(size) + ",";
  std::string dictionary =
      std::string("{'descr': '") + (isFloat ? "<f8" : "<i4") + "', 'fortran_order': False, 'shape': (" + shape + "), }";
  // The data begins at a multiple of 64 bytes.
  dictionary.append(63 - (10 + dictionary.size()) % 64, ' ');
  dictionary += '\n';
  std::error_code error;
  llvm::raw_fd_ostream out(path, error);
  if (error)
    return Error::cannotWrite(path + ": " + error.message());
  char length[2];
  llvm::support::endian::write16le(length, dictionary.size());
  out << magic << '\x01' << '\0' << StringRef(length, 2) << dictionary;
  for (double value : tensor.values) {
    char element[8];
    if (isFloat)
      llvm::support::endian::write64le(element, llvm::bit_cast<uint64_t>(value));
    else
      llvm::support::endian::write32le(element, static_cast<uint32_t>(static_cast<int32_t>(value)));
    out.write(element, isFloat ? 8 : 4);
  }
  out.close();
  if (out.has_error()) {
    out.clear_error();
    return Error::cannotWrite(path + ": cannot write all of it");
  }
  return {};
}
