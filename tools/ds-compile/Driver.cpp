#include "Driver.h"
#include "GpuCode.h"
#include "Progress.h"
#include "Quantization.h"
#include "RecomputeBudget.h"
#include "Strict.h"
#include "Targets.h"
#include "TuningFile.h"
#include "dialects/DS/DSDialect.h"
#include "dialects/DSPlan/DSPlanDialect.h"
#include "dialects/RegisterDialects.h"
#include "ds/Analysis/GpuCostModel.h"
#include "ds/Import/Import.h"
#include "ds/Pipelines/Pipelines.h"
#include "ds/Target/CPU/CodeGen.h"
#include "ds/Target/Package/PackageWriter.h"
#include "ds/Target/Package/ProfileDescription.h"
#include "ds/Target/Package/QuantizationReport.h"
#include "ds/Target/Package/SharedWeights.h"
#include "ds/Transforms/FusionLevel.h"
#include "ds/Transforms/Passes.h"
#include "ds/Transforms/Phases.h"
#include "ds/Transforms/PlanReport.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Pass/PassManager.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/ToolOutputFile.h"

using namespace mlir;
using namespace ds;

static constexpr int64_t defaultContext = 2048;

namespace {
/// The module that a target's plan is made of.
struct TargetModule {
  bool isCuda = false;
  OwningOpRef<ModuleOp> own; // null: it is the model's
  ModuleOp module;
};

/// One run of the compiler.
class Driver {
public:
  explicit Driver(const CompileOptions &options)
      : options(options), progress(options.quiet ? "off" : options.progress), quantization(options) {
    DialectRegistry registry;
    registerDialects(registry);
    context.appendDialectRegistry(registry);
    context.loadAllAvailableDialects();
    context.getDiagEngine().registerHandler([this](Diagnostic &diagnostic) { return note(diagnostic); });
  }

  Result<void> run();

private:
  Result<void> checkOptions();
  Result<void> checkTraining();
  /// Settles how many layers are computed again; the module is normalized.
  Result<void> settleRecompute();
  /// What `@step` keeps when the first `layers` layers are computed again. The module stays as it is.
  Result<int64_t> arenaBytesOf(int64_t layers);
  void fill(PlanOptions &plan, bool isCuda) const;
  Result<void> runPhase(Phase phase, const TargetModule &of);
  /// One module for each target, all still normalized.
  void splitByTarget();
  /// The tables that were asked for.
  Result<void> report();
  /// The code of each target, with the weights placed for all.
  Result<std::vector<PackageFile>> generateAll(SharedWeights &places);
  Result<void> writePackageOf();
  /// The option, or as many slots as the model has positions, up to a default that keeps caches small.
  int64_t contextSlots() const;
  /// The module as text, with the locations that say which module of the model an op stands for.
  static std::string text(ModuleOp module);
  Result<void> dump(const std::string &name, const std::string &content, const char *suffix);
  Result<void> write(const std::string &content) const;
  /// What --tuning and --report-tuning say of the code that was made.
  Result<void> reportTuning();
  /// The level that predictions are for: the only one, else none, which stands for the best.
  llvm::StringRef predictedLevel() const;
  LogicalResult note(Diagnostic &diagnostic);
  /// Where the module goes that an internal error happened on.
  std::string reproducerName() const {
    return (options.output.empty() || options.output == "-" ? "ds-compile" : options.output) + ".reproducer.mlir";
  }
  Result<std::vector<CpuCode>> generate(ModuleOp planned);
  Result<void> readGpuMachine();
  /// Reads the machines and the step of the cost model; another machine than this one is a warning.
  Result<void> readMachine();
  /// Says which sequences of --cost-step are longer than the context.
  void noteCostStep(ModuleOp module) const;

  const CompileOptions &options;
  Progress progress;
  MLIRContext context;
  std::optional<ImportedModel> model;
  Targets targets;
  Tuning tuning;
  std::vector<TargetModule> plans; // by target, the CPU first
  Quantization quantization;
  dsrt::MachineDescription machine;
  dsrt::GpuMachine gpuMachine;
  CostStep costStep;
  std::optional<Phase> last;
  Recompute recompute;
  std::string firstError, lowered;
  std::vector<RefusedFusion> refused; // of the phase that runs
  int dumped = 0;
  bool isTrial = false; // a plan that is thrown away
};
} // namespace

