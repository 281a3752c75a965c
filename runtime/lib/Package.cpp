// The order of checks is that of docs/package-format.md.
#include "runtime/lib/Package.h"
#include "runtime/lib/Hash.h"
#include "runtime/lib/Json.h"
#include <algorithm>
#include <atomic>
#include <climits>
#include <cstring>
#include <mutex>
#include <sys/mman.h>
#include <unistd.h>

using namespace dsrt;

Status Package::readManifest() {
  constexpr int64_t manifestMost = 64 << 20;
  std::string recorded;
  DSRT_TRY(readWholeFile(pathOf("manifest.json"), manifestMost, manifestText));
  DSRT_TRY(readWholeFile(pathOf("manifest.sha256"), 4096, recorded));
  std::string hash = sha256Hex(manifestText.data(), manifestText.size());
  if (recorded != hash + "\n")
    return Status::badData(pathOf("manifest.json"), ": expects the sha256 in manifest.sha256, ", inQuotes(recorded.substr(0, 64)),
                           ", found ", hash);
  DSRT_TRY(parseManifest(manifestText, pathOf("manifest.json"), manifest));
  dataOffset = manifest.weightsOffset;
  return Status();
}

Status Package::checkSizes() {
  for (const FileRecord &file : manifest.files) {
    Descriptor opened;
    int64_t bytes = 0;
    DSRT_TRY(openFile(pathOf(file.name), opened, bytes));
    if (bytes != file.bytes)
      return Status::badData(pathOf(file.name), ": expects ", file.bytes, " bytes, found ", bytes);
    if (file.name == manifest.weightsFile)
      DSRT_TRY(Mapping::file(opened.get(), bytes, pathOf(file.name), weightsMapping));
  }
  return Status();
}

/// What the package has, for a message: "code for x86-64-v3 and kernels for cuda (sm_90a, compute_80)".
std::string Package::offers() const {
  std::string text;
  for (const CodeRecord &code : manifest.code)
    text += (text.empty() ? "code for " : ", ") + std::string(nameOf(code.level));
  for (ModuleTarget target : {ModuleTarget::cuda, ModuleTarget::emulate})
    if (launches.has(target))
      text += (text.empty() ? "kernels for " : " and kernels for ") +
              (target == ModuleTarget::cuda ? "cuda (" + launches.archs(target) + ")" : std::string("emulate"));
  return text;
}

Status Package::chooseFor(DeviceName &device, CpuLevel most) {
  if (device.kind == DeviceKind::automatic)
    device.kind = manifest.code.empty() ? DeviceKind::cuda : DeviceKind::cpu;
  bool onCpu = device.kind == DeviceKind::cpu;
  if (onCpu && !manifest.code.empty())
    return chooseLevel(most);
  std::string text;
  if (!manifest.launchesFile.empty()) {
    DSRT_TRY(readSmallFile(manifest.launchesFile, text));
    DSRT_TRY(parseLaunches(text, pathOf(manifest.launchesFile), manifest, launches));
  }
  if (onCpu || !launches.has(device.kind == DeviceKind::cuda ? ModuleTarget::cuda : ModuleTarget::emulate))
    return Status::unavailable(path, " has ", offers(), ", nothing for the device ", device.text());
  manifest.weightsOffset = launches.weightsOffset;
  manifest.weightsBytes = launches.weightsBytes;
  manifest.kvBytes = launches.kvBytes;
  return Status();
}

Status Package::chooseLevel(CpuLevel most) {
  const CodeRecord *chosen = nullptr;
  std::string offered;
  for (const CodeRecord &code : manifest.code) {
    offered += (offered.empty() ? "" : ", ") + std::string(nameOf(code.level));
    if (canRun(most, code.level) && (!chosen || code.level > chosen->level))
      chosen = &code;
  }
  if (!chosen)
    return Status::unavailable(path, " has code for ", offered, "; this machine runs ", nameOf(most),
                               most < machineCpuLevel() ? ", as it was asked to" : "");
  level = chosen->level;
  chosenCode = chosen;
  return Status();
}

namespace {
/// A part of a file whose hash is known.
struct HashedRange {
  const FileRecord *file;
  int64_t offset, bytes;
  const std::string *expected;
};
} // namespace

static Status checkRange(const HashedRange &range, const std::string &path, const Mapping *mapped) {
  Mapping own;
  if (!mapped) {
    Descriptor file;
    int64_t bytes = 0;
    DSRT_TRY(openFile(path, file, bytes));
    if (bytes != range.file->bytes)
      return Status::badData(path, ": expects ", range.file->bytes, " bytes, found ", bytes);
    DSRT_TRY(Mapping::file(file.get(), bytes, path, own));
    mapped = &own;
  }
  const uint8_t *data = mapped->data() + (mapped->data() ? range.offset : 0);
  bool small = range.file->chunkBytes == 0;
#ifdef MADV_POPULATE_READ
  if (int64_t page = 4096; !small && range.offset % page == 0)
    madvise(const_cast<uint8_t *>(data), range.bytes, MADV_POPULATE_READ); // one call in place of a fault for each 64 KiB
#endif
  std::string hash = small ? sha256Hex(data, range.bytes) : xxh3Hex(data, range.bytes);
  if (hash == *range.expected)
    return Status();
  std::string place = small ? std::string() : concat(" bytes ", range.offset, "..", range.offset + range.bytes, ":");
  return Status::badData(path, ":", place, " expects ", small ? "sha256 " : "xxh3 ", *range.expected, ", found ", hash);
}

