// Accumulations of gradients become part of the kernels that compute them.
#include "ConvertDSToPlan.h"
#include "mlir/IR/PatternMatch.h"

using namespace mlir;
using namespace ds;

namespace {
/// The kernels that accumulate, by number; their ops carry it as they would that of a fusion.
class GradientKernels {
public:
  explicit GradientKernels(MLIRContext *context) : builder(context) {}

  /// The kernel of a product or a scatter: a new one, unless a fusion has it already.
  Attribute kernelOf(Operation *op) {
    Attribute kernel = op->getAttr(fusionAttrName);
    if (!kernel) {
      kernel = builder.getStringAttr("gradient." + Twine(count++));
      op->setAttr(fusionAttrName, kernel);
    }
    return kernel;
  }

  /// That of a column sum takes the element-wise op before it, and sums of the same rows walk over them together.
  Attribute kernelOf(ColumnSumOp sum) {
    if (Attribute kernel = sum->getAttr(fusionAttrName))
      return kernel;
    SmallVector<Operation *, 2> ops{sum};
    Operation *before = sum.getInput().getDefiningOp();
    if (isa_and_nonnull<MulOp>(before) && before->hasOneUse() && !before->hasAttr(fusionAttrName) && before->getBlock() == sum->getBlock())
      ops.insert(ops.begin(), before);
    SmallVector<Value, 2> read;
    for (Value operand : ops.front()->getOperands())
      read.push_back(operand);
    Attribute kernel;
    for (Value value : read)
      if (auto known = sums.find(value); !kernel && known != sums.end() && areBefore(read, known->second))
        kernel = known->second->getAttr(fusionAttrName);
    if (!kernel) {
      kernel = builder.getStringAttr("gradient." + Twine(count++));
      for (Value value : read)
        sums.try_emplace(value, ops.front());
    }
    for (Operation *op : ops)
      op->setAttr(fusionAttrName, kernel);
    return kernel;
  }

private:
  /// A kernel stands where its first op does.
  static bool areBefore(ValueRange values, Operation *first) {
    return llvm::all_of(values, [&](Value value) {
      Operation *op = value.getDefiningOp();
      return !op || (op->getBlock() == first->getBlock() && op->isBeforeInBlock(first));
    });
  }

  Builder builder;
  int64_t count = 0;
  llvm::DenseMap<Value, Operation *> sums; // first op of the kernel that sums what is computed from a value
};
} // namespace

void ds::prepareGradients(func::FuncOp function) {
  GradientKernels kernels(function.getContext());
  IRRewriter rewriter(function.getContext());
  for (AccumulateGradientOp accumulate : llvm::make_early_inc_range(function.getOps<AccumulateGradientOp>())) {
    Operation *op = accumulate.getGradient().getDefiningOp();
    if (!op)
      continue; // the conversion says that nothing computes it
    auto sum = dyn_cast<ColumnSumOp>(op);
    Attribute kernel = sum ? kernels.kernelOf(sum) : kernels.kernelOf(op);
    rewriter.setInsertionPoint(accumulate);
    auto stored =
        ds_plan::AccumulateOp::create(rewriter, accumulate.getLoc(), accumulate.getGradient().getType(), accumulate.getGradient());
    stored->setDiscardableAttr(gradientAttrName, accumulate.getParameterAttr());
    stored->setDiscardableAttr(fusionAttrName, kernel);
    if (IntegerAttr gate = accumulate.getGateAttr())
      stored->setDiscardableAttr(gateAttrName, gate);
    rewriter.eraseOp(accumulate);
  }
}
