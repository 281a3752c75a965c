// Rotary positions of one head.
#ifndef LIB_TARGET_CPU_ROPE_H
#define LIB_TARGET_CPU_ROPE_H

#include "dialects/DS/DSDialect.h"
#include "ds/Target/CPU/Emitter.h"

namespace ds {

/// Turns the first `rotary` elements of a head from `from` to `to`, which may be one place; the rest is left. `angles` points to the
/// cosines and sines of the position, `[2][rotary / 2]`.
void emitRotation(Emitter &e, RopeOp op, mlir::Value from, mlir::Value to, mlir::Value angles);

} // namespace ds
#endif // LIB_TARGET_CPU_ROPE_H
