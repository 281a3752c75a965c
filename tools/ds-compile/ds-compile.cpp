// Compiles a model to a package.
#include "Driver.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/InitLLVM.h"
#include "llvm/Support/Signals.h"
#include "llvm/Support/raw_ostream.h"
#include <csignal>
#include <thread>

namespace cl = llvm::cl;

static cl::OptionCategory category("ds-compile options");
static cl::opt<std::string> model(cl::Positional, cl::value_desc("model"), cl::desc("MODEL: a Hugging Face folder or a GGUF file"),
                                  cl::Required, cl::cat(category));
static cl::opt<std::string> output("o", cl::value_desc("package"),
                                   cl::desc("the package to write, or the file for --emit and --to (- is stdout)"), cl::cat(category));
static cl::opt<std::string>
    emit("emit", cl::init("package"),
         cl::desc("package, ds, plan, costs (JSON), llvm or asm (of one --target-cpu), gpu, ptx or sass (of --target=cuda)"),
         cl::cat(category));
static cl::opt<std::string> to("to", cl::desc("stop after this phase and write its IR: imported, normalized, planned"), cl::cat(category));
static cl::opt<std::string> dumpPhases("dump-phases", cl::value_desc("dir"), cl::desc("write the IR of every phase to this folder"),
                                       cl::cat(category));
static cl::opt<std::string>
    target("target", cl::init("cpu"), cl::value_desc("target"),
           cl::desc("a list of cpu and cuda:ARCH,... (sm_80, sm_86, sm_89, sm_90, sm_90a, sm_100a, sm_120; default sm_90a)"),
           cl::cat(category));
static cl::opt<bool> noWgmma("no-wgmma", cl::desc("products of many rows by mma.sync on sm_90a too, in place of wgmma (docs/cuda.md)"),
                             cl::cat(category));
static cl::opt<std::string>
    cublaslt("cublaslt", cl::ValueOptional, cl::value_desc("rows"),
             cl::desc("in steps of so many rows and more (default: 512) products by cuBLASLt where it is there when the package runs "
                      "(docs/cuda.md)"),
             cl::cat(category));
static cl::opt<bool> noEmulation("no-emulation",
                                 cl::desc("leave out of a package for CUDA the code that runs it on the CPU (--device=emulate)"),
                                 cl::cat(category));
static cl::list<std::string> targetCpus("target-cpu", cl::CommaSeparated,
                                        cl::desc("CPU levels: x86-64-v2, x86-64-v3, x86-64-v4, x86-64-v4-vnni, x86-64-v4-bf16, znver4, "
                                                 "x86-64-v4-fp16, native (default: the first three, and "
                                                 "those that products of the weights and activations gain from)"),
                                        cl::cat(category));
static cl::opt<std::string> task("task", cl::desc("causal-lm, masked-lm, sequence-classification or encoder (default: as the model says)"),
                                 cl::cat(category));
static cl::opt<std::string> fusion("fusion", cl::init("specialized"), cl::desc("none, generic or specialized"), cl::cat(category));
static cl::opt<std::string> weights("weights",
                                    cl::desc("type of stored matrices: f32, bf16 or f16 (default: f32; bf16 for CUDA, which has no f32)"),
                                    cl::cat(category));
static cl::opt<std::string>
    quantize("quantize", cl::init("none"), cl::value_desc("scheme"),
             cl::desc("codes of stored matrices: none, int8, int8-row, int8-gN, intB-gN (B bits from 2 to 7, groups of N), each also with "
                      "-asym, fp8, fp8-row, "
                      "fp8-gN (e4m3), moqB (MoQ's grid of B bits, also with -asym or -inference and -groupsN), "
                      "stored (those of a GGUF file's blocks), auto:BITS or auto:DECIBELSdB (3 to 8 bits for a budget, with "
                      "--calibration), or a file FILE.json of schemes (docs/quantization.md)"),
             cl::cat(category));
static cl::list<std::string> quantizeRules("quantize-rule", cl::value_desc("regex=scheme"),
                                           cl::desc("the scheme of tensors whose names match, before --quantize; may be repeated"),
                                           cl::cat(category));
