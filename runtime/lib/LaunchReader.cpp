// code/launches.json, every number checked against the manifest and against every other.
#include "runtime/lib/LaunchProduct.h"
#include <algorithm>
#include <limits>

using namespace dsrt;

namespace {
constexpr int64_t int32Most = std::numeric_limits<int32_t>::max(), int64Most = std::numeric_limits<int64_t>::max();
constexpr int64_t bytesMost = int64_t(1) << 42, launchesMost = 1 << 20;
constexpr int64_t threadsMost = 1024, sharedMost = 227 << 10; // of a block on any GPU
constexpr int64_t versionMost = 4;
constexpr int64_t gridMost[3] = {int32Most, 65535, 65535};

/// An element of a list that has a kind and a least number of elements of its own.
Status elementText(const JsonPlace &list, size_t index, std::string &text) {
  const JsonValue &value = list.value->elements[index];
  if (value.kind != JsonKind::string)
    return Status::badData(list.placeOf(index), ": expects a string, found ", describe(value));
  text = value.string;
  return Status();
}

Status elementInteger(const JsonPlace &list, size_t index, int64_t least, int64_t most, int64_t &out) {
  const JsonValue &value = list.value->elements[index];
  if (value.kind != JsonKind::integer || value.integer < least || value.integer > most)
    return Status::badData(list.placeOf(index), ": expects an integer in ", least, "..", most, ", found ", describe(value));
  out = value.integer;
  return Status();
}

Status expectList(const JsonPlace &place, size_t elements, const char *form) {
  if (place.value->kind != JsonKind::array)
    return Status::badData(place.place, ": expects ", form, ", found ", describe(*place.value));
  if (place.value->elements.size() != elements)
    return Status::badData(place.place, ": expects ", form, ", found ", place.value->elements.size(), " elements");
  return Status();
}

Status expectObject(const JsonPlace &place) {
  if (place.value->kind != JsonKind::object)
    return Status::badData(place.place, ": expects an object, found ", describe(*place.value));
  return Status();
}

bool sizeOf(const std::string &name, StepSize &size) {
  for (StepSize known : {StepSize::batch, StepSize::tokens, StepSize::tokenRows, StepSize::selected})
    if (name == nameOf(known)) {
      size = known;
      return true;
    }
  return false;
}

Status elementSize(const JsonPlace &list, size_t index, StepSize &size) {
  std::string name;
  DSRT_TRY(elementText(list, index, name));
  if (!sizeOf(name, size))
    return Status::badData(list.placeOf(index), ": expects batch, tokens, token_rows or selected, found ", inQuotes(name));
  return Status();
}

/// sm_90a, compute_80: two or three digits, perhaps an a.
bool readArch(const std::string &arch, ModuleRecord &module) {
  size_t at = arch.rfind("sm_", 0) == 0 ? 3 : arch.rfind("compute_", 0) == 0 ? 8 : 0, digits = 0;
  if (at == 0)
    return false;
  module.isPtx = at == 8;
  for (; at < arch.size() && arch[at] >= '0' && arch[at] <= '9'; ++at, ++digits)
    module.version = digits < 3 ? module.version * 10 + (arch[at] - '0') : module.version;
  module.thisArchOnly = arch.substr(at) == "a";
  return digits >= 2 && digits <= 3 && (at == arch.size() || module.thisArchOnly);
}

Status readModule(const JsonPlace &place, const Manifest &manifest, LaunchTable &table) {
  ModuleRecord module;
  std::string target;
  DSRT_TRY(expectObject(place));
  DSRT_TRY(place.text("target", target));
  if (target != "cuda" && target != "emulate")
    return Status::badData(place.placeOf("target"), ": expects cuda or emulate, found ", inQuotes(target));
  module.target = target == "cuda" ? ModuleTarget::cuda : ModuleTarget::emulate;
  DSRT_TRY(place.text("arch", module.arch));
  if (module.target == ModuleTarget::cuda && !readArch(module.arch, module))
    return Status::badData(place.placeOf("arch"), ": expects sm_90a, compute_80 or the like, found ", inQuotes(module.arch));
  if (module.target == ModuleTarget::emulate && !cpuLevelOf(module.arch))
    return Status::badData(place.placeOf("arch"), ": expects a CPU level such as x86-64-v3, found ", inQuotes(module.arch));
  for (const ModuleRecord &other : table.modules)
    if (other.target == module.target && other.arch == module.arch)
      return Status::badData(place.placeOf("arch"), ": ", module.arch, " occurs twice");
  DSRT_TRY(place.text("file", module.file));
  const FileRecord *file = manifest.file(module.file);
  if (!file || file->sha256.empty())
    return Status::badData(place.placeOf("file"), ": expects a name in the manifest's files with a sha256, found ", inQuotes(module.file));
  // Where there was no assembler, the PTX for an architecture stands in for its cubin.
  if (std::string_view suffix = ".ptx"; module.file.size() > suffix.size())
    module.isPtx = module.isPtx || module.file.compare(module.file.size() - suffix.size(), suffix.size(), suffix) == 0;
  table.modules.push_back(std::move(module));
  return Status();
}

Status readKernel(const JsonPlace &place, LaunchTable &table) {
  KernelRecord kernel;
  DSRT_TRY(expectObject(place));
  DSRT_TRY(place.text("name", kernel.name));
  bool plain = !kernel.name.empty() && kernel.name.size() <= 512;
  for (char byte : kernel.name)
    plain = plain && (std::isalnum(static_cast<unsigned char>(byte)) || byte == '_' || byte == '$' || byte == '.');
  if (!plain)
    return Status::badData(place.placeOf("name"), ": expects letters, digits, _, $ and ., found ", inQuotes(kernel.name));
  DSRT_TRY(place.integer("threads", 1, threadsMost, kernel.threads));
  DSRT_TRY(place.integer("shared_bytes", 0, sharedMost, kernel.sharedBytes));
  for (auto [key, arch] : {std::pair("only", &kernel.only), std::pair("except", &kernel.except)})
    if (place.value->find(key)) {
      ModuleRecord known;
      DSRT_TRY(place.text(key, *arch));
      if (!readArch(*arch, known))
        return Status::badData(place.placeOf(key), ": expects sm_90a or the like, found ", inQuotes(*arch));
    }
  if (!kernel.only.empty() && !kernel.except.empty())
    return Status::badData(place.placeOf("except"), ": expects none beside only");
  table.kernels.push_back(std::move(kernel));
  return Status();
}

Status checkKernelNames(const JsonPlace &list, const LaunchTable &table) {
  std::vector<std::string_view> names;
  for (const KernelRecord &kernel : table.kernels)
    names.push_back(kernel.name);
  std::sort(names.begin(), names.end());
  auto twice = std::adjacent_find(names.begin(), names.end());
  return twice == names.end() ? Status() : Status::badData(list.place, ": ", *twice, " occurs twice");
}

Status readBound(const JsonPlace &place, SizeBound &bound) {
  DSRT_TRY(expectList(place, 3, "[size, least, most]"));
  DSRT_TRY(elementSize(place, 0, bound.size));
  DSRT_TRY(elementInteger(place, 1, 0, int64Most, bound.least));
  return elementInteger(place, 2, bound.least, int64Most, bound.most);
}

/// The blocks of the largest step of a program; exact where they may be more than `limit`.
int64_t mostBlocks(const GridSize &grid, const ProgramRecord &program, int64_t limit) {
  LaunchSizes most(program.maxBatch, program.maxRows, program.maxRows);
  most.values[static_cast<int>(StepSize::tokenRows)] = program.maxRows;
  int64_t blocks = grid.of(most);
  if (blocks <= limit)
    return blocks;
  // B and T are not at their largest together.
  blocks = 0;
  for (int32_t batch = 1; batch <= std::min(program.maxBatch, program.maxRows); ++batch) {
    most.values[static_cast<int>(StepSize::batch)] = batch;
    most.values[static_cast<int>(StepSize::tokens)] = program.maxRows / batch;
    blocks = std::max(blocks, grid.of(most));
  }
  return blocks;
}

Status readGrid(const JsonPlace &place, int dimension, const ProgramRecord &program, GridSize &grid) {
  if (place.value->kind != JsonKind::array || place.value->elements.empty())
    return Status::badData(place.place, ": expects [constant, [size, divisor], ...], found ", describe(*place.value));
  DSRT_TRY(elementInteger(place, 0, 1, int32Most, grid.constant));
  for (size_t i = 1; i < place.value->elements.size(); ++i) {
    JsonPlace factor = place.element(i);
    DSRT_TRY(expectList(factor, 2, "[size, divisor]"));
    auto &[size, divisor] = grid.factors.emplace_back();
    DSRT_TRY(elementSize(factor, 0, size));
    DSRT_TRY(elementInteger(factor, 1, 1, int32Most, divisor));
  }
  if (int64_t blocks = mostBlocks(grid, program, gridMost[dimension]); blocks > gridMost[dimension])
    return Status::badData(place.place, ": expects at most ", gridMost[dimension], " blocks at max_batch ", program.maxBatch,
                           " and max_rows ", program.maxRows, ", found ", blocks);
  return Status();
}

struct ArgForm {
  const char *name;
  ArgKind kind;
  bool hasValue;
};
constexpr ArgForm argForms[] = {{"arena", ArgKind::arena, true},   {"weights", ArgKind::weights, true},
                                {"input", ArgKind::input, true},   {"output", ArgKind::output, true},
                                {"kv", ArgKind::kv, false},        {"counters", ArgKind::counters, true},
                                {"i64", ArgKind::constant, true},  {"sampling", ArgKind::sampling, false},
                                {"chosen", ArgKind::chosen, false}};

/// Most of the number behind the name of an argument: offsets stay inside, indices name what there is.
int64_t argMost(ArgKind kind, const LaunchTable &table, const ProgramRecord &record, const LaunchProgram &program) {
  switch (kind) {
  case ArgKind::arena:
    return program.arenaBytes;
  case ArgKind::weights:
    return table.weightsBytes;
  case ArgKind::counters:
    return program.countersBytes;
  case ArgKind::input:
    return static_cast<int64_t>(record.inputs.size()) - 1;
  case ArgKind::output:
    return static_cast<int64_t>(record.outputs.size()) - 1;
  default:
    return int64Most;
  }
}

Status readArg(const JsonPlace &place, const LaunchTable &table, const ProgramRecord &record, const LaunchProgram &program, bool samples,
               LaunchArg &arg) {
  if (place.value->kind != JsonKind::array || place.value->elements.empty())
    return Status::badData(place.place, ": expects [name] or [name, number], found ", describe(*place.value));
  std::string name;
  DSRT_TRY(elementText(place, 0, name));
  if (sizeOf(name, arg.size)) {
    arg.kind = ArgKind::size;
    return expectList(place, 1, "a size alone");
  }
  for (const ArgForm &form : argForms) {
    if (name != form.name)
      continue;
    arg.kind = form.kind;
    DSRT_TRY(expectList(place, form.hasValue ? 2 : 1, form.hasValue ? "[name, number]" : "[name]"));
    if (arg.kind == ArgKind::kv && table.kvBytes == 0)
      return Status::badData(place.place, ": expects no kv in a package without a cache");
    if ((arg.kind == ArgKind::sampling || arg.kind == ArgKind::chosen) && !samples)
      return Status::badData(place.place, ": expects ", name, " in launches that choose tokens alone");
    if (!form.hasValue)
      return Status();
    int64_t least = form.kind == ArgKind::constant ? std::numeric_limits<int64_t>::min() : 0;
    return elementInteger(place, 1, least, argMost(form.kind, table, record, program), arg.value);
  }
  return Status::badData(place.placeOf(size_t(0)),
                         ": expects arena, weights, input, output, kv, counters, i64, batch, tokens, token_rows or "
                         "selected, found ",
                         inQuotes(name));
}

/// A kernel has one list of parameters: what is a pointer, an i64 or an i32 in one launch is so in all.
using Signatures = std::vector<std::optional<std::string>>;
Status checkSignature(const JsonPlace &place, const LaunchTable &table, const LaunchRecord &launch, Signatures &signatures) {
  std::string signature;
  for (const LaunchArg &arg : launch.args)
    signature += arg.isPointer() ? 'p' : arg.kind == ArgKind::constant ? 'l' : 'i';
  std::optional<std::string> &known = signatures[launch.kernel];
  if (!known)
    known = signature;
  if (*known != signature)
    return Status::badData(place.place, ": expects the parameters of another launch of ", table.kernels[launch.kernel].name, ", ", *known,
                           ", found ", signature, " (p pointer, l i64, i i32)");
  return Status();
}

Status readPart(const JsonPlace &place, SamplePart &part) {
  static constexpr std::pair<const char *, SamplePart> parts[] = {{"greedy", SamplePart::greedy},
                                                                  {"random", SamplePart::random},
                                                                  {"top_k", SamplePart::topK},
                                                                  {"top_p", SamplePart::topP},
                                                                  {"penalty", SamplePart::penalty}};
  std::string name;
  if (!place.value->find("part"))
    return Status();
  DSRT_TRY(place.text("part", name));
  for (const auto &[known, value] : parts)
    if (name == known) {
      part = value;
      return Status();
    }
  return Status::badData(place.placeOf("part"), ": expects greedy, random, top_k, top_p or penalty, found ", inQuotes(name));
}

/// One of the plan's, or with `samples` one that chooses tokens.
Status readLaunch(const JsonPlace &place, const ProgramRecord &record, const LaunchTable &table, bool samples, LaunchProgram &program,
                  Signatures &signatures) {
  LaunchRecord &launch = (samples ? program.sampling : program.launches).emplace_back();
  JsonPlace list;
  DSRT_TRY(expectObject(place));
  if (table.version >= 4 && !samples)
    DSRT_TRY(readLibraryUse(place, record, program.arenaBytes, launch));
  if (!launch.product)
    DSRT_TRY(place.integer("kernel", 0, static_cast<int64_t>(table.kernels.size()) - 1, launch.kernel));
  if (samples)
    DSRT_TRY(readPart(place, launch.part));
  else
    DSRT_TRY(place.integer("launch", 0, launchesMost - 1, launch.launch));
  program.launchCount = samples ? program.launchCount : std::max(program.launchCount, launch.launch + 1);
  if (place.value->find("when")) {
    DSRT_TRY(place.member("when", JsonKind::array, list));
    for (size_t i = 0; i < list.value->elements.size(); ++i)
      DSRT_TRY(readBound(list.element(i), launch.when.emplace_back()));
  }
  if (place.value->find("wants")) {
    DSRT_TRY(place.optionalIntegers("wants", launch.wants));
    for (size_t i = 0; i < launch.wants.size(); ++i)
      if (launch.wants[i] < 0 || static_cast<size_t>(launch.wants[i]) >= record.outputs.size())
        return Status::badData(place.placeOf("wants"), "[", i, "]: expects an output in 0..", record.outputs.size() - 1, ", found ",
                               launch.wants[i]);
  }
  if (launch.product)
    return Status();
  DSRT_TRY(place.member("grid", JsonKind::array, list));
  DSRT_TRY(expectList(list, 3, "three dimensions"));
  for (int i = 0; i < 3; ++i)
    DSRT_TRY(readGrid(list.element(i), i, record, launch.grid[i]));
  DSRT_TRY(place.member("args", JsonKind::array, list));
  for (size_t i = 0; i < list.value->elements.size(); ++i)
    DSRT_TRY(readArg(list.element(i), table, record, program, samples, launch.args.emplace_back()));
  return checkSignature(list, table, launch, signatures);
}

Status readSampling(const JsonPlace &place, const ProgramRecord &record, const LaunchTable &table, LaunchProgram &program,
                    Signatures &signatures) {
  JsonPlace sampling, launches;
  DSRT_TRY(place.member("sampling", JsonKind::object, sampling));
  DSRT_TRY(sampling.integer("output", 0, static_cast<int64_t>(record.outputs.size()) - 1, program.sampledOutput));
  if (const OutputRecord &output = record.outputs[program.sampledOutput]; output.axes != OutputAxes::rows)
    return Status::badData(sampling.placeOf("output"), ": expects an output of rows, found ", program.sampledOutput);
  DSRT_TRY(sampling.member("launches", JsonKind::array, launches));
  if (launches.value->elements.empty() || launches.value->elements.size() > static_cast<size_t>(launchesMost))
    return Status::badData(launches.place, ": expects 1..", launchesMost, " launches, found ", launches.value->elements.size());
  for (size_t i = 0; i < launches.value->elements.size(); ++i)
    DSRT_TRY(readLaunch(launches.element(i), record, table, /*samples=*/true, program, signatures));
  return Status();
}

Status readProgram(const JsonPlace &place, const Manifest &manifest, LaunchTable &table, Signatures &signatures) {
  std::string name;
  DSRT_TRY(expectObject(place));
  DSRT_TRY(place.text("name", name));
  const ProgramRecord *record = manifest.program(name);
  if (!record)
    return Status::badData(place.placeOf("name"), ": expects a program of the manifest, found ", inQuotes(name));
  LaunchProgram &program = table.programs[record - manifest.programs.data()];
  if (!program.name.empty())
    return Status::badData(place.placeOf("name"), ": ", name, " occurs twice");
  program.name = name;
  DSRT_TRY(place.integer("arena_bytes", 0, bytesMost, program.arenaBytes));
  DSRT_TRY(place.integer("counters_bytes", 0, int64_t(1) << 32, program.countersBytes));
  JsonPlace launches;
  DSRT_TRY(place.member("launches", JsonKind::array, launches));
  if (launches.value->elements.size() > static_cast<size_t>(launchesMost))
    return Status::badData(launches.place, ": expects at most ", launchesMost, " launches, found ", launches.value->elements.size());
  for (size_t i = 0; i < launches.value->elements.size(); ++i)
    DSRT_TRY(readLaunch(launches.element(i), *record, table, /*samples=*/false, program, signatures));
  return place.value->find("sampling") ? readSampling(place, *record, table, program, signatures) : Status();
}

Status readFormat(const JsonPlace &root, int64_t &version) {
  std::string format;
  DSRT_TRY(root.text("format", format));
  if (format != "ds-launches")
    return Status::badData(root.placeOf("format"), ": expects 'ds-launches', found ", inQuotes(format));
  DSRT_TRY(root.integer("version", 0, int32Most, version));
  if (version < 1 || version > versionMost)
    return Status::badData(root.placeOf("version"), ": this runtime reads versions 1 to 4, the file has version ", version);
  return Status();
}

/// What the device has of its own beside the other target of the package. Of the manifest, weights are those of the other one.
Status readOwn(const JsonPlace &root, const Manifest &manifest, LaunchTable &table) {
  JsonPlace weights;
  DSRT_TRY(root.member("weights", JsonKind::object, weights));
  const FileRecord *file = manifest.file(manifest.weightsFile);
  const int64_t most = file ? file->bytes - manifest.weightsOffset : 0;
  int64_t offset = 0;
  DSRT_TRY(weights.integer("offset", 0, most, offset));
  if (offset % 4096 != 0)
    return Status::badData(weights.placeOf("offset"), ": expects a multiple of 4096, found ", offset);
  DSRT_TRY(weights.integer("bytes", 0, most - offset, table.weightsBytes));
  table.weightsOffset = manifest.weightsOffset + offset;
  DSRT_TRY(root.integer("cache_bytes", manifest.kvBytes > 0 ? 1 : 0, manifest.kvBytes > 0 ? bytesMost : 0, table.kvBytes));
  DSRT_TRY(root.text("profile", table.profileFile));
  const FileRecord *profile = manifest.file(table.profileFile);
  if (!profile || profile->sha256.empty())
    return Status::badData(root.placeOf("profile"), ": expects a name in the manifest's files with a sha256, found ",
                           inQuotes(table.profileFile));
  return Status();
}
} // namespace