LogicalResult Driver::note(Diagnostic &diagnostic) {
  std::string line;
  llvm::raw_string_ostream os(line);
  os << diagnostic.getLocation() << ": " << diagnostic;
  if (diagnostic.getSeverity() == DiagnosticSeverity::Error) {
    if (firstError.empty())
      firstError = line;
  } else if (!options.quiet && !isTrial && diagnostic.getSeverity() == DiagnosticSeverity::Warning) {
    llvm::errs() << "ds-compile: warning: " << line << "\n";
  }
  return success();
}

Result<void> Driver::checkOptions() {
  if (!options.to.empty()) {
    last = symbolizePhase(options.to);
    if (!last)
      return Error::usage("--to: expects imported, normalized or planned, got '" + options.to + "'");
  } else if (options.emit == "ds") {
    last = Phase::normalized;
  } else if (options.emit == "plan") {
    last = Phase::planned;
  } else if (options.emit != "package" && options.emit != "costs" && options.emit != "llvm" && options.emit != "asm" &&
             options.emit != "gpu" && options.emit != "ptx" && options.emit != "sass") {
    return Error::usage("--emit: expects package, ds, plan, costs, llvm, asm, gpu, ptx or sass, got '" + options.emit + "'");
  }
  if (options.output.empty() && !last && options.emit == "package")
    return Error::usage("-o: expects the package to write");
  if (options.weights != "f32" && options.weights != "bf16" && options.weights != "f16")
    return Error::usage("--weights: expects f32, bf16 or f16, got '" + options.weights + "'");
  Result<Targets> read = readTargets(options);
  if (!read)
    return read.error();
  targets = std::move(*read);
  if (!targets.archs.empty() && options.weights == "f32")
    return Error::usage("--weights: expects bf16 or f16 for --target=" + options.target + ", got '" + options.weights + "'");
  if (options.cache != "f32" && options.cache != "bf16" && options.cache != "int8")
    return Error::usage("--cache: expects f32, bf16 or int8, got '" + options.cache + "'");
  if (options.observe && options.cache != "f32")
    return Error::usage("--observe-inputs: expects --cache=f32, got '" + options.cache + "'");
  const bool emitsCpu = options.emit == "llvm" || options.emit == "asm",
             emitsGpu = options.emit == "gpu" || options.emit == "ptx" || options.emit == "sass";
  if ((emitsGpu && targets.archs.empty()) || (emitsCpu && !targets.cpu))
    return Error::usage("--emit=" + options.emit + ": expects --target=" + (emitsGpu ? "cuda" : "cpu"));
  if (options.emit == "sass" && !last)
    if (Result<void> checked = checkSass(targets.archs); !checked)
      return checked;
  if (targets.isMixed() && (last ? last == Phase::planned : options.emit != "package"))
    return Error::usage((options.to.empty() ? "--emit=" + options.emit : "--to=" + options.to) +
                        ": expects one of cpu and cuda, got --target=" + options.target);
  if (Result<void> checked = checkTraining(); !checked)
    return checked;
  if (Result<void> prepared = quantization.prepare(); !prepared)
    return prepared;
  if (!symbolizeFusionLevel(options.fusion))
    return Error::usage("--fusion: expects none, generic or specialized, got '" + options.fusion + "'");
  if (options.progress != "auto" && options.progress != "on" && options.progress != "off")
    return Error::usage("--progress: expects auto, on or off, got '" + options.progress + "'");
  if (options.maxBatch < 1 || options.maxBatch > 1024)
    return Error::usage("--max-batch: expects 1 to 1024, got " + std::to_string(options.maxBatch));
  if (options.maxRows < options.maxBatch || options.maxRows > 65536)
    return Error::usage("--max-rows: expects max-batch to 65536, got " + std::to_string(options.maxRows));
  if (options.context < 0 || options.context > (1 << 24))
    return Error::usage("--context: expects 1 to 16777216, got " + std::to_string(options.context));
  if (emitsCpu && targets.levels.size() != 1)
    return Error::usage("--emit=" + options.emit + ": expects one --target-cpu");
  if (Result<void> read = readTuning(options, targets, tuning); !read)
    return read;
  return readMachine();
}

