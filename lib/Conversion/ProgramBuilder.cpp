// One program: places of inputs, results and values between launches, and the launches.
#include "ConvertDSToPlan.h"
#include "ds/Conversion/ModulePath.h"
#include "ds/Conversion/MultiTensor.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace ds;
using ds_plan::Rows;
using ds_plan::StoreCacheOp;

/// [B, T, H] -> rows of H; [B, T] of integers -> rows
static FailureOr<MemRefType> bufferType(RankedTensorType type, bool hasWidth) {
  if (type.getRank() < 1 || (hasWidth && type.isDynamicDim(type.getRank() - 1)))
    return failure();
  SmallVector<int64_t> shape{ShapedType::kDynamic};
  if (hasWidth)
    shape.push_back(type.getShape().back());
  return MemRefType::get(shape, type.getElementType());
}

/// The tensors a region reads from outside, in order of first use.
static llvm::SetVector<Value> operandsOf(const KernelRegion &region) {
  llvm::SetVector<Value> ins;
  for (Operation *op : region.ops)
    for (Value operand : op->getOperands())
      if (!llvm::is_contained(region.ops, operand.getDefiningOp()))
        ins.insert(operand);
  return ins;
}

/// The results of a region that are read outside.
static SmallVector<Value> resultsOf(const KernelRegion &region) {
  SmallVector<Value> outs;
  for (Operation *op : region.ops)
    for (Value result : op->getResults())
      if (isa<StoreCacheOp, ds_plan::AccumulateOp>(op) ||
          llvm::any_of(result.getUsers(), [&](Operation *user) { return !llvm::is_contained(region.ops, user); }))
        outs.push_back(result);
  return outs;
}

/// The module of the model that each op of a region stands for, for the profiler.
static ArrayAttr modulesOf(const KernelRegion &region, OpBuilder &builder) {
  SmallVector<Attribute> names;
  for (Operation *op : region.ops)
    names.push_back(builder.getStringAttr(modulePath(op->getLoc())));
  return builder.getArrayAttr(names);
}

static StringAttr nameOf(func::FuncOp function, unsigned index, bool isResult) {
  return isResult ? function.getResultAttrOfType<StringAttr>(index, "ds.name") : function.getArgAttrOfType<StringAttr>(index, "ds.name");
}

/// [W] or [1, W] of a control -> one row of W; null for what has rows.
static MemRefType controlType(RankedTensorType type) {
  const bool isControl = type && type.hasStaticShape() && (type.getRank() == 1 || (type.getRank() == 2 && type.getDimSize(0) == 1)) &&
                         (type.getElementType().isF32() || type.getElementType().isInteger(32));
  return isControl ? MemRefType::get({ShapedType::kDynamic, type.getShape().back()}, type.getElementType()) : MemRefType();
}

LogicalResult ProgramBuilder::declareInputs(func::FuncOp function) {
  auto isRows = [&](BlockArgument argument) { return nameOf(function, argument.getArgNumber(), /*isResult=*/false) == "rows"; };
  const bool hasRows = llvm::any_of(function.getArguments(), isRows);
  for (BlockArgument argument : function.getArguments()) {
    unsigned index = argument.getArgNumber();
    auto type = dyn_cast<RankedTensorType>(argument.getType());
    StringAttr name = nameOf(function, index, /*isResult=*/false);
    if (MemRefType control = controlType(type); control && name) {
      places[argument] = ds_plan::InputOp::create(*builder, function.getLoc(), control, name, builder->getI64IntegerAttr(index),
                                                  ds_plan::RowsAttr::get(builder->getContext(), Rows::single));
      rows[argument] = Rows::single;
      continue;
    }
    if (!name || !type || !type.getElementType().isInteger(32) || type.getRank() > 2 || type.getRank() < 1)
      return function.emitError("expects argument ") << index << " to be i32 of rank 1 or 2 with a ds.name, got " << argument.getType();
    bool selects = llvm::any_of(argument.getUses(), [](OpOperand &use) { return isa<GatherRowsOp>(use.getOwner()); });
    selects |= name == "rows" || (name == "labels" && hasRows);
    Rows kind = type.getRank() == 2 ? Rows::tokens : selects ? Rows::selected : Rows::batch;
    places[argument] = ds_plan::InputOp::create(*builder, function.getLoc(), *bufferType(type, /*hasWidth=*/false), name,
                                                builder->getI64IntegerAttr(index), ds_plan::RowsAttr::get(builder->getContext(), kind));
    rows[argument] = kind;
  }
  return success();
}

