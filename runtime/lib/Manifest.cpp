// The document as a whole: versions, model, files, weights, code. Programs are read in ManifestPrograms.cpp.
#include "dsrt/package.h"
#include "runtime/lib/ManifestPrograms.h"
#include <algorithm>
#include <limits>

using namespace dsrt;

namespace {
constexpr int64_t int32Most = std::numeric_limits<int32_t>::max();
constexpr int64_t bytesMost = int64_t(1) << 44;
} // namespace

const char *dsrt::nameOf(Task task) {
  switch (task) {
  case Task::causalLm:
    return "causal-lm";
  case Task::encoder:
    return "encoder";
  case Task::maskedLm:
    return "masked-lm";
  case Task::sequenceClassification:
    return "sequence-classification";
  }
  return "";
}

const ProgramRecord *Manifest::program(std::string_view name) const {
  for (const ProgramRecord &program : programs)
    if (program.name == name)
      return &program;
  return nullptr;
}

const FileRecord *Manifest::file(std::string_view name) const {
  for (const FileRecord &file : files)
    if (file.name == name)
      return &file;
  return nullptr;
}

static Status readVersions(const JsonPlace &root) {
  std::string format;
  DSRT_TRY(root.text("format", format));
  if (format != DS_PACKAGE_FORMAT)
    return Status::badData(root.placeOf("format"), ": expects '" DS_PACKAGE_FORMAT "', found ", inQuotes(format));
  int64_t version = 0, abi = 0;
  DSRT_TRY(root.integer("version", 0, int32Most, version));
  if (version != DS_PACKAGE_VERSION)
    return Status::badData(root.placeOf("version"), ": this runtime reads version ", DS_PACKAGE_VERSION, ", the package has version ",
                           version);
  DSRT_TRY(root.integer("abi", 0, int32Most, abi));
  if (abi != DS_ABI)
    return Status::badData(root.placeOf("abi"), ": this runtime runs abi ", DS_ABI, ", the package has abi ", abi);
  return Status();
}

static Status readModel(const JsonPlace &root, ModelRecord &model) {
  JsonPlace place;
  DSRT_TRY(root.member("model", JsonKind::object, place));
  std::string task;
  DSRT_TRY(place.text("family", model.family));
  DSRT_TRY(place.text("name", model.name));
  DSRT_TRY(place.text("task", task));
  DSRT_TRY(place.text("weights_dtype", model.weightsDtype));
  bool known = false;
  for (Task candidate : {Task::causalLm, Task::encoder, Task::maskedLm, Task::sequenceClassification})
    if (task == nameOf(candidate)) {
      model.task = candidate;
      known = true;
    }
  if (!known)
    return Status::badData(place.placeOf("task"), ": expects causal-lm, encoder, masked-lm or sequence-classification, found ",
                           inQuotes(task));
  DSRT_TRY(place.integer("vocab_size", 1, int32Most, model.vocabSize));
  DSRT_TRY(place.integer("hidden_size", 1, int32Most, model.hiddenSize));
  DSRT_TRY(place.integer("layers", 0, int32Most, model.layers));
  DSRT_TRY(place.optionalInteger("max_positions", -1, int32Most, model.maxPositions));
  if (model.maxPositions == 0)
    return Status::badData(place.placeOf("max_positions"), ": expects at least 1, or -1 for no limit, found 0");
  DSRT_TRY(place.optionalInteger("token_types", 1, int32Most, model.tokenTypes));
  DSRT_TRY(place.integer("parameters", 0, std::numeric_limits<int64_t>::max(), model.parameters));
  DSRT_TRY(place.optionalIntegers("bos", model.bos));
  DSRT_TRY(place.optionalIntegers("eos", model.eos));
  DSRT_TRY(place.optionalInteger("pad", std::numeric_limits<int32_t>::min(), int32Most, model.pad));
  if (const JsonValue *labels = place.value->find("labels"); labels && labels->kind != JsonKind::null) {
    JsonPlace list;
    DSRT_TRY(place.member("labels", JsonKind::array, list));
    for (size_t i = 0; i < list.value->elements.size(); ++i)
      if (list.value->elements[i].kind != JsonKind::string)
        return Status::badData(list.placeOf(i), ": expects a string, found ", describe(list.value->elements[i]));
    model.labelCount = static_cast<int32_t>(list.value->elements.size());
  }
  return Status();
}

