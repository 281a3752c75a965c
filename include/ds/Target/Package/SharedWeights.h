// Weights of the two targets of a package in one data part: what lies alike for both is there once.
#ifndef DS_TARGET_PACKAGE_SHAREDWEIGHTS_H
#define DS_TARGET_PACKAGE_SHAREDWEIGHTS_H

#include "mlir/IR/BuiltinOps.h"

namespace ds {

/// Bytes of the data part of the weights file that a target reads.
struct WeightRange {
  int64_t offset = 0, bytes = 0;
};

struct SharedWeights {
  WeightRange host, device;
};

/// The range of a plan that has the data part to itself.
WeightRange weightRangeOf(mlir::ModuleOp planned);

/// Places the storages of two plans of one model anew: first those of `host` alone, then those that lie alike in both, then those of
/// `device` alone. So each target reads one range, and the two overlap. Offsets of storages count from the begin of their plan's range, a
/// multiple of 4096. Both plans are of one context, and neither trains.
SharedWeights placeTogether(mlir::ModuleOp host, mlir::ModuleOp device);

} // namespace ds
#endif // DS_TARGET_PACKAGE_SHAREDWEIGHTS_H
