#include "runtime/lib/DeviceModel.h"
#include "runtime/lib/CudaDevice.h"
#include "runtime/lib/EmulatedDevice.h"
#include <algorithm>
#include <cstdlib>
#include <cstring>

using namespace dsrt;

namespace {
constexpr int64_t alignment = 256; // of what lies side by side in one memory
constexpr size_t recordingsMost = 64;
constexpr size_t argsMost = 4096; // bytes of parameters that every GPU takes

int64_t aligned(int64_t bytes) { return (bytes + alignment - 1) / alignment * alignment; }

int64_t elementsOf(InputKind kind, int64_t batch, int64_t tokenRows, int64_t selected) {
  return kind == InputKind::rows ? selected : kind == InputKind::past ? batch : tokenRows;
}

int64_t elementsOf(const OutputRecord &output, const StepArrays &arrays) {
  int64_t items = output.axes == OutputAxes::batch  ? arrays.batch
                  : output.axes == OutputAxes::rows ? static_cast<int64_t>(arrays.of(InputKind::rows).size())
                                                    : static_cast<int64_t>(arrays.batch) * arrays.tokens;
  return items * output.width;
}

/// The parts of sampling that some row asks for.
uint32_t partsOf(const SampleArrays &sampling) {
  uint32_t parts = 0;
  auto add = [&](SamplePart part, bool isAsked) { parts |= isAsked ? 1u << static_cast<int>(part) : 0; };
  for (const DsSampleRow &row : sampling.rows) {
    add(SamplePart::always, true);
    add(SamplePart::penalty, row.penalty != 1);
    add(sampling.isGreedy ? SamplePart::greedy : SamplePart::random, true);
    add(SamplePart::topK, !sampling.isGreedy && row.top_k > 0);
    add(SamplePart::topP, !sampling.isGreedy && row.top_p > 0);
  }
  return parts;
}

/// Bytes of how the tokens of `rows` rows are chosen, of which each has seen `seen` tokens at most.
int64_t samplingBytes(int64_t rows, int64_t seen) {
  return aligned(rows * static_cast<int64_t>(sizeof(DsSampleRow)) + rows * seen * static_cast<int64_t>(sizeof(int32_t)));
}
} // namespace

Status DeviceModel::open(const DeviceName &name, const Package &package, std::unique_ptr<DeviceModel> &model) {
  std::unique_ptr<Device> device;
  DSRT_TRY(name.kind == DeviceKind::emulate ? makeEmulatedDevice(device) : makeCudaDevice(name.index, device));
  model = std::make_unique<DeviceModel>(std::move(device), package);
  return Status();
}

DeviceModel::DeviceModel(std::unique_ptr<Device> device, const Package &package) : package(package), target(std::move(device)) {}

Status DeviceModel::allocate(int64_t bytes, std::string_view what, Memory &memory) {
  // Also what is empty has an address of its own.
  int64_t whole = std::max(aligned(bytes), alignment);
  DSRT_TRY(target->allocate(whole, what, memory.address));
  memory.bytes = whole;
  return Status();
}

/// Without cuBLASLt, or with DS_CUBLASLT=off, the package's own kernels run.
Status DeviceModel::openLibrary() {
  const char *given = std::getenv("DS_CUBLASLT");
  const std::string_view wanted = given ? given : "";
  std::string why;
  if (!wanted.empty() && wanted != "on" && wanted != "off")
    return Status::invalidArgument("DS_CUBLASLT: expects on or off, got ", inQuotes(wanted));
  if (wanted == "off")
    why = "DS_CUBLASLT is off";
  else
    DSRT_TRY(target->openLibrary(why, libraryBytes));
  usesLibrary = why.empty();
  if (!usesLibrary)
    lacking = concat("without cuBLASLt, as ", why, ": the package's own kernels compute products of many rows");
  return Status();
}

