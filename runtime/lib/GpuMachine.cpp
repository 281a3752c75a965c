// The GPUs that are known, and descriptions of others.
#include "dsrt/gpu_machine.h"
#include "runtime/lib/ManifestReader.h"
#include "runtime/lib/Memory.h"

using namespace dsrt;

namespace {
/// The parts of the published rates that an H200 reaches: 4.51 of 4.8 TB/s, 703 of 989 TFLOP/s (benchmarks/gpu/results/nvidia-h200.json).
constexpr double readPart = 4.51 / 4.8, tensorPart = 703.0 / 989.4;

struct BuiltIn {
  const char *name, *device; // the latter as its driver says
  GpuMachine machine;
};

const BuiltIn *builtIns(size_t &count) {
  // Data sheets: NVIDIA A100 80GB SXM (2021), H100 SXM (2023), H200 SXM (2024). An H200's L2 is what its driver reports.
  static const BuiltIn machines[] = {
      {"a100",
       "NVIDIA A100-SXM4-80GB",
       {"built-in: NVIDIA A100 SXM 80GB", "sm_80", 108, 40 << 20, 312e12 * tensorPart, 19.5e12, 4.0e12, 2.039e12 * readPart, 1500}},
      {"h100",
       "NVIDIA H100 80GB HBM3",
       {"built-in: NVIDIA H100 SXM", "sm_90a", 132, 50 << 20, 703e12, 66.9e12, 5.5e12, 3.35e12 * readPart, 1000}},
      {"h200", "NVIDIA H200", {"built-in: NVIDIA H200", "sm_90a", 132, 60 << 20, 703e12, 66.9e12, 5.5e12, 4.51e12, 1000}}};
  count = std::size(machines);
  return machines;
}

struct NumberKey {
  const char *name;
  double GpuMachine::*field;
};
constexpr NumberKey numberKeys[] = {{"tensor_flops", &GpuMachine::tensorFlops},
                                    {"flops_f32", &GpuMachine::flopsF32},
                                    {"l2_read", &GpuMachine::l2Bytes},
                                    {"memory_read", &GpuMachine::memoryBytes},
                                    {"launch_ns", &GpuMachine::launchNs}};
constexpr const char *otherKeys[] = {"format", "version", "name", "arch", "processors", "l2_size"};
} // namespace

const GpuMachine *dsrt::findGpuMachine(std::string_view name) {
  size_t count = 0;
  const BuiltIn *known = builtIns(count);
  for (size_t i = 0; i < count; ++i)
    if (name == known[i].name)
      return &known[i].machine;
  return nullptr;
}

const GpuMachine &dsrt::gpuMachineFor(std::string_view arch) {
  return *findGpuMachine(arch == "sm_80" || arch == "compute_80" ? "a100" : "h200");
}

const GpuMachine *dsrt::gpuMachineOfDevice(std::string_view device) {
  size_t count = 0;
  const BuiltIn *known = builtIns(count);
  for (size_t i = 0; i < count; ++i)
    if (device == known[i].device)
      return &known[i].machine;
  return nullptr;
}

static Status readKeys(const JsonPlace &place, GpuMachine &machine) {
  DSRT_TRY(place.text("name", machine.name));
  DSRT_TRY(place.text("arch", machine.arch));
  DSRT_TRY(place.integer("processors", 1, 4096, machine.processors));
  DSRT_TRY(place.integer("l2_size", 1, int64_t(1) << 40, machine.l2Size));
  for (const NumberKey &key : numberKeys)
    DSRT_TRY(place.number(key.name, /*mayBeZero=*/false, machine.*key.field));
  for (const std::string &name : place.value->keys) {
    bool known = false;
    for (const char *key : otherKeys)
      known = known || name == key;
    for (const NumberKey &key : numberKeys)
      known = known || name == key.name;
    if (!known)
      return Status::badData(place.place, "unknown key ", inQuotes(name));
  }
  return Status();
}

static Status parse(std::string_view text, std::string_view file, GpuMachine &machine) {
  machine = GpuMachine();
  JsonValue root;
  DSRT_TRY(parseJson(text, file, root));
  JsonPlace place{&root, concat(file, ": ")};
  if (root.kind != JsonKind::object)
    return Status::badData(file, ": expects an object, found ", describe(root));
  std::string format;
  DSRT_TRY(place.text("format", format));
  if (format != DS_GPU_MACHINE_FORMAT)
    return Status::badData(file, ": expects format '" DS_GPU_MACHINE_FORMAT "', found ", inQuotes(format));
  int64_t version = 0;
  DSRT_TRY(place.integer("version", 0, int64_t(1) << 31, version));
  if (version != DS_GPU_MACHINE_VERSION)
    return Status::badData(file, ": version ", version, ", this program reads version ", DS_GPU_MACHINE_VERSION);
  return readKeys(place, machine);
}

static int give(const Status &status, GpuMachine &machine, std::string &error) {
  error = status.message();
  if (!status.ok())
    machine = GpuMachine();
  return status.code();
}

int dsrt::parseGpuMachine(std::string_view text, std::string_view place, GpuMachine &machine, std::string &error) {
  return give(parse(text, place, machine), machine, error);
}

int dsrt::readGpuMachine(const std::string &path, GpuMachine &machine, std::string &error) {
  std::string text;
  if (Status status = readWholeFile(path, 1 << 20, text); !status.ok())
    return give(status, machine, error);
  return parseGpuMachine(text, path, machine, error);
}
