#include "RowRegion.h"
#include "TileReader.h"
#include "dialects/DS/DSDialect.h"
#include "ds/Analysis/FusionLegality.h"
#include "ds/Target/CPU/Elementwise.h"

using namespace ds;
using mlir::Operation;
using mlir::Value;

llvm::Error GpuRowRegion::check(const GpuKernel &kernel) {
  int64_t width = kernel.outs.empty() ? 0 : kernel.outs[0].width();
  if (width < 1)
    return kernel.error("expects results of a static width");
  mlir::Block &block = ds_plan::KernelOp(kernel.kernel).getBody().front();
  llvm::SmallVector<Operation *> ops;
  for (Operation &op : block.without_terminator())
    ops.push_back(&op);
  if (std::optional<std::string> why = whyNotOneKernel(ops))
    return kernel.error("row cannot serve the region: " + *why);
  if (std::optional<std::string> why = whyNotOnCuda(ops))
    return kernel.error(*why);
  auto isRow = [&](const KernelOperand &o) {
    return o.element().isF32() && (o.kind == KernelOperand::Kind::weight ? o.layout == ds_plan::Layout::vector && o.width() >= width
                                                                         : o.kind == KernelOperand::Kind::rows && o.width() == width);
  };
  auto isIndexOrTable = [&](const KernelOperand &o, Value argument) {
    return llvm::all_of(argument.getUses(), [&](mlir::OpOperand &use) {
      if (!mlir::isa<EmbeddingOp>(use.getOwner()))
        return false;
      return use.getOperandNumber() == 0 ? isI32Rows(&o) : canReadTable(o, width);
    });
  };
  for (auto [in, argument] : llvm::zip_equal(kernel.ins, block.getArguments()))
    if (!isRow(in) && !isIndexOrTable(in, argument))
      return kernel.error("expects f32 rows of one width, f32 vectors, and indices and tables of embeddings");
  if (!llvm::all_of(kernel.outs, isRow))
    return kernel.error("expects results of f32 rows of one width");
  return llvm::Error::success();
}

Value GpuRowRegion::address(const KernelOperand &operand) {
  if (!row || operand.kind == KernelOperand::Kind::weight)
    return e.element(operand.pointer, e.f32(), at.index);
  return elementOfRow(e, operand, row, at.index);
}

Value GpuRowRegion::whereValid(llvm::function_ref<Value()> load) {
  if (!at.valid)
    return load();
  mlir::Type type = at.lanes == 1 ? e.f32() : mlir::Type(e.vec(at.lanes));
  return e.ifElse(at.valid, type, [&] { return Emitter::Values{load()}; }, [&] { return Emitter::Values{e.zero(type)}; })[0];
}

Value GpuRowRegion::get(Value value) {
  if (Value lanes = known.lookup(value))
    return lanes;
  Value lanes;
  if (auto argument = mlir::dyn_cast<mlir::BlockArgument>(value)) {
    lanes = whereValid([&] { return loadLanes(e, address(body.ins[argument.getArgNumber()]), at.lanes); });
  } else if (auto embedding = value.getDefiningOp<EmbeddingOp>()) {
    lanes = whereValid([&] {
      Value index = loadIndex(e, *operandOf(body, embedding.getIndices()), row);
      return loadTable(e, *operandOf(body, embedding.getTable()), index, at.index, at.lanes);
    });
  } else {
    llvm::SmallVector<Value> operands;
    for (Value operand : value.getDefiningOp()->getOperands())
      operands.push_back(get(operand));
    lanes = emitElementwise(e, value.getDefiningOp(), operands);
  }
  known[value] = lanes;
  return lanes;
}

void GpuRowRegion::storeResults() {
  // All are computed before the first is written.
  llvm::SmallVector<Value> ready;
  for (Value value : kernel.getBody().front().getTerminator()->getOperands())
    ready.push_back(get(value));
  auto store = [&] {
    for (auto [lanes, out] : llvm::zip_equal(ready, body.outs))
      storeLanes(e, lanes, address(out));
  };
  if (at.valid)
    e.ifThen(at.valid, store);
  else
    store();
}

bool ds::canReadTable(const KernelOperand &table, int64_t width) {
  if (std::optional<ds_plan::Tiles> tiles = tilesOf(table))
    return tiles->depth == width;
  return table.kind == KernelOperand::Kind::weight && table.layout == ds_plan::Layout::rows &&
         mlir::isa<mlir::FloatType>(table.element()) && table.width() == width;
}

Value ds::loadTable(GpuEmitter &e, const KernelOperand &table, Value index, Value column, int64_t lanes) {
  mlir::Type element = table.element();
  if (lanes == 1)
    return loadMatrixElement(e, table, e.toI32(index), column);
  if (!tilesOf(table)) {
    Value start = e.element(table.pointer, element, e.mul(index, table.width())), at = e.element(start, element, column);
    // bf16 as integers: `toF32` shifts them.
    mlir::Type stored = e.vec(lanes, element.isBF16() ? e.i16() : element);
    Value loaded = e.load(stored, at, static_cast<unsigned>(lanes * element.getIntOrFloatBitWidth() / 8));
    return e.toF32(e.bitcast(loaded, e.vec(lanes, element)));
  }
  Value all = e.zero(e.vec(lanes));
  for (int64_t lane = 0; lane < lanes; ++lane)
    all = e.insert(loadMatrixElement(e, table, e.toI32(index), e.add(column, lane)), all, lane);
  return all;
}