Status DeviceModel::load() {
  const Manifest &manifest = package.manifest;
  const LaunchTable &table = package.launches;
  DSRT_TRY(target->loadModule(table, package));
  arch = target->arch();
  if (table.hasProducts())
    DSRT_TRY(openLibrary());
  int64_t arenaMost = 0, countersSum = 0, inputsMost = 0, chosenMost = 0;
  for (size_t i = 0; i < table.programs.size(); ++i) {
    const ProgramRecord &record = manifest.programs[i];
    arenaMost = std::max(arenaMost, table.programs[i].arenaBytes);
    countersOffsets.push_back(countersSum);
    countersSum += aligned(table.programs[i].countersBytes);
    int64_t bytes = aligned(record.maxBatch * sizeof(uint64_t));
    for (InputKind kind : record.inputs)
      bytes += aligned(elementsOf(kind, record.maxBatch, record.maxRows, record.maxRows) * sizeof(int32_t));
    if (table.programs[i].sampledOutput >= 0) {
      bytes += samplingBytes(record.maxBatch, std::min(manifest.context, manifest.model.vocabSize));
      chosenMost = std::max<int64_t>(chosenMost, record.maxBatch * sizeof(int32_t));
    }
    inputsMost = std::max(inputsMost, bytes);
    readsKv.push_back(false);
    for (const LaunchRecord &launch : table.programs[i].launches)
      for (const LaunchArg &arg : launch.args)
        readsKv[i] = readsKv[i] || arg.kind == ArgKind::kv;
    outputs.emplace_back(record.outputs.size());
  }
  DSRT_TRY(allocate(manifest.weightsBytes, "the weights", weights));
  DSRT_TRY(allocate(arenaMost, "the arena", arena));
  DSRT_TRY(allocate(countersSum, "counters", counters));
  DSRT_TRY(allocate(inputsMost, "inputs", inputs));
  if (chosenMost > 0)
    DSRT_TRY(allocate(chosenMost, "chosen tokens", chosen));
  if (manifest.weightsBytes > 0)
    DSRT_TRY(target->upload(weights.address, package.weights(), manifest.weightsBytes));
  return target->synchronize();
}

int64_t DeviceModel::memoryBytes() const {
  int64_t bytes = weights.bytes + arena.bytes + counters.bytes + inputs.bytes + chosen.bytes + libraryBytes;
  for (const std::vector<Memory> &ofProgram : outputs)
    for (const Memory &output : ofProgram)
      bytes += output.bytes;
  return bytes;
}

/// Packs the step's inputs into `staging` as they will lie on the device: one copy for all.
Status DeviceModel::placeInputs(const ProgramRecord &record, const StepArrays &arrays) {
  int64_t tokenRows = static_cast<int64_t>(arrays.batch) * arrays.tokens;
  auto selected = static_cast<int64_t>(arrays.of(InputKind::rows).size());
  int64_t bytes = aligned(arrays.batch * sizeof(uint64_t));
  inputOffsets.clear();
  for (InputKind kind : record.inputs) {
    int64_t elements = elementsOf(kind, arrays.batch, tokenRows, selected);
    if (arrays.of(kind).size() != static_cast<size_t>(elements))
      return Status::internal(record.name, ": ", nameOf(kind), ": expects ", elements, " elements, got ", arrays.of(kind).size());
    inputOffsets.push_back(bytes);
    bytes += aligned(elements * sizeof(int32_t));
  }
  if (bytes > inputs.bytes)
    return Status::internal(record.name, ": inputs of ", bytes, " bytes exceed the ", inputs.bytes, " there are");
  staging.resize(bytes);
  if (!arrays.kv.empty())
    std::memcpy(staging.data(), arrays.kv.data(), arrays.kv.size() * sizeof(uint64_t));
  for (size_t i = 0; i < record.inputs.size(); ++i)
    if (const std::vector<int32_t> &values = arrays.of(record.inputs[i]); !values.empty())
      std::memcpy(staging.data() + inputOffsets[i], values.data(), values.size() * sizeof(int32_t));
  return arrays.sampling.rows.empty() ? Status() : placeSampling(record, arrays.sampling, selected);
}

