// The families of the `ds` ops.
#include "ds/Conversion/KernelRegistry.h"

using namespace mlir;
using namespace ds;

static int64_t width(Value value) { return cast<RankedTensorType>(value.getType()).getShape().back(); }

static std::string times(int64_t a, int64_t b) { return std::to_string(a) + "x" + std::to_string(b); }

static OperandRole allRows(Operation *, unsigned) { return OperandRole::rows; }

/// Norm gradients: input, gain, grad.
static OperandRole normGradientRole(Operation *, unsigned index) { return index == 1 ? OperandRole::vector : OperandRole::rows; }

/// True for the number of the slopes, behind which the seed alone stands.
template <typename OpT> static bool isSlopes(OpT op, unsigned index) {
  return op.getSlopes() && index + (op.getSeed() ? 2 : 1) == op->getNumOperands();
}

static OperandRole attentionGradientRole(Operation *op, unsigned index) {
  return isSlopes(cast<AttentionGradOp>(op), index) ? OperandRole::vector : OperandRole::rows;
}

/// First operand rows, all others vectors.
static OperandRole rowsAndVectors(Operation *, unsigned index) { return index == 0 ? OperandRole::rows : OperandRole::vector; }

static OperandRole attentionRole(Operation *op, unsigned index) {
  auto attention = cast<AttentionOp>(op);
  if (index == 1 || index == 2)
    return OperandRole::cache;
  return isSlopes(attention, index) ? OperandRole::vector : OperandRole::rows;
}

/// `rms_norm_576`: the op and its width.
static std::string nameAndWidth(Operation *op) {
  return op->getName().stripDialect().str() + "_" + std::to_string(width(op->getResult(0)));
}

/// `gemm_gradient_576x1536`: the widths of the first two operands.
static std::string nameAndOperands(Operation *op) {
  return op->getName().stripDialect().str() + "_" + times(width(op->getOperand(0)), width(op->getOperand(1)));
}

static std::string nameOfCacheStore(Operation *op) {
  auto store = cast<ds_plan::StoreCacheOp>(op);
  int64_t heads = store.getKvHeads();
  Type element = cast<RankedTensorType>(store.getOutput().getType()).getElementType();
  return "store_" + ds_plan::stringifyCacheKind(store.getKind()).str() + "_" + times(heads, width(store.getInput()) / heads) +
         (isa<QuantizedType>(element) ? "_int8"
          : element.isBF16()          ? "_bf16"
                                      : "");
}

/// Norms, softmax and element-wise ops: each row alone.
template <typename... Ops> static void addRowOps(KernelRegistry &registry, OperandRole (*role)(Operation *, unsigned)) {
  (registry.add<Ops>({"row", 0, ResultRows::ofInput, role, nameAndWidth}), ...);
}

