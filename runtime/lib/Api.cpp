// The C functions of dsrt.h: they check pointers and structures, take the model's lock and report.
#include "runtime/lib/Decoder.h"
#include "runtime/lib/Encoder.h"
#include "runtime/lib/Generate.h"
#include "runtime/lib/ProfileReport.h"
#include "runtime/lib/RawStep.h"
#include "runtime/lib/Session.h"
#include "runtime/lib/SizedStruct.h"

using namespace dsrt;

struct dsrt_model : Model {};
struct dsrt_session : Session {
  using Session::Session;
};

using Lock = std::lock_guard<std::mutex>;

static dsrt_status null(const char *name) { return report(Status::invalidArgument(name, ": expects a pointer, got null")); }

const char *dsrt_version(void) { return DSRT_VERSION; }

void dsrt_load_options_init(dsrt_load_options *options) {
  if (!options)
    return;
  *options = {};
  options->size = sizeof(*options);
}

dsrt_status dsrt_load(const char *path, const dsrt_load_options *options, dsrt_model **model) {
  if (!model)
    return null("model");
  *model = nullptr;
  if (!path)
    return null("path");
  dsrt_load_options known;
  dsrt_load_options_init(&known);
  if (options)
    if (Status status = readSized(options, "options", known); !status.ok())
      return report(status);
  auto loaded = std::make_unique<dsrt_model>();
  if (Status status = loaded->load(path, known); !status.ok())
    return report(status);
  *model = loaded.release();
  return DSRT_OK;
}

void dsrt_free(dsrt_model *model) { delete model; }

const char *dsrt_manifest_json(const dsrt_model *model) { return model ? model->package.manifestText.c_str() : ""; }

dsrt_status dsrt_get_info(const dsrt_model *model, dsrt_info *info) {
  if (!model)
    return null("model");
  const Manifest &manifest = model->manifest();
  const ModelRecord &record = manifest.model;
  const ProgramRecord &program = *model->forwardProgram().record;
  dsrt_info known = {};
  known.path = model->package.path.c_str();
  known.producer = manifest.producer.c_str();
  known.family = record.family.c_str();
  known.name = record.name.c_str();
  known.task = nameOf(record.task);
  known.weights_dtype = record.weightsDtype.c_str();
  known.level = model->level().c_str();
  known.package_version = DS_PACKAGE_VERSION;
  known.threads = model->pool->size();
  known.is_decoder = model->isDecoder();
  known.vocab_size = record.vocabSize;
  known.hidden_size = record.hiddenSize;
  known.layers = record.layers;
  known.label_count = record.labelCount;
  known.max_positions = record.maxPositions;
  known.context = manifest.context;
  if (!model->isDecoder())
    known.context = record.maxPositions < 0 ? program.maxRows : std::min(program.maxRows, record.maxPositions);
  known.max_batch = program.maxBatch;
  known.max_rows = program.maxRows;
  known.bos = record.bos.data();
  known.eos = record.eos.data();
  known.bos_count = static_cast<int32_t>(record.bos.size());
  known.eos_count = static_cast<int32_t>(record.eos.size());
  known.pad = record.pad >= 0 ? record.pad : -1;
  known.parameters = record.parameters;
  known.weights_bytes = manifest.weightsBytes;
  known.kv_bytes_per_sequence = manifest.kvBytes;
  known.cache_type = manifest.cacheType.c_str();
  known.device = model->deviceText().c_str();
  known.device_name = model->deviceProduct().c_str();
  known.note = model->note().c_str();
  return report(writeSized(known, "info", info));
}

dsrt_status dsrt_get_memory(const dsrt_model *model, dsrt_memory *memory) {
  if (!model)
    return null("model");
  Lock lock(model->mutex);
  return report(writeSized(model->memory(), "memory", memory));
}

dsrt_status dsrt_trace_start(dsrt_model *model, int32_t max_steps) {
  if (!model)
    return null("model");
  if (max_steps < 1)
    return report(Status::invalidArgument("max_steps: expects 1 or more, got ", max_steps));
  Lock lock(model->mutex);
  model->trace.start(max_steps);
  return DSRT_OK;
}

dsrt_status dsrt_trace_stop(dsrt_model *model) {
  if (!model)
    return null("model");
  Lock lock(model->mutex);
  model->trace.stop();
  return DSRT_OK;
}

int32_t dsrt_trace_count(const dsrt_model *model, int32_t *left_out) {
  if (left_out)
    *left_out = 0;
  if (!model)
    return 0;
  Lock lock(model->mutex);
  if (left_out)
    *left_out = model->trace.leftOut();
  return model->trace.count();
}

dsrt_status dsrt_trace_get(const dsrt_model *model, int32_t index, dsrt_traced_step *step) {
  if (!model || !step)
    return null(!model ? "model" : "step");
  Lock lock(model->mutex);
  if (model->trace.isOn())
    return report(Status::invalidArgument("a step is shown once tracing has stopped"));
  if (index < 0 || index >= model->trace.count())
    return report(Status::invalidArgument("index: expects 0..", model->trace.count() - 1, ", got ", index));
  return report(writeSized(model->trace.get(index), "step", step));
}

