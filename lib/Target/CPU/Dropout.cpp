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

/// The words of the blocks `first`, `first + 1`, ... (i64), a vector of them. A block is four lanes: what even lanes hold is multiplied,
/// to 64 bits; odd ones and the key's two words, in even lanes, are added without carry.
static Value emitWords(Emitter &e, Value first, uint32_t site, Value key) {
  const int64_t lanes = e.getLevel().lanes;
  mlir::VectorType words = e.vec(lanes, e.i32()), pairs = e.vec(lanes / 2, e.i64());
  auto ofPairs = [&](llvm::function_ref<uint64_t(int64_t)> lane) { return vectorOf(e, lanes / 2, e.i64(), lane); };
  Value isCount = ofPairs([](int64_t i) { return i % 2 ? 0 : ~uint64_t(0); });
  Value state = e.add(e.bitAnd(e.splat(first, lanes / 2), isCount), ofPairs([&](int64_t i) { return i % 2 ? site : i / 2; }));
  Value low = ofPairs([](int64_t) { return 0xFFFFFFFF; });
  Value factors = ofPairs([](int64_t i) { return i % 2 ? 0xCD9E8D57 : 0xD2511F53; });
  Value step = vectorOf(e, lanes, e.i32(), [](int64_t i) { return i % 4 == 0 ? 0x9E3779B9 : i % 4 == 2 ? 0xBB67AE85 : 0; });
  llvm::SmallVector<int64_t> turned;
  for (int64_t i = 0; i < lanes; ++i)
    turned.push_back(i / 4 * 4 + 3 - i % 4);
  for (int round = 0; round < 10; ++round) {
    if (round > 0)
      key = e.add(key, step);
    Value products = e.bitcast(e.mul(e.bitAnd(state, low), factors), words), others = e.bitcast(e.shiftRight(state, 32), words);
    state = e.bitcast(e.bitXor(e.shuffle(products, products, turned), e.bitXor(others, key)), pairs);
  }
  return e.bitcast(state, words);
}

Value ds::emitDropout(Emitter &e, DropoutOp op, Value x, Value key, const FlatIndex &first) {
  const int64_t lanes = e.getLevel().lanes;
  const auto site = static_cast<uint32_t>(op.getSite());
  Value block = e.shiftRight(first.index, 2), words = emitWords(e, block, site, key);
  if (!first.beginsBlock) {
    Value behind = emitWords(e, e.add(block, lanes / 4), site, key), skipped = e.bitAnd(first.index, e.constant(3)), all = words;
    for (int64_t skip = 1; skip < 4; ++skip) {
      llvm::SmallVector<int64_t> moved;
      for (int64_t i = 0; i < lanes; ++i)
        moved.push_back(i + skip);
      words = e.select(e.eq(skipped, skip), e.shuffle(all, behind, moved), words);
    }
  }
  const uint32_t threshold = op.getThreshold();
  Value least = vectorOf(e, lanes, e.i32(), [&](int64_t) { return threshold; });
  Value stays = mlir::arith::CmpIOp::create(e.getBuilder(), e.getLoc(), mlir::arith::CmpIPredicate::uge, words, least);
  return e.mul(x, e.select(stays, e.constantOf(x.getType(), op.getFactor()), e.zero(x.getType())));
}
