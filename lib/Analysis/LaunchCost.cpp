#include "ds/Analysis/LaunchCost.h"
#include "dialects/DS/DSDialect.h"
#include "dialects/DSPlan/PanelCodes.h"
#include "dialects/DSPlan/TileCodes.h"
#include "ds/Analysis/OpCost.h"

using namespace mlir;
using namespace ds;
using namespace ds_plan;
using dsrt::LaunchFacts;
using dsrt::LaunchRows;
using dsrt::MatrixType;

static int64_t elementBytes(Type type) {
  auto shaped = cast<ShapedType>(type);
  auto codes = dyn_cast<QuantizedType>(shaped.getElementType());
  return (codes ? codes.getBits() : shaped.getElementTypeBitWidth()) / 8;
}

static int64_t widthOf(Value value) { return cast<ShapedType>(value.getType()).getShape().back(); }
static bool isOfCodes(Value value) { return isa<QuantizedType>(cast<ShapedType>(value.getType()).getElementType()); }

/// Bytes of one row of an activation, 4 for integers.
static int64_t rowBytes(Value value) {
  auto type = cast<MemRefType>(value.getType());
  return (type.getRank() == 1 ? 1 : type.getShape().back()) * elementBytes(type);
}

/// The rows of what a launch gives, or, where it adds to gradients of parameters, of what it reads.
static LaunchRows rowsOf(LaunchOp launch) {
  Rows rows = Rows::tokens;
  SmallVector<Value> places(launch.getOuts());
  llvm::append_range(places, launch.getIns());
  for (Value place : places) {
    Operation *op = place.getDefiningOp();
    if (auto buffer = dyn_cast<BufferOp>(op))
      rows = buffer.getRows();
    else if (auto output = dyn_cast<OutputOp>(op))
      rows = output.getRows();
    else if (isa<ds_plan::WeightOp>(op))
      continue;
    break;
  }
  return rows == Rows::selected ? LaunchRows::selected : rows == Rows::batch ? LaunchRows::batch : LaunchRows::tokens;
}

StorageOp ds::storageOf(Value place, const SymbolTable &symbols) {
  auto weight = place.getDefiningOp<ds_plan::WeightOp>();
  return weight ? symbols.lookup<StorageOp>(weight.getStorage()) : StorageOp();
}

llvm::StringRef ds::nameOf(LaunchRows rows) {
  return rows == LaunchRows::tokens ? "tokens" : rows == LaunchRows::selected ? "selected" : "batch";
}

void ds::addOp(LaunchFacts &facts, Operation *op) {
  OpCost cost = costOf(op);
  facts.macsPerRow += static_cast<double>(cost.macsPerRow);
  facts.macsPerPair += static_cast<double>(cost.macsPerPair);
  facts.flopsPerRow += static_cast<double>(cost.flopsPerRow);
  facts.flopsPerPair += static_cast<double>(cost.flopsPerPair);
  facts.flopsPerKey += static_cast<double>(cost.flopsPerKey);
  facts.laneOpsPerRow += static_cast<double>(cost.laneOpsPerRow);
  facts.laneOpsPerPair += static_cast<double>(cost.laneOpsPerPair);
  facts.laneOpsPerKey += static_cast<double>(cost.laneOpsPerKey);
  auto addSight = [&](auto attention) {
    facts.causal = attention.getCausal();
    facts.window = static_cast<double>(attention.getWindow().value_or(0));
  };
  if (auto attention = dyn_cast<AttentionOp>(op))
    addSight(attention);
  if (auto gradient = dyn_cast<AttentionGradOp>(op))
    addSight(gradient);
}

/// What a product multiplies that finds its weight stored as `type`; f32 of codes.
static MatrixType matrixTypeOf(MemRefType type) {
  return type.getElementType().isBF16() ? MatrixType::bf16 : type.getElementType().isF16() ? MatrixType::f16 : MatrixType::f32;
}

/// Whether a linear's codes multiply bytes in steps of more than two rows: numbers of 8 bits are no integers.
static bool multipliesBytes(LinearOp linear) {
  auto codes = dyn_cast<QuantizedType>(cast<ShapedType>(linear.getWeight().getType()).getElementType());
  return linear.getActivationBits() && codes && !codes.isE4m3();
}

/// Bytes of a weight as it is stored; of a quantized one its scales as well.
static double storedBytes(RankedTensorType type) {
  auto quantized = dyn_cast<QuantizedType>(type.getElementType());
  if (!quantized)
    return static_cast<double>(type.getNumElements() * elementBytes(type));
  return static_cast<double>(type.getDimSize(0) * ds_plan::PanelCodes(quantized, type.getDimSize(1), 1).bytes());
}

/// A lookup in a table reads one row. In panels a row's elements, or its pairs of bf16, stand 128 or 192 bytes apart, and each brings its
/// cache line and, as processors fetch lines in pairs, the other one. Of several tables the largest counts for that: those of positions and
/// of token types are small, and each step reads the same rows of them.
static void addTable(LaunchFacts &facts, StorageOp stored) {
  auto type = cast<MemRefType>(stored.getType());
  const auto size = static_cast<double>(type.getNumElements() * elementBytes(type));
  auto add = [&](double rowBytes, double lineBytes) {
    facts.lookupBytesPerRow += rowBytes;
    if (size > facts.tableSize) {
      facts.tableBytesPerRow = lineBytes;
      facts.tableSize = size;
    }
  };
  if (isInTiles(stored.getLayout())) { // 8 rows share a block, and each lies in runs of 16 bytes or more
    const double rowBytes = size / static_cast<double>(type.getDimSize(0) * ds_plan::Tiles::blockRows);
    return add(rowBytes, rowBytes);
  }
  const bool inPanels = isInPanels(stored.getLayout());
  int64_t width = inPanels ? type.getDimSize(1) : type.getShape().back();
  if (stored.getLayout() == Layout::panel_pairs || stored.getLayout() == Layout::panel_halves)
    width *= 2;
  const int64_t bytes = elementBytes(type);
  add(static_cast<double>(width * bytes), static_cast<double>(width * (inPanels ? std::max<int64_t>(64, 32 * bytes) : bytes)));
}