/// The rows of `sampling` behind the inputs, and behind those the tokens that each has seen.
Status DeviceModel::placeSampling(const ProgramRecord &record, const SampleArrays &sampling, size_t selected) {
  const LaunchProgram &program = package.launches.programs[&record - package.manifest.programs.data()];
  if (program.sampledOutput < 0)
    return Status::internal(record.name, ": tokens are wanted of a program that chooses none");
  if (sampling.rows.size() != selected || sampling.seen.size() != selected || selected > static_cast<size_t>(record.maxBatch))
    return Status::internal(record.name, ": sampling: expects ", selected, " rows, ", record.maxBatch, " at most, got ",
                            sampling.rows.size());
  samplingOffset = static_cast<int64_t>(staging.size());
  std::vector<DsSampleRow> rows = sampling.rows;
  std::vector<int32_t> seen;
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i].seen_begin = static_cast<int32_t>(rows.size() * sizeof(DsSampleRow) / sizeof(int32_t) + seen.size());
    rows[i].seen_count = 0;
    if (!sampling.seen[i])
      continue;
    rows[i].seen_count = static_cast<int32_t>(sampling.seen[i]->size());
    seen.insert(seen.end(), sampling.seen[i]->begin(), sampling.seen[i]->end());
  }
  const size_t rowBytes = rows.size() * sizeof(DsSampleRow), bytes = rowBytes + seen.size() * sizeof(int32_t);
  if (samplingOffset + static_cast<int64_t>(bytes) > inputs.bytes)
    return Status::internal(record.name, ": ", seen.size(), " tokens seen exceed the ", inputs.bytes, " bytes of inputs");
  staging.resize(samplingOffset + bytes);
  std::memcpy(staging.data() + samplingOffset, rows.data(), rowBytes);
  if (!seen.empty())
    std::memcpy(staging.data() + samplingOffset + rowBytes, seen.data(), seen.size() * sizeof(int32_t));
  return Status();
}

/// Outputs have memory of the size of the largest step so far. Recordings hold addresses: they go when one moves.
Status DeviceModel::placeOutputs(const ProgramRecord &record, const StepArrays &arrays) {
  size_t program = &record - package.manifest.programs.data();
  for (size_t i = 0; i < record.outputs.size(); ++i) {
    // A launch may write an output that nobody wants, for another to read it.
    int64_t needed = elementsOf(record.outputs[i], arrays) * static_cast<int64_t>(sizeof(float));
    Memory &output = outputs[program][i];
    if (needed <= output.bytes && output.address != 0)
      continue;
    recordings.remove_if([&](const auto &recording) { return recording.first.program == program; });
    if (output.address != 0)
      target->release(output.address);
    int64_t grown = std::max(needed, output.bytes + output.bytes / 2);
    output = Memory();
    DSRT_TRY(allocate(grown, concat("the output ", record.outputs[i].name), output));
  }
  return Status();
}

Status DeviceModel::readOutputs(const ProgramRecord &record, const StepArrays &arrays) {
  const std::vector<Memory> &ofProgram = outputs[&record - package.manifest.programs.data()];
  for (size_t i = 0; i < record.outputs.size(); ++i)
    if (int64_t elements = elementsOf(record.outputs[i], arrays); arrays.outputs[i] && elements > 0)
      DSRT_TRY(target->download(arrays.outputs[i], ofProgram[i].address, elements * static_cast<int64_t>(sizeof(float))));
  if (!arrays.sampling.rows.empty())
    DSRT_TRY(target->download(arrays.sampling.tokens, chosen.address, static_cast<int64_t>(arrays.sampling.rows.size() * sizeof(int32_t))));
  return Status();
}