Status dsrt::parseLaunches(std::string_view text, std::string_view place, const Manifest &manifest, LaunchTable &table) {
  table = LaunchTable();
  JsonValue document;
  DSRT_TRY(parseJson(text, place, document));
  if (document.kind != JsonKind::object)
    return Status::badData(place, ": expects an object, found ", describe(document));
  JsonPlace root{&document, concat(place, ": ")}, list;
  DSRT_TRY(readFormat(root, table.version));
  table.weightsOffset = manifest.weightsOffset;
  table.weightsBytes = manifest.weightsBytes;
  table.kvBytes = manifest.kvBytes;
  table.profileFile = profileFile;
  if (table.version == 2 || (table.version > 2 && document.find("weights")))
    DSRT_TRY(readOwn(root, manifest, table));
  DSRT_TRY(root.member("modules", JsonKind::array, list));
  if (list.value->elements.empty())
    return Status::badData(list.place, ": expects at least one module, found none");
  for (size_t i = 0; i < list.value->elements.size(); ++i)
    DSRT_TRY(readModule(list.element(i), manifest, table));
  DSRT_TRY(root.member("kernels", JsonKind::array, list));
  for (size_t i = 0; i < list.value->elements.size(); ++i)
    DSRT_TRY(readKernel(list.element(i), table));
  DSRT_TRY(checkKernelNames(list, table));
  DSRT_TRY(root.member("programs", JsonKind::array, list));
  table.programs.resize(manifest.programs.size());
  Signatures signatures(table.kernels.size());
  for (size_t i = 0; i < list.value->elements.size(); ++i)
    DSRT_TRY(readProgram(list.element(i), manifest, table, signatures));
  for (size_t i = 0; i < table.programs.size(); ++i)
    if (table.programs[i].name.empty())
      return Status::badData(list.place, ": expects the program ", manifest.programs[i].name, ", found none");
  return Status();
}
