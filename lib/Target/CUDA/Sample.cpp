// Choosing tokens on the device. A bound of the distance from the greatest logit (top-k: by count, top-p: by weight) is found 5 bits at a
// time: each lane of a warp adds up what one of the 32 digits has, so that no sum needs an atomic, and sums are integers, equal in any
// order.
#include "Sample.h"
#include "KernelRegion.h"
#include "dsrt/sample.h"
#include <cstddef>
#include <limits>

using namespace ds;
using mlir::Value;

namespace {
constexpr int64_t threads = 256, warps = threads / GpuEmitter::warpThreads, perThread = 4, chunkTokens = threads * perThread;
constexpr int64_t digits = 1 << DS_SAMPLE_DIGIT, passesOfBound = DS_SAMPLE_BITS / DS_SAMPLE_DIGIT, far = DS_SAMPLE_FAR;
constexpr int64_t nothing = std::numeric_limits<int32_t>::max(), endless = int64_t(1) << 62;
static_assert(digits == GpuEmitter::warpThreads, "a lane has a digit");

/// Where a row's scratch has what.
struct Layout {
  int64_t chunks, values, tokens, sums, bounds, tables, bytes;
  explicit Layout(int64_t vocab) : chunks(llvm::divideCeil(vocab, chunkTokens)) {
    const int64_t words = llvm::alignTo(chunks, 4) * 4;
    values = 0;                               // [chunks] f32, the greatest of each
    tokens = values + words;                  // [chunks] i32, the first that has it
    sums = tokens + words;                    // [chunks] i64, the weights of what is left
    bounds = sums + 2 * words;                // [2 * passesOfBound] of `Bound`
    tables = bounds + 2 * passesOfBound * 16; // [2][chunks][digits] i64, by turns: what a pass counted
    bytes = llvm::alignTo(tables + 2 * chunks * digits * 8, 256);
  }
};

/// How far the search of a bound is.
struct Bound {
  Value goal;   // i64: the sum that is to be reached
  Value prefix; // i32: the digits found, behind the last pass the bound
  Value most;   // i32: the bound of top-k
};

class Sampling {
public:
  Sampling(SampleBody &body, int64_t vocab) : b(body), e(body.e), vocab(vocab), at(vocab) {
    row = e.block(1);
    scratch = e.at(b.scratch, e.mul(e.toI64(row), e.constant(at.bytes)));
    settings = e.at(b.rows, e.mul(e.toI64(row), e.constant(sizeof(DsSampleRow))));
    logits = e.element(b.logits, e.f32(), e.mul(e.toI64(row), e.constant(vocab)));
  }

  void penalize();
  void greatestOfChunk();
  void greedy();
  void search();
  void weigh();
  void pick();

private:
  struct Best {
    Value value, token;
  };
  Value setting(mlir::Type type, size_t offset) { return e.load(type, e.at(settings, static_cast<int64_t>(offset))); }
  Value topK() { return setting(e.i32(), offsetof(DsSampleRow, top_k)); }
  Value topP() { return setting(e.i64(), offsetof(DsSampleRow, top_p)); }
  Value scratchElement(int64_t offset, mlir::Type type, Value index) { return e.element(e.at(scratch, offset), type, index); }
  Value table(Value pass) {
    return e.at(e.at(scratch, at.tables), e.mul(e.toI64(e.bitAnd(pass, e.index(1))), e.constant(at.chunks * digits * 8)));
  }
  Value isFirst() { return e.eq(e.thread(), 0); }
  Emitter::Values logitsOf(Value chunk);
  Best better(const Best &a, const Best &b);
  void bestOfBlock(Best best, llvm::function_ref<void(const Best &)> store);
  Value greatest();
  /// Fills `scaled` and `temperature`, which `distance` needs.
  void scale(Value greatest);
  Value distance(Value logit);
  Value weight(Value distance);
  Value keptWeight(Value logit, Value most);
  void addParts(Value mine, Value parts, llvm::function_ref<void(Value)> store);
  Bound settle(Value pass);
  Emitter::Values before(Value mine);