uint64_t DeviceModel::addressOf(size_t program, const LaunchArg &arg) const {
  switch (arg.kind) {
  case ArgKind::arena:
    return arena.address + arg.value;
  case ArgKind::weights:
    return weights.address + arg.value;
  case ArgKind::counters:
    return counters.address + countersOffsets[program] + arg.value;
  case ArgKind::kv:
    return inputs.address;
  case ArgKind::input:
    return inputs.address + inputOffsets[arg.value];
  case ArgKind::output:
    return outputs[program][arg.value].address;
  case ArgKind::sampling:
    return inputs.address + samplingOffset;
  case ArgKind::chosen:
    return chosen.address;
  default:
    return static_cast<uint64_t>(arg.value);
  }
}

Status DeviceModel::launchOne(const StepKey &key, const LaunchRecord &launch, const uint32_t blocks[3]) {
  constexpr size_t most = argsMost / sizeof(uint64_t);
  uint64_t values[most];
  const void *pointers[most];
  size_t bytes[most];
  if (launch.args.size() > most)
    return Status::internal(package.launches.kernels[launch.kernel].name, ": ", launch.args.size(), " parameters are more than ", most);
  LaunchSizes sizes(key.batch, key.tokens, key.selected);
  for (size_t i = 0; i < launch.args.size(); ++i) {
    const LaunchArg &arg = launch.args[i];
    bytes[i] = arg.bytes();
    pointers[i] = &values[i];
    if (arg.kind == ArgKind::size) {
      auto size = static_cast<int32_t>(sizes.of(arg.size));
      std::memcpy(&values[i], &size, sizeof(size));
    } else {
      values[i] = addressOf(key.program, arg);
    }
  }
  GpuLaunch asked;
  asked.kernel = launch.kernel;
  std::copy_n(blocks, 3, asked.grid);
  asked.args = pointers;
  asked.argBytes = bytes;
  asked.argCount = launch.args.size();
  return target->launch(asked);
}

template <typename Visit> Status DeviceModel::eachLaunch(const StepKey &key, const Visit &visit) const {
  LaunchSizes sizes(key.batch, key.tokens, key.selected);
  const LaunchProgram &program = package.launches.programs[key.program];
  auto isHere = [&](const LaunchRecord &launch) {
    if (launch.library != LibraryUse::any && (launch.library == LibraryUse::with) != usesLibrary)
      return false;
    return launch.product || package.launches.kernels[launch.kernel].isOn(arch);
  };
  uint32_t blocks[3];
  for (const LaunchRecord &launch : program.launches) {
    bool wanted = std::all_of(launch.wants.begin(), launch.wants.end(), [&](int32_t output) { return key.wanted[output]; });
    if (wanted && isHere(launch) && launch.runs(sizes, blocks))
      DSRT_TRY(visit(launch, blocks));
  }
  for (const LaunchRecord &launch : program.sampling)
    if ((key.parts >> static_cast<int>(launch.part) & 1) != 0 && isHere(launch) && launch.runs(sizes, blocks))
      DSRT_TRY(visit(launch, blocks));
  return Status();
}

GpuProduct DeviceModel::productOf(const StepKey &key, const ProductRecord &product) const {
  const int64_t rows = LaunchSizes(key.batch, key.tokens, key.selected).of(StepSize::tokenRows);
  auto address = [&](const ArenaPlace &place) { return arena.address + static_cast<uint64_t>(place.at(rows)); };
  return {product.type, rows, product.columns, product.depth, address(product.x), address(product.weights), address(product.sums)};
}

/// Asks for every launch of a step. With `launched`, a stamp follows each, and it lists them.
Status DeviceModel::launchAll(const StepKey &key, std::vector<int32_t> *launched) {
  const std::vector<LaunchRecord> &sampling = package.launches.programs[key.program].sampling;
  return eachLaunch(key, [&](const LaunchRecord &launch, const uint32_t blocks[3]) {
    DSRT_TRY(launch.product ? target->multiply(productOf(key, *launch.product)) : launchOne(key, launch, blocks));
    // Those that choose tokens are no launches of the plan, and no stamp follows them.
    const bool samples = &launch >= sampling.data() && &launch < sampling.data() + sampling.size();
    if (!launched || samples)
      return Status();
    launched->push_back(launch.launch);
    return target->stamp();
  });
}