const char *dsrt_profile_description(dsrt_model *model) {
  if (!model)
    return nullptr;
  Lock lock(model->mutex);
  if (model->profileText.empty())
    if (Status status = model->package.readSmallFile(model->package.profileName(), model->profileText); !status.ok()) {
      report(status);
      return nullptr;
    }
  return model->profileText.empty() ? nullptr : model->profileText.c_str();
}

void dsrt_profile_options_init(dsrt_profile_options *options) {
  if (!options)
    return;
  *options = {};
  options->size = sizeof(*options);
  options->depth = -1;
  options->top = 3;
}

static Status readProfileOptions(const dsrt_profile_options *options, dsrt_profile_options &known) {
  dsrt_profile_options_init(&known);
  return options ? readSized(options, "options", known) : Status();
}

dsrt_status dsrt_profile_report(dsrt_model *model, const dsrt_profile_options *options, const char **text, size_t *length) {
  if (!model || !text || !length)
    return null(!model ? "model" : !text ? "text" : "length");
  *text = nullptr;
  *length = 0;
  dsrt_profile_options known;
  std::string made;
  if (Status status = readProfileOptions(options, known); !status.ok())
    return report(status);
  Lock lock(model->mutex);
  if (Status status = makeReport(model, known, made); !status.ok())
    return report(status);
  model->profileReport = std::move(made);
  *text = model->profileReport.c_str();
  *length = model->profileReport.size();
  return DSRT_OK;
}

dsrt_status dsrt_profile_write(dsrt_model *model, const dsrt_profile_options *options, const char *path) {
  if (!path)
    return null("path");
  dsrt_profile_options known;
  if (Status status = readProfileOptions(options, known); !status.ok())
    return report(status);
  if (!model)
    return report(saveReport(nullptr, known, path));
  Lock lock(model->mutex);
  return report(saveReport(model, known, path));
}

dsrt_status dsrt_output_shape(const dsrt_model *model, const char *output, int32_t batch, int32_t tokens, int64_t shape[3], int32_t *rank) {
  if (!model || !output || !shape || !rank)
    return null(!model ? "model" : !output ? "output" : !shape ? "shape" : "rank");
  int index = -1;
  if (Status status = findOutput(*model, output, index); !status.ok())
    return report(status);
  const OutputRecord &record = model->forwardProgram().record->outputs[index];
  bool pooled = record.axes == OutputAxes::batch;
  shape[0] = batch;
  shape[1] = pooled ? record.width : tokens;
  shape[2] = pooled ? 1 : record.width;
  *rank = pooled ? 2 : 3;
  return DSRT_OK;
}

/// The program that takes a mask, where a decoder's batch has padding and fits it whole; else null.
static const Program *programForPadding(const Model &model, const TokenBatch &batch) {
  const Program *program = model.program("forward");
  if (!program || batch.tokens > program->record->maxRows || batch.tokens > model.manifest().context)
    return nullptr;
  for (int32_t row = 0; row < batch.batch; ++row)
    for (int32_t column = 0; column < batch.tokens; ++column)
      if (!batch.isToken(row, column))
        return program;
  return nullptr;
}

static Status forward(Model &model, const dsrt_batch *given, const char *output, float *out, size_t outElements) {
  TokenBatch batch;
  int index = -1;
  DSRT_TRY(findOutput(model, output, index));
  DSRT_TRY(readBatch(model.manifest(), given, batch));
  int64_t expected = outputElements(model.forwardProgram().record->outputs[index], batch.batch, batch.tokens);
  if (outElements != static_cast<size_t>(expected))
    return Status::invalidArgument("out: expects room for ", expected, " elements, got ", outElements);
  DSRT_TRY(model.checkProcess());
  Lock lock(model.mutex);
  WorkerPool::CallerPin pin(*model.pool);
  if (!model.isDecoder())
    return encodeBatch(model, model.forwardProgram(), batch, index, out);
  if (const Program *masked = programForPadding(model, batch))
    return encodeBatch(model, *masked, batch, masked->record->indexOfOutput(output), out);
  return decodeBatch(model, batch, index, out);
}

dsrt_status dsrt_forward(dsrt_model *model, const dsrt_batch *batch, const char *output, float *out, size_t out_elements) {
  if (!model || !output || !out)
    return null(!model ? "model" : !output ? "output" : "out");
  return report(forward(*model, batch, output, out, out_elements));
}

dsrt_status dsrt_session_create(dsrt_model *model, int32_t batch, dsrt_session **session) {
  if (!session)
    return null("session");
  *session = nullptr;
  if (!model)
    return null("model");
  Lock lock(model->mutex);
  auto created = std::make_unique<dsrt_session>(*model);
  if (Status status = created->create(batch); !status.ok())
    return report(status);
  *session = created.release();
  return DSRT_OK;
}

