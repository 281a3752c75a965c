// Functions of a `gpu.module` as functions of the processor that one call runs for one thread.
#ifndef DS_LIB_TARGET_CUDA_EMULATIONLOWERING_H
#define DS_LIB_TARGET_CUDA_EMULATIONLOWERING_H

#include "ds/Target/CPU/Emitter.h"
#include "dsrt/emulate.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/Support/Error.h"

namespace ds {

/// What an op touches.
struct EmulatedAccess {
  mlir::Value pointer;
  mlir::Type type;
  mlir::Value mask; // null: all lanes
  int32_t how = 0;
  uint64_t alignment = 0; // 0: of the type
};

/// Rewrites the ops of one module.
class EmulationLowering {
public:
  EmulationLowering(mlir::ModuleOp module, const CpuLevel &level)
      : module(module), builder(module.getContext()), e(builder, module, level) {}

  llvm::Error run();

private:
  /// What replaces an op's results; nothing: the op stays.
  using Replacement = std::optional<llvm::SmallVector<mlir::Value>>;
  using Rewrite = llvm::Expected<Replacement>;

  llvm::Error lowerFunction(mlir::gpu::GPUFuncOp function);
  Rewrite rewrite(mlir::Operation *op);
  Rewrite refuse(mlir::Operation *op, const llvm::Twine &why = "");
  Rewrite intrinsic(mlir::LLVM::CallIntrinsicOp op);
  Rewrite assembly(mlir::LLVM::InlineAsmOp op);
  Rewrite wgmma(mlir::LLVM::InlineAsmOp op);
  Rewrite wgmmaWait(mlir::LLVM::InlineAsmOp op);
  /// Memory of the thread for what `wgmma` gives and gets:
  void storeValues(mlir::ValueRange words, mlir::ValueRange sums);
  mlir::Value loadSums(mlir::Type result, int64_t count);
  Rewrite shuffle(mlir::gpu::ShuffleOp op);
  Rewrite mma(mlir::NVVM::MmaOp op);
  Rewrite copy(mlir::NVVM::CpAsyncOp op);
  Rewrite truncate(mlir::arith::TruncFOp op);
  /// `op` stays; its access is checked before it.
  Rewrite checked(mlir::Operation *op, const EmulatedAccess &access);

  /// A field of the thread that never changes.
  mlir::Value field(mlir::Type type, size_t offset) { return invariant(type, e.at(thread, static_cast<int64_t>(offset))); }
  mlir::Value invariant(mlir::Type type, mlir::Value pointer) {
    auto load = llvm::cast<mlir::LLVM::LoadOp>(e.load(type, pointer).getDefiningOp());
    load.setInvariant(true);
    return load;
  }
  mlir::Value callRuntime(size_t function, mlir::Type result, mlir::ValueRange arguments);
  /// The number of an op, which the runtime knows as `described` and by its text.
  mlir::Value number(mlir::Operation *op, const DsEmulatedOp &described = {});
  void check(mlir::Operation *op, const EmulatedAccess &access, const DsEmulatedOp &described);
  mlir::LLVM::LLVMFuncOp startCheck(llvm::StringRef name);
  void addCheckFunctions();
  void addConstant(llvm::StringRef name, int32_t value);
  void addText(const llvm::Twine &name, std::string text);

  mlir::ModuleOp module;
  mlir::OpBuilder builder;
  Emitter e;
  llvm::SmallVector<DsEmulatedOp> ops;
  std::string opTexts; // each ended by a zero byte

  // Of the function at hand.
  llvm::StringRef kernel;
  llvm::DenseMap<mlir::Operation *, std::string> texts; // before any op is replaced
  mlir::Value thread, fragments, warpgroupValues;
};

/// 2^x as GpuEmitter::exp2 has it, with ops of the processor.
mlir::Value emitEmulatedExp2(Emitter &e, mlir::Value x);
/// 1 / sqrt(x) as GpuEmitter::rsqrt has it.
mlir::Value emitEmulatedRsqrt(Emitter &e, mlir::Value x);

} // namespace ds
#endif // DS_LIB_TARGET_CUDA_EMULATIONLOWERING_H