Result<void> Driver::checkTraining() {
  if (!options.train) {
    for (auto [given, name] : {std::pair(options.layerDrop, "--layer-drop"),
                               {options.randomWeights, "--random-weights"},
                               {options.optimizer.has_value(), "--optimizer"},
                               {options.dropout.has_value(), "--dropout"},
                               {options.recompute.has_value(), "--recompute"},
                               {options.labelSmoothing.has_value(), "--label-smoothing"}})
      if (given)
        return Error::usage(std::string(name) + ": expects --train");
    if (options.compute != "f32")
      return Error::usage("--compute=" + options.compute + ": expects --train");
    return {};
  }
  if (!targets.archs.empty())
    return Error::usage("--train: expects --target=cpu, got '" + options.target + "'");
  if (options.weights != "f32" || options.quantize != "none" || !options.quantizeRules.empty() || options.observe)
    return Error::usage("--train: expects weights of f32, without --quantize and --observe-inputs; products of 16 bits are --compute");
  if (options.cache != "f32")
    return Error::usage("--train: expects --cache=f32, as training keeps no past, got '" + options.cache + "'");
  if (options.optimizer && !symbolizeOptimizerKind(*options.optimizer))
    return Error::usage("--optimizer: expects sgd, adam, adamw or lamb, got '" + *options.optimizer + "'");
  if (double smoothing = options.labelSmoothing.value_or(0); !(smoothing >= 0 && smoothing < 1))
    return Error::usage("--label-smoothing: expects 0 to less than 1, got " + std::to_string(smoothing));
  Result<Recompute> wanted = parseRecompute(options.recompute.value_or("none"));
  if (!wanted)
    return wanted.error();
  recompute = std::move(*wanted);
  double rate = 0;
  if (std::string text = options.dropout.value_or("config");
      text != "config" && (StringRef(text).getAsDouble(rate) || !(rate >= 0 && rate < 1)))
    return Error::usage("--dropout: expects config, or 0 to less than 1, got '" + text + "'");
  if (options.compute != "f32" && options.compute != "bf16" && options.compute != "f16")
    return Error::usage("--compute: expects f32, bf16 or f16, got '" + options.compute + "'");
  return {};
}

Result<void> Driver::readGpuMachine() {
  if (targets.archs.empty())
    return options.gpuMachine.empty() ? Result<void>() : Error::usage("--gpu-machine: expects --target=cuda, got '" + options.target + "'");
  gpuMachine = dsrt::gpuMachineFor(targets.archs.front().name);
  if (const dsrt::GpuMachine *known = dsrt::findGpuMachine(options.gpuMachine)) {
    gpuMachine = *known;
  } else if (!options.gpuMachine.empty()) {
    std::string error;
    if (int code = dsrt::readGpuMachine(options.gpuMachine, gpuMachine, error))
      return code == 66 ? Error::missing("--gpu-machine: expects a100, h100, h200 or a file; " + error) : Error::badData(error);
  }
  return {};
}

Result<void> Driver::readMachine() {
  if (Result<void> read = readGpuMachine(); !read)
    return read;
  machine = dsrt::builtInMachine();
  if (!options.costStep.empty()) {
    ArrayRef<int64_t> step = options.costStep;
    if (step.size() != 4 || step[0] < 1 || step[1] < 1 || step[2] < 0 || step[3] < 1 || *llvm::max_element(step) > (1 << 24))
      return Error::usage("--cost-step: expects B,T,PAST,THREADS, such as 1,128,0,2");
    costStep = {step[0], step[1], step[2], static_cast<int>(std::min<int64_t>(step[3], 1024))};
    const int64_t batch = std::min(costStep.batch, options.maxBatch), tokens = std::min(costStep.tokens, options.maxRows / batch);
    if (!options.quiet && (batch < costStep.batch || tokens < costStep.tokens))
      llvm::errs() << "ds-compile: note: --cost-step: a step has at most " << options.maxBatch << " sequences (--max-batch) and "
                   << options.maxRows << " tokens (--max-rows): " << batch << " x " << tokens << " are predicted\n";
  }
  if (options.machine.empty())
    return {};
  std::string error;
  if (int code = dsrt::readMachine(options.machine, machine, error))
    return code == 66 ? Error::missing(error) : Error::badData(error);
  if (!options.quiet && machine.processor != dsrt::currentProcessor())
    llvm::errs() << "ds-compile: warning: " << options.machine << " describes '" << machine.processor << "', this machine is '"
                 << dsrt::currentProcessor() << "'\n";
  return {};
}

