// Joining ops and fusions to larger fusions: what the passes of fusion share.
#ifndef DS_LIB_TRANSFORMS_FUSION_H
#define DS_LIB_TRANSFORMS_FUSION_H

#include "dialects/DS/DSDialect.h"
#include "ds/Analysis/LinearRegion.h"
#include "ds/Transforms/Refusal.h"

namespace ds {

/// Joins parts of one block. A part is an op or a `ds.fusion`. Every refusal is a remark of the pass.
class Fuser {
public:
  /// `pass` is the flag of the pass, the category of its remarks. `target` is that of the kernels, cpu or cuda.
  Fuser(mlir::Block &block, llvm::StringRef pass, llvm::StringRef target = "cpu") : block(block), pass(pass), target(target) {}

  /// One fusion of `parts`, or null where no kernel can compute it or a value would depend on itself. `what` names the attempt in remarks.
  FusionOp join(llvm::ArrayRef<mlir::Operation *> parts, llvm::StringRef what);

  /// Says that `op` was not fused, and why.
  void refuse(mlir::Operation *op, llvm::StringRef what, Refusal kind, const llvm::Twine &reason);

  /// Parts that read a result of `part`, each once, in block order.
  llvm::SmallVector<mlir::Operation *> readersOf(mlir::Operation *part);
  /// The part that computes `value`, or null when it is none of this block.
  mlir::Operation *producerOf(mlir::Value value);

private:
  /// Puts what reads `op`, itself or through others, right behind it where it stands before; the rest stays where it is.
  void moveReadersBehind(mlir::Operation *op);
  bool dependsOnItself(llvm::ArrayRef<mlir::Operation *> parts);

  mlir::Block &block;
  llvm::StringRef pass, target;
};

/// The ops of a part.
llvm::SmallVector<mlir::Operation *> opsOf(mlir::Operation *part);

/// The region of products that a part is, or nothing.
std::optional<LinearRegion> linearRegionOf(mlir::Operation *part);

/// Calls `run` for each block of `root` that holds ops of a model: bodies of functions and of layers.
void forEachModelBlock(mlir::Operation *root, llvm::function_ref<void(mlir::Block &)> run);

} // namespace ds
#endif // DS_LIB_TRANSFORMS_FUSION_H
