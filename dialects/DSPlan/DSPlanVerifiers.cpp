// What every op of a plan promises on its own.
#include "dialects/DSPlan/CacheLayout.h"
#include "dialects/DSPlan/DSPlanDialect.h"

using namespace mlir;
using namespace ds_plan;

/// (C4) of storage.
static bool hasShapeOf(Layout layout, MemRefType type) {
  ArrayRef<int64_t> shape = type.getShape();
  auto isPanel = [](int64_t width) { return width == 32 || width == 48; };
  switch (layout) {
  case Layout::panels:
    return shape.size() == 3 && isPanel(shape[2]) && isa<FloatType>(type.getElementType()) && !type.getElementType().isBF16();
  case Layout::panel_pairs:
    return shape.size() == 4 && isPanel(shape[2]) && shape[3] == 2 && type.getElementType().isBF16();
  case Layout::panel_halves:
    return shape.size() == 4 && isPanel(shape[2]) && shape[3] == 2 && type.getElementType().isF16();
  case Layout::panel_sums:
    return shape.size() == 3 && isPanel(shape[2]) && type.getElementType().isF32();
  case Layout::panel_codes:
    return shape.size() == 3 && (isPanel(shape[2]) || shape[2] == 1) && type.getElementType().isInteger(32);
  case Layout::tiles:
    return shape.size() == 4 && shape[0] % 2 == 0 && shape[2] == 8 && shape[3] == 32 &&
           (type.getElementType().isBF16() || type.getElementType().isF16());
  case Layout::tile_codes:
    return shape.size() == 2 && shape[0] % 2 == 0 && type.getElementType().isInteger(32);
  case Layout::rows:
    return shape.size() == 2 && isa<FloatType>(type.getElementType());
  case Layout::vector:
    return shape.size() == 1 && shape[0] % 32 == 0 && isa<FloatType>(type.getElementType());
  case Layout::rope:
    return shape.size() == 3 && shape[1] == 2;
  }
  llvm_unreachable("all layouts have a shape");
}

LogicalResult StorageOp::verify() {
  const bool isWholePart = getState() && getLayout() == Layout::vector && !getParameter();
  if ((getParameter().has_value() == (getLayout() == Layout::rope) && !isWholePart) ||
      getRope().has_value() != (getLayout() == Layout::rope)) // (C1)
    return emitOpError("expects a parameter, or a rope table for layout rope");
  auto type = cast<MemRefType>(getType());
  if (!type.hasStaticShape()) // (C2)
    return emitOpError("expects a static type, got ") << type;
  if (getOffset() && *getOffset() % 64 != 0) // (C3)
    return emitOpError("expects an offset that is a multiple of 64, got ") << *getOffset();
  if (!hasShapeOf(getLayout(), type)) // (C4)
    return emitOpError("expects the shape of layout ") << stringifyLayout(getLayout()) << ", got " << type;
  return success();
}

LogicalResult ProgramOp::verify() {
  int64_t maxBatch = getMaxBatch(), maxRows = getMaxRows(), arena = getArenaBytes(), kv = getKvBytes();
  if (maxBatch < 1 || maxRows < maxBatch) // (C1)
    return emitOpError("expects 1 <= max_batch <= max_rows, got ") << maxBatch << " and " << maxRows;
  if (arena < 0 || kv < 0) // (C1)
    return emitOpError("expects arena and kv_bytes of at least 0, got ") << arena << " and " << kv;
  return success();
}

/// True for `[?, W]`.
static bool isRowsOfWidth(MemRefType type) { return type.getRank() == 2 && type.isDynamicDim(0) && !type.isDynamicDim(1); }

LogicalResult InputOp::verify() {
  auto type = cast<MemRefType>(getType());
  const bool isControl =
      getRows() == Rows::single && isRowsOfWidth(type) && (type.getElementType().isF32() || type.getElementType().isInteger(32));
  if (!isControl && (type.getRank() != 1 || !type.isDynamicDim(0) || !type.getElementType().isInteger(32))) // (C1)
    return emitOpError("expects type memref<?xi32>, got ") << type;
  return success();
}