LogicalResult ProgramBuilder::declareOutputs(func::FuncOp function) {
  Operation *terminator = function.getBody().front().getTerminator();
  for (OpOperand &operand : terminator->getOpOperands()) {
    unsigned index = operand.getOperandNumber();
    auto type = dyn_cast<RankedTensorType>(operand.get().getType());
    StringAttr name = nameOf(function, index, /*isResult=*/true);
    FailureOr<MemRefType> buffer = type ? bufferType(type, /*hasWidth=*/true) : FailureOr<MemRefType>(failure());
    if (!name || failed(buffer) || !type.getElementType().isF32())
      return function.emitError("expects result ")
             << index << " to be f32 with a static width and a ds.name, got " << operand.get().getType();
    Operation *op = operand.get().getDefiningOp();
    if (!op || !registry.lookup(op) || isa<StoreCacheOp>(op))
      return function.emitError("expects result ") << name << " to be computed by the function";
    // Rows are known when the value is: set when it is emitted.
    outputs.push_back(ds_plan::OutputOp::create(*builder, function.getLoc(), *buffer, name, builder->getI64IntegerAttr(index),
                                                ds_plan::RowsAttr::get(builder->getContext(), Rows::tokens)));
  }
  return success();
}

Value ProgramBuilder::weight(ds_plan::StorageOp storage, Location loc) {
  Value &value = weights[storage];
  if (!value)
    value = ds_plan::WeightOp::create(*builder, loc, storage.getType(), storage.getSymName());
  return value;
}

Value ProgramBuilder::cache(FlatSymbolRefAttr name, Location loc) {
  Value &value = cacheValues[name.getAttr()];
  if (value)
    return value;
  const CachePlace *place = caches.lookup(name);
  RankedTensorType type = ds::CacheOp(place->cache).getTensorType();
  Type element = isa<QuantizedType>(type.getElementType()) ? builder->getI8Type() : type.getElementType();
  value = ds_plan::CacheOp::create(*builder, loc, MemRefType::get(type.getShape().drop_front(), element), name,
                                   ds_plan::CacheKindAttr::get(builder->getContext(), place->kind),
                                   builder->getI64IntegerAttr(place->kvHeads), builder->getI64IntegerAttr(place->offset));
  return value;
}

FailureOr<Value> ProgramBuilder::placeOfOperand(OpOperand &operand) {
  Value value = operand.get();
  Operation *user = operand.getOwner(), *op = value.getDefiningOp();
  OperandRole role = registry.lookup(user)->role(user, operand.getOperandNumber());
  if (role == OperandRole::matrix || role == OperandRole::table || role == OperandRole::vector) {
    auto read = dyn_cast_or_null<WeightOp>(op);
    if (!read)
      return user->emitError("expects operand ") << operand.getOperandNumber() << " to be a weight", failure();
    auto parameter = SymbolTable::lookupNearestSymbolFrom<ParameterOp>(source, read.getParameterAttr());
    int64_t rank = role == OperandRole::vector ? 1 : 2;
    if (parameter.getTensorType().getRank() != rank)
      return user->emitError("expects ") << read.getParameterAttr() << " of rank " << rank, failure();
    return weight(storages.weight(parameter, role), parameter.getLoc());
  }
  if (auto read = dyn_cast_or_null<CacheReadOp>(op); read && role == OperandRole::cache) {
    if (!caches.lookup(read.getCacheAttr()))
      return read.emitError("expects a cache that attention reads"), failure();
    return cache(read.getCacheAttr(), read.getLoc());
  }
  auto place = places.find(value);
  if (place == places.end())
    return user->emitError("expects operand ") << operand.getOperandNumber() << " to be an activation or an input", failure();
  return place->second;
}

Rows ProgramBuilder::rowsOfResult(Operation *op) {
  switch (registry.lookup(op)->rows) {
  case ResultRows::ofInput:
    return rows.lookup(op->getOperand(0));
  case ResultRows::selected:
    return Rows::selected;
  case ResultRows::batch:
    return Rows::batch;
  case ResultRows::cache:
    return Rows::packed;
  case ResultRows::single:
    return Rows::single;
  }
  llvm_unreachable("all kinds of rows are handled");
}

