#include "ds/Target/Package/PackageWriter.h"
#include "AtomicFolder.h"
#include "ForEach.h"
#include "Manifest.h"
#include "WeightPacker.h"
#include "ds/Target/Package/QuantizationReport.h"
#include "dsrt/package.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/SHA256.h"
#include <atomic>
#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

using namespace mlir;
using namespace ds;
using ds_plan::StorageOp;

static constexpr int64_t pageBytes = 4096;
static constexpr int64_t chunkBytes = 16 << 20; // of the weights file, hashed together
static constexpr int64_t workBytes = 4 << 20;   // packed by one thread at a time
static constexpr const char *weightsFile = "weights-00001.safetensors";

namespace {
/// A storage, at a byte of the data part.
struct PlacedStorage {
  StorageOp storage;
  int64_t place;
  int64_t end() const { return place + storageBytes(storage); }
};

/// A run of units of one storage, packed by one thread.
struct Work {
  PlacedStorage to;
  const ParameterReader *reader;
  int64_t first, count;
  bool last; // of its storage
};
} // namespace

static std::string hex(ArrayRef<uint8_t> bytes) { return llvm::toHex(bytes, /*LowerCase=*/true); }

static std::string sha256(const std::string &content) {
  return hex(llvm::SHA256::hash(ArrayRef(reinterpret_cast<const uint8_t *>(content.data()), content.size())));
}

static std::string storedType(StorageOp storage) {
  Type type = cast<MemRefType>(storage.getType()).getElementType();
  return type.isBF16() ? "BF16" : type.isF16() ? "F16" : type.isInteger(32) ? "I32" : "F32";
}

/// The storages of the file in its order. What two parts have in one place is there once.
static Result<std::vector<PlacedStorage>> storagesOf(ArrayRef<PackagePart> parts) {
  std::vector<PlacedStorage> storages;
  for (const PackagePart &part : parts)
    for (StorageOp storage : ModuleOp(part.planned).getOps<StorageOp>()) {
      if (!storage.getOffset())
        return Error::internal("storage '" + storage.getSymName().str() + "' has no offset");
      if (!storage.getState() || (storage.getParameter() && storage.getState() == ds_plan::State::parameter)) // the rest begins as zeros
        storages.push_back({storage, part.weightsOffset + static_cast<int64_t>(*storage.getOffset())});
    }
  llvm::stable_sort(storages, [](const PlacedStorage &a, const PlacedStorage &b) { return a.place < b.place; });
  storages.erase(llvm::unique(storages,
                              [](const PlacedStorage &a, const PlacedStorage &b) {
                                return a.place == b.place && StorageOp(a.storage).getType() == StorageOp(b.storage).getType();
                              }),
                 storages.end());
  for (size_t i = 1; i < storages.size(); ++i)
    if (storages[i].place < storages[i - 1].end())
      return Error::internal("storage '" + storages[i].storage.getSymName().str() + "' overlaps the one before it");
  return storages;
}

/// The header of a safetensors file whose data part begins at a page; gaps between storages become tensors of padding, as the format has
/// none.
static std::string weightsHeader(ArrayRef<PlacedStorage> storages) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  header["__metadata__"] = {{"format", DS_PACKAGE_FORMAT}};
  int64_t end = 0;
  for (const PlacedStorage &placed : storages) {
    StorageOp storage = placed.storage;
    int64_t begin = placed.place;
    if (begin > end)
      header["__padding." + std::to_string(end)] = {{"dtype", "U8"}, {"shape", {begin - end}}, {"data_offsets", {end, begin}}};
    ArrayRef<int64_t> shape = cast<MemRefType>(storage.getType()).getShape();
    end = placed.end();
    std::string name = storage.getSymName().str();
    while (header.contains(name)) // the other target's, of other bytes
      name += ".device";
    header[name] = {
        {"dtype", storedType(storage)}, {"shape", std::vector<int64_t>(shape.begin(), shape.end())}, {"data_offsets", {begin, end}}};
  }
  std::string text = header.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  text.append((pageBytes - (text.size() + 8) % pageBytes) % pageBytes, ' ');
  uint64_t length = text.size(); // little endian, as every machine this runs on
  return std::string(reinterpret_cast<const char *>(&length), 8) + text;
}

