// code/launches.json as docs/package-format.md has it: which kernels the programs of a package launch on a device, with what.
#ifndef DSRT_LIB_LAUNCHTABLE_H
#define DSRT_LIB_LAUNCHTABLE_H

#include "runtime/lib/Manifest.h"

namespace dsrt {

/// Says what launches are, unless a table of launches names another.
constexpr const char *profileFile = "profile.json";

enum class ModuleTarget { cuda, emulate };

/// One file with all kernels: a cubin or PTX of an architecture, or host code for the emulator.
struct ModuleRecord {
  ModuleTarget target = ModuleTarget::cuda;
  std::string arch; // sm_90a, compute_80; of the emulator a CPU level
  std::string file;
  int32_t version = 0;       // of CUDA: 90 of sm_90a and compute_90
  bool isPtx = false;        // of CUDA: compute_... or a file .ptx, compiled by the driver
  bool thisArchOnly = false; // of CUDA: sm_90a and compute_90a run on 9.0 alone
};

struct KernelRecord {
  std::string name;
  int32_t threads = 0;                // of a block
  int32_t sharedBytes = 0;            // dynamic shared memory of a block
  std::string only = {}, except = {}; // an architecture that alone, or alone not, has the kernel and its launches; empty: no such

  bool isOn(std::string_view arch) const { return only.empty() ? except.empty() || arch != except : arch == only; }
};

/// Sizes of a step: B, T, B * T, R.
enum class StepSize { batch, tokens, tokenRows, selected };
constexpr int stepSizeCount = 4;
const char *nameOf(StepSize size);

struct LaunchSizes {
  int64_t values[stepSizeCount] = {}; // by StepSize
  LaunchSizes(int32_t batch, int32_t tokens, int32_t selected) : values{batch, tokens, static_cast<int64_t>(batch) * tokens, selected} {}
  int64_t of(StepSize size) const { return values[static_cast<int>(size)]; }
};

/// `least` <= size <= `most`.
struct SizeBound {
  StepSize size = StepSize::batch;
  int64_t least = 0, most = 0;
};

/// A number of blocks: `constant` times, for each factor, the size divided by a number and rounded up.
struct GridSize {
  int64_t constant = 1;
  std::vector<std::pair<StepSize, int64_t>> factors;
  int64_t of(const LaunchSizes &sizes) const;
};

enum class ArgKind { arena, weights, input, output, kv, counters, sampling, chosen, constant, size };

/// What a parameter of a kernel gets.
struct LaunchArg {
  ArgKind kind = ArgKind::arena;
  int64_t value = 0;               // the byte offset, the index of the input or output, the constant
  StepSize size = StepSize::batch; // of ArgKind::size
  bool isPointer() const { return kind != ArgKind::constant && kind != ArgKind::size; }
  /// 8, or 4 of a size.
  size_t bytes() const { return kind == ArgKind::size ? 4 : 8; }
};

/// A matrix in the arena of a step.
struct ArenaPlace {
  static constexpr int64_t rowPadding = 128;
  int64_t offset = 0, bytesPerRow = 0; // it begins at `offset`, and so many bytes behind for each row, their number rounded up
  int64_t at(int64_t rows) const { return offset + bytesPerRow * ((rows + rowPadding - 1) / rowPadding * rowPadding); }
};

enum class HalfType { bf16, f16 };
const char *nameOf(HalfType type);

/// A product of cuBLASLt: sums [B * T, columns] of f32 are x [B * T, depth] times weights [columns, depth] transposed, rows side by side.
struct ProductRecord {
  HalfType type = HalfType::bf16; // of x and weights
  int64_t columns = 0, depth = 0;
  ArenaPlace x, weights, sums;
};

/// Whether a launch is there for models with cuBLASLt, without, or for all.
enum class LibraryUse { any, with, without };

/// What a launch that chooses tokens is for: it is left out where no row asks for it.
enum class SamplePart { always, greedy, random, topK, topP, penalty };

struct LaunchRecord {
  int32_t kernel = 0;                   // of LaunchTable::kernels; -1 of a product
  std::optional<ProductRecord> product; // in place of a kernel, and of `grid` and `args`
  LibraryUse library = LibraryUse::any;
  int32_t launch = 0; // of the plan; several stages may share it; 0 of those that choose tokens
  SamplePart part = SamplePart::always;
  std::vector<SizeBound> when;
  std::vector<int32_t> wants; // outputs
  GridSize grid[3];
  std::vector<LaunchArg> args;

  /// True where `when` holds and no dimension of the grid is 0. Then `blocks` is the grid.
  bool runs(const LaunchSizes &sizes, uint32_t blocks[3]) const;
};

struct LaunchProgram {
  std::string name;
  int64_t arenaBytes = 0, countersBytes = 0;
  int32_t launchCount = 0; // of the plan: one more than the greatest `launch`
  std::vector<LaunchRecord> launches;
  int32_t sampledOutput = -1;         // the logits from which `sampling` chooses tokens; -1: the program chooses none
  std::vector<LaunchRecord> sampling; // behind `launches`, for steps whose tokens are wanted

  /// Calls `visit` with each launch, those that choose tokens last, while it gives ok.
  template <typename Visit> Status eachLaunch(const Visit &visit) const {
    for (const std::vector<LaunchRecord> *list : {&launches, &sampling})
      for (const LaunchRecord &launch : *list)
        DSRT_TRY(visit(launch));
    return Status();
  }
};

struct LaunchTable {
  int64_t version = 0;
  /// What the device has in place of the manifest's numbers, in a package that has another target as well (version 2): its part of the
  /// weights file, the bytes of a cache, and the file that says what its launches are. In version 1 those of the manifest.
  int64_t weightsOffset = 0, weightsBytes = 0, kvBytes = 0;
  std::string profileFile;
  std::vector<ModuleRecord> modules;
  std::vector<KernelRecord> kernels;
  std::vector<LaunchProgram> programs; // in the order of the manifest's

  bool has(ModuleTarget target) const;
  /// Whether some launch is a product of cuBLASLt.
  bool hasProducts() const;
  /// "sm_90a, compute_80": the architectures of a target.
  std::string archs(ModuleTarget target) const;
};

/// Parses and checks a table against the manifest of its package. `place` opens the messages: the file's path.
/// Fails with bad data, naming the key, what was expected and what was found.
Status parseLaunches(std::string_view text, std::string_view place, const Manifest &manifest, LaunchTable &table);

} // namespace dsrt
#endif // DSRT_LIB_LAUNCHTABLE_H