/// A norm needs its whole row, so rows are what threads share; a product shares columns as well.
static bool needsRows(Operation *op) { return isa<LayerNormOp, RmsNormOp, L2NormalizeOp, SoftmaxOp>(op); }

LaunchFacts ds::factsOf(ArrayRef<Operation *> ops) {
  LaunchFacts facts;
  llvm::SmallPtrSet<Value, 8> seen;
  for (Operation *op : ops) {
    addOp(facts, op);
    facts.rowsAreTiles |= needsRows(op);
    for (Value operand : op->getOperands()) {
      auto type = dyn_cast<RankedTensorType>(operand.getType());
      if (!type || llvm::is_contained(ops, operand.getDefiningOp()) || !seen.insert(operand).second)
        continue;
      if (type.hasStaticShape()) // a weight
        facts.weightBytes += storedBytes(type);
      else if (!type.isDynamicDim(type.getRank() - 1))
        facts.readBytesPerRow += static_cast<double>(type.getShape().back() * elementBytes(type));
    }
    for (Value result : op->getResults())
      if (auto type = dyn_cast<RankedTensorType>(result.getType());
          type && llvm::any_of(result.getUsers(), [&](Operation *user) { return !llvm::is_contained(ops, user); }))
        facts.writtenBytesPerRow += static_cast<double>(type.getShape().back() * elementBytes(type));
  }
  facts.rowsAreTiles &= facts.macsPerRow == 0;
  facts.family = facts.macsPerRow > 0 ? "gemm" : "row";
  facts.matrix = facts.macsPerRow > 0 ? MatrixType::f32 : MatrixType::none;
  return facts;
}

LaunchFacts ds::factsOf(LaunchOp launch, const SymbolTable &symbols) {
  auto kernel = symbols.lookup<KernelOp>(launch.getKernel());
  LaunchFacts facts;
  facts.family = kernel.getFamily().str();
  facts.rows = rowsOf(launch);
  auto count = [&](Value value, bool isOut) {
    auto type = cast<MemRefType>(value.getType());
    double &perRow = isOut ? facts.writtenBytesPerRow : facts.readBytesPerRow;
    if (StorageOp stored = storageOf(value, symbols)) {
      if (kernel.getFamily() == "embed" && type.getRank() >= 2)
        addTable(facts, stored);
      else if (stored.getLayout() != Layout::rope)
        facts.weightBytes += static_cast<double>(type.getNumElements() * elementBytes(type));
      if (stored.getLayout() == Layout::tile_codes && kernel.getFamily() == "gemm")
        if (auto parameter = symbols.lookup<ParameterOp>(*stored.getParameter()))
          facts.codes += static_cast<double>(parameter.getTensorType().getNumElements());
      if (isInPanels(stored.getLayout()) && kernel.getFamily() != "embed")
        facts.matrix = stored.getLayout() == Layout::panel_halves ? MatrixType::halves : matrixTypeOf(type);
    } else if (auto cache = value.getDefiningOp<ds_plan::CacheOp>()) {
      (isOut ? perRow : facts.bytesPerKey) += static_cast<double>(cache.getBytes()) / static_cast<double>(type.getDimSize(0));
    } else {
      perRow += static_cast<double>(rowBytes(value));
      if (kernel.getFamily() == "attention" && !isOut && type.getElementType().isBF16()) // keys and values in pairs
        facts.matrix = MatrixType::bf16;
      if (isOut && isa<OutputOp>(value.getDefiningOp()))
        facts.outputBytesPerRow += static_cast<double>(rowBytes(value));
    }
  };
  for (Value value : launch.getIns())
    count(value, false);
  for (Value value : launch.getOuts())
    count(value, true);
  for (Value value : launch.getAux()) {
    if (value.getDefiningOp<BufferOp>())
      facts.scratchBytesPerRow += static_cast<double>(rowBytes(value));
    else
      count(value, false);
  }
  for (Operation &op : kernel.getBody().front().without_terminator()) {
    addOp(facts, &op);
    if (auto store = dyn_cast<StoreCacheOp>(op); store && store.getKind() == CacheKind::keys) // 16 slots of each value and scale
      facts.keyBlockBytes += static_cast<double>(16 * elementBytes(store.getOutput().getType()) * widthOf(store.getInput())) +
                             (isOfCodes(store.getOutput()) ? 64.0 * static_cast<double>(store.getKvHeads()) : 0);
    if (auto attention = dyn_cast<AttentionOp>(op)) {
      facts.heads = static_cast<double>(attention.getHeads());
      if (attention.getRounded())
        facts.matrix = MatrixType::rounded;
    }
    facts.rowsAreTiles |= needsRows(&op);
  }
  auto linears = kernel.getBody().front().getOps<LinearOp>();
  if (!linears.empty() && llvm::all_of(linears, multipliesBytes))
    facts.matrix = MatrixType::bytes;
  facts.rowsAreTiles &= facts.macsPerRow == 0;
  return facts;
}
