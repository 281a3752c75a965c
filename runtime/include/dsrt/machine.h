// What a machine can do, and how long a launch takes on it: the cost model that the compiler and the profiler share. C++ without LLVM, in
// the small library `dsrt_machine`; docs/cost-model.md has the formulas. After Williams, Waterman and Patterson 2009 (Roofline).
#ifndef DSRT_MACHINE_H
#define DSRT_MACHINE_H

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#define DS_MACHINE_FORMAT "ds-machine"
#define DS_MACHINE_VERSION 1

namespace dsrt {

/// What `threads` threads reach together. Rates are FLOP/s and bytes/s, of all threads.
struct MachineLimits {
  int threads = 1;
  double flopsF32 = 0;                   // multiply-adds at the widest vectors
  double flopsF32V2 = 0, flopsF32V3 = 0; // products and sums of 4 lanes; multiply-adds of 8; 0 where the processor has none
  double flopsBf16 = 0;                  // dot products of bf16 pairs; 0 when the processor has none
  double l1Bytes = 0, l2Bytes = 0, l3Bytes = 0, memoryBytes = 0; // read
  double memoryWrite = 0;
  double barrierNs = 0, launchNs = 0; // one meeting of all threads; entering a kernel that has nothing to do
};

struct MachineDescription {
  std::string processor;                      // as currentProcessor() has it
  std::string level;                          // best CPU level, such as "x86-64-v4"
  int64_t l1Size = 0, l2Size = 0, l3Size = 0; // bytes: of one cache
  std::vector<MachineLimits> limits;          // by threads, increasing
};

/// Name, family, model and stepping of this machine's processor: "Intel(R) Xeon(R) Processor @ 2.50GHz (6.85.7)".
std::string currentProcessor();

/// The description to use when none is given: measured on the machine that its `processor` names, which begins with "built-in: ".
const MachineDescription &builtInMachine();

/// The limits at `threads`: those measured, else scaled from the nearest; what cores share (L3, memory) does not grow beyond the last.
MachineLimits limitsAt(const MachineDescription &machine, int threads);

/// Reads machine.json from its text. `place` opens the messages: the file's path. Returns 0, or the exit code 65 with one line in `error`:
/// another version, a missing, unknown or odd key.
int parseMachine(std::string_view text, std::string_view place, MachineDescription &machine, std::string &error);
/// The same of a file; 66 when it cannot be read.
int readMachine(const std::string &path, MachineDescription &machine, std::string &error);
/// The text of machine.json, ending in a newline.
std::string machineText(const MachineDescription &machine);

// ---- Launches -------------------------------------------------------------------------------------------------------------------

/// halves: as products of f16 read them; rounded: f32, or f16 where a level multiplies those and many rows read it; bytes: codes that
/// multiply bytes where more than two rows read them, else f32.
enum class MatrixType { none, f32, bf16, f16, halves, rounded, bytes };
/// The names above; f32 for none and for other names.
const char *nameOf(MatrixType type);
MatrixType matrixTypeNamed(std::string_view name);
enum class LaunchRows { tokens, selected, batch };

/// What one launch computes and moves, whatever the step: an entry of profile.json. Sums over the ops of its kernel.
struct LaunchFacts {
  std::string family;
  MatrixType matrix = MatrixType::none;
  LaunchRows rows = LaunchRows::tokens;
  bool causal = false;       // pairs count the keys up to each token alone
  double window = 0;         // keys that a token sees, itself included; 0: all up to it
  bool rowsAreTiles = false; // threads share whole rows only, as in a norm
  double macsPerRow = 0, macsPerPair = 0;
  double flopsPerRow = 0, flopsPerPair = 0, flopsPerKey = 0;       // all, two for a multiply-add
  double laneOpsPerRow = 0, laneOpsPerPair = 0, laneOpsPerKey = 0; // vector instructions times lanes beside the multiply-adds
  double weightBytes = 0, readBytesPerRow = 0, writtenBytesPerRow = 0, bytesPerKey = 0, scratchBytesPerRow = 0;
  double outputBytesPerRow = 0; // of those written, what goes to the caller's memory
  double lookupBytesPerRow = 0; // what a lookup needs of all tables
  double tableBytesPerRow = 0;  // cache lines that it brings of the largest table
  double tableSize = 0;         // bytes of that table
  double codes = 0;             // values of matrices of a product that lie as codes in tiles
  double heads = 0;             // of attention
  double keyBlockBytes = 0;     // 16 slots of a cache of keys lie side by side: lines that one new token of a sequence touches
};

/// What attention of a step has to do with keys.
struct SeenKeys {
  double keys = 0;  // sum over sequences of the keys that one of their tokens sees
  double pairs = 0; // sum over tokens of the keys that each sees, those up to it
};

/// That of one sequence of `tokens` behind `past` others. `window` is as LaunchFacts has it.
SeenKeys seenKeys(int64_t window, int64_t past, int64_t tokens);

/// The sizes of a step, as dsrt_traced_step has them.
struct StepSizes {
  int batch = 1, tokens = 1, rows = 1; // B, T, R
  double keys = 0;                     // sum over sequences of the keys they have behind the step
  double pairs = 0;                    // sum over tokens of the keys up to each
  double workingSet = 0;               // bytes the whole step touches: what caches must hold for the next step to find its weights there
  std::vector<std::pair<double, SeenKeys>> windows = {}; // by window, of all launches that have one

  /// Those that attention with `window` sees.
  SeenKeys seen(double window) const;
};

/// What one launch of one step computes and moves.
struct LaunchWork {
  std::string family;
  MatrixType matrix = MatrixType::none;
  double rows = 0, tiles = 0;              // tiles: what threads share; 0 when it does not limit them
  double macs = 0, flops = 0, laneOps = 0; // flops: all of them, also those of macs
  double weightBytes = 0, readBytes = 0, writtenBytes = 0, cacheBytes = 0, scratchBytes = 0, lookupBytes = 0;
  double outputBytes = 0; // of those written
  double lineBytes = 0;   // cache lines that lookups bring from memory
  double slotBytes = 0;   // those that single slots of a cache of keys bring and write back
  double lookups = 0;     // rows of a table that is larger than the pages a processor knows
  double workingSet = 0;

  /// What it has to move, each byte once.
  double bytes() const { return weightBytes + readBytes + writtenBytes + cacheBytes + lookupBytes; }
};

LaunchWork workOf(const LaunchFacts &facts, const StepSizes &step);

/// The working set of a step of these launches.
double workingSetOf(const std::vector<LaunchFacts> &launches, const StepSizes &step);

enum class Bound { compute, memory, launch };
const char *nameOf(Bound bound);

struct Prediction {
  double ns = 0;                            // from entering the kernel to the last thread's end
  double computeNs = 0, memoryNs = 0;       // what each would take alone
  double macNs = 0, laneNs = 0, feedNs = 0; // multiply-adds, other instructions, bytes, each at the full rate of the machine
  Bound bound = Bound::launch;              // the largest part
};

/// How long `work` takes on `threads` threads. `level` is the CPU level of the code; empty: the machine's.
Prediction predict(const LaunchWork &work, const MachineDescription &machine, int threads, std::string_view level = {});

/// The least it could take: peak rates, every byte once from where it lies, no overhead. What the share of the roofline is measured by.
Prediction roofline(const LaunchWork &work, const MachineDescription &machine, int threads, std::string_view level = {});

} // namespace dsrt
#endif // DSRT_MACHINE_H
