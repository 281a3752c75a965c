// Flat functions whose every write of keys and values is an op.
#include "ConvertDSToPlan.h"
#include "ds/Conversion/Passes.h"

using namespace mlir;

namespace ds {
#define GEN_PASS_DEF_LOWERCACHES
#include "ds/Conversion/Passes.h.inc"
} // namespace ds

namespace {
struct LowerCaches : ds::impl::LowerCachesBase<LowerCaches> {
  void runOnOperation() override {
    FailureOr<ds::CacheTable> caches = ds::CacheTable::create(getOperation());
    if (failed(caches))
      return signalPassFailure();
    for (auto function : getOperation().getOps<func::FuncOp>())
      if (failed(ds::prepareFunction(function, *caches)))
        return signalPassFailure();
  }
};
} // namespace
