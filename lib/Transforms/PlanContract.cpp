// The contract of phase `planned`.
#include "PlanMemory.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/SymbolTable.h"

using namespace mlir;
using namespace ds;
using namespace ds_plan;

/// Bytes [begin, end) and who lies there.
namespace {
struct Extent {
  int64_t begin, end;
  Operation *op;
};
} // namespace

/// No two extents overlap, and none ends behind `limit`.
static LogicalResult verifyApart(SmallVector<Extent> extents, int64_t limit) {
  llvm::sort(extents, [](const Extent &a, const Extent &b) { return a.begin < b.begin; });
  int64_t end = 0;
  for (const Extent &extent : extents) {
    if (extent.begin < end)
      return extent.op->emitError("expects a place of its own, got byte ") << extent.begin << " before the end " << end << " of another";
    end = extent.end;
    if (end > limit)
      return extent.op->emitError("expects to end at byte ") << limit << " at most, got " << end;
  }
  return success();
}

static LogicalResult verifyStorages(ModuleOp module) {
  // The weights file begins with the first values of the state's parameters.
  SmallVector<Extent> file, state;
  for (auto storage : module.getOps<StorageOp>()) {
    if (!storage.getOffset())
      return storage.emitError("expects an offset");
    int64_t begin = *storage.getOffset();
    const Extent extent{begin, begin + staticBytes(cast<MemRefType>(storage.getType())), storage};
    if (!storage.getState() || (storage.getParameter() && storage.getState() == State::parameter))
      file.push_back(extent);
    if (storage.getState() && storage.getParameter())
      state.push_back(extent);
  }
  if (failed(verifyApart(std::move(file), std::numeric_limits<int64_t>::max())))
    return failure();
  return verifyApart(std::move(state), std::numeric_limits<int64_t>::max());
}

static LogicalResult verifyCaches(ProgramOp program) {
  SmallVector<Extent> extents;
  for (auto cache : program.getOps<ds_plan::CacheOp>()) {
    int64_t begin = cache.getOffset();
    extents.push_back({begin, begin + cache.getBytes(), cache});
  }
  return verifyApart(std::move(extents), program.getKvBytes());
}

/// Buffers that live in one span lie apart, inside the arena.
static LogicalResult verifyBuffers(ProgramOp program) {
  auto spans = liveSpans(program);
  for (auto buffer : program.getOps<BufferOp>()) {
    if (!buffer.getOffset())
      return buffer.emitError("expects an offset");
    auto live = spans.find(buffer);
    if (live == spans.end())
      return buffer.emitError("expects a launch that touches the buffer");
    int64_t begin = *buffer.getOffset(), end = begin + bufferBytes(buffer);
    if (end > static_cast<int64_t>(program.getArenaBytes()))
      return buffer.emitError("expects to end at byte ") << program.getArenaBytes() << " at most, got " << end;
    for (auto [other, otherLive] : spans) {
      if (other == buffer || !other.getOffset() || !live->second.overlaps(otherLive))
        continue;
      int64_t otherBegin = *BufferOp(other).getOffset(), otherEnd = otherBegin + bufferBytes(other);
      if (begin < otherEnd && otherBegin < end)
        return buffer.emitError("expects a place of its own while it lives, got bytes ")
               << begin << " to " << end << " beside " << otherBegin << " to " << otherEnd;
    }
  }
  return success();
}

/// Every value is written before it is read, and launches of one span are independent.
static LogicalResult verifyOrder(ProgramOp program) {
  // Barriers inside a chain order its own launches alone.
  SpanAccesses span, inside;
  SmallVector<LaunchOp> chain;
  auto leaveChain = [&] {
    for (LaunchOp launch : chain)
      span.add(launch);
    chain.clear();
    inside.clear();
  };
  llvm::DenseSet<Value> written;
  for (Operation &op : program.getBody().front()) {
    if (auto barrier = dyn_cast<BarrierOp>(op)) {
      inside.clear();
      if (!barrier.isInsideChain()) {
        chain.clear();
        span.clear();
      }
    }
    auto launch = dyn_cast<LaunchOp>(op);
    if (!launch)
      continue;
    if (!chain.empty() && launch.getChain() != chain.front().getChain())
      leaveChain();
    bool isWritten = true;
    for (Value in : launch.getIns())
      forEachPlace(in, [&](Value place) { isWritten &= !place.getDefiningOp<BufferOp>() || written.contains(place); });
    if (!isWritten)
      return launch.emitError("expects a buffer that an earlier launch wrote");
    if (span.conflicts(launch) || inside.conflicts(launch))
      return launch.emitError("expects a barrier between this launch and one it depends on");
    if (launch.getChain()) {
      chain.push_back(launch);
      inside.add(launch);
    } else {
      span.add(launch);
    }
    written.insert(launch.getOuts().begin(), launch.getOuts().end());
  }
  for (auto output : program.getOps<OutputOp>())
    if (!written.contains(output))
      return output.emitError("expects a launch that writes output ") << output.getNameAttr();
  return success();
}

LogicalResult ds::verifyPlan(ModuleOp module, StringRef task) {
  for (Operation &op : *module.getBody())
    if (!isa<ParameterOp, ds::CacheOp, StorageOp, KernelOp, ProgramOp>(op))
      return op.emitError("expects parameters, caches, storages, kernels and programs alone");
  SmallVector<StringRef, 4> names = {"encode"};
  if (module.lookupSymbol<ProgramOp>("step"))
    names = {"step", "evaluate", "norms", "update"};
  else if (task == "causal-lm")
    names = {"prefill", "decode"};
  for (StringRef name : names)
    if (!module.lookupSymbol<ProgramOp>(name))
      return module.emitError("expects a program '") << name << "' for task " << task;
  if (failed(verifyStorages(module)))
    return failure();
  for (auto program : module.getOps<ProgramOp>())
    if (failed(verifyCaches(program)) || failed(verifyOrder(program)) || failed(verifyBuffers(program)))
      return failure();
  return success();
}
