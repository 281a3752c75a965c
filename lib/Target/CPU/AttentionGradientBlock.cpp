// A block of query rows against a block of keys: scores and their softmax, then all gradients.
#include "AttentionGradient.h"
#include "KernelRegion.h"
#include "ds/Target/CPU/Elementwise.h"
#include "ds/Target/CPU/VectorMath.h"

using namespace ds;
using mlir::Value;
using mlir::ValueRange;

static constexpr double log2OfE = 1.4426950408889634;

namespace {
class BlockEmitter {
public:
  BlockEmitter(KernelContext &context, AttentionGradOp op, const AttentionGradientScratch &scratch, int64_t rowVectors,
               const AttentionGradientBlock &block)
      : e(context.e), query(*operandOf(context, op.getQuery())), grad(*operandOf(context, op.getGrad())), op(op), scratch(scratch),
        block(block), rowVectors(rowVectors), lanes(scratch.lanes), rowCount(rowVectors * lanes), statistics{scratch.mostRows},
        width(mlir::cast<mlir::RankedTensorType>(op.getQuery().getType()).getDimSize(2)) {}

  void emit();

private:
  Value at(int64_t place) { return e.at(block.scratch, place); }
  /// From row or key number `index` of an array on.
  Value rowAt(int64_t place, Value index) { return e.at(at(place), e.mul(index, scratch.paddedSize * 4)); }
  Value lineAt(int64_t place, Value key) { return e.at(at(place), e.mul(key, rowCount * 4)); }
  /// Vector `v` of a line of the block's rows.
  Value vectorAt(Value line, int64_t v) { return e.at(line, v * lanes * 4); }
  Value statisticAt(int64_t place, int64_t v) { return vectorAt(e.at(block.statistics, place), v); }
  Emitter::Values loadStatistic(int64_t place);
  void storeStatistic(ValueRange vectors, int64_t place);

  void copyRows(const KernelOperand &rows, Value from, int64_t to, double factor);
  /// Hides keys and adds slopes; returns the largest score of each row so far.
  Emitter::Values largestScores();
  /// Scores become powers of two against the largest ones. Dropout makes those that it leaves out negative, and their gradients zero.
  void powers(ValueRange largest);
  /// Powers become probabilities, and gradients of probabilities those of scores.
  void scoreGradients();
  void storeQueryGrads();
  /// Calls `body` for each key that a row may see, `tiles.keys` of them unrolled.
  Emitter::Values forKeys(ValueRange initial, llvm::function_ref<Emitter::Values(Value, ValueRange)> body);

  Emitter &e;
  const KernelOperand &query, &grad;
  AttentionGradOp op;
  const AttentionGradientScratch &scratch;
  const AttentionGradientBlock &block;
  int64_t rowVectors, lanes, rowCount;
  AttentionGradientStatistics statistics;
  int64_t width; // of queries
};
} // namespace

Emitter::Values BlockEmitter::loadStatistic(int64_t place) {
  Emitter::Values vectors;
  for (int64_t v = 0; v < rowVectors; ++v)
    vectors.push_back(e.load(e.vec(), statisticAt(place, v)));
  return vectors;
}

void BlockEmitter::storeStatistic(ValueRange vectors, int64_t place) {
  for (auto [v, vector] : llvm::enumerate(vectors))
    e.store(vector, statisticAt(place, static_cast<int64_t>(v)));
}

Emitter::Values BlockEmitter::forKeys(ValueRange initial, llvm::function_ref<Emitter::Values(Value, ValueRange)> body) {
  return e.forRange(block.keyBegin, block.keyEnd, scratch.tiles.keys, initial, [&](Value tile, ValueRange carried) {
    Emitter::Values next(carried);
    for (int64_t i = 0; i < scratch.tiles.keys; ++i)
      next = body(e.add(tile, i), next);
    return next;
  });
}

void BlockEmitter::copyRows(const KernelOperand &rows, Value from, int64_t to, double factor) {
  const int64_t bytes = elementBytes(rows);
  Value count = e.min(block.left, rowCount), scale = e.splat(e.constantF32(static_cast<float>(factor)));
  e.forRange(e.constant(0), count, 1, [&](Value row) {
    Value source = e.at(from, e.mul(row, width * bytes)), sink = rowAt(to, row);
    for (int64_t d = 0; d < scratch.paddedSize; d += lanes)
      e.store(e.mul(e.loadRow(rows.element(), e.at(source, d * bytes), scratch.headSize - d, lanes), scale), e.at(sink, d * 4));
  });
  e.forRange(count, e.constant(rowCount), 1, [&](Value row) {
    for (int64_t d = 0; d < scratch.paddedSize; d += lanes)
      e.store(e.zero(e.vec()), e.at(rowAt(to, row), d * 4));
  });
}

