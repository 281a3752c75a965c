// Heads whose halves are no whole blocks of 8 rows, or which are rounded as a whole: their products lie in scratch, and a launch behind
// them turns and stores them.
#include "CacheView.h"
#include "Gemm.h"

using namespace mlir;
using namespace ds;

namespace {
/// What a warp does to the products of a domain: columns, or with `codes` heads of a cache of codes.
struct HeadTask {
  const GpuDomain *domain;
  ds_plan::StoreCacheOp codes;
  int64_t count; // of warps
};
} // namespace

/// Columns that a warp turns.
static constexpr int64_t columnsOfWarp = 128;

static bool isCodes(Operation *store) { return isOfCodes(store->getResult(0)); }

static SmallVector<HeadTask> tasksOf(const GpuGemm &gemm) {
  SmallVector<HeadTask> tasks;
  for (const GpuGroup &group : gemm.groups)
    for (const GpuDomain &domain : group.domains) {
      if (domain.scratchColumn < 0)
        continue;
      const LinearDomain &region = *domain.domain;
      if (!region.results.empty() || !llvm::all_of(region.stores, isCodes))
        tasks.push_back({&domain, {}, static_cast<int64_t>(llvm::divideCeil(region.columns, columnsOfWarp))});
      for (Operation *op : region.stores)
        if (isCodes(op)) {
          auto store = cast<ds_plan::StoreCacheOp>(op);
          tasks.push_back({&domain, store, static_cast<int64_t>(store.getKvHeads())});
        }
    }
  return tasks;
}

/// Warp `number` of those of a task.
static void emitTask(GpuBody &body, const GpuGemm &gemm, const HeadTask &task, Value token, Value number) {
  GpuEmitter &e = body.e;
  const GpuDomain &domain = *task.domain;
  // The product with its bias is there; what is left is to turn and to store it.
  Value products = e.at(body.scratch, e.add(e.mul(e.toI64(token), gemm.headsScratch), domain.scratchColumn));
  auto product = [&](Value at) { return e.load(e.f32(), e.element(products, e.f32(), at)); };
  if (task.codes)
    return emitHeadCodes(body, gemm, domain, task.codes, token, number, product);
  const int64_t columns = domain.domain->columns;
  Value first = e.mul(number, columnsOfWarp), end = e.min(e.add(first, columnsOfWarp), columns);
  e.forRange(e.add(first, e.lane()), end, GpuEmitter::warpThreads,
             [&](Value column) { emitHeadValue(body, gemm, domain, token, column, product); });
}

void ds::addHeadStage(std::shared_ptr<GpuGemm> gemm) {
  GpuShape shape;
  shape.name = "heads";
  shape.threads = 128;
  const int64_t warps = shape.threads / GpuEmitter::warpThreads;
  int64_t all = 0;
  for (const HeadTask &task : tasksOf(*gemm))
    all += task.count;
  shape.grid[0].factors = {{GpuSize::rows, 1}};
  shape.grid[1].constant = llvm::divideCeil(all, warps);
  gemm->kernel->stage(shape, [gemm, warps](GpuBody &body) {
    GpuEmitter &e = body.e;
    Value token = e.block(), number = e.add(e.mul(e.block(1), warps), e.warp());
    int64_t first = 0;
    for (const HeadTask &task : tasksOf(*gemm)) {
      e.ifThen(e.bitAnd(e.ge(number, first), e.lt(number, first + task.count)),
               [&] { emitTask(body, *gemm, task, token, e.sub(number, first)); });
      first += task.count;
    }
  });
}