static cl::opt<std::string> calibration("calibration", cl::value_desc("file"),
                                        cl::desc("what matrices multiply on a text, from `python -m ds_mlir calibrate`: quantized matrices "
                                                 "are rounded with regard to it"),
                                        cl::cat(category));
static cl::opt<bool>
    scaleInputs("scale-inputs",
                cl::desc("with --calibration: also scale what matrices multiply most up in them, and down where it is made"),
                cl::cat(category));
static cl::opt<bool> observe("observe-inputs", cl::desc("also give what matrices multiply as outputs, for calibration"), cl::cat(category));
static cl::opt<std::string>
    activations("activations", cl::init("f32"),
                cl::desc("what quantized matrices multiply in steps of many tokens: f32, or int8, rounded for each token "
                         "and 256 columns or less"),
                cl::cat(category));
static cl::opt<std::string>
    cache("cache", cl::init("f32"),
          cl::desc("what a decoder keeps of past tokens: f32, bf16, or int8, codes with one scale for each token and head"),
          cl::cat(category));
static cl::opt<bool> train("train", cl::desc("a package that trains the model (docs/training.md)"), cl::cat(category));
static cl::opt<std::string> optimizer("optimizer", cl::init("adamw"), cl::desc("with --train: sgd, adam, adamw or lamb"),
                                      cl::cat(category));
static cl::opt<bool> layerDrop("layer-drop", cl::desc("with --train: layers can be switched off in a step"), cl::cat(category));
static cl::opt<std::string>
    recompute("recompute", cl::init("none"), cl::value_desc("layers"),
              cl::desc("with --train: layers whose values are computed again: none, all, a number, or budget:SIZE: as few as bring the "
                       "values that a step keeps under SIZE (bytes, or 256MiB)"),
              cl::cat(category));
static cl::opt<std::string> dropout("dropout", cl::init("config"), cl::value_desc("rate"),
                                    cl::desc("with --train: of embeddings, residual branches and classifiers, 0 to less than 1, or config: "
                                             "what config.json says"),
                                    cl::cat(category));
static cl::opt<std::string> compute("compute", cl::init("f32"),
                                    cl::desc("with --train: what products multiply, f32, bf16 or f16; parameters stay f32"),
                                    cl::cat(category));
static cl::opt<double> labelSmoothing("label-smoothing", cl::init(0.0), cl::desc("with --train: of the cross-entropy"), cl::cat(category));
static cl::opt<bool> randomWeights("random-weights", cl::desc("with --train: a model of its config.json alone, of zeros at first"),
                                   cl::cat(category));
static cl::opt<int64_t> context("context", cl::init(0), cl::desc("slots of the cache (default: positions of the model, at most 2048)"),
                                cl::cat(category));
static cl::opt<int64_t> maxBatch("max-batch", cl::init(16), cl::desc("sequences of one step"), cl::cat(category));
static cl::opt<int64_t> maxRows("max-rows", cl::init(512), cl::desc("tokens of one step; longer prompts go in chunks"), cl::cat(category));
static cl::opt<unsigned> threads("jobs", cl::init(0), cl::desc("threads that compile (default: the processors)"), cl::cat(category));
static cl::opt<std::string> progress("progress", cl::init("auto"), cl::desc("auto, on or off"), cl::cat(category));
static cl::opt<bool> strict("strict",
                            cl::desc("an error for what is passed over otherwise: tensors that nothing reads, fusions no kernel serves"),
                            cl::cat(category));
static cl::opt<bool> report("report", cl::desc("print tables: memory (arena, peak, caches); what quantization does to each matrix"),
                            cl::cat(category));
static cl::opt<bool>
    reportCosts("report-costs",
                cl::desc("print a table of kernels with the time they are predicted to take, for GPUs with the least that memory takes"),
                cl::cat(category));
static cl::opt<std::string>
    machine("machine", cl::value_desc("file"),
            cl::desc("machine, from ds-bench --calibrate, that fusion is judged for and costs are predicted for (default: "
                     "built in)"),
            cl::cat(category));
