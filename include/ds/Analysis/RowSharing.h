// Whether threads share the rows of products or their columns.
#ifndef DS_ANALYSIS_ROWSHARING_H
#define DS_ANALYSIS_ROWSHARING_H

#include "dialects/DSPlan/DSPlanDialect.h"
#include "dsrt/machine.h"
#include "mlir/IR/SymbolTable.h"

namespace ds {

/// Where `kernel` says it: the rows that each thread has at least where threads share rows and not columns.
inline constexpr llvm::StringLiteral rowsOfThreadName = "rows_of_thread";
/// What `kernel` says, or `linearRowsOfThread`.
int64_t rowsOfThread(ds_plan::KernelOp kernel);

/// The products of a program, in a step of `rows` rows for each of `threads` threads.
struct RowSharing {
  int threads = 1;
  int64_t rows = 0;
  double byRowsNs = 0, byColumnsNs = 0;
};

/// The least rows of a thread, from 24 on, with which sharing them is predicted to take at most 1.04 times as long as sharing columns, on
/// all threads that `machine` was measured with; 128 where none of less do.
RowSharing bestRowSharing(ds_plan::ProgramOp program, const mlir::SymbolTable &symbols, const dsrt::MachineDescription &machine);

} // namespace ds
#endif // DS_ANALYSIS_ROWSHARING_H