LogicalResult OutputOp::verify() {
  auto type = cast<MemRefType>(getType());
  if (!isRowsOfWidth(type) || !type.getElementType().isF32()) // (C1)
    return emitOpError("expects f32 rows of a static width, got ") << type;
  return success();
}

LogicalResult BufferOp::verify() {
  auto type = cast<MemRefType>(getType());
  if (!isRowsOfWidth(type)) // (C1)
    return emitOpError("expects rows of a static width, got ") << type;
  if (std::optional<int64_t> offset = getOffset(); offset && (*offset < 0 || *offset % 64 != 0)) // (C2)
    return emitOpError("expects an offset that is a multiple of 64, got ") << *offset;
  if (getGrouped() && (!type.getElementType().isF32() || type.getDimSize(1) % 16 != 0)) // (C3)
    return emitOpError("expects grouped rows of f32 and a width that is a multiple of 16, got ") << type;
  if (!getSlab()) // (C4)
    return success();
  auto isOfSlab = [&](Operation *user) { return isa<LaunchOp>(user) && cast<LaunchOp>(user).getSlab() == getSlab(); };
  if (getGrouped() || *getSlab() < 1 || !llvm::all_of((*this)->getUsers(), isOfSlab))
    return emitOpError("expects dense rows of a slab that launches of that slab alone touch");
  return success();
}

LogicalResult ds_plan::CacheOp::verify() {
  auto type = cast<MemRefType>(getType());
  int64_t heads = getKvHeads(), offset = getOffset();
  if (type.getRank() != 2 || !type.hasStaticShape() || type.getDimSize(0) % 16 != 0 || heads < 1 || type.getDimSize(1) % heads != 0) // (C1)
    return emitOpError("expects a type [C, ") << heads << " * D] with C a multiple of 16, got " << type;
  if (offset < 0 || offset % 64 != 0) // (C2)
    return emitOpError("expects an offset that is a multiple of 64, got ") << offset;
  Type element = type.getElementType();
  if (!element.isF32() && !element.isBF16() && !element.isInteger(8)) // (C3)
    return emitOpError("expects f32, bf16, or i8 for codes, got ") << type;
  return success();
}

int64_t ds_plan::CacheOp::getBytes() {
  auto type = cast<MemRefType>(getType());
  auto heads = static_cast<int64_t>(getKvHeads());
  return CacheLayout(type.getDimSize(1) / heads, type.getElementTypeBitWidth() / 8).bytes(heads, type.getDimSize(0));
}

LogicalResult ds_plan::SwitchOp::verify() {
  std::optional<Rows> on = rowsOf(getOn());
  if (!on || on != rowsOf(getOff())) // (C1)
    return emitOpError("expects two places of rows of one kind");
  for (Value place : {getOn(), getOff()})
    if (auto buffer = place.getDefiningOp<BufferOp>(); buffer && buffer.getGrouped()) // (C1)
      return emitOpError("expects dense rows");
  return success();
}

LogicalResult ds_plan::WeightOp::verifySymbolUses(SymbolTableCollection &symbols) {
  auto storage = symbols.lookupNearestSymbolFrom<StorageOp>((*this)->getParentOp(), getStorageAttr());
  if (!storage) // (C1)
    return emitOpError("expects a ds_plan.storage named ") << getStorageAttr();
  if (storage.getType() != getType()) // (C1)
    return emitOpError("expects type ") << storage.getType() << " of " << getStorageAttr() << ", got " << getType();
  return success();
}

LogicalResult KernelOp::verifyRegions() {
  Block &body = getBody().front();
  for (Type type : body.getArgumentTypes())
    if (!isa<RankedTensorType>(type)) // (C1)
      return emitOpError("expects tensors as block arguments, got ") << type;
  for (Operation &op : body.without_terminator())
    if (!isa<StoreCacheOp, AccumulateOp>(op) && // (C1)
        (!isa<ds::DSDialect>(op.getDialect()) || isa<ds::ParameterOp, ds::WeightOp, ds::CacheOp, ds::CacheAppendOp, ds::CacheReadOp,
                                                     ds::LayerOp, ds::FusionOp, ds::SwitchOp, ds::AccumulateGradientOp>(op)))
      return op.emitOpError("expects an op that computes a value of the kernel");
  return success();
}

