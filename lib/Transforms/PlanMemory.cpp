#include "PlanMemory.h"
#include "ds/Analysis/LinearTiling.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace ds;
using namespace ds_plan;

int64_t ds::boundOfRows(ProgramOp program, Rows rows) {
  int64_t maxRows = program.getMaxRows(), maxBatch = program.getMaxBatch();
  switch (rows) {
  case Rows::tokens:
  case Rows::selected:
    return maxRows;
  case Rows::batch:
    return maxBatch;
  case Rows::packed:
    return maxRows + 16 * maxBatch; // each sequence is rounded up to 16
  case Rows::single:
    return 1;
  }
  llvm_unreachable("all kinds of rows are handled");
}

int64_t ds::staticBytes(MemRefType type) { return type.getNumElements() * (type.getElementTypeBitWidth() / 8); }

int64_t ds::bufferBytes(BufferOp buffer) {
  auto type = cast<MemRefType>(buffer.getType());
  int64_t rowBytes = type.getElementTypeBitWidth() / 8;
  for (int64_t size : type.getShape().drop_front())
    rowBytes *= size;
  int64_t rows = boundOfRows(buffer->getParentOfType<ProgramOp>(), buffer.getRows());
  if (buffer.getSlab())
    rows = std::min<int64_t>(rows, *buffer.getSlab());
  if (buffer.getGrouped())
    rows += linearMostGroupRows - 1; // the last group may hold one row
  return llvm::alignTo(rowBytes * rows, placeAlignment);
}

const void *SpanAccesses::key(Value value) {
  // Ops that name a cache, an input or an output may occur twice; attributes are unique.
  if (auto cache = value.getDefiningOp<ds_plan::CacheOp>())
    return cache.getCacheAttr().getAsOpaquePointer();
  if (auto input = value.getDefiningOp<InputOp>())
    return input.getNameAttr().getAsOpaquePointer();
  if (auto output = value.getDefiningOp<OutputOp>())
    return output.getNameAttr().getAsOpaquePointer();
  return value.getAsOpaquePointer();
}

void ds::forEachPlace(Value value, llvm::function_ref<void(Value)> body) {
  auto choice = value.getDefiningOp<ds_plan::SwitchOp>();
  if (!choice)
    return body(value);
  forEachPlace(choice.getOn(), body);
  forEachPlace(choice.getOff(), body);
}

bool SpanAccesses::conflicts(LaunchOp launch) const {
  bool found = false;
  auto look = [&](ValueRange values, bool writes) {
    for (Value value : values)
      forEachPlace(value, [&](Value place) { found |= written.contains(key(place)) || (writes && read.contains(key(place))); });
  };
  look(launch.getIns(), false);
  look(launch.getAux(), false);
  look(launch.getOuts(), true);
  return found;
}

void SpanAccesses::add(LaunchOp launch) {
  for (ValueRange values : {ValueRange(launch.getIns()), ValueRange(launch.getAux())})
    for (Value value : values)
      forEachPlace(value, [&](Value place) { read.insert(key(place)); });
  for (Value value : launch.getOuts())
    written.insert(key(value));
}

llvm::MapVector<BufferOp, LiveSpans> ds::liveSpans(ProgramOp program) {
  llvm::MapVector<BufferOp, LiveSpans> spans;
  int64_t span = 0;
  // What launches of a slab touch, they touch again: it lives from the first to the last of them.
  SmallVector<BufferOp> ofSlab;
  std::optional<int64_t> slab;
  int64_t firstOfSlab = 0;
  auto leaveSlab = [&](int64_t last) {
    for (BufferOp buffer : ofSlab) {
      LiveSpans &live = spans[buffer];
      live = {std::min(live.first, firstOfSlab), std::max(live.last, last)};
    }
    ofSlab.clear();
  };
  int64_t lastLaunch = 0;
  for (Operation &op : program.getBody().front()) {
    if (auto barrier = dyn_cast<BarrierOp>(op); barrier && !barrier.isInsideChain())
      ++span;
    auto launch = dyn_cast<LaunchOp>(op);
    if (!launch)
      continue;
    if (launch.getSlab() != slab) {
      leaveSlab(lastLaunch);
      slab = launch.getSlab();
      firstOfSlab = span;
    }
    lastLaunch = span;
    for (Value operand : op.getOperands())
      forEachPlace(operand, [&](Value place) {
        if (auto buffer = place.getDefiningOp<BufferOp>()) {
          spans.insert({buffer, {span, span}}).first->second.last = span;
          if (slab)
            ofSlab.push_back(buffer);
        }
      });
  }
  leaveSlab(lastLaunch);
  return spans;
}
