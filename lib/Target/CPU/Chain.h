// Launches of a chain: a few rows go through all of them before the next few, where there are enough rows for every thread. Launches of a
// slab: all threads take some rows through all of them before the next ones.
#ifndef DS_LIB_TARGET_CPU_CHAIN_H
#define DS_LIB_TARGET_CPU_CHAIN_H

#include "ds/Target/CPU/Emitter.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

namespace ds {

/// What a launch of a chain reads or writes.
struct ChainOperand {
  unsigned place;   // its index among the places of the chain
  int64_t rowBytes; // 0: the same for all rows
  bool isInside;    // a buffer that nobody reads or writes outside the chain
};

struct ChainLaunch {
  mlir::LLVM::LLVMFuncOp function; // of the kernel
  llvm::SmallVector<ChainOperand> operands;
  bool meetsBefore;                         // threads meet before it where they do not go by rows
  int64_t rowsOfThread;                     // from how many rows a thread threads share rows
  llvm::SmallVector<unsigned> outputs = {}; // places without which it does not run, of those that may be null
};

/// Values of a step, i64 but for pointers.
struct ChainStep {
  mlir::Value batch, tokens, rows, thread, threads, step;
  mlir::Value trace, traceOffset; // of the first launch and this thread
};

/// Calls the kernels of a chain on `places`, in one function for all chains that are alike.
void emitChain(Emitter &e, llvm::ArrayRef<ChainLaunch> launches, mlir::ValueRange places, const ChainStep &step);

/// Calls the kernels of a slab on `places`: all of them on the first `slabRows` rows, then on the next ones. Threads meet between.
void emitSlabs(Emitter &e, llvm::ArrayRef<ChainLaunch> launches, mlir::ValueRange places, const ChainStep &step, int64_t slabRows);

/// Bytes of a launch in a trace: when it began and when it ended.
inline constexpr int64_t traceBytes = 16;
/// Writes the time stamp counter to byte `offset` of `trace`, where the caller traces.
void emitTimeStamp(Emitter &e, mlir::Value trace, mlir::Value offset);

} // namespace ds
#endif // DS_LIB_TARGET_CPU_CHAIN_H
