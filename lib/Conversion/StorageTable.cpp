#include "StorageTable.h"
#include "dialects/DSPlan/PanelCodes.h"
#include "dialects/DSPlan/PanelHalves.h"
#include "dialects/DSPlan/PanelSums.h"
#include "dialects/DSPlan/TileCodes.h"
#include "ds/Analysis/LinearRegion.h"
#include "ds/Analysis/LinearTiling.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace ds;
using ds_plan::Layout;
using ds_plan::StorageOp;

static constexpr int64_t alignment = 64;

static int64_t paddedElements(ParameterOp parameter) {
  return static_cast<int64_t>(llvm::alignTo(parameter.getTensorType().getNumElements(), linearPanel));
}

StorageTable::StorageTable(ModuleOp module, SymbolTable &symbols, Type matrixType, WeightPlaces placing)
    : symbols(symbols), builder(module.getContext()), matrixType(matrixType), placing(placing) {
  if (placing == WeightPlaces::state)
    for (ParameterOp parameter : module.getOps<ParameterOp>())
      if (parameter.getSource()) {
        stateOffsets[parameter.getSymNameAttr()] = partBytes;
        partBytes += paddedElements(parameter) * 4;
      }
  offset = partBytes;
  // Storages follow what is there before: parameters, then storages, then kernels and programs.
  builder.setInsertionPointToEnd(module.getBody());
  llvm::DenseSet<Value> readByNarrow;
  module.walk([&](LinearOp linear) {
    if (hasHeads(linear) || linear.getActivationBits())
      readByNarrow.insert(linear.getInput());
  });
  module.walk([&](LinearOp linear) {
    // One kernel reads all of its weights in the same way.
    auto weightType = cast<RankedTensorType>(linear.getWeight().getType());
    if (this->placing == WeightPlaces::halves && (isa<QuantizedType>(weightType.getElementType()) || !linearRowsFit(linear.getDepth())))
      this->placing = WeightPlaces::panels;
    if (auto weight = linear.getWeight().getDefiningOp<WeightOp>())
      linearWeights[weight.getParameterAttr().getAttr()] |= readByNarrow.contains(linear.getInput());
  });
}

StorageOp StorageTable::create(StringRef name, Layout layout, FlatSymbolRefAttr parameter, DictionaryAttr rope, ds_plan::StateAttr state,
                               int64_t place, MemRefType type, Location loc) {
  auto storage = StorageOp::create(builder, loc, builder.getStringAttr(name), ds_plan::LayoutAttr::get(builder.getContext(), layout),
                                   parameter, rope, state, builder.getI64IntegerAttr(place), TypeAttr::get(type));
  symbols.insert(storage); // a parameter may have the name
  return storage;
}

StorageOp StorageTable::inFile(StringRef name, Layout layout, FlatSymbolRefAttr parameter, DictionaryAttr rope, MemRefType type,
                               Location loc) {
  StorageOp storage = create(name, layout, parameter, rope, ds_plan::StateAttr(), offset, type, loc);
  offset = llvm::alignTo(offset + type.getNumElements() * type.getElementTypeBitWidth() / 8, alignment);
  return storage;
}

StorageOp StorageTable::inState(ParameterOp parameter, ds_plan::State state) {
  StringAttr of = parameter ? parameter.getSymNameAttr() : builder.getStringAttr("");
  StorageOp &storage = stateStorages[{of, static_cast<int>(state)}];
  if (storage)
    return storage;
  const bool isMatrix = parameter && parameter.getTensorType().getRank() == 2;
  auto type = isMatrix ? MemRefType::get(parameter.getTensorType().getShape(), builder.getF32Type())
                       : MemRefType::get({parameter ? paddedElements(parameter) : partBytes / 4}, builder.getF32Type());
  std::string name = ((parameter ? of.getValue() : "all") + "." + ds_plan::stringifyState(state)).str();
  const int64_t place = stateOffsets.lookup(of) + static_cast<int64_t>(state) * partBytes;
  storage =
      create(name, isMatrix ? Layout::rows : Layout::vector, parameter ? FlatSymbolRefAttr::get(of) : FlatSymbolRefAttr(), {},
             ds_plan::StateAttr::get(builder.getContext(), state), place, type, parameter ? parameter.getLoc() : builder.getUnknownLoc());
  return storage;
}

StorageOp StorageTable::gradient(ParameterOp parameter) { return inState(parameter, ds_plan::State::gradient); }

StorageOp StorageTable::part(ds_plan::State state) { return inState(ParameterOp(), state); }

