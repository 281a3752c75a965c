// ds.dropout as vector arithmetic: the words of Philox4x32-10 come out in the order of the elements, four a block.
// Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
#include "dialects/DS/DSDialect.h"
#include "ds/Target/CPU/Elementwise.h"
#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace ds;
using mlir::Value;

/// A vector constant of integers.
static Value vectorOf(Emitter &e, int64_t lanes, mlir::Type element, llvm::function_ref<uint64_t(int64_t)> lane) {
  llvm::SmallVector<llvm::APInt> values;
  for (int64_t i = 0; i < lanes; ++i)
    values.push_back(llvm::APInt(64, lane(i)).trunc(element.getIntOrFloatBitWidth()));
  return mlir::arith::ConstantOp::create(e.getBuilder(), e.getLoc(), mlir::DenseElementsAttr::get(e.vec(lanes, element), values));
}

Value ds::emitDropoutKey(Emitter &e, Value seed) {
  const int64_t lanes = e.getLevel().lanes;
  mlir::VectorType words = e.vec(lanes, e.i32());
  Value pairs = e.bitcast(e.splat(e.load(e.i64(), seed, /*alignment=*/4), lanes / 2), words);
  llvm::SmallVector<int64_t> spread;
  for (int64_t i = 0; i < lanes; ++i)
    spread.push_back(i % 2 == 0 ? i % 4 / 2 : lanes);
  return e.shuffle(pairs, e.zero(words), spread);
}

/// The words of as many counters as fill a vector. Words 0 and 1 of the first are `low` (i64), to which each counter adds `step`; words 2
/// and 3 of all of them are `high` (i64). A counter is four lanes: what even lanes hold is multiplied, to 64 bits; odd ones and the key's
/// two words, in even lanes, are added without carry.
static Value emitWords(Emitter &e, Value low, int64_t step, Value high, Value key) {
  const int64_t lanes = e.getLevel().lanes;
  mlir::VectorType words = e.vec(lanes, e.i32()), pairs = e.vec(lanes / 2, e.i64());
  auto ofPairs = [&](llvm::function_ref<uint64_t(int64_t)> lane) { return vectorOf(e, lanes / 2, e.i64(), lane); };
  llvm::SmallVector<int64_t> alternate;
  for (int64_t i = 0; i < lanes / 2; ++i)
    alternate.push_back(i % 2 * (lanes / 2) + i);
  Value state = e.add(e.shuffle(e.splat(low, lanes / 2), e.splat(high, lanes / 2), alternate),
                      ofPairs([&](int64_t i) { return i % 2 ? 0 : static_cast<uint64_t>(step) * (i / 2); }));
  Value lowHalf = ofPairs([](int64_t) { return 0xFFFFFFFF; });
  Value factors = ofPairs([](int64_t i) { return i % 2 ? 0xCD9E8D57 : 0xD2511F53; });
  Value nextKey = vectorOf(e, lanes, e.i32(), [](int64_t i) { return i % 4 == 0 ? 0x9E3779B9 : i % 4 == 2 ? 0xBB67AE85 : 0; });
  llvm::SmallVector<int64_t> turned;
  for (int64_t i = 0; i < lanes; ++i)
    turned.push_back(i / 4 * 4 + 3 - i % 4);
  for (int round = 0; round < 10; ++round) {
    if (round > 0)
      key = e.add(key, nextKey);
    Value products = e.bitcast(e.mul(e.bitAnd(state, lowHalf), factors), words), others = e.bitcast(e.shiftRight(state, 32), words);
    state = e.bitcast(e.bitXor(e.shuffle(products, products, turned), e.bitXor(others, key)), pairs);
  }
  return e.bitcast(state, words);
}

/// The lanes whose words are not below `threshold`.
static Value emitStays(Emitter &e, Value words, uint32_t threshold) {
  Value least = vectorOf(e, e.getLevel().lanes, e.i32(), [&](int64_t) { return threshold; });
  return mlir::arith::CmpIOp::create(e.getBuilder(), e.getLoc(), mlir::arith::CmpIPredicate::uge, words, least);
}

Value ds::emitDropout(Emitter &e, DropoutOp op, Value x, Value key, const FlatIndex &first) {
  const int64_t lanes = e.getLevel().lanes;
  Value block = e.shiftRight(first.index, 2), site = e.constant(static_cast<int64_t>(op.getSite()));
  Value words = emitWords(e, block, 1, site, key);
  if (!first.beginsBlock) {
    Value behind = emitWords(e, e.add(block, lanes / 4), 1, site, key), skipped = e.bitAnd(first.index, e.constant(3)), all = words;
    for (int64_t skip = 1; skip < 4; ++skip) {
      llvm::SmallVector<int64_t> moved;
      for (int64_t i = 0; i < lanes; ++i)
        moved.push_back(i + skip);
      words = e.select(e.eq(skipped, skip), e.shuffle(all, behind, moved), words);
    }
  }
  Value stays = emitStays(e, words, dropoutThreshold(op.getRate()));
  return e.mul(x, e.select(stays, e.constantOf(x.getType(), dropoutFactor(op.getRate())), e.zero(x.getType())));
}

DropoutOfWeights::DropoutOfWeights(Emitter &e, uint32_t threshold, uint64_t site, Value key, Value head)
    : e(e), threshold(threshold), seedKey(key), high(e.add(e.shiftLeft(head, 32), static_cast<int64_t>(site))) {}

Value DropoutOfWeights::ofTokens(Value token, Value key) {
  Value low = e.add(e.shiftRight(token, 2), e.shiftLeft(key, 32));
  return emitStays(e, emitWords(e, low, 1, high, seedKey), threshold);
}

Emitter::Values DropoutOfWeights::ofKeys(Value token, Value key) {
  const int64_t lanes = e.getLevel().lanes, part = lanes / 4;
  // Four vectors of a few keys by four tokens, turned in two steps: pairs of tokens of half the keys, then a token of all of them.
  Emitter::Values halves, stays;
  for (int64_t half = 0; half < 2; ++half) {
    Emitter::Values words;
    for (int64_t i = 0; i < 2; ++i) {
      Value first = e.add(key, (2 * half + i) * part), low = e.add(e.shiftRight(token, 2), e.shiftLeft(first, 32));
      words.push_back(emitWords(e, low, int64_t(1) << 32, high, seedKey));
    }
    for (int64_t pair = 0; pair < 2; ++pair) {
      llvm::SmallVector<int64_t> chosen;
      for (int64_t i = 0; i < lanes; ++i)
        chosen.push_back(i % (2 * part) / part * lanes + i % part * 4 + 2 * pair + i / (2 * part));
      halves.push_back(e.shuffle(words[0], words[1], chosen));
    }
  }
  for (int64_t token = 0; token < 4; ++token) {
    llvm::SmallVector<int64_t> chosen;
    for (int64_t i = 0; i < lanes; ++i)
      chosen.push_back(i / (2 * part) * lanes + token % 2 * 2 * part + i % (2 * part));
    stays.push_back(emitStays(e, e.shuffle(halves[token / 2], halves[2 + token / 2], chosen), threshold));
  }
  return stays;
}
