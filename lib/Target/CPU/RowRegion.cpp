#include "RowRegion.h"
#include "EmbeddingRow.h"
#include "KernelRegion.h"
#include "dialects/DS/DSDialect.h"
#include "ds/Analysis/FusionLegality.h"
#include "ds/Target/CPU/Elementwise.h"
#include "mlir/IR/Matchers.h"

using namespace ds;
using mlir::Operation;
using mlir::Value;

Operation *RowRegion::norm(ds_plan::KernelOp kernel) {
  for (Operation &op : kernel.getBody().front().without_terminator())
    if (isRowNorm(&op))
      return &op;
  return nullptr;
}

llvm::Error RowRegion::check(KernelContext &context) {
  int64_t width = context.outs.empty() ? 0 : context.outs[0].width();
  if (width < 1)
    return context.error("expects results of a static width");
  llvm::SmallVector<Operation *> ops;
  for (Operation &op : context.kernel.getBody().front().without_terminator())
    ops.push_back(&op);
  if (std::optional<std::string> why = whyNotOneKernel(ops))
    return context.error("row cannot serve the region: " + *why);
  auto isSingle = [](const KernelOperand &o) { return o.rows == ds_plan::Rows::single; };
  auto isRow = [&](const KernelOperand &o) {
    if (!isFloatRows(&o) && !(o.kind == KernelOperand::Kind::weight && o.element().isF32()))
      return false;
    return o.kind == KernelOperand::Kind::weight ? o.layout == ds_plan::Layout::vector && o.width() >= width
                                                 : o.width() == width && isSingle(o) == isSingle(context.outs[0]);
  };
  auto canRead = [&](const KernelOperand &o, mlir::OpOperand &use) {
    if (std::optional<bool> can = canBeControl(o, use))
      return *can;
    if (mlir::isa<EmbeddingOp>(use.getOwner()))
      return use.getOperandNumber() == 0 ? isI32Rows(&o) : EmbeddingRow::canRead(o, width);
    return isRow(o);
  };
  for (const KernelOperand &in : context.ins) {
    Value argument = context.kernel.getBody().front().getArgument(&in - context.ins.data());
    if (!llvm::all_of(argument.getUses(), [&](mlir::OpOperand &use) { return canRead(in, use); }))
      return context.error(
          "expects f32 rows of one width, f32 vectors, indices and tables of embeddings, and controls and seeds in a single row");
  }
  if (!llvm::all_of(context.outs, isRow))
    return context.error("expects results of f32 rows of one width");
  return llvm::Error::success();
}

RowRegion::RowRegion(KernelContext &context, Value row, int64_t width)
    : context(context), row(row), width(width), beginsBlock(width % 4 == 0 || mlir::matchPattern(row, mlir::m_Zero())) {
  for (auto dropout : ds_plan::KernelOp(context.kernel).getBody().front().getOps<DropoutOp>())
    keys[dropout] = emitDropoutKey(context.e, operandOf(context, dropout.getSeed())->pointer);
}

Value RowRegion::load(Value pointer, const RowSpan &at, mlir::Type element) {
  Emitter &e = context.e;
  element = element ? element : e.f32();
  Value address = e.element(pointer, element, at.index);
  return at.mask ? e.loadRow(element, address, at.mask) : e.loadRow(element, address, at.count, context.level.lanes);
}

void RowRegion::store(Value value, Value pointer, const RowSpan &at, mlir::Type element) {
  Emitter &e = context.e;
  element = element ? element : e.f32();
  Value address = e.element(pointer, element, at.index);
  if (at.mask)
    e.storeRow(element, value, address, at.mask);
  else
    e.storeRow(element, value, address, at.count);
}

Value RowRegion::start(const KernelOperand &operand) {
  if (operand.kind == KernelOperand::Kind::weight)
    return operand.pointer;
  return context.e.element(operand.pointer, operand.element(), context.e.mul(row, width));
}

void RowRegion::begin(const RowSpan &at) {
  span = at;
  known.clear();
}

