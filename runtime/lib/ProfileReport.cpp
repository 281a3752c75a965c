#include "runtime/lib/ProfileReport.h"
#include "runtime/lib/Profile.h"
#include "runtime/lib/SavedText.h"

using namespace dsrt;

/// Gives a message of the machine library, which opens with its class, its code.
static Status machineStatus(int code, std::string_view error) {
  std::string_view line = error.substr(std::min(error.size(), error.find(": ") + 2));
  return code == DSRT_MISSING ? Status::missing(line) : Status::badData(line);
}

static Status checkOptions(const Model *model, const dsrt_profile_options &options) {
  if (model && model->trace.isOn())
    return Status::invalidArgument("a report is made once tracing has stopped");
  if (options.format < DSRT_PROFILE_TEXT || options.format > DSRT_PROFILE_TRACE)
    return Status::invalidArgument("format: expects ", int(DSRT_PROFILE_TEXT), "..", int(DSRT_PROFILE_TRACE), ", got ", options.format);
  if (options.depth < -1)
    return Status::invalidArgument("depth: expects -1 or more, got ", options.depth);
  if (options.top < 1)
    return Status::invalidArgument("top: expects 1 or more, got ", options.top);
  return Status();
}

/// Takes what the model says of itself and what it traced.
static Status readModel(Model &model, ProfileInput &input, ProfileDescription &description) {
  if (model.profileText.empty())
    DSRT_TRY(model.package.readSmallFile(model.package.profileName(), model.profileText));
  if (!model.profileText.empty()) {
    DSRT_TRY(parseProfileDescription(model.profileText, concat(model.package.path, "/", model.package.profileName(), ": "), description));
    input.description = &description;
  }
  const ModelRecord &record = model.manifest().model;
  for (int32_t i = 0; i < model.trace.count(); ++i)
    input.steps.push_back(model.trace.get(i));
  input.modelName = record.name.empty() ? record.family : record.name;
  input.family = record.family;
  input.weightsType = record.weightsDtype;
  input.level = model.level();
  input.packagePath = model.package.path;
  input.parameters = static_cast<double>(record.parameters);
  input.leftOut = model.trace.leftOut();
  return Status();
}

static std::string write(const Profile &profile, int32_t format) {
  switch (format) {
  case DSRT_PROFILE_JSON:
    return profileJson(profile);
  case DSRT_PROFILE_HTML:
    return profilePage(profile);
  case DSRT_PROFILE_TRACE:
    return profileTrace(profile);
  default:
    return profileText(profile);
  }
}

/// Reads the description that `name` is, where it is given: of a model on a GPU or its emulator that of a GPU, by its name or from a file.
/// A GPU that is known needs none.
static Status readMachineOf(const Model &model, const char *name, ProfileInput &input) {
  std::string error;
  int code = 0;
  input.device = model.deviceText();
  input.deviceProduct = model.deviceProduct();
  input.note = model.note();
  if (input.device == "cpu") {
    if (name)
      code = readMachine(name, input.machine.emplace(), error);
  } else if (const GpuMachine *known = name ? findGpuMachine(name) : gpuMachineOfDevice(input.deviceProduct)) {
    input.gpu = *known;
  } else if (name) {
    code = readGpuMachine(name, input.gpu.emplace(), error);
  }
  input.machinePath = name ? name : "of this GPU";
  return code == 0 ? Status() : machineStatus(code, error);
}

Status dsrt::makeReport(Model *model, const dsrt_profile_options &options, std::string &text) {
  DSRT_TRY(checkOptions(model, options));
  ProfileInput input;
  ProfileDescription description;
  input.modelName = "no model";
  if (model) {
    DSRT_TRY(readMachineOf(*model, options.machine, input));
    DSRT_TRY(readModel(*model, input, description));
  }
  input.compatible = options.compatible != 0;
  input.depth = options.depth;
  input.top = options.top;
  input.failure = options.failure ? options.failure : "";
  text = write(makeProfile(input), options.format);
  return Status();
}

static bool endsWith(const std::string &path, std::string_view ending) {
  return path.size() >= ending.size() && path.compare(path.size() - ending.size(), ending.size(), ending) == 0;
}

static Status formatOf(const std::string &path, int32_t &format) {
  const std::pair<const char *, int32_t> endings[] = {
      {".html", DSRT_PROFILE_HTML}, {".trace.json", DSRT_PROFILE_TRACE}, {".json", DSRT_PROFILE_JSON}, {".txt", DSRT_PROFILE_TEXT}};
  for (const auto &[ending, named] : endings)
    if (endsWith(path, ending)) {
      format = named;
      return Status();
    }
  return Status::invalidArgument("a profile's file ends in .html, .json, .trace.json or .txt, got ", inQuotes(path));
}

Status dsrt::saveReport(Model *model, dsrt_profile_options options, const std::string &path) {
  std::string text;
  DSRT_TRY(formatOf(path, options.format));
  DSRT_TRY(makeReport(model, options, text));
  return saveText(path, text);
}