const KernelRegistry &KernelRegistry::standard() {
  static const KernelRegistry registry = [] {
    KernelRegistry r;
    addRowOps<LayerNormOp, RmsNormOp>(r, rowsAndVectors);
    addRowOps<L2NormalizeOp, SoftmaxOp, GeluOp, SiluOp, QuickGeluOp, ReluOp, TanhOp, RoundOp, AddOp, MulOp>(r, allRows);
    r.add<GeluOp>({"row", 0, ResultRows::ofInput, allRows, [](Operation *op) {
                     return "gelu_" + stringifyGeluKind(cast<GeluOp>(op).getKind()).str() + "_" + std::to_string(width(op->getResult(0)));
                   }});
    r.add<RopeOp>({"rope", 1, ResultRows::ofInput, allRows, [](Operation *op) {
                     int64_t heads = cast<RopeOp>(op).getHeads();
                     return "rope_" + times(heads, width(op->getResult(0)) / heads);
                   }});
    r.add<ds_plan::StoreCacheOp>({"store_cache", 2, ResultRows::cache, allRows, nameOfCacheStore});
    r.add<GatherRowsOp>(
        {"gather", 2, ResultRows::selected, allRows, [](Operation *op) { return "gather_" + std::to_string(width(op->getResult(0))); }});
    r.add<PoolOp>({"pool", 2, ResultRows::batch, allRows, [](Operation *op) {
                     return "pool_" + stringifyPoolKind(cast<PoolOp>(op).getKind()).str() + "_" + std::to_string(width(op->getResult(0)));
                   }});
    r.add<EmbeddingOp>({"embed", 3, ResultRows::ofInput,
                        [](Operation *, unsigned index) { return index == 0 ? OperandRole::rows : OperandRole::table; },
                        [](Operation *op) {
                          RankedTensorType table = cast<EmbeddingOp>(op).getTable().getType();
                          return "embed_" + times(table.getDimSize(0), table.getDimSize(1));
                        }});
    r.add<LinearOp>({"gemm", 4, ResultRows::ofInput,
                     [](Operation *, unsigned index) {
                       return index == 0 ? OperandRole::rows : index == 1 ? OperandRole::matrix : OperandRole::vector;
                     },
                     [](Operation *op) {
                       auto linear = cast<LinearOp>(op);
                       return "gemm_" + times(width(linear.getInput()), width(linear.getOutput())) + (linear.getBias() ? "_bias" : "") +
                              (linear.getTransposed() ? "_transposed" : "") +
                              (!linear.getRounded()            ? ""
                               : linear.getRounded()->isBF16() ? "_bf16"
                                                               : "_f16");
                     }});
    r.add<AttentionOp>({"attention", 5, ResultRows::ofInput, attentionRole, [](Operation *op) {
                          int64_t heads = cast<AttentionOp>(op).getHeads();
                          return "attention_" + times(heads, width(op->getResult(0)) / heads);
                        }});
    addRowOps<GeluGradOp, SiluGradOp, QuickGeluGradOp, ReluGradOp, TanhGradOp, SoftmaxGradOp, L2NormalizeGradOp, CrossEntropyGradOp,
              ScaleOp, DropoutOp>(r, allRows);
    addRowOps<LayerNormGradOp, RmsNormGradOp>(r, normGradientRole);
    r.add<CrossEntropyOp>({"row", 0, ResultRows::ofInput, allRows,
                           [](Operation *op) { return "cross_entropy_" + std::to_string(width(op->getOperand(0))); }});
    r.add<ds_plan::AccumulateOp>({"row", 0, ResultRows::ofInput, allRows, nameAndWidth});
    r.add<GatherRowsGradOp>({"gather_gradient", 2, ResultRows::ofInput, allRows, nameAndWidth});
    r.add<PoolGradOp>({"pool_gradient", 2, ResultRows::ofInput, allRows, nameAndWidth});
    r.add<ColumnSumOp>({"column_sum", 2, ResultRows::ofInput, allRows, nameAndWidth});
    r.add<EmbeddingGradOp>({"embed_gradient", 3, ResultRows::ofInput, allRows, nameAndWidth});
    r.add<LinearWeightGradOp>({"gemm_gradient", 4, ResultRows::ofInput, allRows, nameAndOperands});
    r.add<AttentionGradOp>({"attention_gradient", 5, ResultRows::ofInput, attentionGradientRole, [](Operation *op) {
                              int64_t heads = cast<AttentionGradOp>(op).getHeads();
                              return "attention_gradient_" + times(heads, width(op->getResult(0)) / heads);
                            }});
    r.add<GradientNormsOp>({"multi_tensor", 5, ResultRows::single, allRows, nameAndWidth});
    r.add<OptimizerUpdateOp>({"multi_tensor", 5, ResultRows::single, allRows, [](Operation *op) {
                                return stringifyOptimizerKind(cast<OptimizerUpdateOp>(op).getKind()).str() + "_" +
                                       std::to_string(width(op->getResult(0)));
                              }});
    return r;
  }();
  return registry;
}

const KernelEntry *KernelRegistry::lookup(Operation *op) const {
  auto entry = entries.find(op->getName().getStringRef());
  return entry == entries.end() ? nullptr : &entry->second;
}

FailureOr<KernelRegion> KernelRegistry::region(ArrayRef<Operation *> ops) const {
  KernelRegion region;
  int rank = -1;
  for (Operation *op : ops) {
    const KernelEntry *entry = lookup(op);
    if (!entry)
      return op->emitError("expects an op that a kernel family serves, got ") << op->getName();
    region.ops.push_back(op);
    if (entry->rank > rank) {
      rank = entry->rank;
      region.root = op;
    }
  }
  return region;
}
