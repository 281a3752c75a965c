// Interprets a module of `ds`, or a model, in f64: the oracle.
#include "Values.h"
#include "dialects/RegisterDialects.h"
#include "ds/Import/Import.h"
#include "ds/Reference/Interpreter.h"
#include "ds/Target/Package/InputScaling.h"
#include "mlir/IR/AsmState.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Support/FileUtilities.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/InitLLVM.h"
#include "llvm/Support/SourceMgr.h"

using namespace mlir;
using namespace ds;
using namespace ds::reference;
namespace cl = llvm::cl;

static cl::OptionCategory category("ds-reference");
static cl::opt<std::string> inputFile(cl::Positional, cl::desc("module, `-` for standard input"), cl::cat(category));
static cl::opt<std::string> modelPath("model",
                                      cl::desc("Hugging Face folder or GGUF file to import in place of a module; also where a "
                                               "module's parameters are read from"),
                                      cl::value_desc("path"), cl::cat(category));
static cl::opt<std::string> task("task", cl::desc("task to import the model for"), cl::cat(category));
static cl::opt<std::string> functionName("function",
                                         cl::desc("function to run; default: every function without arguments, or the only "
                                                  "function of a model"),
                                         cl::cat(category));
static cl::list<std::string> inputs("input",
                                    cl::desc("argument by `ds.name` or number: NAME=@file.npy, or NAME=2x3xi32=1,2,3,4,5,6 (one value "
                                             "fills all; `iota` counts along the last axis)"),
                                    cl::value_desc("name=value"), cl::cat(category));
static cl::list<std::string> outputs("output", cl::desc("write a result: NAME=@file.npy"), cl::value_desc("name=value"), cl::cat(category));
static cl::list<std::string> comparisons("compare", cl::desc("compare a result with an array: NAME=@file.npy, or a literal as for --input"),
                                         cl::value_desc("name=value"), cl::cat(category));
static cl::opt<double> absolute("atol", cl::desc("tolerance of --compare"), cl::init(1e-5), cl::cat(category));
static cl::opt<double> relative("rtol", cl::desc("tolerance of --compare, relative to the expected value"), cl::init(1e-5),
                                cl::cat(category));
static cl::opt<std::string>
    calibrationPath("calibration", cl::desc("moments, as for ds-compile, that the quantized matrices of a module are rounded with"),
                    cl::value_desc("file"), cl::cat(category));
static cl::opt<bool> scaleInputs("scale-inputs", cl::desc("with --calibration, as for ds-compile"), cl::cat(category));
static cl::opt<bool> streamWeights("stream-weights", cl::desc("hold one weight at a time; slower"), cl::cat(category));
static cl::opt<bool> quiet("quiet", cl::desc("do not print results"), cl::cat(category));

static int fail(const Error &error) {
  llvm::errs() << "ds-reference: " << error.message << "\n";
  return static_cast<int>(error.code);
}

/// Runs one function; writes, compares and prints its results. Returns the exit code.
static int runFunction(Interpreter &interpreter, func::FuncOp function) {
  Result<std::vector<TensorPtr>> arguments = readArguments(function, inputs);
  if (!arguments)
    return fail(arguments.error());
  FailureOr<std::vector<TensorPtr>> results = interpreter.call(function.getName(), *arguments);
  if (failed(results))
    return 1;
  Result<bool> holds = compareResults(function, *results, comparisons, absolute, relative, llvm::outs());
  if (!holds)
    return fail(holds.error());
  if (Result<void> written = writeResults(function, *results, outputs); !written)
    return fail(written.error());
  if (!quiet && outputs.empty() && comparisons.empty())
    printResults(function, *results, llvm::outs());
  return *holds ? 0 : 1;
}

static int runModule(ModuleOp module, WeightLoader loader) {
  Interpreter interpreter(module, std::move(loader), {/*keepWeights=*/!streamWeights});
  if (!functionName.empty()) {
    auto function = module.lookupSymbol<func::FuncOp>(functionName);
    return function ? runFunction(interpreter, function) : fail(Error::usage("no function @" + functionName));
  }
  std::vector<func::FuncOp> functions;
  for (auto function : module.getOps<func::FuncOp>())
    if (!function.isDeclaration() && function.isPublic() && (!inputs.empty() || !modelPath.empty() || function.getNumArguments() == 0))
      functions.push_back(function);
  bool givesValues = !inputs.empty() || !outputs.empty() || !comparisons.empty() || !modelPath.empty();
  if (functions.empty() || (givesValues && functions.size() > 1))
    return fail(Error::usage("name the function to run with --function"));
  int worst = 0;
  for (func::FuncOp function : functions) {
    interpreter.resetCaches();
    worst = std::max(worst, runFunction(interpreter, function));
  }
  return worst;
}

int main(int argc, char **argv) {
  llvm::InitLLVM init(argc, argv);
  registerAsmPrinterCLOptions();
  cl::HideUnrelatedOptions(category);
  cl::ParseCommandLineOptions(argc, argv, "interprets a module of ds, or a model, in f64\n");
  if (inputFile.empty() && modelPath.empty())
    return fail(Error::usage("expects a module or --model"));

  DialectRegistry registry;
  registerDialects(registry);
  MLIRContext context(registry);
  llvm::SourceMgr sources;
  SourceMgrDiagnosticHandler diagnostics(sources, &context);
  ImportedModel model;
  if (!modelPath.empty()) {
    ImportOptions options;
    options.task = task;
    Result<ImportedModel> imported = importModel(context, modelPath, options);
    if (!imported)
      return fail(imported.error());
    model = std::move(*imported);
    if (inputFile.empty())
      return runModule(*model.module, loadFrom(*model.tensors));
  }
  std::string message;
  std::unique_ptr<llvm::MemoryBuffer> file = openInputFile(inputFile, &message);
  if (!file)
    return fail(Error::missing(message));
  sources.AddNewSourceBuffer(std::move(file), llvm::SMLoc());
  OwningOpRef<ModuleOp> module = parseSourceFile<ModuleOp>(sources, &context);
  if (!module)
    return static_cast<int>(ErrorCode::BadData);
  if (calibrationPath.empty())
    return runModule(*module, model.tensors ? loadFrom(*model.tensors) : WeightLoader());
  if (!model.tensors)
    return fail(Error::usage("--calibration: expects --model as well"));
  Result<Calibration> calibration = Calibration::open(calibrationPath);
  if (!calibration)
    return fail(calibration.error());
  InputScales scales;
  if (scaleInputs) {
    Result<InputScales> chosen = chooseInputScales(*module, *model.tensors, *calibration, {});
    if (!chosen)
      return fail(chosen.error());
    scales = std::move(*chosen);
  }
  const ScaledTensors tensors(*model.tensors, std::move(scales.tensors));
  CorrectionOptions correction;
  correction.inputs = &scales.inputs;
  Result<CorrectedWeights> corrected = correctWeights(*module, tensors, *calibration, correction);
  if (!corrected)
    return fail(corrected.error());
  return runModule(*module, loadFrom(tensors, &corrected->matrices));
}
