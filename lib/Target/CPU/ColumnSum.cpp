// Sums over all rows, added to gradients of vectors. Threads share columns by cache lines, so nobody else writes what a thread adds to,
// and a column is summed in one order for any number of threads.
#include "KernelRegion.h"
#include "RowRegion.h"
#include "dialects/DS/DSDialect.h"
#include "ds/Analysis/FusionLegality.h"

using namespace ds;
using mlir::Operation;
using mlir::Value;

namespace {

/// Rows that are summed in registers: as few as the hardware can fetch ahead, each row being a stream of its own.
constexpr int64_t blockRows = 16;
/// Sums of blocks meet on the stack, and those of so many rows in the gradient: the error of a sum hardly grows with the rows.
constexpr int64_t panelRows = 16 * blockRows;
/// Columns of a thread's walk over all rows, a page of each.
constexpr int64_t groupColumns = 1024;
/// Two rows at once have sums of their own: twice as many chains of additions.
constexpr int64_t rowsAtOnce = 2;
/// f32 of a cache line.
constexpr int64_t line = 16;

class ColumnSums {
public:
  explicit ColumnSums(KernelContext &context) : context(context), e(context.e), lanes(context.level.lanes) {}

  /// Fails unless the region is element-wise ops, then column sums of one width that are accumulated.
  llvm::Error match();
  void emit();

private:
  /// Calls `body` with a column, how many vectors lie side by side there, and the lanes that each has, for all of `[begin, end)`.
  void forStrips(Value begin, Value end, llvm::function_ref<void(Value, int64_t, int64_t)> body);
  /// Adds the rows `[begin, end)` of such vectors to the sums of this group of columns.
  void addBlock(Value begin, Value end, Value column, int64_t count, int64_t lanesThere);
  /// Adds the sums of this group to the gradients.
  void addSums(Value column, int64_t count, int64_t lanesThere);
  Value sumAt(size_t k, Value column) {
    return e.element(e.at(groupSums, static_cast<int64_t>(k) * groupColumns * 4), e.f32(), e.sub(column, groupBegin));
  }
  /// The vectors of one row, for each sum in turn, added to `sums`.
  void addRow(Value row, Value column, int64_t count, int64_t lanesThere, llvm::MutableArrayRef<Value> sums);