static cl::opt<std::string>
    gpuMachine("gpu-machine", cl::value_desc("name or file"),
               cl::desc("with --target=cuda: the GPU that costs are predicted for, a100, h100, h200 or a description "
                        "(docs/cost-model.md; default: by the first architecture)"),
               cl::cat(category));
static cl::opt<std::string> tuning("tuning", cl::value_desc("file"),
                                   cl::desc("with --target=cuda: entries that say how products are cut, over those that are built in "
                                            "(docs/cuda.md)"),
                                   cl::cat(category));
static cl::opt<std::string>
    reportTuning("report-tuning", cl::ValueOptional, cl::value_desc("file"),
                 cl::desc("with --target=cuda: print how products are cut and why, or write all the ways there are to a file"),
                 cl::cat(category));
static cl::list<int64_t> costStep("cost-step", cl::CommaSeparated, cl::value_desc("B,T,PAST,THREADS"),
                                  cl::desc("the step that is predicted (default: 1,128,0,1)"), cl::cat(category));
static cl::opt<bool> quiet("quiet", cl::desc("print nothing but errors"), cl::cat(category));

static std::atomic<bool> interrupted = false;

int main(int argc, char **argv) {
  // LLVM takes signals that the caller had ignored as well, as nohup does this one.
  struct sigaction hangup = {};
  sigaction(SIGHUP, nullptr, &hangup);
  llvm::InitLLVM init(argc, argv);
  llvm::sys::SetInterruptFunction([] { interrupted = true; });
  if (hangup.sa_handler == SIG_IGN)
    sigaction(SIGHUP, &hangup, nullptr);
  cl::HideUnrelatedOptions(category);
  cl::SetVersionPrinter([](llvm::raw_ostream &os) { os << "ds-compile " DS_VERSION " (MLIR 22)\n"; });
  if (!cl::ParseCommandLineOptions(argc, argv, "Compiles a transformer model to a package.\n", &llvm::errs()))
    return 2;
  ds::CompileOptions options;
  options.model = model;
  options.output = output;
  options.emit = emit;
  options.target = target;
  options.noEmulation = noEmulation;
  options.noWgmma = noWgmma;
  if (cublaslt.getNumOccurrences())
    options.cublaslt = cublaslt;
  options.to = to;
  options.dumpPhases = dumpPhases;
  options.task = task;
  options.weights = weights.empty() ? (target == "cpu" ? "f32" : "bf16") : std::string(weights);
  options.quantize = quantize;
  options.quantizeRules.assign(quantizeRules.begin(), quantizeRules.end());
  options.calibration = calibration;
  options.scaleInputs = scaleInputs;
  options.observe = observe;
  options.activations = activations;
  options.cache = cache;
  options.fusion = fusion;
  options.progress = progress;
  options.targetCpus.assign(targetCpus.begin(), targetCpus.end());
  options.train = train;
  if (optimizer.getNumOccurrences())
    options.optimizer = optimizer;
  options.layerDrop = layerDrop;
  if (recompute.getNumOccurrences())
    options.recompute = recompute;
  if (labelSmoothing.getNumOccurrences())
    options.labelSmoothing = labelSmoothing;
  if (dropout.getNumOccurrences())
    options.dropout = dropout;
  options.compute = compute;
  options.randomWeights = randomWeights;
  options.context = context;
  options.maxBatch = maxBatch;
  options.maxRows = maxRows;
  options.threads = threads ? threads : std::max(1u, std::thread::hardware_concurrency());
  options.strict = strict;
  options.report = report;
  options.reportCosts = reportCosts;
  options.machine = machine;
  options.gpuMachine = gpuMachine;
  options.tuning = tuning;
  options.reportTuning = reportTuning.getNumOccurrences() > 0;
  options.tuningSpaces = reportTuning;
  options.costStep.assign(costStep.begin(), costStep.end());
  options.quiet = quiet;
  options.interrupted = &interrupted;
  ds::Result<void> result = ds::compile(options);
  if (result)
    return 0;
  llvm::errs() << "ds-compile: " << result.error().message << "\n";
  return static_cast<int>(result.error().code);
}
