// The products of attention's gradients, in register blocks.
#include "AttentionGradient.h"

using namespace ds;
using mlir::Value;
using mlir::ValueRange;

static std::string nameOf(const char *what, const AttentionGradientScratch &scratch, int64_t rowVectors) {
  return "attention_gradient_" + std::string(what) + "_" + std::to_string(scratch.headSize) + "_" + std::to_string(rowVectors);
}

namespace {
/// `broadcasts` times `vectors` sums in registers: at each step of the depth, products of as many numbers and vectors.
struct RegisterBlock {
  int64_t broadcasts, vectors;
  int64_t broadcastBytes;            // from a number to the next
  int64_t broadcastStep, vectorStep; // bytes from a step of the depth to the next
  Emitter &e;

  int64_t size() const { return broadcasts * vectors; }

  /// Adds `count` steps from `numbers` and `lines` on.
  Emitter::Values steps(Value numbers, Value lines, int64_t count, ValueRange before) const {
    Emitter::Values sums(before);
    for (int64_t step = 0; step < count; ++step) {
      Emitter::Values line;
      for (int64_t v = 0; v < vectors; ++v)
        line.push_back(e.load(e.vec(), e.at(lines, step * vectorStep + v * e.getLevel().lanes * 4)));
      for (int64_t i = 0; i < broadcasts; ++i) {
        Value number = e.splat(e.load(e.f32(), e.at(numbers, i * broadcastBytes + step * broadcastStep)));
        for (int64_t v = 0; v < vectors; ++v)
          sums[i * vectors + v] = e.fma(number, line[v], sums[i * vectors + v]);
      }
    }
    return sums;
  }

  /// Adds `count` times `unroll` steps.
  Emitter::Values loop(Value numbers, Value lines, Value count, int64_t unroll, ValueRange before, Value *numbersBehind = nullptr,
                       Value *linesBehind = nullptr) const {
    Emitter::Values carried{numbers, lines};
    llvm::append_range(carried, before);
    carried = e.forRange(e.constant(0), count, 1, carried, [&](Value, ValueRange now) {
      Emitter::Values next{e.opaque(e.at(now[0], unroll * broadcastStep)), e.opaque(e.at(now[1], unroll * vectorStep))};
      llvm::append_range(next, steps(now[0], now[1], unroll, now.drop_front(2)));
      return next;
    });
    if (numbersBehind)
      *numbersBehind = carried[0], *linesBehind = carried[1];
    return Emitter::Values(llvm::drop_begin(carried, 2));
  }

  /// The same of a known number of steps.
  Emitter::Values all(Value numbers, Value lines, int64_t count, ValueRange before) const {
    constexpr int64_t unroll = 4;
    Emitter::Values sums = loop(numbers, lines, e.constant(count / unroll), unroll, before, &numbers, &lines);
    return steps(numbers, lines, count % unroll, sums);
  }
};
} // namespace

/// Calls `body` with the first vector and the number of vectors of stripes of a padded head.
static void forStripes(const AttentionGradientScratch &scratch, llvm::function_ref<void(int64_t, int64_t)> body) {
  const int64_t all = scratch.paddedSize / scratch.lanes;
  for (int64_t first = 0; first < all; first += scratch.tiles.valueVectors)
    body(first, std::min(scratch.tiles.valueVectors, all - first));
}

void ds::callAttentionGradientScores(Emitter &e, const AttentionGradientScratch &scratch, int64_t rowVectors, Value rows, Value columns,
                                     Value out, Value tiles, Value ahead, Value aheadBytes) {
  constexpr int64_t rowsOfTile = 2;
  e.call(nameOf("scores", scratch, rowVectors), {rows, columns, out, tiles, ahead, aheadBytes}, [&](ValueRange a) {
    const int64_t keys = scratch.tiles.keys, lineBytes = rowVectors * scratch.lanes * 4, keyBytes = scratch.paddedSize * 4;
    RegisterBlock block{keys, rowVectors, keyBytes, 4, lineBytes, e};
    e.forRange(e.constant(0), a[3], 1, [&](Value tile) {
      Value next = e.at(a[4], e.mul(e.min(e.mul(tile, rowsOfTile), scratch.mostRows - rowsOfTile), a[5]));
      for (int64_t row = 0; row < rowsOfTile; ++row)
        for (int64_t d = 0; d < scratch.headSize; d += 16)
          e.prefetch(e.at(e.at(next, e.mul(a[5], row)), d * 4), /*locality=*/2);
      Emitter::Values zeros(block.size(), e.zero(e.vec()));
      Emitter::Values sums = block.all(e.at(a[0], e.mul(tile, keys * keyBytes)), a[1], scratch.headSize, zeros);
      Value to = e.at(a[2], e.mul(tile, keys * lineBytes));
      for (int64_t i = 0; i < block.size(); ++i)
        e.store(sums[i], e.at(to, i * scratch.lanes * 4));
    });
  });
}

