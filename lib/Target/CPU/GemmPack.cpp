// Row-major weights on their way to panels: a weight that training changes is packed anew by every product.
#include "Gemm.h"
#include <numeric>

using namespace mlir;
using namespace ds;

/// The columns of a square of `lanes` rows, 4 of which stand at `place(row, column)`: squares of 4 change rows and columns within each
/// quarter of a vector.
static SmallVector<Value> transposedSquare(Emitter &e, llvm::function_ref<Value(int64_t, int64_t)> place) {
  const int64_t lanes = e.getLevel().lanes;
  SmallVector<int64_t> low, high, lowPairs, highPairs;
  for (int64_t i = 0; i < lanes; i += 4) {
    low.append({i, lanes + i, i + 1, lanes + i + 1});
    high.append({i + 2, lanes + i + 2, i + 3, lanes + i + 3});
    lowPairs.append({i, i + 1, lanes + i, lanes + i + 1});
    highPairs.append({i + 2, i + 3, lanes + i + 2, lanes + i + 3});
  }
  SmallVector<Value> columns;
  for (int64_t column = 0; column < lanes; column += 4) {
    SmallVector<Value> rows;
    for (int64_t r = 0; r < 4; ++r) {
      SmallVector<Value> quarters;
      for (int64_t row = r; row < lanes; row += 4)
        quarters.push_back(e.load(e.vec(4), place(row, column)));
      while (quarters.size() > 1) {
        SmallVector<int64_t> joined(2 * Emitter::lanesOf(quarters[0]));
        std::iota(joined.begin(), joined.end(), 0);
        for (size_t i = 0; i < quarters.size() / 2; ++i)
          quarters[i] = e.shuffle(quarters[2 * i], quarters[2 * i + 1], joined);
        quarters.truncate(quarters.size() / 2);
      }
      rows.push_back(quarters[0]);
    }
    Value evenLow = e.shuffle(rows[0], rows[1], low), evenHigh = e.shuffle(rows[0], rows[1], high);
    Value oddLow = e.shuffle(rows[2], rows[3], low), oddHigh = e.shuffle(rows[2], rows[3], high);
    columns.append({e.shuffle(evenLow, oddLow, lowPairs), e.shuffle(evenLow, oddLow, highPairs), e.shuffle(evenHigh, oddHigh, lowPairs),
                    e.shuffle(evenHigh, oddHigh, highPairs)});
  }
  return columns;
}

Value ds::emitPair(Emitter &e, Value first, Value second) {
  Type bits = Emitter::lanesOf(first) > 1 ? Type(e.vec(Emitter::lanesOf(first), e.i32())) : e.i32();
  return e.bitOr(e.shiftRight(e.bitcast(first, bits), 16), e.bitcast(second, bits));
}

/// A master weight as the product sees it.
static Value rounded(Emitter &e, const PackedMatrix &matrix, Value values) {
  return matrix.rounded ? e.roundTo(matrix.rounded, values) : values;
}

/// A panel of `[columns][depth]`, square by square. Behind the last column its values come again.
static void packRows(Emitter &e, const PackedMatrix &matrix, Value from, Value panel, Value k, Value depth, Value to) {
  const int64_t lanes = e.getLevel().lanes, rowBytes = matrix.depth * 4;
  Value first = e.mul(panel, matrix.width), whole = e.mul(e.div(depth, lanes), lanes);
  auto clamped = [&](Value column) { return e.at(from, e.add(e.mul(e.min(column, matrix.columns - 1), rowBytes), e.mul(k, 4))); };
  e.forRange(e.constant(0), e.constant(matrix.width), lanes, [&](Value column) {
    Value at = e.add(first, column);
    auto squares = [&](llvm::function_ref<Value(int64_t)> rowAt) {
      SmallVector<Value> rows;
      for (int64_t row = 0; row < lanes; ++row)
        rows.push_back(rowAt(row));
      e.forRange(e.constant(0), whole, lanes, [&](Value i) {
        Value bytes = e.mul(i, 4), sink = e.at(to, e.add(e.mul(i, matrix.width * 4), e.mul(column, 4)));
        auto place = [&](int64_t row, int64_t offset) { return e.at(e.at(rows[row], bytes), offset * 4); };
        SmallVector<Value> square = transposedSquare(e, place);
        for (Value &values : square)
          values = rounded(e, matrix, values);
        if (matrix.pairs) {
          sink = e.at(to, e.add(e.mul(i, matrix.width * 2), e.mul(column, 4)));
          for (int64_t j = 0; j < lanes; j += 2)
            e.store(emitPair(e, square[j], square[j + 1]), e.at(sink, j * matrix.width * 2));
          return;
        }
        for (auto [j, values] : llvm::enumerate(square))
          e.store(values, e.at(sink, static_cast<int64_t>(j) * matrix.width * 4));
      });
    };
    Value start = clamped(at);
    auto inside = [&] { squares([&](int64_t row) { return e.at(start, row * rowBytes); }); };
    auto atTheEnd = [&] { squares([&](int64_t row) { return clamped(e.add(at, row)); }); };
    if (matrix.columns % matrix.width == 0)
      inside();
    else
      e.ifElse(e.le(e.add(at, lanes), matrix.columns), inside, atTheEnd);
  });
  if (matrix.depth % lanes != 0)
    e.forRange(whole, depth, matrix.pairs ? 2 : 1, [&](Value i) {
      e.forRange(e.constant(0), e.constant(matrix.width), 1, [&](Value column) {
        Value row = clamped(e.add(first, column));
        auto valueAt = [&](Value place) { return rounded(e, matrix, e.load(e.f32(), e.element(row, e.f32(), place))); };
        if (!matrix.pairs)
          return e.store(valueAt(i), e.element(to, e.f32(), e.add(e.mul(i, matrix.width), column)));
        Value next = e.add(i, 1), second = e.select(e.lt(next, depth), valueAt(e.min(next, e.sub(depth, 1))), e.constantF32(0));
        e.store(emitPair(e, valueAt(i), second), e.element(to, e.f32(), e.add(e.mul(e.div(i, 2), matrix.width), column)));
      });
    });
}