/// An error about what a parameter is made of names the file.
static Error inFileOf(const ParameterReader *reader, const Error &error) {
  const std::string file = reader ? reader->file() : "";
  return error.code == ErrorCode::BadData && !file.empty() ? Error::badData("'" + file + "': " + error.message) : error;
}

static void warn(ParameterOp parameter, const ParameterReader &reader) {
  const std::string place = "parameter '" + parameter.getSymName().str() + "': ";
  if (const int64_t element = reader.firstNotFinite(); element != ParameterReader::none)
    parameter.emitWarning() << place << "element " << element << ": is NaN or infinite, as stored";
  if (const int64_t groups = reader.vanishedGroups())
    parameter.emitWarning() << place << groups << (groups == 1 ? " group becomes zeros, as its" : " groups become zeros, as their")
                            << " scale is below f16; int8-row has scales of f32";
}

/// Writes to `file`, which is called `name`, from `dataOffset` on.
static Result<void> writeWeights(ArrayRef<PlacedStorage> storages, const TensorSource &tensors, const PackageOptions &options, int file,
                                 const std::string &name, int64_t dataOffset) {
  std::vector<ParameterReader> readers;
  std::vector<ParameterOp> parameters; // of the readers
  readers.reserve(storages.size());
  const bool isQuantized = !storages.empty() && !mainScheme(StorageOp(storages.front().storage)->getParentOfType<ModuleOp>()).empty();
  std::vector<Work> work;
  for (const PlacedStorage &placed : storages) {
    StorageOp storage = placed.storage;
    const ParameterReader *reader = nullptr;
    if (std::optional<StringRef> name = storage.getParameter()) {
      auto parameter = storage->getParentOfType<ModuleOp>().lookupSymbol<ParameterOp>(*name);
      if (!parameter)
        return Error::internal("storage '" + storage.getSymName().str() + "' names no parameter");
      Result<ParameterReader> created = ParameterReader::create(parameter, tensors, options.matrices);
      if (!created)
        return created.error();
      if (isQuantized && !created->quantizedType()) // rounding refuses them itself
        created->expectFinite();
      reader = &readers.emplace_back(std::move(*created));
      parameters.push_back(parameter);
    }
    int64_t units = unitCount(storage), step = std::max<int64_t>(1, workBytes / unitBytes(storage));
    for (int64_t first = 0; first < units; first += step)
      work.push_back({placed, reader, first, std::min(step, units - first), first + step >= units});
  }
  const int64_t dataBytes = storages.empty() ? 0 : storages.back().end();
  std::atomic<int64_t> done = 0;
  Result<void> written = forEach(work.size(), options.threads, [&](size_t index) -> Result<void> {
    if (options.cancelled && options.cancelled())
      return Error::cannotWrite("interrupted: nothing was written");
    Work &item = work[index];
    int64_t bytes = unitBytes(item.to.storage);
    std::vector<uint8_t> packed(item.count * bytes);
    if (Result<void> result = packUnits(item.to.storage, item.reader, item.first, item.count, packed.data()); !result)
      return inFileOf(item.reader, result.error());
    int64_t offset = dataOffset + item.to.place + item.first * bytes;
    if (Result<void> result = writeAt(file, packed.data(), packed.size(), offset, name); !result)
      return result;
    if (item.last && item.reader)
      item.reader->release();
    if (options.progress)
      options.progress(done += item.count * bytes, dataBytes);
    return {};
  });
  for (auto [parameter, reader] : llvm::zip_equal(parameters, readers))
    if (written)
      warn(parameter, reader);
  return written;
}

