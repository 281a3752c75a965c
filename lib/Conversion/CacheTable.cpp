#include "CacheTable.h"
#include "ConvertDSToPlan.h"
#include "dialects/DSPlan/CacheLayout.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace ds;
using ds_plan::CacheKind;

/// The cache a value is the state of, or null.
static FlatSymbolRefAttr cacheOf(Value value) {
  if (auto append = value.getDefiningOp<CacheAppendOp>())
    return append.getCacheAttr();
  if (auto read = value.getDefiningOp<CacheReadOp>())
    return read.getCacheAttr();
  if (auto store = value.getDefiningOp<ds_plan::StoreCacheOp>())
    return store->getAttrOfType<FlatSymbolRefAttr>(cacheAttrName);
  return {};
}

FailureOr<CacheTable> CacheTable::create(ModuleOp module) {
  CacheTable table;
  WalkResult walk = module.walk([&](AttentionOp attention) {
    for (auto [value, kind] : {std::pair(attention.getKey(), CacheKind::keys), std::pair(attention.getValue(), CacheKind::values)}) {
      FlatSymbolRefAttr name = cacheOf(value);
      if (!name)
        continue;
      int64_t heads = attention.getKvHeads();
      auto [place, isNew] = table.places.try_emplace(name.getAttr(), CachePlace{{}, kind, heads, table.bytes});
      if (!isNew && (place->second.kind != kind || place->second.kvHeads != heads)) {
        attention.emitError("expects cache ") << name << " to be read as " << ds_plan::stringifyCacheKind(place->second.kind) << " of "
                                              << place->second.kvHeads << " heads everywhere";
        return WalkResult::interrupt();
      }
      if (!isNew)
        continue;
      place->second.cache = module.lookupSymbol<ds::CacheOp>(name);
      if (!place->second.cache) {
        attention.emitError("expects a ds.cache named ") << name;
        return WalkResult::interrupt();
      }
      RankedTensorType type = place->second.cache.getTensorType();
      const int64_t context = type.getDimSize(1), width = type.getDimSize(2);
      const int64_t elementBytes = isa<QuantizedType>(type.getElementType()) ? 1 : type.getElementTypeBitWidth() / 8;
      table.bytes = llvm::alignTo(table.bytes + ds_plan::CacheLayout(width / heads, elementBytes).bytes(heads, context), 64);
    }
    return WalkResult::advance();
  });
  if (walk.wasInterrupted())
    return failure();
  return table;
}

const CachePlace *CacheTable::lookup(FlatSymbolRefAttr cache) const {
  auto place = places.find(cache.getAttr());
  return place == places.end() ? nullptr : &place->second;
}

int64_t CacheTable::context() const {
  int64_t slots = 0;
  for (const auto &[name, place] : places) {
    int64_t size = ds::CacheOp(place.cache).getTensorType().getDimSize(1);
    slots = slots == 0 ? size : std::min(slots, size);
  }
  return slots;
}