LogicalResult StoreCacheOp::verify() {
  auto input = cast<RankedTensorType>(getInput().getType()), output = cast<RankedTensorType>(getOutput().getType());
  int64_t heads = getKvHeads();
  if (input.getRank() != 3 || heads < 1 || input.isDynamicDim(2) || input.getDimSize(2) % heads != 0) // (C1)
    return emitOpError("expects input of shape [B, T, ") << heads << " * D], got " << input;
  if (output.getRank() != 3 || output.getDimSize(2) != input.getDimSize(2)) // (C1)
    return emitOpError("expects a result of width ") << input.getDimSize(2) << ", got " << output;
  if (getPast() && cast<RankedTensorType>(getPast().getType()).getRank() != 1) // (C1)
    return emitOpError("expects past of shape [B], got ") << getPast().getType();
  auto codes = dyn_cast<ds::QuantizedType>(output.getElementType());
  if (codes && (!codes.isOfCache() || codes.getGroup() * heads != output.getDimSize(2) || !getPast())) // (C2)
    return emitOpError("expects codes with one f32 scale for a head, and past, got ") << output;
  return success();
}

/// (C2) of launch: `place` can hold what `tensor` stands for.
static bool canHold(Value place, Type tensor) {
  if (place.getDefiningOp<ds_plan::WeightOp>())
    return true; // packed by its layout
  auto memref = cast<MemRefType>(place.getType());
  auto type = dyn_cast<RankedTensorType>(tensor);
  if (!type || type.getRank() < 1)
    return false;
  Type element = memref.getElementType();
  if (isa<ds::QuantizedType>(type.getElementType()))
    return place.getDefiningOp<ds_plan::CacheOp>() && element.isInteger(8) && memref.getShape().back() == type.getShape().back();
  const bool isNarrow = place.getDefiningOp<BufferOp>() && (element.isBF16() || element.isF16()) && type.getElementType().isF32();
  if (type.getElementType() != element && !isNarrow)
    return false;
  return memref.getRank() == 1 || memref.getShape().back() == type.getShape().back();
}

/// The next or previous launch, from `op` on; null at the end.
static LaunchOp nearestLaunch(Operation *op, bool forward) {
  while (op && !isa<LaunchOp>(op))
    op = forward ? op->getNextNode() : op->getPrevNode();
  return cast_or_null<LaunchOp>(op);
}

bool BarrierOp::isInsideChain() {
  LaunchOp before = nearestLaunch(*this, /*forward=*/false), behind = nearestLaunch(*this, /*forward=*/true);
  return before && behind && before.getChain() && before.getChain() == behind.getChain();
}

std::optional<Rows> ds_plan::rowsOf(Value place) {
  if (auto buffer = place.getDefiningOp<BufferOp>())
    return buffer.getRows();
  if (auto input = place.getDefiningOp<InputOp>())
    return input.getRows();
  if (auto choice = place.getDefiningOp<ds_plan::SwitchOp>())
    return rowsOf(choice.getOn());
  return std::nullopt;
}

/// (C4) of launch.
/// (C5), but for what the kernel does.
static LogicalResult verifySlab(LaunchOp launch) {
  if (*launch.getSlab() < 1 || launch.getChain() || launch.getGate())
    return launch.emitOpError("expects a slab of 1 row or more, no chain and no gate");
  std::optional<Rows> rows;
  for (Value place : launch->getOperands()) {
    if (place.getDefiningOp<ds_plan::WeightOp>())
      continue;
    auto buffer = place.getDefiningOp<BufferOp>();
    auto output = place.getDefiningOp<OutputOp>();
    std::optional<Rows> kind = output ? output.getRows() : rowsOf(place);
    if (kind == Rows::single)
      continue;
    if (!kind || (rows && kind != rows) || (buffer && buffer.getGrouped()) || place.getDefiningOp<ds_plan::SwitchOp>())
      return launch.emitOpError("expects a slab to work on weights, single rows, and dense rows of one kind");
    rows = kind;
  }
  return success();
}

