// Sizes, spans and dependences of a program: what the passes on plans and the phase contracts ask.
#ifndef DS_LIB_TRANSFORMS_PLANMEMORY_H
#define DS_LIB_TRANSFORMS_PLANMEMORY_H

#include "dialects/DSPlan/DSPlanDialect.h"
#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/MapVector.h"

namespace ds {

/// Every place in the arena and every storage begins at a multiple of this many bytes.
inline constexpr int64_t placeAlignment = 64;

/// The most rows a buffer has in a step of `program`.
int64_t boundOfRows(ds_plan::ProgramOp program, ds_plan::Rows rows);

/// Bytes of a buffer at that bound, a multiple of `placeAlignment`.
int64_t bufferBytes(ds_plan::BufferOp buffer);

/// The bytes of a type with static sizes.
int64_t staticBytes(mlir::MemRefType type);

/// Calls `body` with every place that `value` may stand for: more than one behind a `ds_plan.switch`.
void forEachPlace(mlir::Value value, llvm::function_ref<void(mlir::Value)> body);

/// What launches of one span touched; tells whether one more depends on them.
class SpanAccesses {
public:
  /// True when `launch` reads what a launch before wrote, or writes what one read or wrote.
  bool conflicts(ds_plan::LaunchOp launch) const;
  void add(ds_plan::LaunchOp launch);
  void clear() { written.clear(), read.clear(); }

private:
  /// Two ops may name one place: the same cache, input or output.
  static const void *key(mlir::Value value);
  llvm::DenseSet<const void *> written, read;
};

/// First and last span between barriers, those inside chains apart, in which a buffer is touched.
struct LiveSpans {
  int64_t first, last;
  bool overlaps(LiveSpans other) const { return first <= other.last && other.first <= last; }
};

/// The spans of each buffer that a launch touches, in order of first use.
llvm::MapVector<ds_plan::BufferOp, LiveSpans> liveSpans(ds_plan::ProgramOp program);

/// The contract of phase `planned` for a model of `task`.
mlir::LogicalResult verifyPlan(mlir::ModuleOp module, llvm::StringRef task);

} // namespace ds
#endif // DS_LIB_TRANSFORMS_PLANMEMORY_H