Status DeviceModel::replay(const StepKey &key) {
  auto found = std::find_if(recordings.begin(), recordings.end(), [&](const auto &recording) { return recording.first == key; });
  if (found == recordings.end()) {
    std::unique_ptr<Recording> recording;
    DSRT_TRY(eachLaunch(key, [&](const LaunchRecord &launch, const uint32_t *) {
      return launch.product ? target->prepareProduct(productOf(key, *launch.product)) : Status();
    }));
    DSRT_TRY(target->beginRecording());
    Status launched = launchAll(key, nullptr);
    Status ended = target->endRecording(recording); // whatever happened: the device must not go on recording
    DSRT_TRY(std::move(launched));
    DSRT_TRY(std::move(ended));
    if (recordings.size() >= recordingsMost)
      recordings.pop_back();
    recordings.emplace_front(key, std::move(recording));
  } else {
    recordings.splice(recordings.begin(), recordings, found);
  }
  return target->replay(*recordings.front().second);
}

/// Launch by launch, with stamps between them: `times` [launches][2] are ns since the step began.
Status DeviceModel::runTraced(const StepKey &key, const StepArrays &arrays, Trace &trace, uint64_t *times) {
  std::vector<int32_t> launched;
  std::vector<int64_t> ns;
  const ProgramRecord &record = package.manifest.programs[key.program];
  auto run = [&] {
    DSRT_TRY(target->stamp());
    DSRT_TRY(target->upload(inputs.address, staging.data(), static_cast<int64_t>(staging.size())));
    DSRT_TRY(target->stamp());
    DSRT_TRY(launchAll(key, &launched));
    return readOutputs(record, arrays);
  };
  Status status = run(), read = target->stamps(ns);
  trace.finish();
  DSRT_TRY(std::move(status));
  DSRT_TRY(std::move(read));
  // Stamp 1 comes before the first launch. Stages of one launch count together.
  for (size_t i = 0; i < launched.size() && i + 2 < ns.size(); ++i) {
    uint64_t *of = times + 2 * static_cast<ptrdiff_t>(launched[i]);
    if (of[1] == 0)
      of[0] = static_cast<uint64_t>(ns[i + 1]);
    of[1] = std::max<uint64_t>(static_cast<uint64_t>(ns[i + 2]), of[0] + 1);
  }
  return Status();
}

Status DeviceModel::run(size_t program, const StepArrays &arrays, Trace &trace) {
  const ProgramRecord &record = package.manifest.programs[program];
  if (readsKv[program] && arrays.kv.size() != static_cast<size_t>(arrays.batch))
    return Status::internal(record.name, ": expects ", arrays.batch, " caches, got ", arrays.kv.size());
  StepKey key{program, arrays.batch, arrays.tokens, static_cast<int32_t>(arrays.of(InputKind::rows).size()), {}, 0};
  key.parts = partsOf(arrays.sampling);
  for (const float *output : arrays.outputs)
    key.wanted.push_back(output != nullptr);
  if (const int32_t sampled = package.launches.programs[program].sampledOutput; key.parts && sampled >= 0)
    key.wanted[sampled] = true; // by the device alone
  DSRT_TRY(placeInputs(record, arrays));
  DSRT_TRY(placeOutputs(record, arrays));
  if (trace.isOn()) {
    DSRT_TRY(target->synchronize());
    const LaunchProgram &launches = package.launches.programs[program];
    if (uint64_t *times = trace.begin(record, launches.launchCount, 1, {key.batch, key.tokens, key.selected}, arrays.of(InputKind::past),
                                      TraceClock::device))
      return runTraced(key, arrays, trace, times);
  }
  DSRT_TRY(target->upload(inputs.address, staging.data(), static_cast<int64_t>(staging.size())));
  DSRT_TRY(target->records() ? replay(key) : launchAll(key, nullptr));
  return readOutputs(record, arrays);
}
