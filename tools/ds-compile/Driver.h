// From a model's files to a package, phase by phase.
#ifndef TOOLS_DS_COMPILE_DRIVER_H
#define TOOLS_DS_COMPILE_DRIVER_H

#include "ds/Import/Result.h"
#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace ds {

struct CompileOptions {
  std::string model;  // folder or .gguf file
  std::string output; // package, or file of --emit; "-" is standard output
  std::string emit;   // package, ds, plan, costs, llvm, asm, gpu, ptx, sass
  std::string target; // a list of cpu and cuda:ARCH,...
  std::string to;     // last phase; then its IR is the output
  std::string dumpPhases;
  std::string task;     // empty: what the model's configuration says
  std::string weights;  // f32, bf16 or f16; empty: f32, or bf16 for CUDA
  std::string quantize; // scheme of ds-quantize-weights: none, stored, int8, int4-g64 ...
  std::vector<std::string> quantizeRules;
  std::string calibration;  // file of moments that matrices are corrected with; empty: none
  bool scaleInputs = false; // of matrices, by the calibration
  std::string activations;  // f32 or int8: of quantized matrices
  std::string cache;        // f32, bf16 or int8: keys and values of past tokens
  std::string fusion;       // none, generic or specialized
  std::string progress;
  std::string machine;                 // description for the cost model; empty: the one built in
  std::optional<std::string> cublaslt; // rows from which products are cuBLASLt's where it is there; "": 512; none: never
  std::string gpuMachine;              // the same of a GPU: a name or a file; empty: by the first architecture
  std::string tuning;                  // entries that say how products on CUDA are cut; empty: those that are built in
  std::string tuningSpaces;            // file that --report-tuning writes; empty: it prints a table
  std::vector<int64_t> costStep;       // batch, tokens, past, threads of the step that is predicted
  std::vector<std::string> targetCpus;
  // Of --train, and errors without it.
  std::optional<std::string> optimizer; // sgd, adam, adamw (default) or lamb
  std::optional<std::string> recompute; // none (default), all, how many layers, or budget:SIZE
  std::optional<std::string> dropout;   // config (default), or the rate wherever the model has one
  std::optional<double> labelSmoothing;
  std::string compute = "f32"; // f32, bf16 or f16
  int64_t context = 0, maxBatch = 16, maxRows = 512;
  unsigned threads = 1;
  bool train = false, layerDrop = false, randomWeights = false;
  bool noEmulation = false, noWgmma = false, observe = false, strict = false, report = false, reportCosts = false, reportTuning = false,
       quiet = false;
  /// Set by a signal: the package is given up and its unfinished folder removed.
  const std::atomic<bool> *interrupted = nullptr;
};

/// Compiles `options.model`. Errors carry the exit code of the tool.
Result<void> compile(const CompileOptions &options);

} // namespace ds
#endif // TOOLS_DS_COMPILE_DRIVER_H
