// Checks the contract of a phase.
#include "ds/Transforms/Passes.h"
#include "ds/Transforms/Phases.h"

using namespace mlir;

namespace ds {
#define GEN_PASS_DEF_VERIFYPHASE
#include "ds/Transforms/Passes.h.inc"
} // namespace ds

namespace {
struct VerifyPhase : ds::impl::VerifyPhaseBase<VerifyPhase> {
  using VerifyPhaseBase::VerifyPhaseBase;

  void runOnOperation() override {
    std::optional<ds::Phase> wanted = ds::symbolizePhase(phase);
    if (!wanted) {
      getOperation().emitError("expects phase to be imported, normalized or planned, got '") << phase << "'";
      return signalPassFailure();
    }
    if (failed(ds::verifyPhase(getOperation(), *wanted)))
      return signalPassFailure();
    markAllAnalysesPreserved();
  }
};
} // namespace