void Driver::noteCostStep(ModuleOp module) const {
  if (options.quiet || options.costStep.empty())
    return;
  for (ds_plan::ProgramOp program : module.getOps<ds_plan::ProgramOp>()) {
    const CostStep step = stepOf(program, costStep);
    const bool takesOne = program.getMaxRows() == program.getMaxBatch();
    const bool isCut = !takesOne && step.tokens < std::min(costStep.tokens, options.maxRows / step.batch);
    if (!program.getOps<ds_plan::CacheOp>().empty() && (isCut || step.past < costStep.past))
      llvm::errs() << "ds-compile: note: --cost-step: program " << program.getSymName() << ": " << step.tokens
                   << (step.tokens == 1 ? " token" : " tokens") << " behind " << step.past << (step.tokens == 1 ? " is" : " are")
                   << " predicted, as many as a sequence can have\n";
  }
}

std::string Driver::text(ModuleOp module) {
  std::string text;
  llvm::raw_string_ostream os(text);
  OpPrintingFlags flags;
  flags.enableDebugInfo(/*enable=*/true, /*prettyForm=*/false);
  flags.elideLargeElementsAttrs(64);
  module.print(os, flags);
  os << "\n";
  return text;
}

Result<void> Driver::dump(const std::string &name, const std::string &content, const char *suffix) {
  if (options.dumpPhases.empty())
    return {};
  if (std::error_code error = llvm::sys::fs::create_directories(options.dumpPhases))
    return Error::cannotWrite("cannot write '" + options.dumpPhases + "': " + error.message());
  char number[8];
  std::snprintf(number, sizeof(number), "%02d-", ++dumped);
  std::string path = options.dumpPhases + "/" + number + name + suffix;
  std::error_code error;
  llvm::raw_fd_ostream os(path, error);
  if (!error) {
    os << content;
    os.close();
    error = os.error();
  }
  os.clear_error();
  if (error)
    return Error::cannotWrite("cannot write '" + path + "': " + error.message());
  return {};
}

Result<void> Driver::write(const std::string &content) const {
  std::error_code error;
  const bool prints = options.output.empty() || options.output == "-";
  const std::string place = prints ? "standard output" : "'" + options.output + "'";
  llvm::ToolOutputFile file(prints ? "-" : options.output, error, llvm::sys::fs::OF_None);
  if (error)
    return Error::cannotWrite("cannot write " + place + ": " + error.message());
  file.os() << content;
  file.os().flush();
  if (file.os().has_error()) {
    std::string reason = file.os().error().message();
    file.os().clear_error();
    return Error::cannotWrite("cannot write " + place + ": " + reason);
  }
  file.keep();
  return {};
}

int64_t Driver::contextSlots() const {
  if (options.context > 0)
    return options.context;
  auto facts = model->module.get()->getAttrOfType<DictionaryAttr>("ds.model");
  auto positions = facts ? dyn_cast_or_null<IntegerAttr>(facts.get("max_positions")) : IntegerAttr();
  return positions && positions.getInt() > 0 ? std::min<int64_t>(positions.getInt(), defaultContext) : defaultContext;
}

