#include "ds/Pipelines/Pipelines.h"
#include "ds/Conversion/Passes.h"
#include "ds/Transforms/Passes.h"
#include "mlir/Pass/PassRegistry.h"
#include "mlir/Transforms/Passes.h"

using namespace mlir;
using namespace ds;

static void addContract(OpPassManager &manager, Phase phase) { manager.addPass(createVerifyPhase({stringifyPhase(phase).str()})); }

/// Passes of a fusion level. What products do not take is joined last.
static void addFusion(OpPassManager &manager, FusionLevel level, const std::string &machine, const std::string &target) {
  if (level == FusionLevel::none)
    return;
  if (level == FusionLevel::specialized)
    manager.addPass(createFuseQkv());
  manager.addPass(createFuseNormLinear({machine}));
  manager.addPass(createFuseLinearEpilogue({target}));
  if (level == FusionLevel::specialized)
    manager.addPass(createFuseAttention());
  manager.addPass(createFuseLoss());
  manager.addPass(createFormFusionRegions({/*pools=*/level == FusionLevel::specialized}));
}

/// What serves a model.
static void addInference(OpPassManager &manager, const PlanOptions &options) {
  InsertCacheOptions cache;
  cache.context = options.context;
  cache.elements = options.cache;
  cache.keepForward = options.cache == "f32"; // it has no cache, so its logits would be those of keys and values that nothing rounded
  manager.addPass(createInsertCache(cache));
  if (options.observe)
    manager.addPass(createObserveInputs());
  manager.addPass(createInsertPaddingMask());
}

/// What trains it.
static void addTraining(OpPassManager &manager, const PlanOptions &options) {
  manager.addPass(createInsertLoss({options.smoothing}));
  manager.addPass(createInsertDropout());
  if (options.layerDrop)
    manager.addPass(createInsertLayerDrop());
  manager.addPass(createDifferentiate({options.recompute}));
  if (options.compute != "f32")
    manager.addPass(createRoundOperands({options.compute}));
  manager.addPass(createInsertOptimizer({options.optimizer}));
}

/// normalized -> planned
static void buildFromNormalized(OpPassManager &manager, const PlanOptions &options) {
  if (options.train)
    addTraining(manager, options);
  else
    addInference(manager, options);
  manager.addPass(createLowerCaches());
  addFusion(manager, options.fusion, options.machine, options.target);
  ConvertDSToPlanOptions conversion;
  conversion.maxBatch = options.maxBatch;
  conversion.maxRows = options.maxRows;
  conversion.weights = options.weights;
  conversion.target = options.target;
  conversion.panelSums = options.panelSums;
  conversion.panelHalves = options.panelHalves;
  conversion.train = options.train;
  manager.addPass(createConvertDSToPlan(conversion));
  if (options.train && options.compute != "f32")
    manager.addPass(createPlanNarrowBuffers());
  if (!options.train && options.target == "cpu" && options.keys == "bf16")
    manager.addPass(createPlanPairKeys());
  if (options.target == "cpu") { // what worker threads do with their caches
    manager.addPass(createPlanGroupRows());
    manager.addPass(createPlanOverwriteRows());
    if (options.train)
      manager.addPass(createPlanSlabRows());
    manager.addPass(createPlanChainRows());
    if (!options.train)
      manager.addPass(createPlanChooseTiles({options.machine}));
  }
  manager.addNestedPass<ds_plan::ProgramOp>(createPlanInsertBarriers());
  PlanReuseBuffersOptions places;
  places.report = options.report;
  manager.addPass(createPlanReuseBuffers(places));
  addContract(manager, Phase::planned);
}

void ds::buildNormalizePipeline(OpPassManager &manager) {
  addContract(manager, Phase::imported);
  manager.addPass(createCanonicalizerPass());
  manager.addPass(createCSEPass());
  manager.addPass(createDropUnusedParameters());
  addContract(manager, Phase::normalized);
}

void ds::buildPlanPipeline(OpPassManager &manager, const PlanOptions &options) { buildPipelineTo(manager, Phase::planned, options); }

void ds::buildPipelineTo(OpPassManager &manager, Phase phase, const PlanOptions &options) {
  if (phase == Phase::imported)
    return addContract(manager, phase);
  buildNormalizePipeline(manager);
  if (phase == Phase::planned)
    buildFromNormalized(manager, options);
}

void ds::registerPipelines() {
  PassPipelineRegistration<>("ds-normalize", "an imported module to phase normalized", buildNormalizePipeline);
  PassPipelineRegistration<PlanOptions>("ds-plan", "an imported module to phase planned", buildPlanPipeline);
}
