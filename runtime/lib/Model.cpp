#include "runtime/lib/Model.h"
#include "runtime/lib/CpuBudget.h"
#include <algorithm>

using namespace dsrt;

void StepArrays::reset(int32_t newBatch, int32_t newTokens, size_t outputCount) {
  batch = newBatch;
  tokens = newTokens;
  for (InputKind kind : {InputKind::inputIds, InputKind::positions, InputKind::mask, InputKind::tokenTypeIds})
    of(kind).assign(static_cast<size_t>(batch) * tokens, 0);
  of(InputKind::past).assign(batch, 0);
  of(InputKind::rows).clear();
  kv.clear();
  outputs.assign(outputCount, nullptr);
  sampling = SampleArrays();
}

Status Model::load(const std::string &path, const dsrt_load_options &options) {
  CpuLevel level;
  DeviceName device;
  int32_t threads = 0;
  DSRT_TRY(chooseDevice(options.device, device));
  DSRT_TRY(chooseCpuLevel(options.isa, level));
  DSRT_TRY(chooseThreads(options.threads, threads));
  DSRT_TRY(WorkerPool::create(threads, options.pin, pool));
  WorkerPool::CallerPin pin(*pool);
  DSRT_TRY(Package::open(path, level, device, package));
  deviceName = device.text();
  if (device.kind != DeviceKind::cpu && manifest().trains())
    return Status::invalidArgument("device: a package that trains runs on the CPU, got ", deviceName);
  if (device.kind != DeviceKind::cpu)
    return loadOnDevice(device, options.skip_hashes != 0);
  DSRT_TRY(package.check(options.skip_hashes != 0, *pool));
  levelName = nameOf(package.level);
  if (options.huge_pages)
    package.moveWeights(*pool);
  for (const ProgramRecord &record : manifest().programs) {
    Program program{&record, nullptr, 0};
    DSRT_TRY(package.code.find(record.symbol, program.function));
    DSRT_TRY(package.code.findLaunches(record.name, program.launches));
    programs.push_back(program);
  }
  return manifest().trains() ? beginState() : Status();
}

Status Model::beginState() {
  const int64_t bytes = manifest().partBytes * Manifest::stateParts;
  DSRT_TRY(Mapping::anonymous(bytes, true, stateMemory));
  const int64_t begin = std::min(manifest().partBytes, manifest().weightsBytes);
  std::copy_n(package.weights(), begin, stateMemory.data());
  package.forgetWeights(); // steps read few of them, if any
  return Status();
}

/// What the machine lacks is found before gigabytes are hashed.
Status Model::loadOnDevice(const DeviceName &device, bool skipHashes) {
  DSRT_TRY(DeviceModel::open(device, package, onDevice));
  DSRT_TRY(package.check(skipHashes, *pool));
  DSRT_TRY(onDevice->load());
  package.dropWeights();
  levelName = onDevice->device().level();
  productName = onDevice->device().product();
  noteText = onDevice->note();
  for (size_t i = 0; i < manifest().programs.size(); ++i)
    programs.push_back({&manifest().programs[i], nullptr, package.launches.programs[i].launchCount});
  return Status();
}

const Program *Model::program(std::string_view name) const {
  for (const Program &program : programs)
    if (program.record->name == name)
      return &program;
  return nullptr;
}

Status Model::checkProcess() const {
  if (!pool->usable())
    return Status::invalidArgument("the model was loaded before this process was forked; load it again in the new process");
  return Status();
}