  SampleBody &b;
  GpuEmitter &e;
  const int64_t vocab;
  const Layout at;
  Value row, scratch, settings, logits, temperature, scaled;
};
} // namespace

/// Each token was seen once: no two threads meet.
void Sampling::penalize() {
  Value begin = setting(e.i32(), offsetof(DsSampleRow, seen_begin)), count = setting(e.i32(), offsetof(DsSampleRow, seen_count));
  Value penalty = setting(e.f32(), offsetof(DsSampleRow, penalty)), seen = e.element(b.rows, e.i32(), begin);
  e.forRange(e.thread(), count, threads, [&](Value i) {
    Value place = e.element(logits, e.f32(), e.load(e.i32(), e.element(seen, e.i32(), i))), logit = e.load(e.f32(), place);
    e.store(e.select(e.lt(logit, e.constantF32(0)), e.mul(logit, penalty), e.div(logit, penalty)), place);
  });
}

/// Those of this thread, -infinity behind the vocabulary's end.
Emitter::Values Sampling::logitsOf(Value chunk) {
  Value first = e.add(e.mul(chunk, chunkTokens), e.mul(e.thread(), perThread)), none = e.infinity(e.f32(), /*negative=*/true);
  Emitter::Values values;
  if (vocab % perThread == 0) {
    Value four = loadLanes(e, e.element(logits, e.f32(), e.min(first, vocab - perThread)), perThread);
    for (int64_t i = 0; i < perThread; ++i)
      values.push_back(e.select(e.lt(first, vocab), e.extract(four, i), none));
    return values;
  }
  for (int64_t i = 0; i < perThread; ++i) {
    Value column = e.add(first, i);
    values.push_back(e.select(e.lt(column, vocab), e.load(e.f32(), e.element(logits, e.f32(), e.min(column, vocab - 1))), none));
  }
  return values;
}

/// Of equal ones the first; never a NaN.
Sampling::Best Sampling::better(const Best &a, const Best &b) {
  Value isEarlier = e.bitAnd(e.eq(a.value, b.value), e.lt(b.token, a.token)), takes = e.bitOr(e.gt(b.value, a.value), isEarlier);
  return {e.select(takes, b.value, a.value), e.select(takes, b.token, a.token)};
}

/// `store` runs in the first thread.
void Sampling::bestOfBlock(Best best, llvm::function_ref<void(const Best &)> store) {
  auto ofWarp = [&](Best mine) {
    for (int64_t offset = GpuEmitter::warpThreads / 2; offset > 0; offset /= 2)
      mine = better(mine, {e.shuffleXor(mine.value, offset), e.shuffleXor(mine.token, offset)});
    return mine;
  };
  Value values = e.shared(), tokens = e.shared(warps * 4);
  best = ofWarp(best);
  e.ifThen(e.eq(e.lane(), 0), [&] {
    e.store(best.value, e.element(values, e.f32(), e.warp()));
    e.store(best.token, e.element(tokens, e.i32(), e.warp()));
  });
  e.barrier();
  Value mine = e.bitAnd(e.lane(), e.index(warps - 1)); // a warp more than once is the same
  best = ofWarp({e.load(e.f32(), e.element(values, e.f32(), mine)), e.load(e.i32(), e.element(tokens, e.i32(), mine))});
  e.ifThen(isFirst(), [&] { store(best); });
}

void Sampling::greatestOfChunk() {
  Value first = e.add(e.mul(e.block(), chunkTokens), e.mul(e.thread(), perThread));
  Best best{e.infinity(e.f32(), /*negative=*/true), e.index(nothing)};
  for (auto [i, logit] : llvm::enumerate(logitsOf(e.block()))) {
    Value takes = e.gt(logit, best.value); // false for a NaN
    best = {e.select(takes, logit, best.value), e.select(takes, e.add(first, static_cast<int64_t>(i)), best.token)};
  }
  bestOfBlock(best, [&](const Best &found) {
    e.store(found.value, scratchElement(at.values, e.f32(), e.block()));
    e.store(found.token, scratchElement(at.tokens, e.i32(), e.block()));
  });
}

