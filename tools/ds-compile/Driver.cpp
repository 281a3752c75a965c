#include "Driver.h"
#include "GpuCode.h"
#include "Progress.h"
#include "Quantization.h"
#include "RecomputeBudget.h"
#include "Strict.h"
#include "dialects/DS/DSDialect.h"
#include "dialects/DSPlan/DSPlanDialect.h"
#include "dialects/RegisterDialects.h"
#include "ds/Analysis/CostModel.h"
#include "ds/Import/Import.h"
#include "ds/Pipelines/Pipelines.h"
#include "ds/Target/CPU/CodeGen.h"
#include "ds/Target/Package/PackageWriter.h"
#include "ds/Target/Package/ProfileDescription.h"
#include "ds/Target/Package/QuantizationReport.h"
#include "ds/Transforms/FusionLevel.h"
#include "ds/Transforms/Passes.h"
#include "ds/Transforms/Phases.h"
#include "ds/Transforms/PlanReport.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Pass/PassManager.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/ToolOutputFile.h"
#include "llvm/TargetParser/Host.h"

using namespace mlir;
using namespace ds;

static constexpr int64_t defaultContext = 2048;

namespace {
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
  void fill(PlanOptions &plan) const;
  Result<void> runPhase(Phase phase);
  /// The option, or as many slots as the model has positions, up to a default that keeps caches small.
  int64_t contextSlots() const;
  /// The module as text, with the locations that say which module of the model an op stands for.
  std::string text() const;
  Result<void> dump(const std::string &name, const std::string &content, const char *suffix);
  Result<void> write(const std::string &content) const;
  LogicalResult note(Diagnostic &diagnostic);
  /// Where the module goes that an internal error happened on.
  std::string reproducerName() const {
    return (options.output.empty() || options.output == "-" ? "ds-compile" : options.output) + ".reproducer.mlir";
  }
  Result<std::vector<CpuCode>> generate();
  /// Reads the machine and the step of the cost model; another machine than this one is a warning.
  Result<void> readMachine();