LogicalResult LaunchOp::verify() {
  if (getSlab())
    return verifySlab(*this);
  if (!getChain())
    return success();
  std::optional<Rows> rows = getOuts().empty() ? std::nullopt : rowsOf(getOuts().front());
  auto canBeOperand = [&](Value place) { return place.getDefiningOp<ds_plan::WeightOp>() || (rows && rowsOf(place) == rows); };
  auto isBuffer = [](Value out) { return out.getDefiningOp<BufferOp>(); };
  if (!llvm::all_of(getOperands(), canBeOperand) || !llvm::all_of(getOuts(), isBuffer))
    return emitOpError("expects a chain to work on weights and on rows that all operands have, and to write buffers");
  bool outside = false;
  for (LaunchOp other = nearestLaunch((*this)->getPrevNode(), false); other; other = nearestLaunch(other->getPrevNode(), false)) {
    const bool same = other.getChain() == getChain();
    if (same && outside)
      return emitOpError("expects the launches of chain ") << *getChain() << " to follow each other";
    if (same && (other.getOuts().empty() || rowsOf(other.getOuts().front()) != rows))
      return emitOpError("expects the launches of chain ") << *getChain() << " to have the same rows";
    outside |= !same;
  }
  return success();
}

LogicalResult LaunchOp::verifySymbolUses(SymbolTableCollection &symbols) {
  auto kernel = symbols.lookupNearestSymbolFrom<KernelOp>((*this)->getParentOp(), getKernelAttr());
  if (!kernel) // (C1)
    return emitOpError("expects a ds_plan.kernel named ") << getKernelAttr();
  constexpr StringLiteral byRow[] = {"copy", "gemm", "rope", "row"};
  if (getChain() && !llvm::is_contained(byRow, kernel.getFamily())) // (C4)
    return emitOpError("expects a chain of kernels that work row by row, got family ") << kernel.getFamilyAttr();
  constexpr StringLiteral bySlab[] = {"column_sum", "copy", "gemm", "gemm_gradient", "row"};
  if (getSlab() && !llvm::is_contained(bySlab, kernel.getFamily())) // (C5)
    return emitOpError("expects a slab of kernels that work row by row or sum rows, got family ") << kernel.getFamilyAttr();
  Block &body = kernel.getBody().front();
  Operation *result = body.getTerminator();
  if (body.getNumArguments() != getIns().size() || result->getNumOperands() != getOuts().size()) // (C1)
    return emitOpError("expects ") << body.getNumArguments() << " ins and " << result->getNumOperands() << " outs for kernel "
                                   << getKernelAttr();
  for (auto [index, place, type] : llvm::enumerate(getIns(), body.getArgumentTypes()))
    if (!canHold(place, type)) // (C2)
      return emitOpError("expects ins ") << index << " to hold " << type << ", got " << place.getType();
  llvm::SmallDenseSet<Value> written;
  for (auto [index, place, value] : llvm::enumerate(getOuts(), result->getOperands())) {
    Type type = value.getType(), element = cast<MemRefType>(place.getType()).getElementType();
    auto weight = place.getDefiningOp<ds_plan::WeightOp>();
    auto storage = weight ? symbols.lookupNearestSymbolFrom<StorageOp>((*this)->getParentOp(), weight.getStorageAttr()) : StorageOp();
    const bool isState = storage && storage.getState();
    if ((!isState && !isa_and_nonnull<BufferOp, OutputOp, ds_plan::CacheOp>(place.getDefiningOp())) ||
        !written.insert(place).second) // (C3)
      return emitOpError("expects outs ") << index << " to be a buffer, an output, a cache or a place in the state of its own";
    auto round = value.getDefiningOp<ds::RoundOp>();
    auto buffer = place.getDefiningOp<BufferOp>();
    const bool isNarrow = buffer && element != cast<RankedTensorType>(type).getElementType();
    const bool isRounded = (round && round.getTarget() == element) ||
                           (buffer && buffer.getRows() == Rows::packed && element.isBF16() && value.getDefiningOp<StoreCacheOp>());
    if (!canHold(place, type) || (isNarrow && !isRounded)) // (C2)
      return emitOpError("expects outs ") << index << " to hold " << type << ", got " << place.getType();
  }
  return success();
}