void Sampling::greedy() {
  Emitter::Values none{e.infinity(e.f32(), /*negative=*/true), e.index(nothing)};
  Emitter::Values mine = e.forRange(e.thread(), e.index(at.chunks), threads, none, [&](Value chunk, mlir::ValueRange carried) {
    Best found = better({carried[0], carried[1]}, {e.load(e.f32(), scratchElement(at.values, e.f32(), chunk)),
                                                   e.load(e.i32(), scratchElement(at.tokens, e.i32(), chunk))});
    return Emitter::Values{found.value, found.token};
  });
  bestOfBlock({mine[0], mine[1]}, [&](const Best &found) {
    Value isNumber = e.lt(e.abs(found.value), e.infinity(e.f32()));
    e.store(e.select(isNumber, found.token, e.index(-1)), e.element(b.chosen, e.i32(), row));
  });
}

/// Of the row; -infinity where there is no number. Uses the beginning of shared memory.
Value Sampling::greatest() {
  Value mine = e.forRange(e.thread(), e.index(at.chunks), threads, e.infinity(e.f32(), /*negative=*/true),
                          [&](Value chunk, mlir::ValueRange carried) {
                            return Emitter::Values{e.max(carried[0], e.load(e.f32(), scratchElement(at.values, e.f32(), chunk)))};
                          })[0];
  return e.blockMax(mine, e.shared(), threads);
}

void Sampling::scale(Value greatest) {
  temperature = setting(e.f32(), offsetof(DsSampleRow, temperature));
  scaled = e.div(greatest, temperature);
}

Value Sampling::distance(Value logit) {
  Value octaves = e.mul(e.sub(scaled, e.div(logit, temperature)), e.constantF32(DS_SAMPLE_OCTAVE));
  return e.toI32(e.min(octaves, e.constantF32(static_cast<float>(far)))); // far for a NaN
}

Value Sampling::weight(Value distance) {
  static constexpr int64_t powers[] = DS_SAMPLE_POWERS;
  constexpr int64_t octave = 1 << 24;
  Value y = e.toI64(e.sub(e.index(octave), e.bitAnd(distance, e.index(octave - 1))));
  Value power = e.constant(0);
  for (size_t i = std::size(powers); i-- > 0;)
    power = e.add(e.constant(powers[i]), e.shiftRight(e.mul(power, y), 24));
  power = e.shiftRight(e.shiftLeft(power, 7), e.toI64(e.shiftRight(distance, 24)));
  return e.select(e.lt(distance, far), power, e.constant(0));
}

/// What is left of a token's weight within the bound `most`.
Value Sampling::keptWeight(Value logit, Value most) {
  Value far = distance(logit), all = weight(far), least = setting(e.i64(), offsetof(DsSampleRow, least));
  return e.select(e.bitAnd(e.le(far, most), e.ge(all, least)), all, e.constant(0));
}

/// The first warp adds what each warp has of its lanes' digits, by `parts` in shared memory, and stores the sum at `to`, a place of the
/// lane.
void Sampling::addParts(Value mine, Value parts, llvm::function_ref<void(Value)> store) {
  e.store(mine, e.element(parts, e.i64(), e.thread()));
  e.barrier();
  e.ifThen(e.eq(e.warp(), 0), [&] {
    Value sum = e.constant(0);
    for (int64_t part = 0; part < warps; ++part)
      sum = e.add(sum, e.load(e.i64(), e.element(parts, e.i64(), e.add(e.lane(), part * digits))));
    store(sum);
  });
}

