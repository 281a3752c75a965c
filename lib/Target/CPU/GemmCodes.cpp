// Register-blocked products of a few rows with a panel of codes: weights are decoded in registers, so memory gives codes alone.
#include "Gemm.h"
#include "PanelReader.h"

using namespace mlir;
using namespace ds;

namespace {
/// The code of one block.
class CodesBlockEmitter {
public:
  CodesBlockEmitter(Emitter &e, const CodesBlock &block) : e(e), block(block), lanes(e.getLevel().lanes) {
    const CpuLevel &level = e.getLevel();
    const int64_t all = block.codes.width / lanes;
    // Scales multiply the sums of a group where a second set of sums fits the registers, else every weight.
    auto widest = [&](llvm::function_ref<bool(int64_t)> fits) {
      for (int64_t v = all; v > 1; --v)
        if (all % v == 0 && fits(v))
          return v;
      return int64_t(1);
    };
    vectors = widest([&](int64_t v) { return 2 * block.rows * v + v + 2 <= level.registers; });
    scalesSums = !block.codes.type.isAsymmetric() && (vectors > 1 || all == 1);
    if (!scalesSums)
      vectors = widest([&](int64_t v) { return block.rows * v <= level.gemmSums; });
    // Few sums wait for each other.
    chains = block.rows * vectors < 8 && 3 * block.rows * vectors + vectors + 2 <= level.registers ? 2 : 1;
  }

  void emit(Value rows, Value panel, Value sums, Value sumBytes, Value begin, Value end) {
    e.forRange(e.constant(0), e.constant(block.codes.width), vectors * lanes, [&](Value column) {
      Value to = e.at(sums, e.mul(column, 4));
      auto place = [&](int64_t r, int64_t v) { return e.at(e.at(to, e.mul(sumBytes, r)), v * lanes * 4); };
      SmallVector<Value> total = emitSumsBefore(e, e.ne(begin, 0), size(), [&](int64_t i) { return place(i / vectors, i % vectors); });
      total = emitDepth(rows, panel, column, begin, end, total);
      for (int64_t i = 0; i < size(); ++i)
        e.store(total[i], place(i / vectors, i % vectors));
    });
  }

private:
  int64_t size() const { return block.rows * vectors; }

  SmallVector<Value> emitDepth(Value rows, Value panel, Value column, Value begin, Value end, ArrayRef<Value> initial) {
    const ds_plan::PanelCodes &codes = block.codes;
    PanelReader reader(e, codes, panel, column, vectors);
    return e.forRange(e.div(begin, codes.group), e.ceilDiv(end, codes.group), 1, initial, [&](Value g, ValueRange total) {
      Value first = e.mul(g, codes.group), from = e.max(e.sub(begin, first), 0), to = e.min(e.sub(end, first), codes.group);
      reader.startGroup(g);
      SmallVector<Value> carried = scalesSums ? SmallVector<Value>() : SmallVector<Value>(total);
      carried.resize(chains * size(), e.zero(e.vec()));
      carried = e.forRange(from, to, PanelReader::step, carried, [&](Value k, ValueRange before) {
        SmallVector<Value> sums(before);
        Value row = e.at(rows, e.mul(e.add(first, k), block.groupRows ? block.groupRows * 4 : 4));
        reader.forCodes(k, block.aheadBytes, [&](int64_t i, ArrayRef<Value> decoded) {
          SmallVector<Value> weights = scalesSums ? SmallVector<Value>(decoded) : reader.values(decoded);
          MutableArrayRef<Value> chain = MutableArrayRef(sums).slice(i % chains * size(), size());
          for (int64_t r = 0; r < block.rows; ++r) {
            Value value = e.splat(e.load(e.f32(), e.at(row, r * block.rowBytes + i * 4)), lanes);
            for (int64_t v = 0; v < vectors; ++v)
              chain[r * vectors + v] = e.fma(value, weights[v], chain[r * vectors + v]);
          }
        });
        return sums;
      });
      for (int64_t i = 0; chains > 1 && i < size(); ++i)
        carried[i] = e.add(carried[i], carried[size() + i]);
      carried.truncate(size());
      if (scalesSums)
        for (int64_t i = 0; i < size(); ++i)
          carried[i] = e.fma(carried[i], reader.scales()[i % vectors], total[i]);
      return carried;
    });
  }

  Emitter &e;
  const CodesBlock &block;
  int64_t lanes, vectors, chains;
  bool scalesSums;
};
} // namespace

void ds::emitCodesBlock(Emitter &e, const CodesBlock &block, Value rows, Value panel, Value sums, Value sumBytes, Value begin, Value end) {
  std::string name;
  llvm::raw_string_ostream(name) << "gemm_codes_" << block.codes.type << "_" << block.codes.depth << "_" << block.rows << "x"
                                 << block.codes.width << (block.groupRows ? "_groups" : "_")
                                 << (block.groupRows ? block.groupRows : block.rowBytes) << "_" << block.aheadBytes;
  e.call(name, {rows, panel, sums, sumBytes, begin, end},
         [&](ValueRange a) { CodesBlockEmitter(e, block).emit(a[0], a[1], a[2], a[3], a[4], a[5]); });
}
