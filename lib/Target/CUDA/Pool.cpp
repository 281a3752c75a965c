// A sequence becomes one vector: its first token, its last, or the mean of all; and, where the region goes on, that vector of length one.
#include "KernelRegion.h"
#include "dialects/DS/DSDialect.h"
#include "ds/Analysis/FusionLegality.h"

using namespace ds;
using mlir::Value;

namespace {
/// Threads of a mean: each warp has every eighth token, its lanes side by side `lanes` columns each.
constexpr int64_t warps = 8, tokensAtOnce = 4;

/// What the bodies of the kernel of one pool and, maybe, an L2 norm have in common.
class PoolBody {
public:
  PoolBody(GpuBody &body, PoolOp op)
      : body(body), e(body.e), op(op), input(*operandOf(body, op.getInput())), mask(operandOf(body, op.getMask())), width(input.width()),
        lanes(lanesOfRow(width)) {}

  /// The first token or the last: one thread for `lanes` columns.
  void pick();
  void mean();
  void normalize(L2NormalizeOp norm, int64_t threads);

private:
  /// The operand that is `value`, or null.
  const KernelOperand *resultOf(Value value);
  /// What the pooled vector is written to: where it is no result, the norm's.
  const KernelOperand &pooled();
  Value lastToken(Value firstRow);
  Value isSeen(Value row) { return e.ne(e.load(e.i32(), e.element(mask->pointer, e.i32(), row)), 0); }

  GpuBody &body;
  GpuEmitter &e;
  PoolOp op;
  const KernelOperand &input, *mask;
  int64_t width, lanes;
};
} // namespace

const KernelOperand *PoolBody::resultOf(Value value) {
  for (auto [result, out] : llvm::zip_equal(op->getBlock()->getTerminator()->getOperands(), body.outs))
    if (result == value)
      return &out;
  return nullptr;
}

const KernelOperand &PoolBody::pooled() {
  const KernelOperand *result = resultOf(op.getOutput());
  return result ? *result : body.outs[0];
}

/// The last token of the mask (its row of a sequence) that is not 0, or 0. Every warp looks for it.
Value PoolBody::lastToken(Value firstRow) {
  Value last = e.forRange(e.lane(), body.tokens, GpuEmitter::warpThreads, e.index(0), [&](Value t, mlir::ValueRange carried) {
    return Emitter::Values{e.select(isSeen(e.add(firstRow, t)), t, carried[0])};
  })[0];
  return e.warpMax(last);
}

void PoolBody::pick() {
  Value b = e.block(), column = e.mul(e.add(e.mul(e.block(1), warps * GpuEmitter::warpThreads), e.thread()), lanes);
  Value row = e.mul(b, body.tokens);
  if (op.getKind() == PoolKind::last)
    row = e.add(row, lastToken(row));
  e.ifThen(e.lt(column, width),
           [&] { storeLanes(e, loadLanes(e, elementOfRow(e, input, row, column), lanes), elementOfRow(e, pooled(), b, column)); });
}

void PoolBody::mean() {
  Value b = e.block(), column = e.mul(e.add(e.mul(e.block(1), GpuEmitter::warpThreads), e.lane()), lanes);
  Value isColumn = e.lt(column, width), readable = e.min(column, width - lanes), firstRow = e.mul(b, body.tokens);
  Value none = lanes == 1 ? e.constantF32(0) : e.zero(e.vec(lanes)), lastRow = e.sub(e.add(firstRow, body.tokens), 1);
  Emitter::Values sums =
      e.forRange(e.warp(), body.tokens, warps * tokensAtOnce, Emitter::Values{none, e.index(0)}, [&](Value t, mlir::ValueRange carried) {
        Value sum = carried[0], count = carried[1];
        for (int64_t i = 0; i < tokensAtOnce; ++i) {
          Value token = e.add(t, i * warps), row = e.min(e.add(firstRow, token), lastRow);
          Value seen = e.bitAnd(e.lt(token, body.tokens), isSeen(row));
          // A choice, so that values of padding have no say, not even NaN.
          sum = e.add(sum, e.select(seen, loadLanes(e, elementOfRow(e, input, row, readable), lanes), none));
          count = e.add(count, e.select(seen, e.index(1), e.index(0)));
        }
        return Emitter::Values{sum, count};
      });
  // The first warp adds what the others have, in their order.
  const int64_t bytes = GpuEmitter::warpThreads * lanes * 4; // of a warp's sums
  auto sumAt = [&](Value warp) { return e.at(e.at(e.shared(), e.mul(warp, bytes)), e.mul(e.lane(), lanes * 4)); };
  auto countAt = [&](Value warp) { return e.element(e.shared(warps * bytes), e.i32(), warp); };
  storeLanes(e, sums[0], sumAt(e.warp()));
  e.ifThen(e.eq(e.lane(), 0), [&] { e.store(sums[1], countAt(e.warp())); });
  e.barrier();
  e.ifThen(e.bitAnd(e.eq(e.warp(), 0), isColumn), [&] {
    Value sum = sums[0], count = sums[1];
    for (int64_t warp = 1; warp < warps; ++warp) {
      sum = e.add(sum, loadLanes(e, sumAt(e.index(warp)), lanes));
      count = e.add(count, e.load(e.i32(), countAt(e.index(warp))));
    }
    storeLanes(e, e.div(sum, e.max(e.toF32(count), e.constantF32(1e-9f))), elementOfRow(e, pooled(), b, column));
  });
}