static Result<void> hashChunks(const std::string &name, int64_t bytes, unsigned threads, FileRecord &record) {
  record.bytes = bytes;
  record.chunkBytes = chunkBytes;
  record.chunkHashes.resize((bytes + chunkBytes - 1) / chunkBytes);
  int file = open(name.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0)
    return Error::cannotWrite("cannot read back '" + name + "'");
  Result<void> result = forEach(record.chunkHashes.size(), threads, [&](size_t index) -> Result<void> {
    int64_t begin = static_cast<int64_t>(index) * chunkBytes, length = std::min(chunkBytes, bytes - begin);
    std::vector<char> chunk(length);
    for (int64_t have = 0; have < length;) {
      ssize_t got = pread(file, chunk.data() + have, length - have, begin + have);
      if (got <= 0)
        return Error::cannotWrite("cannot read back '" + name + "'");
      have += got;
    }
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(chunk.data(), chunk.size()));
    record.chunkHashes[index] = hex(ArrayRef(canonical.digest, sizeof(canonical.digest)));
    return {};
  });
  close(file);
  return result;
}

Result<void> ds::writePackage(ArrayRef<PackagePart> parts, const TensorSource &tensors, const std::vector<PackageFile> &files,
                              const std::string &path, const PackageOptions &options) {
  ModuleOp planned = parts.front().planned;
  for (const PackagePart &part : parts.drop_front())
    if (interfaceText(part.planned) != interfaceText(planned))
      return Error::internal("the plans of the package's targets have different programs");
  Result<std::vector<PlacedStorage>> placed = storagesOf(parts);
  if (!placed)
    return placed.error();
  ArrayRef<PlacedStorage> storages = *placed;

  Result<AtomicFolder> folder = AtomicFolder::create(path);
  if (!folder)
    return folder.error();
  std::map<std::string, FileRecord> records;
  for (const PackageFile &file : files) {
    if (Result<void> written = folder->writeFile(file.name, file.content); !written)
      return written;
    FileRecord record;
    record.bytes = static_cast<int64_t>(file.content.size());
    record.sha256 = sha256(file.content);
    records[file.name] = record;
  }

  WeightsRecord weights;
  std::string header = weightsHeader(storages);
  for (const PlacedStorage &each : storages)
    if (StorageOp(each.storage)->getParentOp() == planned.getOperation())
      weights.dataBytes = std::max(weights.dataBytes, each.end());
  weights.file = weightsFile;
  weights.dataOffset = static_cast<int64_t>(header.size());
  weights.dtype = mainScheme(planned);
  auto holds = [&](StringRef type) {
    return llvm::any_of(storages, [&](const PlacedStorage &s) { return storedType(s.storage) == type; });
  };
  if (weights.dtype.empty())
    weights.dtype = holds("BF16") ? "bf16" : holds("F16") ? "f16" : "f32";
  Result<int> file = folder->openFile(weightsFile);
  if (!file)
    return file.error();
  const std::string weightsName = folder->finalName(weightsFile);
  Result<void> written = writeAt(*file, header.data(), header.size(), 0, weightsName);
  if (written)
    written = writeWeights(storages, tensors, options, *file, weightsName, weights.dataOffset);
  Result<void> closed = folder->closeFile(*file, weightsFile);
  if (!written)
    return written;
  if (!closed)
    return closed;
  if (Result<void> hashed = hashChunks(folder->fullName(weightsFile), weights.dataOffset + (storages.empty() ? 0 : storages.back().end()),
                                       options.threads, records[weightsFile]);
      !hashed)
    return hashed;

  Result<std::string> manifest = manifestText(planned, tensors, options.producer, weights, records);
  if (!manifest)
    return manifest.error();
  if (Result<void> result = folder->writeFile("manifest.json", *manifest); !result)
    return result;
  if (Result<void> result = folder->writeFile("manifest.sha256", sha256(*manifest) + "\n"); !result)
    return result;
  return folder->commit();
}