Status Model::run(const Program &program, const StepArrays &arrays) {
  const ProgramRecord &record = *program.record;
  int64_t tokenRows = static_cast<int64_t>(arrays.batch) * arrays.tokens;
  size_t rows = arrays.of(InputKind::rows).size();
  if (arrays.batch < 1 || arrays.batch > record.maxBatch || arrays.tokens < 1 || tokenRows > record.maxRows ||
      rows > static_cast<size_t>(record.maxRows))
    return Status::internal(record.name, ": a step of batch ", arrays.batch, ", ", arrays.tokens, " tokens and ", rows,
                            " rows exceeds max_batch ", record.maxBatch, " and max_rows ", record.maxRows);
  DSRT_TRY(checkProcess());
  if (onDevice)
    return onDevice->run(&record - manifest().programs.data(), arrays, trace);
  if (arena.size() == 0) {
    int64_t bytes = DS_ALIGN;
    for (const Program &other : programs)
      bytes = std::max(bytes, other.record->arenaBytes);
    DSRT_TRY(Mapping::anonymous(bytes, true, arena));
  }
  const int32_t *inputs[inputKindCount] = {};
  for (size_t i = 0; i < record.inputs.size(); ++i)
    inputs[i] = arrays.of(record.inputs[i]).data();
  DsStep step;
  step.abi = DS_ABI;
  step.batch = arrays.batch;
  step.tokens = arrays.tokens;
  step.rows = static_cast<int32_t>(rows);
  step.inputs = inputs;
  std::vector<void *> outputs(arrays.outputs.begin(), arrays.outputs.end());
  step.outputs = outputs.data();
  step.kv = arrays.kv.empty() ? nullptr : arrays.kv.data();
  step.weights = package.weights();
  step.arena = arena.data();
  step.state = stateMemory.size() ? stateMemory.data() : nullptr;
  step.barrier = [](void *context, int32_t) { static_cast<Barrier *>(context)->arrive(); };
  step.barrier_context = &pool->barrier();
  DsProgramFn function = program.function;
  int32_t threads = pool->size();
  step.trace = trace.begin(record, program.launches, threads, {step.batch, step.tokens, step.rows}, arrays.of(InputKind::past));
  pool->run([&](int32_t worker) { function(&step, worker, threads); });
  if (step.trace)
    trace.finish();
  return Status();
}

bool Model::choosesTokens() const {
  auto chooses = [&](const Program *program) {
    if (!onDevice || !program)
      return false;
    const int32_t output = package.launches.programs[program->record - manifest().programs.data()].sampledOutput;
    return output >= 0 && output == program->record->indexOfOutput("logits");
  };
  return chooses(program("prefill")) && chooses(program("decode"));
}

Status Model::acquireKv(KvBlock &block) {
  if (!freeKv.empty()) {
    block = std::move(freeKv.back());
    freeKv.pop_back();
    return Status();
  }
  if (onDevice)
    DSRT_TRY(onDevice->device().allocate(manifest().kvBytes, "the cache of a sequence", block.onDevice));
  else // Small pages: a short sequence touches a little of every layer's part.
    DSRT_TRY(Mapping::anonymous(manifest().kvBytes, false, block.memory));
  ++kvBlocks;
  return Status();
}

void Model::releaseKv(KvBlock block) {
  // Blocks are kept for the next call, as many as a step takes.
  if (block.address() && freeKv.size() < static_cast<size_t>(forwardProgram().record->maxBatch)) {
    freeKv.push_back(std::move(block));
    return;
  }
  if (block.onDevice)
    onDevice->device().release(block.onDevice);
  kvBlocks -= block.address() != nullptr;
}

Status Model::clearKv(uint8_t *block) {
  if (onDevice)
    return onDevice->device().zero(reinterpret_cast<uint64_t>(block), manifest().kvBytes);
  std::fill_n(block, manifest().kvBytes, uint8_t(0));
  return Status();
}

dsrt_memory Model::memory() const {
  dsrt_memory memory = {};
  memory.size = sizeof(memory);
  memory.weights = manifest().weightsBytes + stateMemory.size();
  memory.arena = onDevice ? onDevice->arenaBytes() : arena.size();
  memory.huge_weights = package.hugeBytes;
  memory.kv = kvBlocks * manifest().kvBytes;
  memory.device = onDevice ? onDevice->memoryBytes() + memory.kv : 0;
  return memory;
}

KvBlocks::~KvBlocks() {
  for (KvBlock &block : blocks)
    model.releaseKv(std::move(block));
}

Status KvBlocks::acquire(size_t count) {
  for (size_t i = 0; i < count; ++i) {
    KvBlock block;
    DSRT_TRY(model.acquireKv(block));
    blocks.push_back(std::move(block));
  }
  return Status();
}
