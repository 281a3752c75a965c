#include "runtime/lib/RawStep.h"
#include "runtime/lib/Batch.h"
#include <algorithm>
#include <limits>

using namespace dsrt;

/// How many labels there are to choose from.
static int64_t classesOf(const Manifest &manifest) {
  const ProgramRecord *evaluate = manifest.program("evaluate");
  const int logits = evaluate ? evaluate->indexOfOutput("logits") : -1;
  return logits < 0 ? manifest.model.vocabSize : evaluate->outputs[logits].width;
}

/// The first value that `kind` may not have.
static int64_t limitOf(const Manifest &manifest, InputKind kind, int32_t batch, int32_t tokens) {
  int64_t most = std::numeric_limits<int32_t>::max();
  switch (kind) {
  case InputKind::inputIds:
    return manifest.model.vocabSize;
  case InputKind::positions: {
    int64_t first = firstPosition(manifest);
    int64_t positions = manifest.model.maxPositions < 0 ? most : manifest.model.maxPositions + first;
    return manifest.context > 0 ? std::min(positions, manifest.context + first) : positions;
  }
  case InputKind::mask:
    return 2;
  case InputKind::tokenTypeIds:
    return manifest.model.tokenTypes;
  case InputKind::past:
    return std::max<int64_t>(manifest.context - tokens + 1, 0);
  case InputKind::rows:
    return static_cast<int64_t>(batch) * tokens;
  case InputKind::labels:
    return classesOf(manifest);
  case InputKind::layerGates:
    return 2;
  default: // floats and seeds
    return most;
  }
}

static const dsrt_array *findArray(const dsrt_array *arrays, int32_t count, std::string_view name) {
  for (int32_t i = 0; i < count; ++i)
    if (arrays[i].name && name == arrays[i].name)
      return &arrays[i];
  return nullptr;
}

static Status readInput(const Manifest &manifest, InputKind kind, const dsrt_array *given, size_t elements, StepArrays &arrays) {
  const char *name = nameOf(kind);
  if (!given || !given->data)
    return Status::invalidArgument(name, ": expects ", elements, " elements, got none");
  if (given->elements != elements)
    return Status::invalidArgument(name, ": expects ", elements, " elements, got ", given->elements);
  const auto *values = static_cast<const int32_t *>(given->data);
  int64_t limit = limitOf(manifest, kind, arrays.batch, arrays.tokens);
  const bool isAny = isControl(kind) && kind != InputKind::layerGates;
  const bool mayBeNegative = kind == InputKind::labels; // such rows do not count
  for (size_t i = 0; i < elements && !isAny; ++i)
    if ((values[i] < 0 && !mayBeNegative) || values[i] >= limit)
      return Status::invalidArgument(name, "[", i, "]: expects 0..", limit - 1, ", got ", values[i]);
  arrays.of(kind).assign(values, values + elements);
  return Status();
}

static Status checkNames(const ProgramRecord &record, const dsrt_array *inputs, int32_t inputCount, const dsrt_array *outputs,
                         int32_t outputCount) {
  for (int32_t i = 0; i < inputCount; ++i) {
    std::string_view name = inputs[i].name ? inputs[i].name : "";
    if (std::none_of(record.inputs.begin(), record.inputs.end(), [&](InputKind kind) { return name == nameOf(kind); }))
      return Status::invalidArgument("program ", record.name, " has no input ", inQuotes(name));
  }
  for (int32_t i = 0; i < outputCount; ++i) {
    std::string_view name = outputs[i].name ? outputs[i].name : "";
    if (record.indexOfOutput(name) < 0)
      return Status::invalidArgument("program ", record.name, " has no output ", inQuotes(name));
  }
  return Status();
}

Status dsrt::runRawStep(Model &model, std::string_view name, int32_t batch, int32_t tokens, int32_t rows, const dsrt_array *inputs,
                        int32_t inputCount, const dsrt_array *outputs, int32_t outputCount) {
  const Program *program = model.program(name);
  if (!program)
    return Status::invalidArgument("the package has no program ", inQuotes(name));
  const ProgramRecord &record = *program->record;
  if (batch < 1 || batch > record.maxBatch)
    return Status::invalidArgument("batch: expects 1..", record.maxBatch, ", got ", batch);
  if (tokens < 1 || static_cast<int64_t>(batch) * tokens > record.maxRows)
    return Status::invalidArgument("tokens: expects 1..", record.maxRows / batch, " for a batch of ", batch, ", got ", tokens);
  if (rows < 0 || rows > record.maxRows)
    return Status::invalidArgument("rows: expects 0..", record.maxRows, ", got ", rows);
  DSRT_TRY(checkNames(record, inputs, inputCount, outputs, outputCount));
  StepArrays arrays;
  arrays.reset(batch, tokens, record.outputs.size());
  const bool hasRows = std::find(record.inputs.begin(), record.inputs.end(), InputKind::rows) != record.inputs.end();
  for (InputKind kind : record.inputs) {
    const bool ofRows = kind == InputKind::rows || (kind == InputKind::labels && hasRows);
    size_t elements = ofRows                                                 ? rows
                      : kind == InputKind::past || kind == InputKind::labels ? batch
                      : isControl(kind)                                      ? record.controlSizes[static_cast<int>(kind)]
                                                                             : static_cast<size_t>(batch) * tokens;
    if (elements > 0)
      DSRT_TRY(readInput(model.manifest(), kind, findArray(inputs, inputCount, nameOf(kind)), elements, arrays));
  }
  for (size_t i = 0; i < record.outputs.size(); ++i) {
    const OutputRecord &output = record.outputs[i];
    const dsrt_array *given = findArray(outputs, outputCount, output.name);
    if (!given || !given->data)
      continue;
    int64_t items = output.axes == OutputAxes::rows    ? rows
                    : output.axes == OutputAxes::batch ? batch
                    : output.axes == OutputAxes::none  ? 1
                                                       : int64_t(batch) * tokens;
    if (given->elements != static_cast<size_t>(items * output.width))
      return Status::invalidArgument(output.name, ": expects room for ", items * output.width, " elements, got ", given->elements);
    arrays.outputs[i] = static_cast<float *>(given->data);
  }
  KvBlocks blocks(model);
  if (model.manifest().kvBytes > 0) {
    DSRT_TRY(blocks.acquire(batch));
    for (int32_t row = 0; row < batch; ++row) {
      DSRT_TRY(model.clearKv(blocks[row]));
      arrays.kv.push_back(blocks[row]);
    }
  }
  return model.run(*program, arrays);
}