/// Finds the digit of a pass whose table is complete: the first at which the sum reaches the goal.
Bound Sampling::settle(Value pass) {
  Value state = e.at(e.at(scratch, at.bounds), e.mul(e.toI64(pass), e.constant(16)));
  Value goal = e.load(e.i64(), state), prefix = e.load(e.i32(), e.at(state, 8)), most = e.load(e.i32(), e.at(state, 12));
  // Each warp adds a part of the chunks, a lane a digit; then the first warp the parts.
  Value parts = e.shared(), sums = e.shared(warps * digits * 8), tables = table(pass);
  Value mine = e.forRange(e.warp(), e.index(at.chunks), warps, e.constant(0), [&](Value chunk, mlir::ValueRange sum) {
    return Emitter::Values{e.add(sum[0], e.load(e.i64(), e.element(tables, e.i64(), e.add(e.mul(chunk, digits), e.lane()))))};
  })[0];
  e.barrier(); // whoever used the memory before
  addParts(mine, parts, [&](Value sum) { e.store(sum, e.element(sums, e.i64(), e.lane())); });
  e.barrier();
  Emitter::Values all;
  Value total = e.constant(0);
  for (int64_t digit = 0; digit < digits; ++digit) {
    all.push_back(e.load(e.i64(), e.at(sums, digit * 8)));
    total = e.add(total, all.back());
  }
  // The first pass of top-p knows the total at last: its share is the goal.
  Value share = topP(), low = e.bitAnd(total, e.constant(0xFFFFFFFF));
  Value part = e.add(e.mul(e.shiftRight(total, 32), share), e.shiftRight(e.mul(low, share), 32));
  goal = e.select(e.eq(pass, passesOfBound), e.max(part, 1), goal);
  Value sum = e.constant(0), less = e.constant(0), digit = e.index(0);
  for (Value each : all) {
    sum = e.add(sum, each);
    Value isLess = e.lt(sum, goal);
    less = e.select(isLess, sum, less);
    digit = e.add(digit, e.select(isLess, e.index(1), e.index(0)));
  }
  Value isAll = e.eq(digit, digits); // the goal is never reached: everything stays
  goal = e.select(isAll, e.constant(endless), e.sub(goal, less));
  return {goal, e.bitOr(e.shiftLeft(prefix, DS_SAMPLE_DIGIT), e.min(digit, digits - 1)), most};
}

/// A pass: the digit before is found, and a table of the next one made. Passes of top-p come behind those of top-k.
void Sampling::search() {
  Value pass = e.toI32(b.pass), isOfP = e.ge(pass, passesOfBound), k = topK(), none = e.constant(0);
  Value isAsked = e.select(isOfP, e.ne(topP(), none), e.ne(k, 0));
  e.ifThen(isAsked, [&] {
    scale(greatest());
    Value isFirstOfP = e.eq(pass, passesOfBound), isFirstOfBoth = e.bitOr(e.eq(pass, 0), isFirstOfP);
    Value isBehind = e.bitAnd(e.ne(pass, 0), e.bitOr(e.ne(pass, passesOfBound), e.ne(k, 0)));
    Value whole = e.index((1 << DS_SAMPLE_BITS) - 1);
    Emitter::Values found = e.ifElse(
        isBehind, mlir::TypeRange{e.i64(), e.i32(), e.i32()},
        [&] {
          Bound bound = settle(e.sub(pass, 1));
          return Emitter::Values{bound.goal, bound.prefix, bound.most};
        },
        [&] { return Emitter::Values{e.toI64(k), whole, whole}; });
    Value goal = found[0], prefix = e.select(isFirstOfBoth, e.index(0), found[1]), most = e.select(isFirstOfP, found[1], found[2]);
    e.ifThen(e.bitAnd(isFirst(), e.eq(e.block(), 0)), [&] {
      Value state = e.at(e.at(scratch, at.bounds), e.mul(e.toI64(pass), e.constant(16)));
      e.store(goal, state);
      e.store(prefix, e.at(state, 8));
      e.store(most, e.at(state, 12));
    });

    // Digits and amounts of the chunk, for all lanes to read.
    Value ofBoth = e.select(isOfP, e.sub(pass, passesOfBound), pass);
    Value shift = e.sub(e.index(DS_SAMPLE_BITS - DS_SAMPLE_DIGIT), e.mul(ofBoth, DS_SAMPLE_DIGIT));
    Value places = e.shared(), amounts = e.shared(chunkTokens * 4), parts = e.shared(chunkTokens * 12);
    e.barrier(); // `settle` read there
    for (auto [i, logit] : llvm::enumerate(logitsOf(e.block()))) {
      Value away = distance(logit), index = e.add(e.mul(e.thread(), perThread), static_cast<int64_t>(i));
      Value digit = e.shiftRight(away, shift), isHere = e.eq(e.shiftRight(digit, DS_SAMPLE_DIGIT), prefix);
      isHere = e.bitAnd(isHere, e.bitAnd(e.lt(away, far), e.le(away, most)));
      e.store(e.select(isHere, e.bitAnd(digit, e.index(digits - 1)), e.index(digits)), e.element(places, e.i32(), index));
      e.store(e.select(isOfP, weight(away), e.constant(1)), e.element(amounts, e.i64(), index));
    }
    e.barrier();
    Value begin = e.mul(e.warp(), chunkTokens / warps);
    Value mine = e.forRange(begin, e.add(begin, chunkTokens / warps), 1, e.constant(0), [&](Value i, mlir::ValueRange sum) {
      Value isMine = e.eq(e.load(e.i32(), e.element(places, e.i32(), i)), e.lane());
      return Emitter::Values{e.add(sum[0], e.select(isMine, e.load(e.i64(), e.element(amounts, e.i64(), i)), none))};
    })[0];
    addParts(mine, parts, [&](Value sum) { e.store(sum, e.element(table(pass), e.i64(), e.add(e.mul(e.block(), digits), e.lane()))); });
  });
}