Emitter::Values BlockEmitter::largestScores() {
  mlir::VectorType integers = e.vec(lanes, e.i32());
  Value lowest = e.infinity(e.vec(), /*negative=*/true);
  Emitter::Values tokens;
  for (int64_t v = 0; v < rowVectors; ++v)
    tokens.push_back(e.add(e.add(e.iota(lanes, e.i32()), e.constantOf(integers, static_cast<double>(v * lanes))), e.toI32(block.first)));
  return forKeys(loadStatistic(statistics.largest()), [&](Value key, ValueRange carried) {
    Emitter::Values next;
    Value index = e.toI32(e.add(block.keyOffset, key)), line = lineAt(scratch.scores, key);
    Value bias = e.load(e.f32(), e.element(at(scratch.bias), e.f32(), key));
    if (op.getSlopes())
      bias = e.fma(block.slope, e.toF32(index), bias);
    for (int64_t v = 0; v < rowVectors; ++v) {
      Value score = e.add(e.load(e.vec(), vectorAt(line, v)), e.splat(bias));
      if (op.getCausal()) {
        Value seen = e.ge(tokens[v], e.splat(index));
        if (op.getWindow())
          seen = e.bitAnd(seen, e.lt(tokens[v], e.splat(e.add(index, static_cast<int64_t>(*op.getWindow())))));
        score = e.select(seen, score, lowest);
      }
      e.store(score, vectorAt(line, v));
      next.push_back(e.max(score, carried[v]));
    }
    return next;
  });
}

void BlockEmitter::powers(ValueRange largest) {
  Value lowest = e.infinity(e.vec(), /*negative=*/true), zero = e.zero(e.vec());
  Emitter::Values before = loadStatistic(statistics.largest()), sums = loadStatistic(statistics.sums());
  Emitter::Values dots = loadStatistic(statistics.dots()), against;
  for (int64_t v = 0; v < rowVectors; ++v) {
    // A row that has seen no key yet is compared with 0.
    against.push_back(e.select(e.eq(largest[v], lowest), zero, largest[v]));
    Value shrink = emitExp2NonPositive(e, e.sub(before[v], against[v]));
    sums[v] = e.mul(sums[v], shrink), dots[v] = e.mul(dots[v], shrink);
  }
  llvm::append_range(sums, dots);
  std::optional<DropoutOfWeights> dropout;
  if (op.getSeed())
    dropout.emplace(e, op, emitDropoutKey(e, block.seed), block.randomHead);
  sums = forKeys(sums, [&](Value key, ValueRange carried) {
    Emitter::Values next(carried);
    Value line = lineAt(scratch.scores, key), gradLine = lineAt(scratch.scoreGrads, key);
    for (int64_t v = 0; v < rowVectors; ++v) {
      Value power = emitExp2NonPositive(e, e.sub(e.load(e.vec(), vectorAt(line, v)), against[v]));
      Value grad = e.load(e.vec(), vectorAt(gradLine, v)), kept = power;
      if (dropout) {
        Value stays = dropout->ofTokens(e.add(block.first, v * lanes), e.add(block.keyOffset, key));
        kept = e.select(stays, power, e.neg(power)), grad = e.select(stays, grad, zero);
        e.store(grad, vectorAt(gradLine, v));
      }
      e.store(kept, vectorAt(line, v));
      next[v] = e.add(next[v], power);
      next[rowVectors + v] = e.fma(power, grad, next[rowVectors + v]);
    }
    return next;
  });
  e.ifThen(block.measure, [&] {
    storeStatistic(largest, statistics.largest());
    storeStatistic(ValueRange(sums).take_front(rowVectors), statistics.sums());
    storeStatistic(ValueRange(sums).drop_front(rowVectors), statistics.dots());
  });
}

void BlockEmitter::scoreGradients() {
  Emitter::Values sums = loadStatistic(statistics.sums()), dots = loadStatistic(statistics.dots());
  Value zero = e.zero(e.vec());
  for (int64_t v = 0; v < rowVectors; ++v) {
    sums[v] = e.select(e.eq(sums[v], zero), zero, e.div(e.constantOf(e.vec(), 1), sums[v]));
    dots[v] = e.mul(dots[v], sums[v]);
  }
  forKeys({}, [&](Value key, ValueRange) {
    Value line = lineAt(scratch.scores, key), gradLine = lineAt(scratch.scoreGrads, key);
    for (int64_t v = 0; v < rowVectors; ++v) {
      Value probability = e.mul(e.load(e.vec(), vectorAt(line, v)), sums[v]);
      e.store(op.getSeed() ? e.max(zero, probability) : probability, vectorAt(line, v));
      if (op.getSeed())
        probability = e.abs(probability);
      e.store(e.mul(probability, e.sub(e.load(e.vec(), vectorAt(gradLine, v)), dots[v])), vectorAt(gradLine, v));
    }
    return Emitter::Values();
  });
}

