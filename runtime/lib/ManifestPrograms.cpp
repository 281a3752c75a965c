// Inputs and outputs by name and shape; what a task needs of its programs.
#include "runtime/lib/ManifestPrograms.h"
#include "dsrt/package.h"
#include <algorithm>

using namespace dsrt;

namespace {
constexpr int64_t batchMost = 1 << 16, rowsMost = 1 << 24, widthMost = int64_t(1) << 31, arenaMost = int64_t(1) << 42;

struct InputForm {
  InputKind kind;
  const char *name;
  std::vector<const char *> axes;
};

const std::vector<InputForm> &inputForms() {
  static const std::vector<InputForm> forms = {{InputKind::inputIds, "input_ids", {"batch", "tokens"}},
                                               {InputKind::positions, "positions", {"batch", "tokens"}},
                                               {InputKind::mask, "mask", {"batch", "tokens"}},
                                               {InputKind::tokenTypeIds, "token_type_ids", {"batch", "tokens"}},
                                               {InputKind::past, "past", {"batch"}},
                                               {InputKind::rows, "rows", {"rows"}},
                                               {InputKind::labels, "labels", {"rows"}},
                                               {InputKind::layerGates, "layer_gates", {}},
                                               {InputKind::layerScales, "layer_scales", {}},
                                               {InputKind::dropoutSeed, "dropout_seed", {}},
                                               {InputKind::lossScale, "loss_scale", {}},
                                               {InputKind::controls, "controls", {}},
                                               {InputKind::hyper, "hyper", {}}};
  return forms;
}
} // namespace

const char *dsrt::nameOf(InputKind kind) {
  for (const InputForm &form : inputForms())
    if (form.kind == kind)
      return form.name;
  return "";
}

int ProgramRecord::indexOfOutput(std::string_view output) const {
  for (size_t i = 0; i < outputs.size(); ++i)
    if (outputs[i].name == output)
      return static_cast<int>(i);
  return -1;
}

/// Of a control: one size, which is kept.
static Status readControl(const JsonPlace &shape, InputKind kind, ProgramRecord &program) {
  const std::vector<JsonValue> &axes = shape.value->elements;
  if (axes.size() != 1 || axes[0].kind != JsonKind::integer || axes[0].integer < 1 || axes[0].integer > widthMost)
    return Status::badData(shape.place, ": expects one size for ", nameOf(kind));
  program.controlSizes[static_cast<int>(kind)] = axes[0].integer;
  program.inputs.push_back(kind);
  return Status();
}

static Status readInput(const JsonPlace &place, const Manifest &manifest, ProgramRecord &program) {
  std::string name;
  JsonPlace shape;
  DSRT_TRY(place.text("name", name));
  DSRT_TRY(place.member("shape", JsonKind::array, shape));
  for (const InputForm &form : inputForms()) {
    if (name != form.name || (form.kind >= InputKind::labels && !manifest.trains()))
      continue;
    if (std::find(program.inputs.begin(), program.inputs.end(), form.kind) != program.inputs.end())
      return Status::badData(place.placeOf("name"), ": ", name, " occurs twice");
    if (isControl(form.kind))
      return readControl(shape, form.kind, program);
    if (form.kind == InputKind::labels && shape.value->elements.size() == 1 && shape.value->elements[0].kind == JsonKind::string &&
        shape.value->elements[0].string == "batch") { // of whole sequences
      program.inputs.push_back(form.kind);
      return Status();
    }
    bool matches = shape.value->elements.size() == form.axes.size();
    for (size_t i = 0; matches && i < form.axes.size(); ++i)
      matches = shape.value->elements[i].kind == JsonKind::string && shape.value->elements[i].string == form.axes[i];
    if (!matches)
      return Status::badData(shape.place, ": expects [", form.axes[0], form.axes.size() > 1 ? ", tokens" : "", "] for ", name);
    program.inputs.push_back(form.kind);
    return Status();
  }
  return Status::badData(place.placeOf("name"), ": expects input_ids, positions, mask, token_type_ids, past or rows, found ",
                         inQuotes(name));
}

