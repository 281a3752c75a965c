// How products on CUDA are cut: what a choice depends on, the configurations there are, what was measured, and what was taken.
#ifndef DS_TARGET_CUDA_TUNING_H
#define DS_TARGET_CUDA_TUNING_H

#include "ds/Import/Result.h"
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ds {

/// What the choice for the stages of a product depends on. Members are in the order that entries are sorted by.
struct TuningKey {
  std::string arch;    // of the first machine of the package that runs the stage, such as "sm_90a"
  std::string builder; // rows1, rows8 and rows16: weights past 1 to 16 rows; tiles: mma.sync, wgmma: both of more rows
  std::string weights; // bf16, f16, or as a scheme is called: int8-g64, int4-g32-asym, fp8-row
  int64_t n = 0;       // rows of weights of all linears, as many as fill units of 16
  int64_t k = 0;       // depth
  int64_t rows = 0;    // the most of the steps: 1, 8, 16, 32, 64 to 1024, and 2048 for all that have more than 1024
  bool norm = false;   // rows go through a norm
  std::string form;    // plain; pairs: two linears meet; heads: rope or a cache reads some

  auto operator<=>(const TuningKey &) const = default;
  /// The least rows of the steps.
  int64_t leastRows() const;
  /// `sm_90a rows1 bf16 n 2048 k 2048 rows 1 plain`, with ` norm` before the form.
  std::string text() const;
};

/// What a builder is free to choose, by name; docs/cuda.md says what the names mean.
using TuningConfig = std::map<std::string, int64_t>;
/// `ahead 8, persistent 1, resident 2, splits 1, warps 8`.
std::string textOf(const TuningConfig &config);

/// A configuration of a key's space, and what the model of resources says of it.
struct TuningCandidate {
  TuningConfig config;
  int64_t threads = 0, blocks = 0; // of a block; of a step with the most rows
  int64_t registers = 0;           // of a thread, estimated
  int64_t sharedBytes = 0;         // of a block
  int64_t bytesInFlight = 0;       // on their way to a multiprocessor
  double waves = 0;                // blocks by those that the machine has places for
  double us = 0;                   // predicted
};

/// The configurations of a key that fit a machine of its architecture, the fastest by the model first, and among them what `tuningRule`
/// gives. Errors: BadData, naming the member of a key that no product has.
Result<std::vector<TuningCandidate>> tuningSpace(const TuningKey &key);
/// What is taken where nothing was measured. Errors: as tuningSpace.
Result<TuningConfig> tuningRule(const TuningKey &key);
/// The time in us that moving the weights once, or the multiply-adds at the full rate, takes on the machine of the key's architecture.
/// Errors: as tuningSpace.
Result<double> tuningFloor(const TuningKey &key);

/// A measured time and where it comes from.
struct TuningMeasurement {
  double us = 0, spread = 0; // median; half quartile distance as a share of it
  double rate = 0;           // GB/s of weights (rows1 to rows16), TFLOP/s (tiles, wgmma)
  double share = 0;          // of what the machine reached, reading or multiplying
  int64_t candidates = 1;    // that were measured beside it, itself included
  std::string device, driver, date;
  std::string ptxas; // empty where it was not written down
  std::string commit;
};

struct TuningEntry {
  TuningKey key;
  TuningConfig config;
  std::optional<TuningMeasurement> measured; // none: asked for ("source": "asked")
  std::string place;                         // file:line
};
/// The line of JSON, without its end.
std::string lineOf(const TuningEntry &entry);

/// Entries by key.
class TuningDatabase {
public:
  /// Reads lines of JSON, one entry each; lines may be empty. `file` opens every message. With `check` each configuration has to be one of
  /// its key's space.
  /// Errors: BadData, with file, line, member, what is expected and what was found: for another shape, an unknown member, a second entry
  /// of a key, a configuration that is not in the space.
  static Result<TuningDatabase> parse(std::string_view text, const std::string &file, bool check = true);
  /// The same of a file. Errors: Missing, and those of parse.
  static Result<TuningDatabase> read(const std::string &path);
  /// The entries of lib/Target/CUDA/tuning.
  static const TuningDatabase &builtIn();
  /// Their text, and the name of the file, one for each machine.
  static std::vector<std::pair<std::string, std::string_view>> builtInFiles();

  const TuningEntry *find(const TuningKey &key) const;
  /// An entry of the same product, with another norm or form: the same norm first, then the same form.
  const TuningEntry *findAlike(const TuningKey &key) const;
  const std::map<TuningKey, TuningEntry> &all() const { return entries; }

private:
  std::map<TuningKey, TuningEntry> entries;
};

/// What was taken for a stage.
struct TuningChoice {
  std::string kernel; // of the plan
  TuningKey key;
  TuningConfig config;
  enum class From { entry, alike, model } from = From::model;
  std::string place; // of the entry
  std::string of;    // the key of an entry that is alike
};

/// The choices of one package.
struct Tuning {
  /// Those of a file win over those that are built in.
  TuningDatabase asked;
  /// Of the stages that the package has, in the order of the kernels.
  std::vector<TuningChoice> choices;
  /// Entries that were found and could not be taken, each with the reason.
  std::vector<std::string> notes;
  /// Kernels whose products are of several types: rules cut them.
  std::vector<std::string> mixed;

  /// The configuration of `key`: an entry for it, else one that is alike, else the rule's.
  TuningChoice choose(const TuningKey &key) const;
  /// Entries of `asked` that no stage took.
  std::vector<const TuningEntry *> unused() const;
};

/// A table of the choices: key, configuration, where it comes from, predicted time, floor, registers and shared memory by the model.
std::string tuningReport(const Tuning &tuning);
/// The space of every key as lines of JSON, the best by the model first; `chosen` marks what was taken.
std::string tuningSpaces(const Tuning &tuning);

} // namespace ds
#endif // DS_TARGET_CUDA_TUNING_H