static Status readPositions(const JsonPlace &root, Manifest &manifest) {
  constexpr int64_t offsetMost = 1 << 20;
  JsonPlace place;
  DSRT_TRY(root.member("positions", JsonKind::object, place));
  std::string rule;
  DSRT_TRY(place.text("rule", rule));
  if (rule == "arange")
    manifest.positionRule = PositionRule::arange;
  else if (rule == "from_mask")
    manifest.positionRule = PositionRule::fromMask;
  else if (rule == "from_ids")
    manifest.positionRule = PositionRule::fromIds;
  else
    return Status::badData(place.placeOf("rule"), ": expects arange, from_mask or from_ids, found ", inQuotes(rule));
  DSRT_TRY(place.optionalInteger("offset", 0, offsetMost, manifest.positionOffset));
  return place.optionalInteger("pad_id", 0, offsetMost, manifest.positionPad);
}

static bool isHex(const std::string &text, size_t digits) {
  return text.size() == digits && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

/// A name that stays in the folder: parts of plain characters, none of them "." or "..".
static bool staysInside(const std::string &name) {
  if (name.empty() || name.size() > 255 || name.front() == '/' || name.back() == '/')
    return false;
  for (size_t begin = 0; begin <= name.size();) {
    size_t end = std::min(name.find('/', begin), name.size());
    std::string part = name.substr(begin, end - begin);
    if (part.empty() || part == "." || part == "..")
      return false;
    for (unsigned char byte : part)
      if (byte < 0x20 || byte == 0x7f || byte == '\\')
        return false;
    begin = end + 1;
  }
  return true;
}

static Status readFile(const JsonPlace &place, const std::string &name, FileRecord &file) {
  file.name = name;
  if (place.value->kind != JsonKind::object)
    return Status::badData(place.place, ": expects an object, found ", describe(*place.value));
  if (!staysInside(name))
    return Status::badData(place.place, ": expects a file name inside the package, found ", inQuotes(name));
  DSRT_TRY(place.integer("bytes", 0, bytesMost, file.bytes));
  if (!place.value->find("xxh3_chunks")) {
    DSRT_TRY(place.text("sha256", file.sha256));
    if (!isHex(file.sha256, 64))
      return Status::badData(place.placeOf("sha256"), ": expects 64 hex digits, found ", inQuotes(file.sha256));
    return Status();
  }
  JsonPlace chunks, hashes;
  DSRT_TRY(place.member("xxh3_chunks", JsonKind::object, chunks));
  DSRT_TRY(chunks.integer("bytes", 4096, int64_t(1) << 30, file.chunkBytes));
  DSRT_TRY(chunks.member("hashes", JsonKind::array, hashes));
  auto expected = static_cast<size_t>((file.bytes + file.chunkBytes - 1) / file.chunkBytes);
  if (hashes.value->elements.size() != expected)
    return Status::badData(hashes.place, ": expects ", expected, " hashes for ", file.bytes, " bytes, found ",
                           hashes.value->elements.size());
  for (size_t i = 0; i < expected; ++i) {
    const JsonValue &hash = hashes.value->elements[i];
    if (hash.kind != JsonKind::string || !isHex(hash.string, 32))
      return Status::badData(hashes.placeOf(i), ": expects 32 hex digits, found ", describe(hash));
    file.chunkHashes.push_back(hash.string);
  }
  return Status();
}

static Status readFiles(const JsonPlace &root, Manifest &manifest) {
  JsonPlace place;
  DSRT_TRY(root.member("files", JsonKind::object, place));
  for (size_t i = 0; i < place.value->keys.size(); ++i) {
    const std::string &name = place.value->keys[i];
    DSRT_TRY(readFile({&place.value->elements[i], concat(place.place, "[", inQuotes(name), "]")}, name, manifest.files.emplace_back()));
  }
  return Status();
}

static Status readWeights(const JsonPlace &root, Manifest &manifest) {
  JsonPlace place;
  DSRT_TRY(root.member("weights", JsonKind::object, place));
  DSRT_TRY(place.text("file", manifest.weightsFile));
  const FileRecord *file = manifest.file(manifest.weightsFile);
  if (!file)
    return Status::badData(place.placeOf("file"), ": expects a name in files, found ", inQuotes(manifest.weightsFile));
  DSRT_TRY(place.integer("data_offset", 0, file->bytes, manifest.weightsOffset));
  if (manifest.weightsOffset % 4096 != 0)
    return Status::badData(place.placeOf("data_offset"), ": expects a multiple of 4096, found ", manifest.weightsOffset);
  return place.integer("data_bytes", 0, file->bytes - manifest.weightsOffset, manifest.weightsBytes);
}

/// What devices other than the CPU run: LaunchTable.h.
static Status readLaunches(const JsonPlace &root, Manifest &manifest) {
  if (const JsonValue *launches = root.value->find("launches"); !launches || launches->kind == JsonKind::null)
    return Status();
  DSRT_TRY(root.text("launches", manifest.launchesFile));
  const FileRecord *file = manifest.file(manifest.launchesFile);
  if (!file || file->sha256.empty())
    return Status::badData(root.placeOf("launches"), ": expects a name in files with a sha256, found ", inQuotes(manifest.launchesFile));
  return Status();
}

static Status readCode(const JsonPlace &root, Manifest &manifest) {
  JsonPlace list;
  DSRT_TRY(root.member("code", JsonKind::array, list));
  if (list.value->elements.empty() && manifest.launchesFile.empty())
    return Status::badData(list.place, ": expects code for at least one CPU level, found none");
  for (size_t i = 0; i < list.value->elements.size(); ++i) {
    JsonPlace place = list.element(i);
    if (place.value->kind != JsonKind::object)
      return Status::badData(place.place, ": expects an object, found ", describe(*place.value));
    std::string level;
    CodeRecord code;
    DSRT_TRY(place.text("level", level));
    DSRT_TRY(place.text("file", code.file));
    std::optional<CpuLevel> known = cpuLevelOf(level);
    if (!known)
      return Status::badData(place.placeOf("level"), ": expects ", cpuLevelNames(), ", found ", inQuotes(level));
    code.level = *known;
    for (const CodeRecord &other : manifest.code)
      if (other.level == code.level)
        return Status::badData(place.placeOf("level"), ": ", level, " occurs twice");
    const FileRecord *file = manifest.file(code.file);
    if (!file || file->sha256.empty())
      return Status::badData(place.placeOf("file"), ": expects a name in files with a sha256, found ", inQuotes(code.file));
    manifest.code.push_back(std::move(code));
  }
  return Status();
}

Status dsrt::parseManifest(std::string_view text, std::string_view place, Manifest &manifest) {
  manifest = Manifest();
  JsonValue document;
  DSRT_TRY(parseJson(text, place, document));
  if (document.kind != JsonKind::object)
    return Status::badData(place, ": expects an object, found ", describe(document));
  JsonPlace root{&document, concat(place, ": ")};
  DSRT_TRY(readVersions(root));
  DSRT_TRY(root.text("producer", manifest.producer));
  DSRT_TRY(readModel(root, manifest.model));
  DSRT_TRY(readPositions(root, manifest));
  if (const JsonValue *cache = document.find("cache"); cache && cache->kind != JsonKind::null) {
    JsonPlace found;
    DSRT_TRY(root.member("cache", JsonKind::object, found));
    DSRT_TRY(found.integer("context", 1, int32Most, manifest.context));
    DSRT_TRY(found.integer("bytes_per_sequence", 1, bytesMost, manifest.kvBytes));
    if (const JsonValue *distances = found.value->find("counts_distances"))
      manifest.countsDistances = distances->boolean;
    manifest.cacheType = "f32"; // of packages older than the key
    if (found.value->find("type"))
      DSRT_TRY(found.text("type", manifest.cacheType));
    if (manifest.cacheType != "f32" && manifest.cacheType != "bf16" && manifest.cacheType != "int8")
      return Status::badData(found.placeOf("type"), ": expects f32, bf16 or int8, found ", inQuotes(manifest.cacheType));
  }
  if (const JsonValue *state = document.find("state"); state && state->kind != JsonKind::null) {
    JsonPlace found;
    DSRT_TRY(root.member("state", JsonKind::object, found));
    DSRT_TRY(found.integer("part_bytes", 1, bytesMost / Manifest::stateParts, manifest.partBytes));
    if (manifest.partBytes % DS_ALIGN != 0)
      return Status::badData(found.placeOf("part_bytes"), ": expects a multiple of ", DS_ALIGN, ", found ", manifest.partBytes);
  }
  DSRT_TRY(readFiles(root, manifest));
  DSRT_TRY(readWeights(root, manifest));
  DSRT_TRY(readLaunches(root, manifest));
  DSRT_TRY(readCode(root, manifest));
  return readPrograms(root, manifest);
}