void dsrt_session_free(dsrt_session *session) {
  if (!session)
    return;
  Lock lock(session->model.mutex);
  delete session;
}

int32_t dsrt_session_length(const dsrt_session *session, int32_t sequence) {
  if (!session || sequence < 0)
    return -1;
  Lock lock(session->model.mutex);
  return static_cast<size_t>(sequence) < session->lengths.size() ? session->lengths[sequence] : -1;
}

dsrt_status dsrt_session_truncate(dsrt_session *session, int32_t sequence, int32_t length) {
  if (!session)
    return null("session");
  Lock lock(session->model.mutex);
  return report(session->truncate(sequence, length));
}

dsrt_status dsrt_session_reset(dsrt_session *session) {
  if (!session)
    return null("session");
  Lock lock(session->model.mutex);
  session->reset();
  return DSRT_OK;
}

static Status sessionForward(Session &session, const dsrt_batch *given, float *logits, size_t logitsElements) {
  TokenBatch batch;
  const Manifest &manifest = session.model.manifest();
  DSRT_TRY(readBatch(manifest, given, batch));
  size_t expected = static_cast<size_t>(batch.batch) * manifest.model.vocabSize;
  if (logits && logitsElements != expected)
    return Status::invalidArgument("logits: expects room for ", expected, " elements, got ", logitsElements);
  DSRT_TRY(session.model.checkProcess());
  Lock lock(session.model.mutex);
  WorkerPool::CallerPin pin(*session.model.pool);
  return session.forward(batch, logits);
}

dsrt_status dsrt_session_forward(dsrt_session *session, const dsrt_batch *batch, float *logits, size_t logits_elements) {
  if (!session)
    return null("session");
  return report(sessionForward(*session, batch, logits, logits_elements));
}

void dsrt_generation_init(dsrt_generation *generation) {
  if (!generation)
    return;
  *generation = {};
  generation->size = sizeof(*generation);
  generation->max_new_tokens = 20;
  generation->temperature = 1;
  generation->top_p = 1;
  generation->repetition_penalty = 1;
  generation->eos_count = -1;
  generation->pad_token = -1;
}

/// The caller's callback, which runs on the CPUs that the caller had.
struct UnpinnedCallback {
  WorkerPool::CallerPin &pin;
  dsrt_token_callback callback;
  void *user;

  static int32_t call(void *context, int32_t row, int32_t token, int32_t finish) {
    auto &self = *static_cast<UnpinnedCallback *>(context);
    self.pin.suspend();
    int32_t answer = self.callback(self.user, row, token, finish);
    self.pin.resume();
    return answer;
  }
};

static Status generateChecked(Model &model, const dsrt_batch *givenBatch, const dsrt_generation *givenGeneration, GenerateTarget target) {
  if (!model.isDecoder())
    return Status::invalidArgument("generate needs a model of task causal-lm, this one is of task ", nameOf(model.manifest().model.task));
  TokenBatch batch;
  dsrt_generation generation;
  dsrt_generation_init(&generation);
  DSRT_TRY(readBatch(model.manifest(), givenBatch, batch));
  DSRT_TRY(readSized(givenGeneration, "generation", generation));
  DSRT_TRY(model.checkProcess());
  Lock lock(model.mutex);
  WorkerPool::CallerPin pin(*model.pool);
  UnpinnedCallback unpinned{pin, target.callback, target.user};
  if (target.callback) {
    target.callback = UnpinnedCallback::call;
    target.user = &unpinned;
  }
  return generate(model, batch, generation, target);
}

dsrt_status dsrt_generate(dsrt_model *model, const dsrt_batch *batch, const dsrt_generation *generation, dsrt_token_callback callback,
                          void *user, int32_t *out_tokens, int32_t *out_lengths, int32_t *finish) {
  if (!model || !out_tokens || !out_lengths)
    return null(!model ? "model" : !out_tokens ? "out_tokens" : "out_lengths");
  return report(generateChecked(*model, batch, generation, {callback, user, out_tokens, out_lengths, finish}));
}

dsrt_status dsrt_run_program(dsrt_model *model, const char *program, int32_t batch, int32_t tokens, int32_t rows, const dsrt_array *inputs,
                             int32_t input_count, const dsrt_array *outputs, int32_t output_count) {
  if (!model || !program || (input_count > 0 && !inputs) || (output_count > 0 && !outputs))
    return null(!model ? "model" : !program ? "program" : "inputs or outputs");
  if (Status status = model->checkProcess(); !status.ok())
    return report(status);
  Lock lock(model->mutex);
  WorkerPool::CallerPin pin(*model->pool);
  return report(runRawStep(*model, program, batch, tokens, rows, inputs, input_count, outputs, output_count));
}

dsrt_status dsrt_state(dsrt_model *model, void **data, size_t *bytes) {
  if (!model || !data || !bytes)
    return null(!model ? "model" : !data ? "data" : "bytes");
  *bytes = model->state().size();
  *data = *bytes ? model->state().data() : nullptr;
  return DSRT_OK;
}