void Driver::fill(PlanOptions &plan, bool isCuda) const {
  plan.context = contextSlots();
  plan.cache = options.cache;
  // Products round what they multiply then, to no more bits.
  plan.keys = options.weights == "bf16" || options.activations == "int8" ? "bf16" : "f32";
  plan.maxBatch = options.maxBatch;
  plan.maxRows = options.maxRows;
  plan.weights = options.weights;
  plan.target = isCuda ? "cuda" : "cpu";
  plan.panelSums =
      !isCuda && options.weights == "f32" && llvm::any_of(targets.levels, [](const CpuLevel &level) { return level.addsBeside; });
  plan.panelHalves =
      !isCuda && options.weights == "bf16" && llvm::all_of(targets.levels, [](const CpuLevel &level) { return level.multipliesF16; });
  plan.fusion = *symbolizeFusionLevel(options.fusion);
  plan.machine = options.machine;
  plan.observe = options.observe;
  plan.train = options.train;
  plan.optimizer = options.optimizer.value_or("adamw");
  plan.layerDrop = options.layerDrop;
  plan.recompute = recompute.layers;
  plan.compute = options.compute;
  plan.smoothing = options.labelSmoothing.value_or(0);
}

Result<int64_t> Driver::arenaBytesOf(int64_t layers) {
  OwningOpRef<ModuleOp> copy = model->module->clone();
  PassManager manager(&context);
  PlanOptions plan;
  fill(plan, /*isCuda=*/false);
  plan.recompute = std::to_string(layers);
  buildPipelineTo(manager, Phase::planned, plan);
  const size_t refusedBefore = refused.size();
  isTrial = true;
  const bool worked = succeeded(manager.run(*copy));
  isTrial = false;
  refused.resize(refusedBefore);
  auto step = worked ? copy->lookupSymbol<ds_plan::ProgramOp>("step") : ds_plan::ProgramOp();
  if (!step)
    return Error::internal("--recompute: " + (firstError.empty() ? "a plan without @step" : firstError));
  return step.getArenaBytes();
}

Result<void> Driver::settleRecompute() {
  int64_t layers = 0, wanted = 0;
  for (auto function : model->module->getOps<func::FuncOp>())
    layers = std::max<int64_t>(layers, llvm::range_size(function.getBody().front().getOps<LayerOp>()));
  if (recompute.budgetBytes) {
    Result<RecomputeChoice> choice = chooseRecompute(*recompute.budgetBytes, layers, [&](int64_t count) { return arenaBytesOf(count); });
    if (!choice)
      return choice.error();
    recompute.layers = std::to_string(choice->layers);
    if (!options.quiet)
      llvm::errs() << "ds-compile: note: recompute: " << choice->layers << " of " << layers << " layers, a step keeps "
                   << bytesText(choice->bytes) << ", without " << bytesText(choice->bytesWithout) << "\n";
  } else if (!StringRef(recompute.layers).getAsInteger(10, wanted) && wanted > layers) {
    return Error::usage("--recompute: expects at most the model's " + std::to_string(layers) + " layers, got " + recompute.layers);
  }
  return {};
}

Result<void> Driver::runPhase(Phase phase, const TargetModule &of) {
  ModuleOp module = of.module;
  const std::string name = stringifyPhase(phase).str() + (plans.size() < 2 ? "" : of.isCuda ? "-cuda" : "-cpu");
  progress.stage(name);
  if (phase != Phase::imported) {
    PassManager manager(&context);
    PlanOptions plan;
    fill(plan, of.isCuda);
    // A normalized module is a valid imported one, so the second run finds nothing left to normalize.
    buildPipelineTo(manager, phase, plan);
    manager.enableCrashReproducerGeneration(reproducerName());
    if (failed(manager.run(module)))
      return Error::internal("phase " + name + ": " + (firstError.empty() ? "a pass failed" : firstError) +
                             "; reproducer: " + reproducerName());
  }
  if (!refused.empty()) {
    const std::vector<std::string> lines = linesOf(refused);
    if (options.strict)
      return Error::badData("'" + options.model + "': --strict: " + lines.front() +
                            (lines.size() > 1 ? " (and " + std::to_string(lines.size() - 1) + " other reasons)" : ""));
    if (!options.quiet)
      for (const std::string &line : lines)
        llvm::errs() << "ds-compile: note: smaller regions" << (of.isCuda ? " on CUDA: " : ": ") << line << "\n";
    refused.clear();
  }
  if (failed(verifyPhase(module, phase)))
    return Error::internal("phase " + name + ": " + firstError);
  return options.dumpPhases.empty() ? Result<void>() : dump(name, text(module), ".mlir");
}