void ds::callAttentionGradientRowSums(Emitter &e, const AttentionGradientScratch &scratch, int64_t rowVectors, Value weights, Value rows,
                                      Value out, Value tiles) {
  e.call(nameOf("row_sums", scratch, rowVectors), {weights, rows, out, tiles}, [&](ValueRange a) {
    const int64_t height = scratch.tiles.rows, keyBytes = scratch.paddedSize * 4;
    e.forRange(e.constant(0), e.constant(rowVectors * scratch.lanes), height, [&](Value row) {
      forStripes(scratch, [&](int64_t first, int64_t vectors) {
        RegisterBlock block{height, vectors, 4, rowVectors * scratch.lanes * 4, keyBytes, e};
        Emitter::Values zeros(block.size(), e.zero(e.vec()));
        Value numbers = e.at(a[0], e.mul(row, 4)), lines = e.at(a[1], first * scratch.lanes * 4);
        Emitter::Values sums = block.loop(numbers, lines, a[3], scratch.tiles.keys, zeros);
        Value to = e.at(a[2], e.add(e.mul(row, keyBytes), first * scratch.lanes * 4));
        for (int64_t i = 0; i < block.size(); ++i)
          e.store(sums[i], e.at(to, i / vectors * keyBytes + i % vectors * scratch.lanes * 4));
      });
    });
  });
}

void ds::callAttentionGradientKeySums(Emitter &e, const AttentionGradientScratch &scratch, int64_t rowVectors, Value weights, Value rows,
                                      Value out, Value tiles) {
  e.call(nameOf("key_sums", scratch, rowVectors), {weights, rows, out, tiles}, [&](ValueRange a) {
    const int64_t keys = scratch.tiles.keys, blockRows = rowVectors * scratch.lanes, keyBytes = scratch.paddedSize * 4;
    e.forRange(e.constant(0), a[3], 1, [&](Value tile) {
      Value numbers = e.at(a[0], e.mul(tile, keys * blockRows * 4)), sink = e.at(a[2], e.mul(tile, keys * keyBytes));
      forStripes(scratch, [&](int64_t first, int64_t vectors) {
        RegisterBlock block{keys, vectors, blockRows * 4, 4, keyBytes, e};
        auto place = [&](int64_t i) { return e.at(sink, i / vectors * keyBytes + (first + i % vectors) * scratch.lanes * 4); };
        Emitter::Values sums;
        for (int64_t i = 0; i < block.size(); ++i)
          sums.push_back(e.load(e.vec(), place(i)));
        sums = block.all(numbers, e.at(a[1], first * scratch.lanes * 4), blockRows, sums);
        for (int64_t i = 0; i < block.size(); ++i)
          e.store(sums[i], place(i));
      });
    });
  });
}

void ds::callAttentionGradientColumns(Emitter &e, const AttentionGradientScratch &scratch, int64_t rowVectors, Value rows, Value columns,
                                      Value factor) {
  e.call(nameOf("columns", scratch, rowVectors), {rows, columns, factor}, [&](ValueRange a) {
    const int64_t lanes = scratch.lanes, rowBytes = scratch.paddedSize * 4, columnBytes = rowVectors * lanes * 4;
    Value factors = e.splat(a[2]);
    e.forRange(e.constant(0), e.constant(scratch.paddedSize), lanes, [&](Value d) {
      e.forRange(e.constant(0), e.constant(rowVectors * lanes), lanes, [&](Value row) {
        Value from = e.at(a[0], e.add(e.mul(row, rowBytes), e.mul(d, 4))), to = e.at(a[1], e.add(e.mul(d, columnBytes), e.mul(row, 4)));
        Emitter::Values square;
        for (int64_t i = 0; i < lanes; ++i)
          square.push_back(e.mul(e.load(e.vec(), e.at(from, i * rowBytes)), factors));
        for (auto [i, column] : llvm::enumerate(e.transpose(square)))
          e.store(column, e.at(to, static_cast<int64_t>(i) * columnBytes));
      });
    });
  });
}