  const CompileOptions &options;
  Progress progress;
  MLIRContext context;
  std::optional<ImportedModel> model;
  std::vector<CpuLevel> levels;
  std::vector<GpuArch> archs; // none: the target is the CPU
  Quantization quantization;
  dsrt::MachineDescription machine;
  CostStep costStep;
  std::optional<Phase> last;
  Recompute recompute;
  std::string firstError, lowered;
  std::vector<std::string> refused; // fusions, where --strict asks for them
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

/// False for a level with dot products that a package has no use for.
static bool isOfUse(const CpuLevel &level, const CompileOptions &options) {
  if (level.bf16Dots != Dots::none)
    return options.weights == "bf16" || options.compute == "bf16";
  return level.byteDots == Dots::none || options.quantize != "none" || !options.quantizeRules.empty();
}

/// The best level of this machine that is of use, or null when it has none.
static const CpuLevel *nativeLevel(const CompileOptions &options) {
  llvm::StringMap<bool> features = llvm::sys::getHostCPUFeatures();
  const CpuLevel *best = nullptr;
  for (auto [name, needed] : {std::pair("x86-64-v2", "sse4.2"),
                              {"x86-64-v3", "avx2"},
                              {"x86-64-v4", "avx512vl"},
                              {"x86-64-v4-vnni", "avx512vnni"},
                              {"x86-64-v4-bf16", "avx512bf16"}})
    if (const CpuLevel *level = findCpuLevel(name); features.lookup(needed) && isOfUse(*level, options))
      best = level;
  return best;
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
             options.emit != "gpu" && options.emit != "ptx") {
    return Error::usage("--emit: expects package, ds, plan, costs, llvm, asm, gpu or ptx, got '" + options.emit + "'");
  }
  if (options.output.empty() && !last && options.emit == "package")
    return Error::usage("-o: expects the package to write");
  if (options.weights != "f32" && options.weights != "bf16")
    return Error::usage("--weights: expects f32 or bf16, got '" + options.weights + "'");
  Result<std::vector<GpuArch>> targets = gpuTargets(options.target);
  if (!targets)
    return targets.error();
  archs = std::move(*targets);
  if (!archs.empty() && options.weights != "bf16")
    return Error::usage("--weights: expects bf16 for --target=" + options.target + ", got '" + options.weights + "'");
  const bool emitsCpu = options.emit == "llvm" || options.emit == "asm", emitsGpu = options.emit == "gpu" || options.emit == "ptx";
  if (archs.empty() ? emitsGpu : emitsCpu)
    return Error::usage("--emit=" + options.emit + ": expects --target=" + (emitsGpu ? "cuda" : "cpu"));
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
  if (options.targetCpus.empty()) {
    for (const CpuLevel &level : allCpuLevels())
      if (isOfUse(level, options))
        levels.push_back(level);
  } else {
    for (const std::string &name : options.targetCpus) {
      const CpuLevel *level = name == "native" ? nativeLevel(options) : findCpuLevel(name);
      if (!level)
        return Error::usage("--target-cpu: expects x86-64-v2, x86-64-v3, x86-64-v4, x86-64-v4-vnni, x86-64-v4-bf16 or native, got '" +
                            name + "'");
      if (llvm::none_of(levels, [&](const CpuLevel &other) { return other.name == level->name; }))
        levels.push_back(*level);
    }
  }
  if ((options.emit == "llvm" || options.emit == "asm") && levels.size() != 1)
    return Error::usage("--emit=" + options.emit + ": expects one --target-cpu");
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
  if (!archs.empty())
    return Error::usage("--train: expects --target=cpu, got '" + options.target + "'");
  if (options.weights != "f32" || options.quantize != "none" || !options.quantizeRules.empty() || options.observe)
    return Error::usage("--train: expects weights of f32, without --quantize and --observe-inputs; products of 16 bits are --compute");
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

Result<void> Driver::readMachine() {
  machine = dsrt::builtInMachine();
  if (!options.costStep.empty()) {
    ArrayRef<int64_t> step = options.costStep;
    if (step.size() != 4 || step[0] < 1 || step[1] < 1 || step[2] < 0 || step[3] < 1 || *llvm::max_element(step) > (1 << 24))
      return Error::usage("--cost-step: expects B,T,PAST,THREADS, such as 1,128,0,2");
    costStep = {step[0], step[1], step[2], static_cast<int>(std::min<int64_t>(step[3], 1024))};
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

std::string Driver::text() const {
  std::string text;
  llvm::raw_string_ostream os(text);
  OpPrintingFlags flags;
  flags.enableDebugInfo(/*enable=*/true, /*prettyForm=*/false);
  flags.elideLargeElementsAttrs(64);
  model->module.get().print(os, flags);
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
  llvm::ToolOutputFile file(options.output.empty() ? "-" : options.output, error, llvm::sys::fs::OF_None);
  if (error)
    return Error::cannotWrite("cannot write '" + options.output + "': " + error.message());
  file.os() << content;
  file.os().flush();
  if (file.os().has_error()) {
    std::string reason = file.os().error().message();
    file.os().clear_error();
    return Error::cannotWrite("cannot write '" + options.output + "': " + reason);
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

void Driver::fill(PlanOptions &plan) const {
  plan.context = contextSlots();
  plan.maxBatch = options.maxBatch;
  plan.maxRows = options.maxRows;
  plan.weights = options.weights;
  plan.target = archs.empty() ? "cpu" : "cuda";
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
  fill(plan);
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

Result<void> Driver::runPhase(Phase phase) {
  progress.stage(stringifyPhase(phase).str());
  if (phase != Phase::imported) {
    PassManager manager(&context);
    PlanOptions plan;
    fill(plan);
    // A normalized module is a valid imported one, so the second run finds nothing left to normalize.
    buildPipelineTo(manager, phase, plan);
    manager.enableCrashReproducerGeneration(reproducerName());
    if (failed(manager.run(*model->module)))
      return Error::internal("phase " + stringifyPhase(phase).str() + ": " + (firstError.empty() ? "a pass failed" : firstError) +
                             "; reproducer: " + reproducerName());
  }
  if (!refused.empty())
    return Error::badData("'" + options.model + "': --strict: " + refused.front() +
                          (refused.size() > 1 ? " (and " + std::to_string(refused.size() - 1) + " more)" : ""));
  if (failed(verifyPhase(*model->module, phase)))
    return Error::internal("phase " + stringifyPhase(phase).str() + ": " + firstError);
  return options.dumpPhases.empty() ? Result<void>() : dump(stringifyPhase(phase).str(), text(), ".mlir");
}

Result<std::vector<CpuCode>> Driver::generate() {
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
  llvm::Expected<std::vector<CpuCode>> result = compileForCpu(*model->module, levels, code);
  if (!result) {
    std::string reason = "code: " + llvm::toString(result.takeError());
    std::error_code error;
    llvm::raw_fd_ostream os(reproducerName(), error);
    if (!error)
      os << text();
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
  if (options.strict && failed(collectRefusedFusions(context, refused)))
    return Error::internal("--strict: cannot listen to the remarks of passes");
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
  if (!options.quiet)
    for (const std::string &note : model->notes)
      llvm::errs() << "ds-compile: note: " << note << "\n";
  for (Phase phase : allPhases) {
    if (Result<void> done = runPhase(phase); !done)
      return done;
    if (last == phase) {
      progress.finish();
      return write(text());
    }
    if (phase != Phase::normalized)
      continue;
    if (Result<void> done = quantization.run(*model->module, *model->tensors, progress); !done)
      return done;
    if (options.train)
      if (Result<void> done = settleRecompute(); !done)
        return done;
  }
  if (options.report && !options.quiet) {
    llvm::errs() << planReport(*model->module);
    Result<std::string> quantized = quantizationReport(*model->module, *model->tensors, quantization.corrected());
    if (!quantized)
      return quantized.error();
    llvm::errs() << *quantized;
  }
  if (options.reportCosts && !options.quiet)
    llvm::errs() << costReport(*model->module, costStep, machine);
  if (options.emit == "costs") {
    progress.finish();
    return write(costJson(*model->module, costStep, machine));
  }
  std::vector<PackageFile> files;
  if (archs.empty()) {
    Result<std::vector<CpuCode>> code = generate();
    if (!code)
      return code.error();
    if (options.emit != "package")
      return write(lowered);
    for (CpuCode &object : *code)
      files.push_back({"code/" + object.level + ".so", std::move(object.bytes)});
  } else {
    progress.stage("code");
    if (options.emit != "package") {
      Result<std::string> emitted = emitGpuText(*model->module, archs, options.emit);
      return emitted ? write(*emitted) : Result<void>(emitted.error());
    }
    std::vector<std::string> notes;
    Result<std::vector<PackageFile>> code = compileForGpu(*model->module, archs, !options.noEmulation, notes);
    if (!code)
      return code.error();
    for (const std::string &note : notes)
      if (!options.quiet)
        llvm::errs() << "ds-compile: note: " << note << "\n";
    files = std::move(*code);
  }
  for (SideFile &file : model->sideFiles)
    files.push_back({file.name, std::move(file.content)});
  files.push_back({"profile.json", profileDescription(*model->module, options.fusion)});
  progress.stage("package");
  PackageOptions package;
  package.producer = "ds-compile " DS_VERSION;
  package.threads = options.threads;
  package.matrices = quantization.corrected() ? &quantization.corrected()->matrices : nullptr;
  package.progress = [this](int64_t done, int64_t total) { progress.advance(done, total); };
  package.cancelled = [this] { return options.interrupted && *options.interrupted; };
  Result<void> written = writePackage(*model->module, *model->tensors, files, options.output, package);
  progress.finish();
  return written;
}

Result<void> ds::compile(const CompileOptions &options) { return Driver(options).run(); }
