// What each op computes, on tensors. Failures are diagnostics at the op.
#ifndef DS_LIB_REFERENCE_KERNELS_H
#define DS_LIB_REFERENCE_KERNELS_H

#include "dialects/DS/DSDialect.h"
#include "ds/Reference/Tensor.h"

namespace ds::reference {

/// The operands of an op by name; an optional one that is absent is null.
template <typename OpT> using Inputs = typename OpT::template GenericAdaptor<llvm::ArrayRef<const Tensor *>>;
using Evaluated = mlir::FailureOr<Tensor>;
/// Of an op with several results.
using EvaluatedAll = mlir::FailureOr<std::vector<Tensor>>;

/// Fails with an error at `op` unless `tensor` has shape `shape`; a size of -1 may be any.
mlir::LogicalResult expectShape(mlir::Operation *op, llvm::StringRef name, const Tensor &tensor, llvm::ArrayRef<int64_t> shape);

/// `out[r, n] = sum_k x[r, k] * w[n, k]`: x [rows, depth], w [columns, depth], out [rows, columns]. Uses the context's threads.
void multiply(mlir::MLIRContext *context, const double *x, int64_t rows, const double *w, int64_t columns, int64_t depth, double *out);
Tensor transposed(const Tensor &matrix);

Evaluated evaluate(EmbeddingOp op, Inputs<EmbeddingOp> in);
Evaluated evaluate(LinearOp op, Inputs<LinearOp> in);
Evaluated evaluate(GatherRowsOp op, Inputs<GatherRowsOp> in);

Evaluated evaluate(LayerNormOp op, Inputs<LayerNormOp> in);
Evaluated evaluate(RmsNormOp op, Inputs<RmsNormOp> in);
Evaluated evaluate(L2NormalizeOp op, Inputs<L2NormalizeOp> in);
Evaluated evaluate(SoftmaxOp op, Inputs<SoftmaxOp> in);

Evaluated evaluate(GeluOp op, Inputs<GeluOp> in);
Evaluated evaluate(SiluOp op, Inputs<SiluOp> in);
Evaluated evaluate(QuickGeluOp op, Inputs<QuickGeluOp> in);
Evaluated evaluate(ReluOp op, Inputs<ReluOp> in);
Evaluated evaluate(TanhOp op, Inputs<TanhOp> in);
Evaluated evaluate(RoundOp op, Inputs<RoundOp> in);
Evaluated evaluate(AddOp op, Inputs<AddOp> in);
Evaluated evaluate(MulOp op, Inputs<MulOp> in);

Evaluated evaluate(RopeOp op, Inputs<RopeOp> in);
Evaluated evaluate(AttentionOp op, Inputs<AttentionOp> in);
Evaluated evaluate(PoolOp op, Inputs<PoolOp> in);

Evaluated evaluate(LinearWeightGradOp op, Inputs<LinearWeightGradOp> in);
Evaluated evaluate(ColumnSumOp op, Inputs<ColumnSumOp> in);
Evaluated evaluate(EmbeddingGradOp op, Inputs<EmbeddingGradOp> in);
Evaluated evaluate(GatherRowsGradOp op, Inputs<GatherRowsGradOp> in);
EvaluatedAll evaluate(LayerNormGradOp op, Inputs<LayerNormGradOp> in);
EvaluatedAll evaluate(RmsNormGradOp op, Inputs<RmsNormGradOp> in);
Evaluated evaluate(L2NormalizeGradOp op, Inputs<L2NormalizeGradOp> in);
Evaluated evaluate(SoftmaxGradOp op, Inputs<SoftmaxGradOp> in);
Evaluated evaluate(GeluGradOp op, Inputs<GeluGradOp> in);
Evaluated evaluate(SiluGradOp op, Inputs<SiluGradOp> in);
Evaluated evaluate(QuickGeluGradOp op, Inputs<QuickGeluGradOp> in);
Evaluated evaluate(ReluGradOp op, Inputs<ReluGradOp> in);
Evaluated evaluate(TanhGradOp op, Inputs<TanhGradOp> in);
EvaluatedAll evaluate(AttentionGradOp op, Inputs<AttentionGradOp> in);
Evaluated evaluate(PoolGradOp op, Inputs<PoolGradOp> in);

Evaluated evaluate(CrossEntropyOp op, Inputs<CrossEntropyOp> in);
Evaluated evaluate(CrossEntropyGradOp op, Inputs<CrossEntropyGradOp> in);
Evaluated evaluate(ScaleOp op, Inputs<ScaleOp> in);
Evaluated evaluate(DropoutOp op, Inputs<DropoutOp> in);
Evaluated evaluate(OptimizationBarrierOp op, Inputs<OptimizationBarrierOp> in);
Evaluated evaluate(SwitchOp op, Inputs<SwitchOp> in);

/// Replaces the cache an append names: `before` [B, C, width] with the new rows written, or zeros with them when `before` is null.
Evaluated append(CacheAppendOp op, const Tensor *before, Inputs<CacheAppendOp> in);

} // namespace ds::reference
#endif // DS_LIB_REFERENCE_KERNELS_H