std::pair<int64_t, int64_t> StorageTable::segment(ParameterOp parameter) const {
  return {stateOffsets.lookup(parameter.getSymNameAttr()) / 4, paddedElements(parameter)};
}

StorageOp StorageTable::weight(ParameterOp parameter, OperandRole role) {
  if (stateOffsets.contains(parameter.getSymNameAttr()))
    return inState(parameter, ds_plan::State::parameter);
  const bool inTiles = placing == WeightPlaces::tiles;
  Layout layout = Layout::vector;
  auto quantized = dyn_cast<QuantizedType>(parameter.getTensorType().getElementType());
  if (quantized)
    layout = inTiles ? Layout::tile_codes : Layout::panel_codes;
  else if (role == OperandRole::matrix || (role == OperandRole::table && linearWeights.contains(parameter.getSymNameAttr())))
    layout = inTiles                                               ? Layout::tiles
             : placing == WeightPlaces::halves                     ? Layout::panel_halves
             : matrixType.isBF16()                                 ? Layout::panel_pairs
             : matrixType.isF32() && placing == WeightPlaces::sums ? Layout::panel_sums
                                                                   : Layout::panels;
  else if (role == OperandRole::table)
    layout = Layout::rows;
  StorageOp &storage = weights[{parameter.getSymNameAttr(), static_cast<int>(layout)}];
  if (storage)
    return storage;
  ArrayRef<int64_t> shape = parameter.getTensorType().getShape();
  // A row of codes that no product reads is a panel of its own, and one piece of memory.
  const bool isTableAlone = role == OperandRole::table && !linearWeights.contains(parameter.getSymNameAttr());
  const int64_t width = isTableAlone ? 1 : linearPanelOf(shape[0], linearWeights.lookup(parameter.getSymNameAttr()));
  const int64_t panels = llvm::divideCeil(shape[0], width);
  MemRefType type;
  if (layout == Layout::vector)
    type = MemRefType::get({static_cast<int64_t>(llvm::alignTo(shape[0], linearPanel))}, builder.getF32Type());
  else if (layout == Layout::rows)
    type = MemRefType::get(shape, matrixType);
  else if (layout == Layout::panels)
    type = MemRefType::get({panels, shape[1], width}, matrixType);
  else if (layout == Layout::panel_sums)
    type = MemRefType::get({panels, ds_plan::PanelSums(shape[1]).lines(), width}, matrixType);
  else if (layout == Layout::panel_halves)
    type = MemRefType::get({panels, ds_plan::PanelHalves(shape[1]).lines(), width, 2}, builder.getF16Type());
  else if (layout == Layout::panel_pairs)
    type = MemRefType::get({panels, (shape[1] + 1) / 2, width, 2}, matrixType);
  else if (layout == Layout::tiles || layout == Layout::tile_codes) {
    const ds_plan::Tiles tiles(quantized ? std::optional(quantized) : std::nullopt, shape[0], shape[1]);
    type = layout == Layout::tiles
               ? MemRefType::get({tiles.blocks(), tiles.tiles(), ds_plan::Tiles::blockRows, ds_plan::Tiles::partDepth}, matrixType)
               : MemRefType::get({tiles.blocks(), tiles.blockBytes() / 4}, builder.getI32Type());
  } else if (layout == Layout::panel_codes)
    type = MemRefType::get({panels, ds_plan::PanelCodes(quantized, shape[1], width).rows(), width}, builder.getI32Type());
  std::string name = parameter.getSymName().str() + "." + ds_plan::stringifyLayout(layout).str();
  storage = inFile(name, layout, FlatSymbolRefAttr::get(parameter.getSymNameAttr()), {}, type, parameter.getLoc());
  return storage;
}

StorageOp StorageTable::rope(RopeOp rope, int64_t positions) {
  NamedAttrList what;
  what.append("base", rope.getBaseAttr());
  what.append("positions", builder.getI64IntegerAttr(positions));
  what.append("rotary", rope.getRotaryAttr());
  if (RopeScalingAttr scaling = rope.getScalingAttr())
    what.append("scaling", scaling);
  DictionaryAttr key = what.getDictionary(builder.getContext());
  StorageOp &storage = ropes[key];
  if (!storage) {
    int64_t rotary = rope.getRotary();
    std::string name = "rope." + std::to_string(ropes.size() - 1);
    storage = inFile(name, Layout::rope, {}, key, MemRefType::get({positions, 2, rotary / 2}, builder.getF32Type()), rope.getLoc());
  }
  return storage;
}
