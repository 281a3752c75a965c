// machine.json: one table of keys serves the reader and the writer.
#include "dsrt/machine.h"
#include "runtime/lib/CpuLevel.h"
#include "runtime/lib/ManifestReader.h"
#include "runtime/lib/Memory.h"
#include <cstdio>

using namespace dsrt;

namespace {
constexpr int64_t sizeMost = int64_t(1) << 40, threadsMost = 1024, fileMost = 1 << 20;

struct SizeKey {
  const char *name;
  int64_t MachineDescription::*field;
};
constexpr SizeKey sizeKeys[] = {
    {"l1_size", &MachineDescription::l1Size}, {"l2_size", &MachineDescription::l2Size}, {"l3_size", &MachineDescription::l3Size}};

struct LimitKey {
  const char *name;
  double MachineLimits::*field;
  bool mayBeZero;
};
constexpr LimitKey limitKeys[] = {{"flops_f32", &MachineLimits::flopsF32, false},       {"flops_f32_v2", &MachineLimits::flopsF32V2, true},
                                  {"flops_f32_v3", &MachineLimits::flopsF32V3, true},   {"flops_bf16", &MachineLimits::flopsBf16, true},
                                  {"l1_read", &MachineLimits::l1Bytes, false},          {"l2_read", &MachineLimits::l2Bytes, false},
                                  {"l3_read", &MachineLimits::l3Bytes, false},          {"memory_read", &MachineLimits::memoryBytes, false},
                                  {"memory_write", &MachineLimits::memoryWrite, false}, {"barrier_ns", &MachineLimits::barrierNs, true},
                                  {"launch_ns", &MachineLimits::launchNs, true}};

template <size_t Count, typename Key> bool isOneOf(const std::string &name, const Key (&keys)[Count]) {
  for (const Key &key : keys)
    if (name == key.name)
      return true;
  return false;
}
} // namespace

static Status readLimits(const JsonPlace &place, MachineDescription &machine) {
  if (place.value->kind != JsonKind::object)
    return Status::badData(place.place, ": expects an object, found ", describe(*place.value));
  MachineLimits limits;
  int32_t threads = 0;
  DSRT_TRY(place.integer("threads", machine.limits.empty() ? 1 : machine.limits.back().threads + 1, threadsMost, threads));
  limits.threads = threads;
  for (const LimitKey &key : limitKeys)
    DSRT_TRY(place.number(key.name, key.mayBeZero, limits.*key.field));
  for (const std::string &name : place.value->keys)
    if (name != "threads" && !isOneOf(name, limitKeys))
      return Status::badData(place.place, ": unknown key ", inQuotes(name));
  machine.limits.push_back(limits);
  return Status();
}

static Status parse(std::string_view text, std::string_view file, MachineDescription &machine) {
  machine = MachineDescription();
  JsonValue root;
  DSRT_TRY(parseJson(text, file, root));
  JsonPlace place{&root, concat(file, ": ")};
  if (root.kind != JsonKind::object)
    return Status::badData(file, ": expects an object, found ", describe(root));
  std::string format;
  DSRT_TRY(place.text("format", format));
  if (format != DS_MACHINE_FORMAT)
    return Status::badData(file, ": expects format '" DS_MACHINE_FORMAT "', found ", inQuotes(format));
  int64_t version = 0;
  DSRT_TRY(place.integer("version", 0, sizeMost, version));
  if (version != DS_MACHINE_VERSION)
    return Status::badData(file, ": version ", version, ", this program reads version ", DS_MACHINE_VERSION);
  DSRT_TRY(place.text("processor", machine.processor));
  DSRT_TRY(place.text("level", machine.level));
  if (!cpuLevelOf(machine.level))
    return Status::badData(place.placeOf("level"), ": expects ", cpuLevelNames(), ", found ", inQuotes(machine.level));
  for (const SizeKey &key : sizeKeys)
    DSRT_TRY(place.integer(key.name, 1, sizeMost, machine.*key.field));
  JsonPlace list;
  DSRT_TRY(place.member("limits", JsonKind::array, list));
  if (list.value->elements.empty())
    return Status::badData(list.place, ": expects at least one entry, found none");
  for (size_t i = 0; i < list.value->elements.size(); ++i)
    DSRT_TRY(readLimits(list.element(i), machine));
  for (const std::string &name : root.keys)
    if (name != "format" && name != "version" && name != "processor" && name != "level" && name != "limits" && !isOneOf(name, sizeKeys))
      return Status::badData(file, ": unknown key ", inQuotes(name));
  return Status();
}

static int give(const Status &status, MachineDescription &machine, std::string &error) {
  error = status.message();
  if (!status.ok())
    machine = MachineDescription();
  return status.code();
}

int dsrt::parseMachine(std::string_view text, std::string_view place, MachineDescription &machine, std::string &error) {
  return give(parse(text, place, machine), machine, error);
}

int dsrt::readMachine(const std::string &path, MachineDescription &machine, std::string &error) {
  std::string text;
  if (Status status = readWholeFile(path, fileMost, text); !status.ok())
    return give(status, machine, error);
  return parseMachine(text, path, machine, error);
}

/// A JSON string; the processor's name is all that comes from outside.
static std::string quoted(const std::string &text) {
  std::string result = "\"";
  for (char letter : text) {
    char escaped[8];
    if (letter == '"' || letter == '\\')
      result += '\\';
    if (static_cast<unsigned char>(letter) < 0x20) {
      std::snprintf(escaped, sizeof(escaped), "\\u%04x", letter);
      result += escaped;
    } else {
      result += letter;
    }
  }
  return result + "\"";
}

static std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.4g", value);
  return text;
}

std::string dsrt::machineText(const MachineDescription &machine) {
  std::string text = concat("{\n  \"format\": \"" DS_MACHINE_FORMAT "\",\n  \"version\": ", DS_MACHINE_VERSION,
                            ",\n  \"processor\": ", quoted(machine.processor), ",\n  \"level\": ", quoted(machine.level));
  for (const SizeKey &key : sizeKeys)
    text += concat(",\n  \"", key.name, "\": ", machine.*key.field);
  text += ",\n  \"limits\": [";
  for (size_t i = 0; i < machine.limits.size(); ++i) {
    text += concat(i ? "," : "", "\n    {\"threads\": ", machine.limits[i].threads);
    for (const LimitKey &key : limitKeys)
      text += concat(", \"", key.name, "\": ", number(machine.limits[i].*key.field));
    text += "}";
  }
  return text + "\n  ]\n}\n";
}