static Status readOutput(const JsonPlace &place, const Manifest &manifest, ProgramRecord &program) {
  OutputRecord output;
  JsonPlace shape;
  DSRT_TRY(place.text("name", output.name));
  DSRT_TRY(place.member("shape", JsonKind::array, shape));
  // A package that observes also gives what its matrices multiply.
  const bool ofTraining = manifest.trains() && (output.name == "loss" || output.name == "norms" || output.name == "coefficients");
  if (!ofTraining && output.name != "hidden" && output.name != "logits" && output.name != "embedding" &&
      output.name.rfind("input:", 0) != 0)
    return Status::badData(place.placeOf("name"), ": expects hidden, logits, embedding or input:..., found ", inQuotes(output.name));
  if (program.indexOfOutput(output.name) >= 0)
    return Status::badData(place.placeOf("name"), ": ", output.name, " occurs twice");
  const std::vector<JsonValue> &axes = shape.value->elements;
  size_t first = 1;
  std::string leading = axes.empty() ? "" : axes[0].string;
  if (ofTraining && axes.size() == 1 && axes[0].kind == JsonKind::integer) {
    output.axes = OutputAxes::none;
    first = 0;
  } else if (leading == "rows") {
    output.axes = OutputAxes::rows;
  } else if (leading == "batch" && axes.size() > 1 && axes[1].string == "tokens") {
    output.axes = OutputAxes::batchTokens;
    first = 2;
  } else if (leading == "batch") {
    output.axes = OutputAxes::batch;
  } else {
    return Status::badData(shape.place, ": expects [batch, tokens, ...], [batch, ...] or [rows, ...]");
  }
  for (size_t i = first; i < axes.size(); ++i) {
    if (axes[i].kind != JsonKind::integer || axes[i].integer < 1 || axes[i].integer > widthMost / output.width)
      return Status::badData(shape.placeOf(i), ": expects a size of at least 1 and ", widthMost, " elements at most, found ",
                             describe(axes[i]));
    output.width *= axes[i].integer;
  }
  program.outputs.push_back(std::move(output));
  return Status();
}

static bool has(const ProgramRecord &program, InputKind kind) {
  return std::find(program.inputs.begin(), program.inputs.end(), kind) != program.inputs.end();
}

static Status readProgram(const JsonPlace &place, const Manifest &manifest, ProgramRecord &program) {
  if (place.value->kind != JsonKind::object)
    return Status::badData(place.place, ": expects an object, found ", describe(*place.value));
  DSRT_TRY(place.text("name", program.name));
  const bool ofTraining = program.name == "step" || program.name == "evaluate" || program.name == "norms" || program.name == "update";
  if (manifest.trains() ? !ofTraining
                        : program.name != "encode" && program.name != "prefill" && program.name != "decode" && program.name != "forward")
    return Status::badData(place.placeOf("name"), ": expects ",
                           manifest.trains() ? "step, evaluate, norms or update" : "encode, prefill, decode or forward", ", found ",
                           inQuotes(program.name));
  if (manifest.program(program.name))
    return Status::badData(place.placeOf("name"), ": ", program.name, " occurs twice");
  if (!manifest.code.empty()) {
    DSRT_TRY(place.text("symbol", program.symbol));
    if (program.symbol != DS_PROGRAM_PREFIX + program.name)
      return Status::badData(place.placeOf("symbol"), ": expects '", DS_PROGRAM_PREFIX, program.name, "', found ",
                             inQuotes(program.symbol));
    DSRT_TRY(place.integer("arena_bytes", 0, arenaMost, program.arenaBytes));
  }
  DSRT_TRY(place.integer("max_batch", 1, batchMost, program.maxBatch));
  DSRT_TRY(place.integer("max_rows", 1, rowsMost, program.maxRows));
  JsonPlace inputs, outputs;
  DSRT_TRY(place.member("inputs", JsonKind::array, inputs));
  for (size_t i = 0; i < inputs.value->elements.size(); ++i)
    DSRT_TRY(readInput(inputs.element(i), manifest, program));
  DSRT_TRY(place.member("outputs", JsonKind::array, outputs));
  for (size_t i = 0; i < outputs.value->elements.size(); ++i)
    DSRT_TRY(readOutput(outputs.element(i), manifest, program));
  if (!has(program, InputKind::inputIds) && program.name != "norms" && program.name != "update")
    return Status::badData(inputs.place, ": expects input_ids, found none");
  if (program.outputs.empty())
    return Status::badData(outputs.place, ": expects at least one output, found none");
  for (const OutputRecord &output : program.outputs)
    if (output.axes == OutputAxes::rows && !has(program, InputKind::rows))
      return Status::badData(outputs.place, ": ", output.name, " has rows, found no input rows");
  return Status();
}