FailureOr<Value> ProgramBuilder::placeOfResult(Value result, bool isOnly) {
  Operation *op = result.getDefiningOp();
  if (auto name = op->getAttrOfType<FlatSymbolRefAttr>(cacheAttrName)) {
    if (!caches.lookup(name))
      return op->emitError("expects a cache that attention reads, got ") << name, failure();
    return cache(name, op->getLoc());
  }
  if (auto name = op->getAttrOfType<FlatSymbolRefAttr>(gradientAttrName))
    return weight(storages.gradient(SymbolTable::lookupNearestSymbolFrom<ParameterOp>(source, name)), op->getLoc());
  auto type = cast<RankedTensorType>(result.getType());
  FailureOr<MemRefType> buffer = bufferType(type, /*hasWidth=*/true);
  if (failed(buffer) || !type.getElementType().isF32())
    return op->emitError("expects a result of f32 with a static width, got ") << type, failure();
  // A launch does not run when the caller wants no output it writes, so its other results must not depend on that.
  if (isOnly && result.hasOneUse() && isa<func::ReturnOp>(*result.user_begin()))
    return outputs[result.use_begin()->getOperandNumber()];
  return Value(
      ds_plan::BufferOp::create(*builder, op->getLoc(), *buffer, rows.lookup(result), IntegerAttr(), /*grouped=*/false, IntegerAttr()));
}

Value ProgramBuilder::partialResultsOf(AttentionOp attention) {
  auto keys = cast<RankedTensorType>(attention.getKey().getType());
  if (!attention.getPast() || keys.getShape()[1] <= 256)
    return {};
  // Of each head room for so many threads; of each a sum, a maximum and weighted values, all in whole cache lines.
  constexpr int64_t threads = 8, line = 16;
  int64_t headSize = cast<RankedTensorType>(attention.getQuery().getType()).getShape().back() / attention.getHeads();
  int64_t width = attention.getHeads() * threads * (line + llvm::alignTo(headSize, line));
  auto type = MemRefType::get({ShapedType::kDynamic, width}, builder->getF32Type());
  return ds_plan::BufferOp::create(*builder, attention.getLoc(), type, Rows::batch, IntegerAttr(), /*grouped=*/false, IntegerAttr());
}

LogicalResult ProgramBuilder::addStateOperands(Operation *op, SmallVectorImpl<Value> &aux) {
  SmallVector<int64_t> segments;
  for (ParameterOp parameter : trained) {
    auto [first, length] = storages.segment(parameter);
    segments.append({first, length});
  }
  if (static_cast<int64_t>(trained.size()) != cast<RankedTensorType>(op->getResult(0).getType()).getShape().back())
    return op->emitError("expects ") << trained.size() << " parameters that are trained";
  op->setDiscardableAttr(segmentsAttrName, builder->getDenseI64ArrayAttr(segments));
  SmallVector<ds_plan::State> parts{ds_plan::State::gradient};
  if (isa<OptimizerUpdateOp>(op))
    parts = {ds_plan::State::parameter, ds_plan::State::gradient, ds_plan::State::moment1, ds_plan::State::moment2};
  for (ds_plan::State part : parts)
    aux.push_back(weight(storages.part(part), op->getLoc()));
  auto scratch = MemRefType::get({ShapedType::kDynamic, multiTensorScratch(segments)}, builder->getF32Type());
  aux.push_back(ds_plan::BufferOp::create(*builder, op->getLoc(), scratch, Rows::single, IntegerAttr(), /*grouped=*/false, IntegerAttr()));
  return success();
}

LogicalResult ProgramBuilder::emitSwitch(SwitchOp op) {
  auto on = places.find(op.getOn()), off = places.find(op.getOff());
  if (on == places.end() || off == places.end() || rows.lookup(op.getOn()) != rows.lookup(op.getOff()))
    return op.emitError("expects two activations of as many rows");
  Value place = ds_plan::SwitchOp::create(*builder, op.getLoc(), on->second.getType(), builder->getI64IntegerAttr(op.getIndex()),
                                          on->second, off->second);
  places[op] = place;
  rows[op] = rows.lookup(op.getOn());
  return success();
}

LogicalResult ProgramBuilder::emitBarrier(OptimizationBarrierOp op) {
  auto place = places.find(op.getInput());
  if (place == places.end())
    return op.emitError("expects an activation");
  places[op] = Value(place->second);
  rows[op] = rows.lookup(op.getInput());
  return success();
}

