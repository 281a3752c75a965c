// What the builder of a kernel family gets, and which builder serves which family.
#ifndef DS_TARGET_CPU_KERNEL_H
#define DS_TARGET_CPU_KERNEL_H

#include "dialects/DSPlan/DSPlanDialect.h"
#include "dialects/DSPlan/PanelCodes.h"
#include "dialects/DSPlan/TileCodes.h"
#include "ds/Target/CPU/Emitter.h"
#include "mlir/IR/SymbolTable.h"
#include "llvm/Support/Error.h"

namespace ds {

/// An operand of a kernel, as the launches that share the function have it.
struct KernelOperand {
  enum class Kind { rows, weight, cache }; // `rows`: a buffer, an input or an output

  Kind kind;
  /// `rows` and `weight`: the first element. `cache`: an array of one pointer a sequence, to its cache block (`uint8_t *const *`).
  mlir::Value pointer;
  /// `cache` alone: i64, bytes from the pointer of a sequence to this cache.
  mlir::Value cacheOffset;
  /// Type of the plan: `?xW` or `?` (rows), packed shape (weight), `[C, kv_heads * D]` (cache).
  mlir::MemRefType type;
  ds_plan::Rows rows = ds_plan::Rows::tokens;              // of `rows`
  bool grouped = false;                                    // of `rows`: a buffer between products (ds_plan.buffer)
  ds_plan::Layout layout = ds_plan::Layout::panels;        // of `weight`
  bool inState = false;                                    // of `weight`: bytes that training changes
  std::optional<ds_plan::PanelCodes> codes;                // of `weight` in `panel_codes`
  std::optional<ds_plan::Tiles> tiles;                     // of `weight` in `tiles` and `tile_codes`
  ds_plan::CacheKind cacheKind = ds_plan::CacheKind::keys; // of `cache`
  int64_t kvHeads = 0;                                     // of `cache`

  mlir::Type element() const { return type.getElementType(); }
  /// Values of one row: the last size, 1 for `?`.
  int64_t width() const { return type.getRank() == 1 && type.isDynamicDim(0) ? 1 : type.getShape().back(); }
};

/// How a value of a program is passed to a kernel, apart from where it lies.
KernelOperand describeOperand(mlir::Value place, const mlir::SymbolTable &symbols);

/// Equal for launches that can share a function. `chosenAreTokens`: a function is told how many rows it has, so that chosen rows without
/// others beside them are rows like all tokens'.
std::string kernelKey(ds_plan::LaunchOp launch, const mlir::SymbolTable &symbols, bool chosenAreTokens = false);

/// Makes the threads of a step meet: `step` is a pointer to the DsStep, `thread` the caller's number, an i64.
void emitBarrier(Emitter &e, mlir::Value step, mlir::Value thread);

/// What a builder works with. The insertion point of `e` is in the body of the kernel's function; its values live there.
struct KernelContext {
  Emitter &e;
  const CpuLevel &level;
  ds_plan::KernelOp kernel; // region and schedule; its operands are `ins`, its results `outs`, in order
  llvm::SmallVector<KernelOperand> ins, aux, outs;
  mlir::Value batch;  // B
  mlir::Value tokens; // T
  mlir::Value rows;   // rows of outs[0]: B * T, R, B or 1 (B * T where outs[0] is a cache or `packed`; of ins where it is a weight)
  mlir::Value thread; // of this call, in [0, threads)
  mlir::Value threads;
  // All of these are i64.
  mlir::Value step; // pointer to the DsStep

  /// Waits for all threads, each of which has to come here as often as the others.
  void meet() const { emitBarrier(e, step, thread); }

  /// The tiles of this thread, of `count` numbered ones: contiguous, balanced to one.
  std::pair<mlir::Value, mlir::Value> tilesOfThread(mlir::Value count) const;
  void forTiles(mlir::Value count, llvm::function_ref<void(mlir::Value)> body) const;

  /// An error that names the kernel.
  llvm::Error error(const llvm::Twine &message) const;
};

/// Emits the body of a kernel. Every thread calls it; it returns when the thread's part is done. Fails when the family cannot compute the
/// region or the operand types.
using KernelBuilder = llvm::Error (*)(KernelContext &);

/// The builder of a family, or null.
KernelBuilder findKernelBuilder(llvm::StringRef family);

llvm::Error buildAttention(KernelContext &);
llvm::Error buildAttentionGradient(KernelContext &);
llvm::Error buildColumnSum(KernelContext &);
llvm::Error buildCopy(KernelContext &);
llvm::Error buildEmbed(KernelContext &);
llvm::Error buildEmbedGradient(KernelContext &);
llvm::Error buildGather(KernelContext &);
llvm::Error buildGatherGradient(KernelContext &);
llvm::Error buildGemm(KernelContext &);
llvm::Error buildGemmGradient(KernelContext &);
llvm::Error buildMultiTensor(KernelContext &);
llvm::Error buildPool(KernelContext &);
llvm::Error buildPoolGradient(KernelContext &);
llvm::Error buildRope(KernelContext &);
llvm::Error buildRow(KernelContext &);
llvm::Error buildStoreCache(KernelContext &);

} // namespace ds
#endif // DS_TARGET_CPU_KERNEL_H