/// What a trainer calls on.
static Status checkTraining(const JsonPlace &list, const Manifest &manifest) {
  if (manifest.launchesFile.size() > 0 || manifest.context > 0)
    return Status::badData(list.place, ": a package that trains expects code for the CPU and no cache");
  const std::pair<const char *, const char *> needed[] = {
      {"step", "loss"}, {"evaluate", "loss"}, {"norms", "norms"}, {"update", "coefficients"}};
  for (auto [name, output] : needed) {
    const ProgramRecord *program = manifest.program(name);
    if (!program)
      return Status::badData(list.place, ": a package that trains expects the program ", name, ", found none");
    if (program->indexOfOutput(output) < 0)
      return Status::badData(list.place, ": ", name, " expects an output ", output, ", found none");
  }
  return Status();
}

/// What the decoder engine calls on: a cache, and logits for selected rows in both programs, equally wide.
static Status checkDecoder(const JsonPlace &list, const Manifest &manifest) {
  if (manifest.context == 0)
    return Status::badData(list.place, ": a causal-lm expects a cache, found none");
  for (const char *name : {"prefill", "decode"}) {
    const ProgramRecord *program = manifest.program(name);
    if (!program)
      return Status::badData(list.place, ": a causal-lm expects the program ", name, ", found none");
    int logits = program->indexOfOutput("logits");
    if (logits < 0 || program->outputs[logits].axes != OutputAxes::rows || program->outputs[logits].width != manifest.model.vocabSize)
      return Status::badData(list.place, ": ", name, " expects an output logits [rows, ", manifest.model.vocabSize, "], found none");
    if (!has(*program, InputKind::past))
      return Status::badData(list.place, ": ", name, " expects the input past, found none");
    for (const OutputRecord &output : program->outputs)
      if (output.axes == OutputAxes::batch)
        return Status::badData(list.place, ": ", name, " has ", output.name, " [batch], which a causal-lm cannot have");
  }
  // `forward` stands in for `prefill` where there is padding, so it gives the same outputs, of every token.
  const ProgramRecord *forward = manifest.program("forward"), *prefill = manifest.program("prefill");
  if (!forward)
    return Status();
  if (!has(*forward, InputKind::mask) || has(*forward, InputKind::past))
    return Status::badData(list.place, ": forward expects the input mask and no input past");
  for (const OutputRecord &output : prefill->outputs) {
    int index = forward->indexOfOutput(output.name);
    if (index < 0 || forward->outputs[index].axes != OutputAxes::batchTokens || forward->outputs[index].width != output.width)
      return Status::badData(list.place, ": forward expects an output ", output.name, " [batch, tokens, ", output.width, "], found none");
  }
  return Status();
}

Status dsrt::readPrograms(const JsonPlace &root, Manifest &manifest) {
  JsonPlace list;
  DSRT_TRY(root.member("programs", JsonKind::array, list));
  for (size_t i = 0; i < list.value->elements.size(); ++i) {
    ProgramRecord program;
    DSRT_TRY(readProgram(list.element(i), manifest, program));
    manifest.programs.push_back(std::move(program));
  }
  if (manifest.trains())
    return checkTraining(list, manifest);
  if (manifest.model.task == Task::causalLm)
    return checkDecoder(list, manifest);
  if (!manifest.program("encode"))
    return Status::badData(list.place, ": a ", nameOf(manifest.model.task), " expects the program encode, found none");
  if (has(*manifest.program("encode"), InputKind::past))
    return Status::badData(list.place, ": encode has the input past, which no encoder can have");
  return Status();
}
