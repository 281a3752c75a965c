// The assembly of kernels: GpuEmitter writes it, emulation knows it by its text.
#ifndef LIB_TARGET_CUDA_ASSEMBLY_H
#define LIB_TARGET_CUDA_ASSEMBLY_H

#include "ds/Target/CUDA/GpuEmitter.h"
#include <string>

namespace ds::assembly {

// Operands that are addresses of shared memory are i32.
constexpr llvm::StringLiteral loadStream = "ld.global.L1::no_allocate.L2::256B.v4.b32 {$0, $1, $2, $3}, [$4];";
constexpr llvm::StringLiteral initPhase = "mbarrier.init.shared::cta.b64 [$0], $1;";
constexpr llvm::StringLiteral showPhases = "fence.mbarrier_init.release.cluster;\nfence.proxy.async.shared::cta;";
constexpr llvm::StringLiteral arrive = "mbarrier.arrive.shared::cta.b64 _, [$0];";
constexpr llvm::StringLiteral arriveExpecting = "mbarrier.arrive.expect_tx.shared::cta.b64 _, [$0], $1;";
constexpr llvm::StringLiteral waitPhase =
    "{ .reg .pred ended; WAIT: mbarrier.try_wait.parity.shared::cta.b64 ended, [$0], $1; @!ended bra WAIT; }";
constexpr llvm::StringLiteral copyBulk = "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [$0], [$1], $2, [$3];";
constexpr llvm::StringLiteral wgmmaFence = "wgmma.fence.sync.aligned;";
constexpr llvm::StringLiteral wgmmaCommit = "wgmma.commit_group.sync.aligned;";
constexpr llvm::StringLiteral wgmmaWait = "wgmma.wait_group.sync.aligned "; // a number and a semicolon
constexpr llvm::StringLiteral wgmma = "{ .reg .pred adds; setp.ne.b32 adds, 1, 0; wgmma.mma_async.sync.aligned.";

/// Of `columns` columns: results are the sums, operands the 4 words of the first factor, the second one, and the sums.
std::string wgmmaText(MmaType type, int64_t columns);

} // namespace ds::assembly
#endif // LIB_TARGET_CUDA_ASSEMBLY_H