void BlockEmitter::storeQueryGrads() {
  Value scale = e.splat(e.constantF32(static_cast<float>(op.getScale().convertToDouble())));
  auto copy = [&](bool accumulate) {
    e.forRange(e.constant(0), e.min(block.left, rowCount), 1, [&](Value row) {
      Value sink = e.at(block.queryGrad, e.mul(row, width * 4));
      for (int64_t d = 0; d < scratch.headSize; d += lanes) {
        Value grad = e.mul(e.load(e.vec(), e.at(rowAt(scratch.sums, row), d * 4)), scale);
        if (accumulate)
          grad = e.add(grad, e.loadFirst(e.at(sink, d * 4), scratch.headSize - d, lanes));
        e.storeFirst(grad, e.at(sink, d * 4), scratch.headSize - d);
      }
    });
  };
  e.ifElse(block.accumulate, [&] { copy(true); }, [&] { copy(false); });
}

void BlockEmitter::emit() {
  const double scale = op.getScale().convertToDouble();
  copyRows(query, block.query, scratch.queryRows, scale);
  copyRows(grad, block.grad, scratch.gradRows, op.getSeed() ? dropoutFactor(*op.getRate()) : 1);
  callAttentionGradientColumns(e, scratch, rowVectors, at(scratch.queryRows), at(scratch.queryColumns), e.constantF32(log2OfE));
  callAttentionGradientColumns(e, scratch, rowVectors, at(scratch.gradRows), at(scratch.gradColumns), e.constantF32(1));
  Value tiles = e.div(e.sub(block.keyEnd, block.keyBegin), scratch.tiles.keys);
  Value scores = lineAt(scratch.scores, block.keyBegin), scoreGrads = lineAt(scratch.scoreGrads, block.keyBegin);
  Value keys = rowAt(scratch.keys, block.keyBegin);
  callAttentionGradientScores(e, scratch, rowVectors, keys, at(scratch.queryColumns), scores, tiles, block.nextQuery,
                              e.constant(width * elementBytes(query)));
  callAttentionGradientScores(e, scratch, rowVectors, rowAt(scratch.values, block.keyBegin), at(scratch.gradColumns), scoreGrads, tiles,
                              block.nextGrad, e.constant(width * elementBytes(grad)));
  powers(largestScores());
  e.ifThen(block.finish, [&] {
    scoreGradients();
    callAttentionGradientRowSums(e, scratch, rowVectors, scoreGrads, keys, at(scratch.sums), tiles);
    storeQueryGrads();
    callAttentionGradientKeySums(e, scratch, rowVectors, scoreGrads, at(scratch.queryRows), rowAt(scratch.keyGrads, block.keyBegin), tiles);
    callAttentionGradientKeySums(e, scratch, rowVectors, scores, at(scratch.gradRows), rowAt(scratch.valueGrads, block.keyBegin), tiles);
  });
}

void ds::callAttentionGradientBlock(KernelContext &context, AttentionGradOp op, const AttentionGradientScratch &scratch, int64_t rowVectors,
                                    const AttentionGradientBlock &block) {
  AttentionGradientBlock b = block;
  llvm::SmallVector<Value *> members = {&b.query,      &b.grad,    &b.queryGrad, &b.nextQuery, &b.nextGrad, &b.scratch,
                                        &b.statistics, &b.first,   &b.left,      &b.keyOffset, &b.keyBegin, &b.keyEnd,
                                        &b.slope,      &b.measure, &b.finish,    &b.accumulate};
  if (op.getSeed())
    members.append({&b.seed, &b.randomHead});
  Emitter::Values arguments;
  for (Value *member : members)
    arguments.push_back(*member);
  // Launches of one kernel may have rows of several types.
  std::string name;
  llvm::raw_string_ostream(name) << context.kernel.getSymName() << "_rows_" << rowVectors << "_"
                                 << operandOf(context, op.getQuery())->element() << "_" << operandOf(context, op.getGrad())->element();
  context.e.call(name, arguments, [&](ValueRange inside) {
    for (auto [member, argument] : llvm::zip_equal(members, inside))
      *member = argument;
    BlockEmitter(context, op, scratch, rowVectors, b).emit();
  });
}