LogicalResult ProgramBuilder::emit(const KernelRegion &region) {
  llvm::SetVector<Value> ins = operandsOf(region);
  SmallVector<Value> outs = resultsOf(region), inPlaces, auxPlaces, outPlaces;
  if (outs.empty())
    return success(); // nobody reads it
  for (Value in : ins) {
    OpOperand *operand = nullptr;
    for (Operation *op : region.ops)
      for (OpOperand &candidate : op->getOpOperands())
        if (!operand && candidate.get() == in)
          operand = &candidate;
    FailureOr<Value> place = placeOfOperand(*operand);
    if (failed(place))
      return failure();
    inPlaces.push_back(*place);
  }
  for (Operation *op : region.ops) {
    if (auto rope = dyn_cast<RopeOp>(op))
      auxPlaces.push_back(weight(storages.rope(rope, ropePositions), rope.getLoc()));
    if (auto attention = dyn_cast<AttentionOp>(op))
      if (Value partials = partialResultsOf(attention))
        auxPlaces.push_back(partials);
    if (isa<GradientNormsOp, OptimizerUpdateOp>(op) && failed(addStateOperands(op, auxPlaces)))
      return failure();
    for (Value result : op->getResults())
      rows[result] = rowsOfResult(op);
  }
  for (Value out : outs) {
    FailureOr<Value> place = placeOfResult(out, /*isOnly=*/outs.size() == 1);
    if (failed(place))
      return failure();
    outPlaces.push_back(*place);
    places[out] = *place;
  }
  Location loc = region.root->getLoc();
  auto kernel = kernels.get(registry, region, ins.getArrayRef(), outs);
  auto launch = ds_plan::LaunchOp::create(*builder, loc, kernel.getSymName(), inPlaces, auxPlaces, outPlaces, IntegerAttr(), IntegerAttr(),
                                          IntegerAttr());
  for (Operation *op : region.ops)
    if (Attribute gate = op->getAttr(gateAttrName))
      launch->setDiscardableAttr(gateAttrName, gate);
  if (region.ops.size() > 1)
    launch->setAttr("ds_plan.modules", modulesOf(region, *builder));
  for (Value out : outs)
    for (OpOperand &use : out.getUses()) {
      if (!isa<func::ReturnOp>(use.getOwner()))
        continue;
      Value output = outputs[use.getOperandNumber()];
      output.getDefiningOp<ds_plan::OutputOp>().setRows(rows.lookup(out));
      if (output != places[out])
        ds_plan::LaunchOp::create(*builder, loc, kernels.copy(cast<RankedTensorType>(out.getType())).getSymName(), ValueRange(places[out]),
                                  ValueRange(), ValueRange(output), IntegerAttr(), IntegerAttr(), IntegerAttr());
    }
  return success();
}

SmallVector<SmallVector<Operation *>> ProgramBuilder::regionsOf(func::FuncOp function) {
  SmallVector<SmallVector<Operation *>> regions;
  llvm::DenseMap<Attribute, size_t> places; // of fusions
  for (Operation &op : function.getBody().front().without_terminator()) {
    if (isa<WeightOp, CacheReadOp>(op))
      continue;
    Attribute fusion = op.getAttr(fusionAttrName);
    auto [place, isNew] = fusion ? places.try_emplace(fusion, regions.size()) : std::pair(places.end(), true);
    if (isNew)
      regions.push_back({&op});
    else
      regions[place->second].push_back(&op);
  }
  return regions;
}

LogicalResult ProgramBuilder::build(func::FuncOp function, Operation *before) {
  places.clear(), rows.clear(), weights.clear(), cacheValues.clear(), outputs.clear();
  source = function;
  bool hasCache = false;
  for (StoreCacheOp store : function.getOps<StoreCacheOp>())
    hasCache |= store->hasAttr(cacheAttrName);
  // Programs beside those with a cache take no longer sequences than these, so all share a table.
  ropePositions = (caches.context() > 0 ? caches.context() : bounds.maxPositions) + bounds.positionOffset;
  // Without a cache a sequence cannot be cut into steps, so the longest one fits a step; where there is one as well, long ones go through
  // it.
  bool whole = !hasCache && trained.empty() && function.getSymName() != "forward";
  int64_t maxRows = whole ? std::max(bounds.maxRows, bounds.maxPositions) : bounds.maxRows;
  if (function.getSymName() == "decode")
    maxRows = 0; // one token for each sequence
  maxRows = std::max(maxRows, bounds.maxBatch);

  OpBuilder outer(before);
  auto program = ds_plan::ProgramOp::create(outer, function.getLoc(), function.getSymName(), bounds.maxBatch, maxRows, /*arena_bytes=*/0,
                                            hasCache ? caches.bytesPerSequence() : 0);
  OpBuilder inner = OpBuilder::atBlockEnd(&program.getBody().emplaceBlock());
  builder = &inner;
  if (failed(declareInputs(function)) || failed(declareOutputs(function)))
    return failure();
  for (ArrayRef<Operation *> ops : regionsOf(function)) {
    auto choice = dyn_cast<SwitchOp>(ops.front());
    auto barrier = dyn_cast<OptimizationBarrierOp>(ops.front());
    if (choice || barrier) { // a place, and no launch
      if (failed(choice ? emitSwitch(choice) : emitBarrier(barrier)))
        return failure();
      continue;
    }
    FailureOr<KernelRegion> region = registry.region(ops);
    if (failed(region) || failed(emit(*region)))
      return failure();
  }
  gateLaunches(program);
  return success();
}
