#include "KernelTable.h"
#include "ConvertDSToPlan.h"
#include "ds/Analysis/FusionLegality.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/OperationSupport.h"

using namespace mlir;
using namespace ds;
using ds_plan::KernelOp;

KernelTable::KernelTable(ModuleOp module, SymbolTable &symbols) : symbols(symbols), builder(module.getContext()) {
  builder.setInsertionPointToEnd(module.getBody());
}

KernelOp KernelTable::start(StringRef name, StringRef family, TypeRange arguments) {
  // A kernel serves many modules of the model, so its name is its location.
  Location loc = NameLoc::get(builder.getStringAttr(name));
  auto kernel = KernelOp::create(builder, loc, name, family, builder.getDictionaryAttr({}));
  Block &body = kernel.getBody().emplaceBlock();
  for (Type type : arguments)
    body.addArgument(type, loc);
  return kernel;
}

/// [B, T, N] -> [R, N]
static void flattenRows(Value value) {
  auto type = dyn_cast<RankedTensorType>(value.getType());
  if (type && type.getRank() == 3)
    value.setType(RankedTensorType::get({ShapedType::kDynamic, type.getDimSize(2)}, type.getElementType()));
}

/// The kernel with rows in one dimension, where each row passes it by itself; else as it is.
static OwningOpRef<KernelOp> withFlatRows(KernelOp kernel) {
  OwningOpRef<KernelOp> flat(kernel.clone());
  Block &body = flat->getBody().front();
  if (!llvm::all_of(body.without_terminator(), [](Operation &op) { return takesRowsAlone(&op); }))
    return flat;
  for (Value argument : body.getArguments())
    flattenRows(argument);
  for (Operation &op : body)
    for (Value result : op.getResults())
      flattenRows(result);
  return flat;
}

KernelOp KernelTable::share(KernelOp fresh) {
  SmallVector<KernelOp> &family = kernels[fresh.getSymName()];
  for (KernelOp known : family)
    if (known.getFamily() == fresh.getFamily() && known.getSchedule() == fresh.getSchedule() &&
        OperationEquivalence::isRegionEquivalentTo(&withFlatRows(known)->getBody(), &withFlatRows(fresh)->getBody(),
                                                   OperationEquivalence::IgnoreLocations)) {
      fresh.erase();
      return known;
    }
  family.push_back(fresh);
  if (family.size() > 1)
    fresh.setSymName((fresh.getSymName() + "." + Twine(family.size())).str());
  symbols.insert(fresh); // a parameter may have the name
  return fresh;
}

KernelOp KernelTable::get(const KernelRegistry &registry, const KernelRegion &region, ValueRange ins, ValueRange outs) {
  const KernelEntry *entry = registry.lookup(region.root);
  std::string name = entry->name(region.root);
  if (region.ops.size() > 1)
    name += "_fused" + std::to_string(region.ops.size());
  KernelOp kernel = start(name, entry->family, ins.getTypes());
  IRMapping mapping;
  mapping.map(ins, kernel.getBody().getArguments());
  OpBuilder body = OpBuilder::atBlockEnd(&kernel.getBody().front());
  for (Operation *op : region.ops) {
    Operation *copy = body.clone(*op, mapping);
    copy->setLoc(kernel.getLoc());
    copy->removeDiscardableAttr(cacheAttrName); // the launch says which cache
    for (StringRef name : {fusionAttrName, gradientAttrName, gateAttrName, recomputedAttrName})
      copy->removeDiscardableAttr(name);
  }
  SmallVector<Value> results;
  for (Value out : outs)
    results.push_back(mapping.lookup(out));
  ds_plan::ReturnOp::create(body, kernel.getLoc(), results);
  return share(kernel);
}

KernelOp KernelTable::copy(RankedTensorType type) {
  KernelOp kernel = start("copy_" + std::to_string(type.getShape().back()), "copy", type);
  OpBuilder body = OpBuilder::atBlockEnd(&kernel.getBody().front());
  ds_plan::ReturnOp::create(body, kernel.getLoc(), kernel.getBody().getArguments());
  return share(kernel);
}
