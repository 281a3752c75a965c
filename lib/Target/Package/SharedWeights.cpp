#include "ds/Target/Package/SharedWeights.h"
#include "WeightPacker.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace ds;
using ds_plan::StorageOp;

static constexpr int64_t alignment = 64; // of storages
static constexpr int64_t pageBytes = 4096;

/// All that the bytes of a storage depend on.
static Attribute contentOf(StorageOp storage) {
  Builder builder(storage.getContext());
  NamedAttrList content;
  content.append("layout", storage.getLayoutAttr());
  content.append("type", storage.getTypeAttr());
  if (DictionaryAttr rope = storage.getRopeAttr())
    content.append("rope", rope);
  if (FlatSymbolRefAttr name = storage.getParameterAttr())
    if (auto parameter = storage->getParentOfType<ModuleOp>().lookupSymbol<ParameterOp>(name))
      content.append("parameter", parameter->getAttrDictionary());
  return content.getDictionary(storage.getContext());
}

namespace {
/// Gives storages the next places of a range.
class Places {
public:
  explicit Places(int64_t begin) : end(begin) {}
  int64_t next(StorageOp storage) {
    const int64_t place = llvm::alignTo(end, alignment);
    end = place + storageBytes(storage);
    return place;
  }
  int64_t end;
};
} // namespace

WeightRange ds::weightRangeOf(ModuleOp planned) {
  WeightRange range;
  for (StorageOp storage : planned.getOps<StorageOp>())
    range.bytes = std::max<int64_t>(range.bytes, storage.getOffset().value_or(0) + storageBytes(storage));
  return range;
}

SharedWeights ds::placeTogether(ModuleOp host, ModuleOp device) {
  llvm::DenseMap<Attribute, StorageOp> ofHost;
  llvm::DenseSet<Operation *> shared;
  for (StorageOp storage : host.getOps<StorageOp>())
    ofHost.try_emplace(contentOf(storage), storage);
  SmallVector<std::pair<StorageOp, StorageOp>> pairs; // of host and device
  for (StorageOp storage : device.getOps<StorageOp>())
    if (StorageOp twin = ofHost.lookup(contentOf(storage)); twin && shared.insert(twin).second) {
      shared.insert(storage);
      pairs.emplace_back(twin, storage);
    }

  Places places(0);
  for (StorageOp storage : host.getOps<StorageOp>())
    if (!shared.contains(storage))
      storage.setOffset(places.next(storage));
  SharedWeights ranges;
  const int64_t begin = ranges.device.offset = places.end = llvm::alignTo(places.end, pageBytes);
  for (auto [inHost, inDevice] : pairs) {
    const int64_t place = places.next(inHost);
    inHost.setOffset(place);
    inDevice.setOffset(place - begin);
  }
  ranges.host.bytes = pairs.empty() ? weightRangeOf(host).bytes : places.end;
  for (StorageOp storage : device.getOps<StorageOp>())
    if (!shared.contains(storage))
      storage.setOffset(places.next(storage) - begin);
  ranges.device.bytes = places.end - begin;
  return ranges;
}
