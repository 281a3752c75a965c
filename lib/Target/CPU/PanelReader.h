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
  static constexpr int64_t step = 16;

  PanelReader(Emitter &e, const ds_plan::PanelCodes &codes, Value panel, Value column, int64_t vectors);

  /// Moves to group `g`.
  void startGroup(Value g);
  /// Scales of the group's columns, by which codes are multiplied, and offsets of an asymmetric one.
  llvm::ArrayRef<Value> scales() const { return groupScales; }
  llvm::ArrayRef<Value> offsets() const { return groupOffsets; }

  /// Calls `body` with the codes, as f32 (of e4m3 2^-8 times their numbers, as scales are 2^8 times theirs), of `step` k from k `inGroup`
  /// of the group on. `aheadBytes` further in memory the panel is asked for; 0 asks for nothing.
  void forCodes(Value inGroup, int64_t aheadBytes, llvm::function_ref<void(int64_t k, llvm::ArrayRef<Value> codes)> body);

  /// The same, of integers, as words as they are multiplied: each holds the bytes of k to k + 3, unsigned as they are stored (`zeroCode`).
  void forUnsignedCodes(Value inGroup, llvm::function_ref<void(int64_t k, llvm::ArrayRef<Value> words)> body);

  /// Codes to values, by scales and offsets.
  llvm::SmallVector<Value> values(llvm::ArrayRef<Value> codes);

private:
  Value decode(Value words, int64_t k);

  Emitter &e;
  const ds_plan::PanelCodes &codes;
  Value panel, column, groupCodes;
  int64_t vectors, lanes;
  llvm::SmallVector<Value> groupScales, groupOffsets;
};

/// One value of the panel at `panel`: column `column`, k `k`, as f32.
mlir::Value emitPanelValue(Emitter &e, const ds_plan::PanelCodes &codes, mlir::Value panel, mlir::Value column, mlir::Value k);

/// Writes the values of k in [begin, end) of the panel, multiples of 16, as f32 [end - begin][width].
void emitWidenedCodes(Emitter &e, const ds_plan::PanelCodes &codes, mlir::Value panel, mlir::Value to, mlir::Value begin, mlir::Value end);

} // namespace ds
#endif // DS_LIB_TARGET_CPU_PANELREADER_H