/// The bound is found, and what is left of each chunk weighed.
void Sampling::weigh() {
  scale(greatest());
  Value isOfP = e.ne(topP(), e.constant(0)), isOfK = e.ne(topK(), 0), whole = e.index((1 << DS_SAMPLE_BITS) - 1);
  Value most = e.ifElse(
      e.bitOr(isOfP, isOfK), mlir::TypeRange{e.i32()},
      [&] { return Emitter::Values{settle(e.select(isOfP, e.index(2 * passesOfBound - 1), e.index(passesOfBound - 1))).prefix}; },
      [&] { return Emitter::Values{whole}; })[0];
  Value mine = e.constant(0);
  for (Value logit : logitsOf(e.block()))
    mine = e.add(mine, keptWeight(logit, most));
  Value sum = before(mine)[1];
  e.ifThen(isFirst(), [&] {
    e.store(sum, scratchElement(at.sums, e.i64(), e.block()));
    e.ifThen(e.eq(e.block(), 0), [&] { e.store(most, e.at(e.at(scratch, at.bounds), 12)); }); // of pass 0, which nobody reads now
  });
}

/// The sum of `mine` over the threads before this one, and over all.
Emitter::Values Sampling::before(Value mine) {
  e.barrier();
  e.store(mine, e.element(e.shared(), e.i64(), e.thread()));
  e.barrier();
  Emitter::Values none{e.constant(0), e.constant(0)};
  return e.forRange(e.index(0), e.index(threads), 1, none, [&](Value i, mlir::ValueRange sums) {
    Value each = e.load(e.i64(), e.element(e.shared(), e.i64(), i));
    return Emitter::Values{e.add(sums[0], e.select(e.lt(i, e.thread()), each, e.constant(0))), e.add(sums[1], each)};
  });
}

/// The high half of a product of two numbers of 64 bits without a sign.
static Value highProduct(GpuEmitter &e, Value a, Value b) {
  Value mask = e.constant(0xFFFFFFFF), aLow = e.bitAnd(a, mask), bLow = e.bitAnd(b, mask), aHigh = e.shiftRight(a, 32),
        bHigh = e.shiftRight(b, 32), first = e.mul(aLow, bHigh), second = e.mul(aHigh, bLow);
  Value middle = e.add(e.add(e.shiftRight(e.mul(aLow, bLow), 32), e.bitAnd(first, mask)), e.bitAnd(second, mask));
  return e.add(e.add(e.mul(aHigh, bHigh), e.shiftRight(first, 32)), e.add(e.shiftRight(second, 32), e.shiftRight(middle, 32)));
}

