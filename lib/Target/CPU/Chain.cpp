#include "Chain.h"
#include "RowSlabs.h"
#include "ds/Target/CPU/Kernel.h"

using namespace mlir;
using namespace ds;

/// With less every slab reads all weights for too few rows, and would be taken for a launch of few rows.
static constexpr int64_t leastSlabRows = 48;

/// The time stamp counter.
static Value emitNow(Emitter &e) {
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

/// The most rows that go through a chain at once: what stays inside is then in the second-level cache.
static int64_t slabRowsOf(Emitter &e, ArrayRef<ChainLaunch> launches) {
  int64_t widest = 1;
  for (const ChainLaunch &launch : launches)
    for (const ChainOperand &operand : launch.operands)
      widest = std::max(widest, operand.isInside ? operand.rowBytes / 4 : 0);
  return linearSlabRows(widest, e.getLevel().groupRows(), e.getLevel().slabBytes());
}

static void emitByRows(Emitter &e, ArrayRef<ChainLaunch> launches, ValueRange places, const ChainStep &s, int64_t slabRows,
                       int64_t rowsOfThread) {
  RowSlabs slabs(e, s.rows, s.threads, e.constant(e.getLevel().groupRows()), slabRows, rowsOfThread);
  Value begin = e.div(e.mul(slabs.count(), s.thread), s.threads), end = e.div(e.mul(slabs.count(), e.add(s.thread, 1)), s.threads);
  Value firstOfThread = slabs.first(begin);
  e.forRange(begin, end, 1, [&](Value slab) {
    Value first = slabs.first(slab);
    ChainStep part = s;
    part.rows = e.sub(slabs.end(slab), first);
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

void ds::emitSlabs(Emitter &e, ArrayRef<ChainLaunch> launches, ValueRange places, const ChainStep &s, int64_t slabRows) {
  e.forRange(e.constant(0), s.rows, slabRows, [&](Value first) {
    ChainStep part = s;
    part.rows = e.min(e.sub(s.rows, first), slabRows);
    for (auto [index, launch] : llvm::enumerate(launches)) {
      // What the slab before left is free once all have done with it.
      if (index == 0)
        e.ifThen(e.ne(first, 0), [&] { emitBarrier(e, s.step, s.thread); });
      else if (launch.meetsBefore)
        emitBarrier(e, s.step, s.thread);
      SmallVector<Value> pointers;
      for (const ChainOperand &operand : launch.operands) {
        const bool isSame = operand.isInside || operand.rowBytes == 0;
        pointers.push_back(isSame ? places[operand.place] : e.at(places[operand.place], e.mul(first, operand.rowBytes)));
      }
      auto call = [&] { emitKernelCall(e, launch, pointers, part); };
      Value offset = e.add(s.traceOffset, static_cast<int64_t>(index) * traceBytes), wanted;
      for (unsigned output : launch.outputs) {
        Value given = e.ne(places[output], e.nullPointer());
        wanted = wanted ? e.bitAnd(wanted, given) : given;
      }
      emitTimeBegins(e, s.trace, offset, e.eq(first, 0));
      if (wanted)
        e.ifThen(wanted, call);
      else
        call();
      emitTimeEnds(e, s.trace, offset);
    }
  });
  emitTimesInOrder(e, s.trace, s.traceOffset, static_cast<int64_t>(launches.size()));
}

void ds::emitChain(Emitter &e, ArrayRef<ChainLaunch> launches, ValueRange places, const ChainStep &step) {
  SmallVector<Value> arguments(places);
  arguments.append({step.batch, step.tokens, step.rows, step.thread, step.threads, step.step, step.trace, step.traceOffset});
  e.call(nameOf(launches), arguments, [&](ValueRange a) {
    ValueRange inside = a.take_front(places.size()), rest = a.drop_front(places.size());
    const int64_t slabRows = slabRowsOf(e, launches);
    ChainStep s{rest[0], rest[1], rest[2], rest[3], rest[4], rest[5], rest[6], rest[7]};
    auto oneBehindTheOther = [&] { emitOneBehindTheOther(e, launches, inside, s); };
    if (slabRows < leastSlabRows)
      return oneBehindTheOther();
    int64_t rowsOfThread = 0;
    for (const ChainLaunch &launch : launches)
      rowsOfThread = std::max(rowsOfThread, launch.rowsOfThread);
    e.ifElse(
        e.ge(s.rows, e.mul(s.threads, rowsOfThread)), [&] { emitByRows(e, launches, inside, s, slabRows, rowsOfThread); },
        oneBehindTheOther);
  });
}
