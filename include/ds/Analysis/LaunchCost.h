// What one launch of a plan computes and moves, counted once for the cost model and for profile.json.
#ifndef DS_ANALYSIS_LAUNCHCOST_H
#define DS_ANALYSIS_LAUNCHCOST_H

#include "dialects/DSPlan/DSPlanDialect.h"
#include "dsrt/machine.h"
#include "mlir/IR/SymbolTable.h"

namespace ds {

/// Adds what `op` computes to `facts`: the region of a kernel is the sum of its ops, also one that a pass only thinks of fusing.
void addOp(dsrt::LaunchFacts &facts, mlir::Operation *op);

/// The facts of `launch`, whose kernel and storages are looked up in `symbols`.
dsrt::LaunchFacts factsOf(ds_plan::LaunchOp launch, const mlir::SymbolTable &symbols);

/// The facts of a kernel that would hold `ops` of `ds`, in block order: what they read from outside and what is read of them outside.
dsrt::LaunchFacts factsOf(llvm::ArrayRef<mlir::Operation *> ops);

/// The packed weight that a value of a program stands for; null when it is none.
ds_plan::StorageOp storageOf(mlir::Value place, const mlir::SymbolTable &symbols);

/// "tokens", "selected" or "batch".
llvm::StringRef nameOf(dsrt::LaunchRows rows);

} // namespace ds
#endif // DS_ANALYSIS_LAUNCHCOST_H