/// The token whose part of the sum of weights, in the order of the vocabulary, holds the random number.
void Sampling::pick() {
  Value best = greatest(), place = e.element(b.chosen, e.i32(), row);
  auto choose = [&] {
    scale(best);
    constexpr int64_t found = threads * 8; // in shared memory: the rest of the number, the chunk
    const int64_t each = llvm::divideCeil(at.chunks, threads);
    Value mine = e.constant(0), first = e.mul(e.thread(), each), none = e.constant(0);
    auto sumOf = [&](Value chunk) {
      Value isThere = e.lt(chunk, at.chunks), readable = e.min(chunk, at.chunks - 1);
      return e.select(isThere, e.load(e.i64(), scratchElement(at.sums, e.i64(), readable)), none);
    };
    for (int64_t i = 0; i < each; ++i)
      mine = e.add(mine, sumOf(e.add(first, i)));
    Emitter::Values sums = before(mine);
    Value rest = e.sub(highProduct(e, setting(e.i64(), offsetof(DsSampleRow, random)), sums[1]), sums[0]);
    for (int64_t i = 0; i < each; ++i) {
      Value chunk = e.add(first, i), sum = sumOf(chunk);
      e.ifThen(e.bitAnd(e.ge(rest, none), e.lt(rest, sum)), [&] {
        e.store(rest, e.shared(found));
        e.store(chunk, e.shared(found + 8));
      });
      rest = e.sub(rest, sum);
    }
    e.barrier();
    Value chunk = e.load(e.i32(), e.shared(found + 8)), most = e.load(e.i32(), e.at(e.at(scratch, at.bounds), 12));
    rest = e.load(e.i64(), e.shared(found));
    Emitter::Values weights;
    mine = none;
    for (Value logit : logitsOf(chunk)) {
      weights.push_back(keptWeight(logit, most));
      mine = e.add(mine, weights.back());
    }
    rest = e.sub(rest, before(mine)[0]);
    Value token = e.add(e.mul(chunk, chunkTokens), e.mul(e.thread(), perThread));
    for (auto [i, weight] : llvm::enumerate(weights)) {
      e.ifThen(e.bitAnd(e.ge(rest, none), e.lt(rest, weight)), [&, i = i] { e.store(e.add(token, static_cast<int64_t>(i)), place); });
      rest = e.sub(rest, weight);
    }
  };
  e.ifElse(e.lt(e.abs(best), e.infinity(e.f32())), choose, [&] { e.ifThen(isFirst(), [&] { e.store(e.index(-1), place); }); });
}

int64_t ds::sampleScratchBytes(int64_t vocab) { return Layout(vocab).bytes; }

std::vector<SampleStage> ds::sampleStages(int64_t vocab) {
  const int64_t chunks = Layout(vocab).chunks, ofSettle = warps * digits * 8 + digits * 8, ofSearch = chunkTokens * 12 + threads * 8;
  std::vector<SampleStage> stages;
  auto add = [&](const char *part, const char *name, int64_t blocks, int64_t sharedBytes, void (Sampling::*run)()) -> SampleStage & {
    SampleStage &stage = stages.emplace_back();
    stage.part = part;
    stage.shape.name = name;
    stage.shape.threads = threads;
    stage.shape.sharedBytes = sharedBytes;
    stage.shape.grid[0].constant = blocks;
    stage.shape.grid[1].factors = {{GpuSize::rows, 1}};
    stage.body = [=](SampleBody &body) { (Sampling(body, vocab).*run)(); };
    return stage;
  };
  llvm::SmallVector<int64_t> ofK, ofP;
  for (int64_t pass = 0; pass < passesOfBound; ++pass) {
    ofK.push_back(pass);
    ofP.push_back(passesOfBound + pass);
  }
  add("penalty", "penalty", 1, 0, &Sampling::penalize);
  add("", "greatest", chunks, warps * 8, &Sampling::greatestOfChunk);
  add("greedy", "greedy", 1, warps * 8, &Sampling::greedy);
  add("top_k", "search", chunks, ofSearch, &Sampling::search).passes = ofK;
  add("top_p", "search", chunks, ofSearch, &Sampling::search).passes = ofP;
  add("random", "weigh", chunks, std::max(ofSettle, threads * 8), &Sampling::weigh);
  add("random", "pick", 1, threads * 8 + 16, &Sampling::pick);
  return stages;
}