/// True for bytes of the weights file that only another target of the package reads.
bool Package::isOfOthers(int64_t begin, int64_t end) const {
  const bool isForBoth = !manifest.code.empty() && !manifest.launchesFile.empty();
  return isForBoth && dataOffset <= begin && (end <= manifest.weightsOffset || manifest.weightsOffset + manifest.weightsBytes <= begin);
}

Status Package::checkHashes(bool skipWeightHashes, WorkerPool &pool) {
  std::vector<HashedRange> ranges;
  for (const FileRecord &file : manifest.files) {
    if (file.name == manifest.weightsFile && skipWeightHashes)
      continue;
    if (file.chunkBytes == 0)
      ranges.push_back({&file, 0, file.bytes, &file.sha256});
    for (size_t i = 0; i < file.chunkHashes.size(); ++i) {
      int64_t offset = static_cast<int64_t>(i) * file.chunkBytes;
      const int64_t bytes = std::min(file.chunkBytes, file.bytes - offset);
      if (file.name != manifest.weightsFile || !isOfOthers(offset, offset + bytes))
        ranges.push_back({&file, offset, bytes, &file.chunkHashes[i]});
    }
  }
  // SHA-256 is the slow one, so small files go first.
  std::sort(ranges.begin(), ranges.end(), [](const HashedRange &a, const HashedRange &b) {
    return (a.file->chunkBytes == 0 ? a.bytes : 0) > (b.file->chunkBytes == 0 ? b.bytes : 0);
  });
  std::atomic<size_t> next{0};
  std::mutex mutex;
  size_t firstBad = ranges.size();
  Status result;
  pool.run([&](int32_t) {
    for (size_t i; (i = next.fetch_add(1)) < ranges.size();) {
      const HashedRange &range = ranges[i];
      Status status = checkRange(range, pathOf(range.file->name), range.file->name == manifest.weightsFile ? &weightsMapping : nullptr);
      std::lock_guard<std::mutex> lock(mutex);
      if (!status.ok() && i < firstBad) {
        firstBad = i;
        result = std::move(status);
      }
    }
  });
  return result;
}

Status Package::readSmallFile(std::string_view name, std::string &text) const {
  text.clear();
  const FileRecord *file = manifest.file(std::string(name));
  if (!file)
    return Status();
  const std::string place = concat(folder, "/", file->name);
  DSRT_TRY(readWholeFile(place, file->bytes, text));
  if (std::string hash = sha256Hex(text.data(), text.size()); hash != file->sha256) {
    text.clear();
    return Status::badData(place, ": expects sha256 ", file->sha256, ", found ", hash);
  }
  return Status();
}

Status Package::openCode(const std::string &name, Code &opened) const {
  const FileRecord *file = manifest.file(name);
  if (!file)
    return Status::badData(pathOf(name), ": expects a file of the manifest");
  DSRT_TRY(Code::copy(pathOf(file->name), file->bytes, file->sha256, opened));
  return opened.open();
}

Status Package::open(const std::string &path, CpuLevel level, DeviceName &device, Package &package) {
  package.path = path;
  while (package.path.size() > 1 && package.path.back() == '/')
    package.path.pop_back();
  package.folder = package.path;
  if (char here[PATH_MAX]; !package.path.empty() && package.path.front() != '/' && getcwd(here, sizeof(here)))
    package.folder = concat(here, "/", package.path);
  DSRT_TRY(package.readManifest());
  DSRT_TRY(package.checkSizes());
  return package.chooseFor(device, level);
}

Status Package::check(bool skipWeightHashes, WorkerPool &pool) {
  DSRT_TRY(checkHashes(skipWeightHashes, pool));
  return chosenCode ? openCode(chosenCode->file, code) : Status();
}

/// The tensors in the header of a safetensors file of `size` bytes at `data`, in order, those of a page or less left out.
static std::vector<MatrixRange> matricesOf(const uint8_t *data, int64_t size) {
  std::vector<MatrixRange> matrices;
  uint64_t length = 0;
  JsonValue header;
  constexpr int64_t lengthBytes = sizeof(length), pageBytes = 4096;
  if (size < lengthBytes)
    return matrices;
  std::memcpy(&length, data, lengthBytes);
  if (length > static_cast<uint64_t>(size - lengthBytes))
    return matrices;
  if (!parseJson({reinterpret_cast<const char *>(data) + lengthBytes, length}, "weights", header).ok())
    return matrices;
  const int64_t first = lengthBytes + static_cast<int64_t>(length);
  for (const JsonValue &tensor : header.elements)
    if (const JsonValue *offsets = tensor.find("data_offsets"); offsets && offsets->elements.size() == 2)
      if (const int64_t begin = offsets->elements[0].integer, end = offsets->elements[1].integer;
          0 <= begin && end <= size - first && begin < end - pageBytes)
        matrices.push_back({first + begin, first + end});
  std::sort(matrices.begin(), matrices.end(), [](const MatrixRange &a, const MatrixRange &b) { return a.begin < b.begin; });
  return matrices;
}

void Package::moveWeights(WorkerPool &pool) {
  const int64_t bytes = std::min(weightsMapping.size(), manifest.weightsOffset + manifest.weightsBytes);
  hugeBytes = moveToHugePages(weightsMapping.data(), bytes, matricesOf(weightsMapping.data(), weightsMapping.size()), pool);
}