Result<std::vector<CpuCode>> Driver::generate(ModuleOp planned) {
  progress.stage("code");
  CpuCodeOptions code;
  code.threads = options.threads;
  std::string wanted = options.emit == "package" ? "" : options.emit;
  if (!wanted.empty())
    code.stages.insert(wanted);
  if (!options.dumpPhases.empty())
    code.stages.insert("llvm");
  Result<void> dumps;
  code.dump = [&](const CpuLevel &level, StringRef stage, StringRef content) {
    if (stage == wanted)
      lowered = content.str();
    if (stage == "llvm" && dumps)
      dumps = dump("lowered-" + level.name.str(), content.str(), ".ll");
  };
  llvm::Expected<std::vector<CpuCode>> result = compileForCpu(planned, targets.levels, code);
  if (!result) {
    std::string reason = "code: " + llvm::toString(result.takeError());
    std::error_code error;
    llvm::raw_fd_ostream os(reproducerName(), error);
    if (!error)
      os << text(planned);
    os.clear_error();
    return Error::internal(reason + (error ? "" : "; reproducer: " + reproducerName()));
  }
  if (!dumps)
    return dumps.error();
  return std::move(*result);
}

Result<void> Driver::run() {
  if (Result<void> checked = checkOptions(); !checked)
    return checked;
  if (failed(collectRefusedFusions(context, refused)))
    return Error::internal("cannot listen to the remarks of passes");
  ImportOptions import;
  import.task = options.task;
  import.strict = options.strict;
  import.randomWeights = options.randomWeights;
  import.dropout = options.train;
  if (double rate = 0; !StringRef(options.dropout.value_or("config")).getAsDouble(rate))
    import.dropoutRate = rate;
  Result<ImportedModel> imported = importModel(context, options.model, import);
  if (!imported)
    return imported.error();
  model.emplace(std::move(*imported));
  if (options.cache != "f32" && !model->module->lookupSymbol<func::FuncOp>("forward"))
    return Error::usage("--cache=" + options.cache + ": expects a model of task causal-lm, as others keep no past");
  if (!options.quiet)
    for (const std::string &note : model->notes)
      llvm::errs() << "ds-compile: note: " << note << "\n";
  plans.resize(1);
  plans[0].module = *model->module;
  plans[0].isCuda = !targets.cpu;
  for (Phase phase : allPhases) {
    if (phase == Phase::planned && targets.isMixed())
      splitByTarget();
    for (const TargetModule &plan : plans)
      if (Result<void> done = runPhase(phase, plan); !done)
        return done;
    if (last == phase) {
      if (phase != Phase::planned && (options.quantize != "none" || !options.quantizeRules.empty()) && !options.quiet)
        llvm::errs() << "ds-compile: note: --quantize: weights are quantized after the phase '" << stringifyPhase(phase)
                     << "', so this module has floats; ds-opt --ds-quantize-weights gives it codes\n";
      progress.finish();
      return write(text(*model->module));
    }
    if (phase != Phase::normalized)
      continue;
    if (Result<void> done = quantization.run(*model->module, *model->tensors, progress); !done)
      return done;
    if (options.train)
      if (Result<void> done = settleRecompute(); !done)
        return done;
  }
  if (Result<void> reported = report(); !reported)
    return reported;
  if (options.emit == "package")
    return writePackageOf();
  if (options.emit == "costs") {
    progress.finish();
    noteCostStep(*model->module);
    return write(targets.cpu ? costJson(*model->module, costStep, machine, predictedLevel())
                             : gpuCostJson(*model->module, costStep, gpuMachine));
  }
  if (targets.cpu) {
    Result<std::vector<CpuCode>> code = generate(*model->module);
    return code ? write(lowered) : Result<void>(code.error());
  }
  progress.stage("code");
  Result<std::string> emitted = emitGpuText(*model->module, targets.archs, targets.libraryRows, options.emit, tuning);
  if (!emitted)
    return emitted.error();
  if (Result<void> reported = reportTuning(); !reported)
    return reported;
  return write(*emitted);
}

llvm::StringRef Driver::predictedLevel() const { return targets.levels.size() == 1 ? targets.levels.front().name : llvm::StringRef(); }

