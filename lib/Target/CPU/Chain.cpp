#include "Chain.h"
#include "ds/Analysis/LinearTiling.h"
#include "ds/Target/CPU/Kernel.h"

using namespace mlir;
using namespace ds;

/// Bytes of a launch in a trace: when it began and when it ended.
static constexpr int64_t traceBytes = 16;

Value ds::emitNow(Emitter &e) {
  OpBuilder &builder = e.getBuilder();
  return LLVM::CallIntrinsicOp::create(builder, e.getLoc(), e.i64(), builder.getStringAttr("llvm.readcyclecounter"), ValueRange())
      .getResults();
}

void ds::emitTimeStamp(Emitter &e, Value trace, Value offset) {
  // A call, not a branch: hundreds of branches on one condition cost LLVM seconds.
  e.call("time_stamp", {trace, offset},
         [&](ValueRange a) { e.ifThen(e.ne(a[0], e.nullPointer()), [&] { e.store(emitNow(e), e.at(a[0], a[1])); }); });
}

/// Adds to what a trace has of a launch: its end, less the time stamp now.
static void emitTimeBegins(Emitter &e, Value trace, Value offset, Value isFirst) {
  e.call("time_begins", {trace, offset, isFirst}, [&](ValueRange a) {
    e.ifThen(e.ne(a[0], e.nullPointer()), [&] {
      Value now = emitNow(e), begin = e.at(a[0], a[1]), end = e.at(begin, 8);
      e.ifThen(a[2], [&] {
        e.store(now, begin);
        e.store(e.constant(0), end);
      });
      e.store(e.sub(e.load(e.i64(), end), now), end);
    });
  });
}

static void emitTimeEnds(Emitter &e, Value trace, Value offset) {
  e.call("time_ends", {trace, offset}, [&](ValueRange a) {
    e.ifThen(e.ne(a[0], e.nullPointer()), [&] {
      Value end = e.at(e.at(a[0], a[1]), 8);
      e.store(e.add(e.load(e.i64(), end), emitNow(e)), end);
    });
  });
}

/// The launches as if one had followed the other: where a trace has their times, it gets their ends.
static void emitTimesInOrder(Emitter &e, Value trace, Value offset, int64_t launches) {
  e.call("times_in_order", {trace, offset, e.constant(launches)}, [&](ValueRange a) {
    e.ifThen(e.ne(a[0], e.nullPointer()), [&] {
      Value first = e.at(a[0], a[1]);
      e.forRange(e.constant(0), a[2], 1, ValueRange{e.load(e.i64(), first)}, [&](Value i, ValueRange at) {
        Value begin = e.at(first, e.mul(i, traceBytes)), end = e.add(at[0], e.load(e.i64(), e.at(begin, 8)));
        e.store(at[0], begin);
        e.store(end, e.at(begin, 8));
        return SmallVector<Value>{end};
      });
    });
  });
}

static void emitKernelCall(Emitter &e, const ChainLaunch &launch, SmallVector<Value> pointers, const ChainStep &s) {
  pointers.append({s.batch, s.tokens, s.rows, s.thread, s.threads, s.step});
  LLVM::CallOp::create(e.getBuilder(), e.getLoc(), launch.function, pointers);
}

static void emitOneBehindTheOther(Emitter &e, ArrayRef<ChainLaunch> launches, ValueRange places, const ChainStep &s) {
  for (auto [index, launch] : llvm::enumerate(launches)) {
    if (launch.meetsBefore)
      emitBarrier(e, s.step, s.thread);
    SmallVector<Value> pointers;
    for (const ChainOperand &operand : launch.operands)
      pointers.push_back(places[operand.place]);
    Value offset = e.add(s.traceOffset, static_cast<int64_t>(index) * traceBytes);
    emitTimeStamp(e, s.trace, offset);
    emitKernelCall(e, launch, pointers, s);
    emitTimeStamp(e, s.trace, e.add(offset, 8));
  }
}

static void emitByRows(Emitter &e, ArrayRef<ChainLaunch> launches, ValueRange places, const ChainStep &s) {
  const int64_t unit = e.getLevel().groupRows();
  int64_t widest = 1;
  for (const ChainLaunch &launch : launches)
    for (const ChainOperand &operand : launch.operands)
      widest = std::max(widest, operand.isInside ? operand.rowBytes / 4 : 0);
  // As many slabs for each thread, all of whole groups of rows.
  Value least = e.ceilDiv(s.rows, linearSlabRows(widest, unit));
  Value slabs = e.mul(e.div(e.add(least, e.sub(s.threads, 1)), s.threads), s.threads), pieces = e.ceilDiv(s.rows, unit);
  auto boundary = [&](Value slab) { return e.min(e.mul(e.div(e.mul(pieces, slab), slabs), unit), s.rows); };
  Value begin = e.div(e.mul(slabs, s.thread), s.threads), end = e.div(e.mul(slabs, e.add(s.thread, 1)), s.threads);
  Value firstOfThread = boundary(begin);
  e.forRange(begin, end, 1, [&](Value slab) {
    Value first = boundary(slab);
    ChainStep part = s;
    part.rows = e.sub(boundary(e.add(slab, 1)), first);
    part.thread = e.constant(0);
    part.threads = e.constant(1);
    for (auto [index, launch] : llvm::enumerate(launches)) {
      SmallVector<Value> pointers;
      for (const ChainOperand &operand : launch.operands) {
        // What stays inside has one place for all slabs of a thread, so that it stays in the caches.
        Value row = operand.isInside ? firstOfThread : first;
        pointers.push_back(operand.rowBytes ? e.at(places[operand.place], e.mul(row, operand.rowBytes)) : places[operand.place]);
      }
      Value offset = e.add(s.traceOffset, static_cast<int64_t>(index) * traceBytes);
      emitTimeBegins(e, s.trace, offset, e.eq(slab, begin));
      emitKernelCall(e, launch, pointers, part);
      emitTimeEnds(e, s.trace, offset);
    }
  });
  emitTimesInOrder(e, s.trace, s.traceOffset, static_cast<int64_t>(launches.size()));
}

/// Chains of one name have the same code.
static std::string nameOf(ArrayRef<ChainLaunch> launches) {
  std::string name = "chain";
  for (const ChainLaunch &launch : launches) {
    name += ":" + mlir::LLVM::LLVMFuncOp(launch.function).getSymName().str() + (launch.meetsBefore ? "|" : "");
    for (const ChainOperand &operand : launch.operands)
      name += "," + std::to_string(operand.place) + (operand.isInside ? "i" : "");
  }
  return name;
}

void ds::emitChain(Emitter &e, ArrayRef<ChainLaunch> launches, ValueRange places, const ChainStep &step) {
  SmallVector<Value> arguments(places);
  arguments.append({step.batch, step.tokens, step.rows, step.thread, step.threads, step.step, step.trace, step.traceOffset});
  e.call(nameOf(launches), arguments, [&](ValueRange a) {
    ValueRange inside = a.take_front(places.size()), rest = a.drop_front(places.size());
    ChainStep s{rest[0], rest[1], rest[2], rest[3], rest[4], rest[5], rest[6], rest[7]};
    e.ifElse(
        e.ge(s.rows, e.mul(s.threads, linearRowsOfThread)), [&] { emitByRows(e, launches, inside, s); },
        [&] { emitOneBehindTheOther(e, launches, inside, s); });
  });
}