Value RowRegion::get(Value value) {
  if (Value lanes = known.lookup(value))
    return lanes;
  Value lanes;
  if (auto argument = mlir::dyn_cast<mlir::BlockArgument>(value)) {
    const KernelOperand &operand = context.ins[argument.getArgNumber()];
    lanes = load(start(operand), span, operand.element());
  } else if (auto embedding = value.getDefiningOp<EmbeddingOp>()) {
    Value index = loadIndex(context.e, *operandOf(context, embedding.getIndices()), row);
    lanes = EmbeddingRow(context.e, *operandOf(context, embedding.getTable()), index).load(span);
  } else if (auto scale = value.getDefiningOp<ScaleOp>()) {
    Value control = loadControl(context.e, scale, *operandOf(context, scale.getScales()));
    lanes = emitElementwise(context.e, scale, {get(scale.getInput()), control});
  } else if (auto dropout = value.getDefiningOp<DropoutOp>()) {
    Value first = context.e.add(context.e.mul(row, width), span.index);
    lanes = emitDropout(context.e, dropout, get(dropout.getInput()), keys.lookup(dropout), {first, beginsBlock});
  } else {
    llvm::SmallVector<Value> operands;
    for (Value operand : value.getDefiningOp()->getOperands())
      operands.push_back(get(operand));
    lanes = emitElementwise(context.e, value.getDefiningOp(), operands);
  }
  known[value] = lanes;
  return lanes;
}

void RowRegion::storeResults(llvm::function_ref<bool(Value)> wanted) {
  Operation *results = context.kernel.getBody().front().getTerminator();
  // All are computed before the first is written.
  llvm::SmallVector<std::pair<Value, unsigned>> ready;
  for (auto [index, value] : llvm::enumerate(results->getOperands()))
    if (wanted(value))
      ready.push_back({get(value), index});
  for (auto [lanes, index] : ready)
    store(lanes, start(context.outs[index]), span, context.outs[index].element());
}

void ds::forEachSpan(Emitter &e, int64_t width, llvm::function_ref<void(const RowSpan &)> body) {
  int64_t lanes = e.getLevel().lanes, whole = width / lanes * lanes;
  e.forRange(e.constant(0), e.constant(whole), lanes, [&](Value index) { body({index, lanes, Value()}); });
  if (whole < width)
    body({e.constant(whole), width - whole, Value()});
}

Value ds::reduceSpans(Emitter &e, int64_t width, Value identity, llvm::function_ref<Value(const RowSpan &, Value)> body,
                      llvm::function_ref<Value(Value, Value)> combine) {
  constexpr int64_t sums = 4;
  int64_t lanes = e.getLevel().lanes, block = width / (sums * lanes) * (sums * lanes);
  Emitter::Values begin(sums, identity);
  Emitter::Values all =
      e.forRange(e.constant(0), e.constant(block), sums * lanes, mlir::ValueRange(begin), [&](Value index, mlir::ValueRange carried) {
        Emitter::Values next;
        for (int64_t i = 0; i < sums; ++i)
          next.push_back(body({e.add(index, i * lanes), lanes, Value()}, carried[i]));
        return next;
      });
  for (int64_t index = block, i = 0; index < width; index += lanes, ++i)
    all[i] = body({e.constant(index), std::min(lanes, width - index), Value()}, all[i]);
  return combine(combine(all[0], all[1]), combine(all[2], all[3]));
}

Emitter::Values ds::sumSpans(Emitter &e, int64_t width, int64_t count,
                             llvm::function_ref<Emitter::Values(const RowSpan &, mlir::ValueRange)> body) {
  constexpr int64_t chains = 2;
  int64_t lanes = e.getLevel().lanes, block = width / (chains * lanes) * (chains * lanes);
  Emitter::Values begin(chains * count, e.zero(e.vec()));
  Emitter::Values all =
      e.forRange(e.constant(0), e.constant(block), chains * lanes, mlir::ValueRange(begin), [&](Value index, mlir::ValueRange carried) {
        Emitter::Values next;
        for (int64_t i = 0; i < chains; ++i)
          llvm::append_range(next, body({e.add(index, i * lanes), lanes, Value()}, carried.slice(i * count, count)));
        return next;
      });
  for (int64_t index = block, i = 0; index < width; index += lanes, ++i)
    llvm::copy(body({e.constant(index), std::min(lanes, width - index), Value()}, mlir::ValueRange(all).slice(i * count, count)),
               all.begin() + i * count);
  Emitter::Values sums;
  for (int64_t i = 0; i < count; ++i)
    sums.push_back(e.reduceAdd(e.add(all[i], all[count + i])));
  return sums;
}
