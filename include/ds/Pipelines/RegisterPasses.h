// Everything a tool that takes passes by name offers.
#ifndef DS_PIPELINES_REGISTERPASSES_H
#define DS_PIPELINES_REGISTERPASSES_H

#include "ds/Conversion/Passes.h"
#include "ds/Pipelines/Pipelines.h"
#include "ds/Transforms/Passes.h"
#include "mlir/Transforms/Passes.h"

namespace ds {

/// The passes and pipelines of this project, and the general clean-ups they go with.
inline void registerPasses() {
  registerDSTransformsPasses();
  registerDSConversionPasses();
  registerPipelines();
  mlir::registerCanonicalizerPass();
  mlir::registerCSEPass();
  mlir::registerSymbolDCEPass();
  mlir::registerStripDebugInfoPass();
}

} // namespace ds
#endif // DS_PIPELINES_REGISTERPASSES_H