  KernelContext &context;
  Emitter &e;
  int64_t lanes, width = 0;
  llvm::SmallVector<Value> inputs; // of each sum
  Value groupBegin, groupSums;     // first column of the group; [sums][groupColumns] f32
};

llvm::Error ColumnSums::match() {
  mlir::Block &body = context.kernel.getBody().front();
  for (Operation &op : body.without_terminator())
    if (!isElementwise(&op) && !mlir::isa<ColumnSumOp, ds_plan::AccumulateOp>(op))
      return context.error("expects element-wise ops and column sums, got " + op.getName().getStringRef());
  for (auto [result, out] : llvm::zip_equal(body.getTerminator()->getOperands(), context.outs)) {
    auto accumulate = result.getDefiningOp<ds_plan::AccumulateOp>();
    auto sum = accumulate ? accumulate.getGradient().getDefiningOp<ColumnSumOp>() : ColumnSumOp();
    if (!sum || out.kind != KernelOperand::Kind::weight || out.layout != ds_plan::Layout::vector || !out.inState)
      return context.error("expects results that are column sums added to vectors of the state");
    const int64_t columns = sum.getOutput().getType().getShape().back();
    if ((width && width != columns) || out.width() < columns)
      return context.error("expects column sums of one width and vectors that hold them");
    width = columns;
    inputs.push_back(sum.getInput());
  }
  const KernelOperand *first = llvm::find_if(context.ins, [](const KernelOperand &in) { return in.kind == KernelOperand::Kind::rows; });
  auto canRead = [&](const KernelOperand &in, mlir::OpOperand &use) {
    if (std::optional<bool> can = canBeControl(in, use))
      return &in != first && *can;
    if (in.kind == KernelOperand::Kind::weight)
      return in.layout == ds_plan::Layout::vector && in.element().isF32() && in.width() >= width;
    return isFloatRows(&in) && in.width() == width && in.rows == first->rows; // those of the context
  };
  for (auto [in, argument] : llvm::zip_equal(context.ins, body.getArguments()))
    if (!llvm::all_of(argument.getUses(), [&, &in = in](mlir::OpOperand &use) { return canRead(in, use); }))
      return context.error("expects f32 rows of " + llvm::Twine(width) + " values, f32 vectors, and controls and seeds behind them");
  return llvm::Error::success();
}

void ColumnSums::addRow(Value row, Value column, int64_t count, int64_t lanesThere, llvm::MutableArrayRef<Value> sums) {
  RowRegion region(context, row, width);
  for (int64_t i = 0; i < count; ++i) {
    region.begin({e.add(column, i * lanes), lanesThere, Value()});
    for (auto [k, input] : llvm::enumerate(inputs)) {
      Value &sum = sums[k * count + i];
      sum = e.add(sum, region.get(input));
    }
  }
}

void ColumnSums::addBlock(Value begin, Value end, Value column, int64_t count, int64_t lanesThere) {
  const size_t chains = inputs.size() * count;
  Value pairs = e.add(begin, e.mul(e.div(e.sub(end, begin), rowsAtOnce), rowsAtOnce));
  Emitter::Values zeros(rowsAtOnce * chains, e.zero(e.vec()));
  Emitter::Values sums = e.forRange(begin, pairs, rowsAtOnce, mlir::ValueRange(zeros), [&](Value row, mlir::ValueRange carried) {
    Emitter::Values next(carried);
    for (int64_t i = 0; i < rowsAtOnce; ++i)
      addRow(e.add(row, i), column, count, lanesThere, llvm::MutableArrayRef<Value>(next).slice(i * chains, chains));
    return next;
  });
  Emitter::Values block;
  for (size_t chain = 0; chain < chains; ++chain)
    block.push_back(e.add(sums[chain], sums[chains + chain]));
  block = e.forRange(pairs, end, 1, mlir::ValueRange(block), [&](Value row, mlir::ValueRange carried) {
    Emitter::Values next(carried);
    addRow(row, column, count, lanesThere, next);
    return next;
  });
  for (size_t k = 0; k < inputs.size(); ++k)
    for (int64_t i = 0; i < count; ++i) {
      Value to = sumAt(k, e.add(column, i * lanes));
      e.store(e.add(e.load(e.vec(), to), block[k * count + i]), to);
    }
}

void ColumnSums::addSums(Value column, int64_t count, int64_t lanesThere) {
  for (auto [k, out] : llvm::enumerate(context.outs))
    for (int64_t i = 0; i < count; ++i) {
      // Lanes that do not exist may hold anything, and what is behind a vector stays zero.
      Value at = e.add(column, i * lanes), to = e.element(out.pointer, e.f32(), at);
      e.storeFirst(e.add(e.loadFirst(to, lanesThere, lanes), e.load(e.vec(), sumAt(k, at))), to, lanesThere);
    }
}

void ColumnSums::forStrips(Value begin, Value end, llvm::function_ref<void(Value, int64_t, int64_t)> body) {
  // As many side by side as half of the registers hold.
  const auto sums = static_cast<int64_t>(inputs.size());
  const int64_t side = std::clamp<int64_t>(context.level.registers / 2 / (rowsAtOnce * sums), 1, 4), whole = width / lanes * lanes;
  Value last = e.min(end, whole);
  Value strips = e.add(begin, e.mul(e.div(e.sub(last, begin), side * lanes), side * lanes));
  e.forRange(begin, strips, side * lanes, [&](Value column) { body(column, side, lanes); });
  e.forRange(strips, last, lanes, [&](Value column) { body(column, 1, lanes); });
  if (whole < width)
    e.ifThen(e.gt(end, whole), [&] { body(e.constant(whole), 1, width - whole); });
}

void ColumnSums::emit() {
  const auto floats = static_cast<int64_t>(inputs.size()) * groupColumns;
  groupSums = e.stack(floats * 4);
  auto [firstLine, lastLine] = context.tilesOfThread(e.constant(llvm::divideCeil(width, line)));
  Value last = e.min(e.mul(lastLine, line), width);
  e.forRange(e.mul(firstLine, line), last, groupColumns, [&](Value group) {
    groupBegin = group;
    Value groupEnd = e.min(e.add(group, groupColumns), last);
    e.forRange(e.constant(0), context.rows, panelRows, [&](Value panel) {
      Value panelEnd = e.min(e.add(panel, panelRows), context.rows);
      e.forRange(e.constant(0), e.constant(floats), lanes, [&](Value i) { e.store(e.zero(e.vec()), e.element(groupSums, e.f32(), i)); });
      e.forRange(panel, panelEnd, blockRows, [&](Value begin) {
        Value end = e.min(e.add(begin, blockRows), panelEnd);
        forStrips(group, groupEnd, [&](Value column, int64_t count, int64_t there) { addBlock(begin, end, column, count, there); });
      });
      forStrips(group, groupEnd, [&](Value column, int64_t count, int64_t there) { addSums(column, count, there); });
    });
  });
}

} // namespace

llvm::Error ds::buildColumnSum(KernelContext &context) {
  ColumnSums sums(context);
  if (llvm::Error error = sums.match())
    return error;
  sums.emit();
  return llvm::Error::success();
}
