// The order of passes and the named phases, in one place.
#ifndef DS_PIPELINES_PIPELINES_H
#define DS_PIPELINES_PIPELINES_H

#include "ds/Transforms/FusionLevel.h"
#include "ds/Transforms/Phases.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassOptions.h"

namespace ds {

/// What decides how a model is planned. Also the options of the pipeline `ds-plan`.
struct PlanOptions : public mlir::PassPipelineOptions<PlanOptions> {
  Option<int64_t> context{*this, "context", llvm::cl::desc("slots of a cache; 0: as many as the model has positions"), llvm::cl::init(0)};
  Option<std::string> cache{*this, "cache", llvm::cl::desc("f32, bf16 or int8: keys and values"), llvm::cl::init("f32")};
  Option<std::string> keys{*this, "keys", llvm::cl::desc("f32 or bf16: keys and values of a model without a cache, on CPUs"),
                           llvm::cl::init("f32")};
  Option<int64_t> maxBatch{*this, "max-batch", llvm::cl::desc("sequences of one step"), llvm::cl::init(16)};
  Option<int64_t> maxRows{*this, "max-rows", llvm::cl::desc("tokens of one step"), llvm::cl::init(512)};
  Option<std::string> weights{*this, "weights", llvm::cl::desc("f32, bf16 or f16: matrices and tables"), llvm::cl::init("f32")};
  Option<std::string> target{*this, "target", llvm::cl::desc("cpu or cuda: how matrices lie"), llvm::cl::init("cpu")};
  Option<FusionLevel> fusion{*this, "fusion", llvm::cl::desc("how far ops are fused"), llvm::cl::init(FusionLevel::specialized),
                             llvm::cl::values(clEnumValN(FusionLevel::none, "none", "one kernel an op"),
                                              clEnumValN(FusionLevel::generic, "generic", "element-wise ops and norms around products"),
                                              clEnumValN(FusionLevel::specialized, "specialized", "whole blocks"))};
  Option<std::string> machine{*this, "machine", llvm::cl::desc("machine.json that fusion is judged for; empty: built in"),
                              llvm::cl::init("")};
  Option<bool> observe{*this, "observe", llvm::cl::desc("give what linears multiply as results"), llvm::cl::init(false)};
  Option<bool> panelSums{*this, "panel-sums", llvm::cl::desc("matrices of f32 with sums of pairs, as convert-ds-to-plan has them"),
                         llvm::cl::init(false)};
  Option<bool> panelHalves{*this, "panel-halves", llvm::cl::desc("matrices of bf16 as f16, as convert-ds-to-plan has them"),
                           llvm::cl::init(false)};
  Option<bool> train{*this, "train", llvm::cl::desc("programs that train the model: step, evaluate, norms and update"),
                     llvm::cl::init(false)};
  Option<std::string> optimizer{*this, "optimizer", llvm::cl::desc("sgd, adam, adamw or lamb"), llvm::cl::init("adamw")};
  Option<bool> layerDrop{*this, "layer-drop", llvm::cl::desc("layers can be switched off in a step"), llvm::cl::init(false)};
  Option<std::string> recompute{*this, "recompute", llvm::cl::desc("layers whose values are computed again: none, all or a number"),
                                llvm::cl::init("none")};
  Option<std::string> compute{*this, "compute", llvm::cl::desc("what products of a training step multiply: f32, bf16 or f16"),
                              llvm::cl::init("f32")};
  Option<double> smoothing{*this, "smoothing", llvm::cl::desc("label smoothing of the loss"), llvm::cl::init(0.0)};
  Option<bool> report{*this, "report", llvm::cl::desc("write a table of memory to stderr"), llvm::cl::init(false)};
};

/// imported -> normalized: canonical, nothing twice, nothing unused. Verifies both contracts.
void buildNormalizePipeline(mlir::OpPassManager &manager);

/// imported -> planned, verifying the contract of each phase on the way.
void buildPlanPipeline(mlir::OpPassManager &manager, const PlanOptions &options);

/// imported -> `phase`.
void buildPipelineTo(mlir::OpPassManager &manager, Phase phase, const PlanOptions &options);

/// Registers the pipelines `ds-normalize` and `ds-plan`.
void registerPipelines();

} // namespace ds
#endif // DS_PIPELINES_PIPELINES_H