/// A panel of `[depth][columns]`, row by row; zeros behind the last column.
static void packTransposed(Emitter &e, const PackedMatrix &matrix, Value from, Value panel, Value k, Value depth, Value to) {
  Type element = matrix.element ? matrix.element : e.f32();
  const int64_t lanes = e.getLevel().lanes, bytes = element.getIntOrFloatBitWidth() / 8, rowBytes = matrix.columns * bytes;
  Value start = e.at(from, e.add(e.mul(k, rowBytes), e.mul(panel, matrix.width * bytes)));
  auto copyPairs = [&](int64_t columns) {
    e.forRange(e.constant(0), depth, 2, [&](Value i) {
      Value next = e.add(i, 1), hasNext = e.lt(next, depth), row = e.at(start, e.mul(i, rowBytes));
      Value nextRow = e.select(hasNext, e.at(row, rowBytes), row), sink = e.at(to, e.mul(i, matrix.width * 2));
      for (int64_t column = 0; column < matrix.width; column += lanes) {
        auto valuesOf = [&](Value place) {
          return rounded(e, matrix, e.loadRow(element, e.at(place, column * bytes), columns - column, lanes));
        };
        e.store(emitPair(e, valuesOf(row), e.select(hasNext, valuesOf(nextRow), e.zero(e.vec()))), e.at(sink, column * 4));
      }
    });
  };
  auto copy = [&](int64_t columns) {
    if (matrix.pairs)
      return copyPairs(columns);
    e.forRange(e.constant(0), depth, 1, [&](Value i) {
      Value row = e.at(start, e.mul(i, rowBytes)), sink = e.at(to, e.mul(i, matrix.width * 4));
      for (int64_t column = 0; column < matrix.width; column += lanes)
        e.store(rounded(e, matrix, e.loadRow(element, e.at(row, column * bytes), columns - column, lanes)), e.at(sink, column * 4));
    });
  };
  const int64_t whole = matrix.columns / matrix.width, tail = matrix.columns % matrix.width;
  if (tail == 0)
    copy(matrix.width);
  else if (whole == 0)
    copy(tail);
  else
    e.ifElse(e.lt(panel, whole), [&] { copy(matrix.width); }, [&] { copy(tail); });
}

Value ds::nextPacked(Emitter &e, const PackedMatrix &matrix, Value from, Value panel, Value end) {
  Value isLast = e.ge(end, matrix.depth), row = e.select(isLast, e.constant(0), end);
  Value column = e.mul(e.select(isLast, e.add(panel, 1), panel), matrix.width);
  return e.element(from, e.f32(), e.add(e.mul(row, matrix.columns), column));
}

int64_t GemmKernel::panelOf(LinearOp linear) const {
  const KernelOperand &weight = operand(linear.getWeight());
  if (!isRowMajor(weight))
    return ds_plan::panelWidth(weight.type);
  return linearPanelOf(linear.getColumns(), llvm::any_of(region.domains, [](const LinearDomain &domain) { return domain.hasHeads(); }));
}

void ds::emitPackedPanel(Emitter &e, const PackedMatrix &matrix, Value from, Value panel, Value k, Value depth, Value to) {
  std::string name = (matrix.transposed ? "gemm_pack_transposed_" : "gemm_pack_") + std::to_string(matrix.columns) + "x" +
                     std::to_string(matrix.depth) + "_" + std::to_string(matrix.width) +
                     (!matrix.element || matrix.element.isF32() ? ""
                      : matrix.element.isBF16()                 ? "_of_bf16"
                                                                : "_of_f16") +
                     (!matrix.rounded           ? ""
                      : matrix.rounded.isBF16() ? "_bf16"
                                                : "_f16") +
                     (matrix.pairs ? "_pairs" : "");
  e.call(name, {from, panel, k, depth, to},
         [&](ValueRange a) { (matrix.transposed ? packTransposed : packRows)(e, matrix, a[0], a[1], a[2], a[3], a[4]); });
}