/// A block has a sequence; in place where the pooled vector is no result.
void PoolBody::normalize(L2NormalizeOp norm, int64_t threads) {
  const KernelOperand &from = pooled(), &to = *resultOf(norm.getOutput());
  Value b = e.block(), none = lanes == 1 ? e.constantF32(0) : e.zero(e.vec(lanes)), first = e.mul(e.thread(), lanes);
  auto at = [&](Value column) { return loadLanes(e, elementOfRow(e, from, b, column), lanes); };
  Value squares = e.forRange(first, e.index(width), threads * lanes, none, [&](Value column, mlir::ValueRange sum) {
    Value x = at(column);
    return Emitter::Values{e.fma(x, x, sum[0])};
  })[0];
  squares = e.blockSum(lanes == 1 ? squares : e.reduceAdd(squares), e.shared(), threads);
  // In this order a NaN length stays.
  Value length = e.max(e.constantF32(norm.getEps().convertToDouble()), e.sqrt(squares));
  e.forRange(first, e.index(width), threads * lanes,
             [&](Value column) { storeLanes(e, e.div(at(column), length), elementOfRow(e, to, b, column)); });
}

static llvm::Error check(GpuKernel &kernel, PoolOp op) {
  llvm::SmallVector<mlir::Operation *> ops;
  for (mlir::Operation &each : op->getBlock()->without_terminator())
    ops.push_back(&each);
  if (std::optional<std::string> why = whyNotOneKernel(ops))
    return kernel.error("pool cannot serve the region: " + *why);
  const KernelOperand *input = operandOf(kernel, op.getInput());
  if (!isF32Rows(input) || (op.getKind() != PoolKind::cls && !isI32Rows(operandOf(kernel, op.getMask()))) ||
      !llvm::all_of(kernel.outs, [&](const KernelOperand &out) { return isF32Rows(&out) && out.width() == input->width(); }))
    return kernel.error("expects one pool of f32 rows, with an i32 mask for mean and last");
  return llvm::Error::success();
}

llvm::Error ds::buildGpuPool(GpuKernel &kernel) {
  auto op = mlir::dyn_cast<PoolOp>(&kernel.kernel.getBody().front().front());
  if (!op || kernel.outs.empty())
    return kernel.error("expects a pool");
  if (llvm::Error error = check(kernel, op))
    return error;
  const int64_t width = kernel.outs[0].width(), lanes = lanesOfRow(width), threads = warps * GpuEmitter::warpThreads;
  const bool isMean = op.getKind() == PoolKind::mean;
  GpuShape pool;
  pool.name = "pool";
  pool.threads = threads;
  pool.grid[0].factors = {{GpuSize::batch, 1}};
  pool.grid[1].constant = llvm::divideCeil(width / lanes, isMean ? GpuEmitter::warpThreads : threads);
  pool.sharedBytes = isMean ? warps * (GpuEmitter::warpThreads * lanes + 1) * 4 : 0;
  kernel.stage(pool, [=](GpuBody &b) { isMean ? PoolBody(b, op).mean() : PoolBody(b, op).pick(); });
  if (auto norm = mlir::dyn_cast<L2NormalizeOp>(op->getNextNode())) {
    GpuShape shape;
    shape.name = "unit";
    shape.threads = threads;
    shape.grid[0].factors = {{GpuSize::batch, 1}};
    shape.sharedBytes = warps * 4;
    kernel.stage(shape, [=](GpuBody &b) { PoolBody(b, op).normalize(norm, threads); });
  }
  return llvm::Error::success();
}
