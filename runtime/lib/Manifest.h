// manifest.json as docs/package-format.md has it, every number checked against every other before anything is used.
#ifndef DSRT_LIB_MANIFEST_H
#define DSRT_LIB_MANIFEST_H

#include "runtime/lib/CpuLevel.h"
#include <cstdint>
#include <optional>
#include <vector>

namespace dsrt {

enum class Task { causalLm, encoder, maskedLm, sequenceClassification };
enum class PositionRule { arange, fromMask, fromIds };
enum class InputKind {
  inputIds,
  positions,
  mask,
  tokenTypeIds,
  past,
  rows,
  labels,
  layerGates,
  layerScales,
  dropoutSeed,
  lossScale,
  controls,
  hyper
};
constexpr int inputKindCount = 13;
/// True for the inputs of training that have one size in every step.
constexpr bool isControl(InputKind kind) { return kind >= InputKind::layerGates; }
/// Which of a step's counts the first axes of an output are.
enum class OutputAxes { batchTokens, batch, rows, none };

const char *nameOf(Task task);
const char *nameOf(InputKind kind);

struct ModelRecord {
  std::string family, name, weightsDtype;
  Task task = Task::encoder;
  int32_t vocabSize = 0, hiddenSize = 0, layers = 0;
  int32_t maxPositions = -1; // -1: no limit
  int64_t parameters = 0;
  std::vector<int32_t> bos, eos;
  int32_t pad = -1;
  int32_t labelCount = 0;
  int32_t tokenTypes = 2; // segments that token_type_ids may name
};

struct OutputRecord {
  std::string name; // hidden, logits, embedding or input:NAME
  OutputAxes axes = OutputAxes::batchTokens;
  int64_t width = 1; // elements for each item of the first axes
};

struct ProgramRecord {
  std::string name, symbol; // the symbol is that of CPU code
  int32_t maxBatch = 0, maxRows = 0;
  int64_t arenaBytes = 0;
  std::vector<InputKind> inputs;
  int64_t controlSizes[inputKindCount] = {}; // elements, of controls
  std::vector<OutputRecord> outputs;

  /// The index of an output; -1 when the program has none of that name.
  int indexOfOutput(std::string_view output) const;
};

struct FileRecord {
  std::string name;
  int64_t bytes = 0;
  std::string sha256;                   // of small files and code; else empty
  int64_t chunkBytes = 0;               // of weights: the XXH3-128 of each chunk
  std::vector<std::string> chunkHashes; // ceil(bytes / chunkBytes)
};

struct CodeRecord {
  CpuLevel level = CpuLevel::none;
  std::string file;
};

struct Manifest {
  std::string producer;
  ModelRecord model;
  PositionRule positionRule = PositionRule::arange;
  int32_t positionOffset = 0, positionPad = 0;
  int32_t context = 0;          // 0: no cache
  int64_t kvBytes = 0;          // of one sequence
  std::string cacheType;        // f32, bf16 or int8; empty without a cache
  bool countsDistances = false; // between tokens: attention has a window or slopes
  int64_t partBytes = 0;        // of each part of the state that training keeps; 0: not a training package
  std::string weightsFile;
  int64_t weightsOffset = 0, weightsBytes = 0;
  std::vector<CodeRecord> code; // of CPU levels; may be empty where there are launches
  std::string launchesFile;     // what devices run; empty: nothing
  std::vector<ProgramRecord> programs;
  std::vector<FileRecord> files;

  /// Parameters, gradients and two moments.
  static constexpr int64_t stateParts = 4;
  bool trains() const { return partBytes > 0; }
  const ProgramRecord *program(std::string_view name) const;
  const FileRecord *file(std::string_view name) const;
};

/// Parses and checks the text of a manifest. `place` opens the messages: the file's path.
/// Fails with bad data, naming the key, what was expected and what was found; another version or ABI is refused by name first.
Status parseManifest(std::string_view text, std::string_view place, Manifest &manifest);

} // namespace dsrt
#endif // DSRT_LIB_MANIFEST_H