Result<void> Driver::reportTuning() {
  if (!options.quiet)
    for (const std::string &note : tuningNotes(options, tuning))
      llvm::errs() << "ds-compile: note: " << note << "\n";
  if (!options.reportTuning)
    return {};
  if (!options.tuningSpaces.empty())
    return writeTuningSpaces(options, tuning);
  if (!options.quiet)
    llvm::errs() << tuningReport(tuning);
  return {};
}

void Driver::splitByTarget() {
  TargetModule &cuda = plans.emplace_back();
  cuda.isCuda = true;
  cuda.own = model->module->clone();
  cuda.module = *cuda.own;
}

Result<void> Driver::report() {
  if (options.quiet)
    return {};
  if (options.report) {
    for (const TargetModule &plan : plans)
      llvm::errs() << (plans.size() < 2 ? "" : plan.isCuda ? "target cuda\n" : "target cpu\n") << planReport(plan.module);
    Result<std::string> quantized = quantizationReport(*model->module, quantization.tensors(*model->tensors), quantization.corrected());
    if (!quantized)
      return quantized.error();
    llvm::errs() << *quantized;
  }
  if (!options.reportCosts)
    return {};
  noteCostStep(plans.front().module);
  for (const TargetModule &plan : plans)
    llvm::errs() << (plans.size() < 2 ? ""
                     : plan.isCuda    ? "target cuda\n"
                                      : "target cpu\n")
                 << (plan.isCuda ? gpuCostReport(plan.module, costStep, gpuMachine)
                                 : costReport(plan.module, costStep, machine, predictedLevel()));
  return {};
}

Result<std::vector<PackageFile>> Driver::generateAll(SharedWeights &places) {
  std::vector<PackageFile> files;
  std::optional<GpuPart> part;
  if (targets.isMixed()) {
    places = placeTogether(plans.front().module, plans.back().module);
    part = {places.device.offset, places.device.bytes, 0, "profile-cuda.json"};
    for (ds_plan::ProgramOp program : plans.back().module.getOps<ds_plan::ProgramOp>())
      part->cacheBytes = std::max<int64_t>(part->cacheBytes, program.getKvBytes());
    files.push_back({part->profile, profileDescription(plans.back().module, options.fusion)});
  }
  if (targets.cpu) {
    Result<std::vector<CpuCode>> code = generate(plans.front().module);
    if (!code)
      return code.error();
    for (CpuCode &object : *code)
      files.push_back({"code/" + object.level + ".so", std::move(object.bytes)});
  }
  if (!targets.archs.empty()) {
    progress.stage(targets.cpu ? "code-cuda" : "code");
    std::vector<std::string> notes;
    Result<std::vector<PackageFile>> code =
        compileForGpu(plans.back().module, targets.archs, targets.libraryRows, !options.noEmulation, part, tuning, notes);
    if (!code)
      return code.error();
    if (!options.quiet)
      for (const std::string &note : notes)
        llvm::errs() << "ds-compile: note: " << note << "\n";
    if (Result<void> reported = reportTuning(); !reported)
      return reported.error();
    llvm::move(*code, std::back_inserter(files));
  }
  return files;
}

Result<void> Driver::writePackageOf() {
  SharedWeights places;
  Result<std::vector<PackageFile>> files = generateAll(places);
  if (!files)
    return files.error();
  for (SideFile &file : model->sideFiles)
    files->push_back({file.name, std::move(file.content)});
  files->push_back({"profile.json", profileDescription(plans.front().module, options.fusion)});
  progress.stage("package");
  PackageOptions package;
  package.producer = "ds-compile " DS_VERSION;
  package.threads = options.threads;
  package.matrices = quantization.corrected() ? &quantization.corrected()->matrices : nullptr;
  package.progress = [this](int64_t done, int64_t total) { progress.advance(done, total); };
  package.cancelled = [this] { return options.interrupted && *options.interrupted; };
  std::vector<PackagePart> parts{{plans.front().module, places.host.offset}};
  if (targets.isMixed())
    parts.push_back({plans.back().module, places.device.offset});
  Result<void> written = writePackage(parts, quantization.tensors(*model->tensors), *files, options.output, package);
  progress.finish();
  return written;
}

Result<void> ds::compile(const CompileOptions &options) { return Driver(options).run(); }
