// Values of a panel of codes, as kernels read them.
#ifndef DS_LIB_TARGET_CPU_PANELREADER_H
#define DS_LIB_TARGET_CPU_PANELREADER_H

#include "dialects/DSPlan/PanelCodes.h"
#include "ds/Target/CPU/Emitter.h"

namespace ds {

/// Reads `vectors` vectors side by side from column `column` (a Value, of all of them) of the panel at `panel`, group by group.
class PanelReader {
public:
  using Value = mlir::Value;

  /// k that `forCodes` gives at once; groups are multiples of it.
  static constexpr int64_t step = ds_plan::PanelCodes::unit;

  PanelReader(Emitter &e, const ds_plan::PanelCodes &codes, Value panel, Value column, int64_t vectors);

  /// Moves to group `g`, without its scales.
  void enterGroup(Value g);
  void loadScales();
  void startGroup(Value g) {
    enterGroup(g);
    loadScales();
  }
  /// Scales of the group's columns, by which codes are multiplied, and offsets of an asymmetric one.
  llvm::ArrayRef<Value> scales() const { return groupScales; }
  llvm::ArrayRef<Value> offsets() const { return groupOffsets; }

  /// Calls `body` with the codes, as f32 (of e4m3 2^-8 times their numbers, as scales are 2^8 times theirs), of `step` k from k `inGroup`
  /// of the group on. `aheadBytes` further in memory the panel is asked for; 0 asks for nothing.
  void forCodes(Value inGroup, int64_t aheadBytes, llvm::function_ref<void(int64_t k, llvm::ArrayRef<Value> codes)> body);

  /// The same, of integers, as words as they are multiplied: each holds the bytes of k to k + 3, unsigned as they are stored (`zeroCode`).
  void forUnsignedCodes(Value inGroup, int64_t aheadBytes, llvm::function_ref<void(int64_t k, llvm::ArrayRef<Value> words)> body);

  /// Codes to values, by scales and offsets.
  llvm::SmallVector<Value> values(llvm::ArrayRef<Value> codes);

private:
  using Plane = ds_plan::PanelCodes::Plane;
  /// Words of the planes of four k, those of each plane side by side.
  using PlaneWords = llvm::SmallVector<llvm::SmallVector<Value>, 3>;

  /// Calls `body` for every four k of the unit from k `inGroup` on.
  void forPlanes(Value inGroup, int64_t aheadBytes, llvm::function_ref<void(int64_t k, const PlaneWords &words)> body);
  /// The codes of four k from k on in the bytes of a word, from bit `low` of each on; bits below and above are any.
  Value join(const PlaneWords &words, int64_t v, int64_t k, int64_t low);
  /// The code from bit `at` of the words on, as f32.
  Value decode(Value words, int64_t at);

  Emitter &e;
  const ds_plan::PanelCodes &codes;
  Value panel, column, group, runCodes;
  int64_t vectors, lanes;
  llvm::SmallVector<Value> groupScales, groupOffsets;
};

/// One value of the panel at `panel`: column `column`, k `k`, as f32.
mlir::Value emitPanelValue(Emitter &e, const ds_plan::PanelCodes &codes, mlir::Value panel, mlir::Value column, mlir::Value k);

/// A vector of a panel of one column and codes of 8 bits at `row`, from k `k` on, a multiple of its lanes.
mlir::Value emitValuesOfRow(Emitter &e, const ds_plan::PanelCodes &codes, mlir::Value row, mlir::Value k);

/// Writes the values of k in [begin, end) of the panel, multiples of 16, as f32 [end - begin][width].
void emitWidenedCodes(Emitter &e, const ds_plan::PanelCodes &codes, mlir::Value panel, mlir::Value to, mlir::Value begin, mlir::Value end);

} // namespace ds
#endif // DS_LIB_TARGET_CPU_PANELREADER_H
