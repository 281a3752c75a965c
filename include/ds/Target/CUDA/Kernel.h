// What the builder of a kernel family gets on the GPU, and which builder serves which family. A builder gives a kernel of the plan one or
// more stages: GPU functions that are launched one behind the other, each for the steps whose sizes it is made for.
#ifndef DS_TARGET_CUDA_KERNEL_H
#define DS_TARGET_CUDA_KERNEL_H

#include "ds/Target/CPU/Kernel.h"
#include "ds/Target/CUDA/GpuEmitter.h"
#include "ds/Target/CUDA/Tuning.h"
#include <array>

namespace ds {

/// A size of a step.
enum class GpuSize { batch, tokens, rows }; // B; T; rows of outs[0]: B * T, R or B (B * T where outs[0] is a cache or `packed`)

/// A number of blocks: `constant` times, of each of `factors`, the size divided by a number and rounded up.
struct GpuGrid {
  int64_t constant = 1;
  llvm::SmallVector<std::pair<GpuSize, int64_t>, 2> factors;
};

/// `least <= size <= most`.
struct GpuBound {
  GpuSize size;
  int64_t least, most;
};

/// Of the functions of stages: `GpuShape::only` and `except`.
constexpr llvm::StringLiteral onlyAttr = "ds.only", exceptAttr = "ds.except";

/// How a stage is launched.
struct GpuShape {
  std::string name;                    // tells the stages of a kernel apart; becomes a part of the function's name
  llvm::SmallVector<GpuBound, 2> when; // all of which hold; none: always
  std::array<GpuGrid, 3> grid;         // blocks; the last two at most 65535
  int64_t threads = 256;               // of a block, a multiple of 32
  int64_t sharedBytes = 0;             // dynamic shared memory of a block, up to 227 KiB
  int64_t blocksPerProcessor = 1;      // that have to fit one multiprocessor at once: bounds the registers
  bool letsNextBegin = true;           // at its start; the next one then holds places while it waits
  std::string only, except;            // an architecture that alone, or alone not, has it; empty: no such
  bool waitsItself = false;            // the body calls `gridWait`; else it stands at the start
  // Where cuBLASLt is there: the stage is for such steps alone, or not for those of so many rows (0: for all).
  bool withLibrary = false;
  int64_t withoutLibraryFrom = 0;
};

/// A place in the scratch of a launch: `bytesPerRow` for each row (GpuSize::rows rounded up to a multiple of 128), and `bytes`, from its
/// beginning.
struct GpuScratchPlace {
  int64_t bytesPerRow = 0, bytes = 0;
};

/// A product that cuBLASLt computes between the functions of two stages: sums [rows, columns] of f32 are x [rows, depth] times weights
/// [columns, depth] transposed, both of `type`, all with their rows side by side. Columns and depth are multiples of 16.
struct GpuLibraryProduct {
  MmaType type = MmaType::bf16;
  int64_t columns = 0, depth = 0;
  GpuScratchPlace x, weights, sums;
};

/// A kernel of the plan, as the launches that share its functions have it. Without values: those of a body are in `GpuBody`.
class GpuKernel;

/// What the body of a stage works with. All sizes are i32, the same in every thread.
struct GpuBody {
  GpuEmitter &e;
  llvm::SmallVector<KernelOperand> ins, aux, outs; // with pointers; those of caches with `cacheOffset` (i64)
  mlir::Value batch, tokens, rows;
  /// `GpuKernel::needScratch` and `needCounters` say how much there is.
  mlir::Value scratch;  // bytes aligned to 256, undefined; shared by the stages of one launch alone
  mlir::Value counters; // i32, 0 at the first launch: a kernel leaves them as it found them
};

class GpuKernel {
public:
  GpuKernel(ds_plan::KernelOp kernel, llvm::SmallVector<KernelOperand> ins, llvm::SmallVector<KernelOperand> aux,
            llvm::SmallVector<KernelOperand> outs)
      : kernel(kernel), ins(std::move(ins)), aux(std::move(aux)), outs(std::move(outs)) {}

  ds_plan::KernelOp kernel;                        // region and schedule; its operands are `ins`, its results `outs`, in order
  llvm::SmallVector<KernelOperand> ins, aux, outs; // pointers are null

  /// Adds a stage. `body` is called later, once for each package; `choices` are those that it was made by.
  void stage(GpuShape shape, std::function<void(GpuBody &)> body, std::vector<TuningChoice> choices = {}) {
    stages.push_back({std::move(shape), std::move(body), {}, std::move(choices)});
  }
  /// Adds a product of cuBLASLt for steps of `when`, where the library is there.
  void libraryStage(llvm::ArrayRef<GpuBound> when, const GpuLibraryProduct &product) {
    GpuShape shape;
    shape.name = "product";
    shape.when.assign(when.begin(), when.end());
    shape.withLibrary = true;
    stages.push_back({std::move(shape), {}, product, {}});
  }
  /// The dynamic shared memory that a block may have on every machine of the package.
  int64_t mostSharedBytes = 227 << 10;
  /// Whether code is made for a machine with products of warpgroups (GpuArch::warpgroups): a builder may give it stages of its own.
  bool hasWarpgroups = false;
  /// Rows from which products may be cuBLASLt's, 17 or more; 0: none are.
  int64_t libraryRows = 0;
  /// Asks for `bytesPerRow` of scratch for each row (GpuSize::rows rounded up to a multiple of 128) and `bytes` more, in programs that have
  /// steps of `leastRows`.
  void needScratch(int64_t bytesPerRow, int64_t bytes = 0, int64_t leastRows = 1) { scratch.push_back({{bytesPerRow, bytes}, leastRows}); }
  /// Of a program whose steps have up to `rows` rows.
  int64_t scratchBytes(int64_t rows) const;
  /// How products are cut, and the first machine of the package that has stages of every machine, and those by mma.sync.
  Tuning *tuning = nullptr;
  std::string tuningArch, mmaArch;
  /// Asks for `count` counters for each sequence of the batch.
  void needCounters(int64_t count) { countersPerSequence = std::max(countersPerSequence, count); }

  /// An error that names the kernel.
  llvm::Error error(const llvm::Twine &message) const;

  struct Stage {
    GpuShape shape;
    std::function<void(GpuBody &)> body;
    std::optional<GpuLibraryProduct> product; // then there is no body
    std::vector<TuningChoice> choices;
  };
  std::vector<Stage> stages;
  /// What a user may want to know of the kernel; empty: nothing.
  std::string note;
  int64_t countersPerSequence = 0;

private:
  struct Scratch {
    GpuScratchPlace size;
    int64_t leastRows;
  };
  llvm::SmallVector<Scratch, 2> scratch;
};

/// Gives a kernel its stages. Fails when the family cannot compute the region or the operand types. What it captures in bodies has to own
/// itself or live in the plan.
using GpuKernelBuilder = llvm::Error (*)(GpuKernel &);

/// The builder of a family, or null.
GpuKernelBuilder findGpuKernelBuilder(llvm::StringRef family);

llvm::Error buildGpuAttention(GpuKernel &);
llvm::Error buildGpuCopy(GpuKernel &);
llvm::Error buildGpuEmbed(GpuKernel &);
llvm::Error buildGpuGather(GpuKernel &);
llvm::Error buildGpuGemm(GpuKernel &);
llvm::Error buildGpuPool(GpuKernel &);
llvm::Error buildGpuRope(GpuKernel &);
llvm::Error buildGpuRow(GpuKernel &);
llvm::Error buildGpuStoreCache(GpuKernel &);

} // namespace ds
#endif // DS_TARGET_CUDA_KERNEL_H
