// Turns functions into programs of kernel launches.
#include "ConvertDSToPlan.h"
#include "ds/Analysis/TrainedParameters.h"
#include "ds/Conversion/Passes.h"

using namespace mlir;

namespace ds {
#define GEN_PASS_DEF_CONVERTDSTOPLAN
#include "ds/Conversion/Passes.h.inc"
} // namespace ds

using namespace ds;

/// Rows and positions stay well inside i32, and sizes in bytes inside i64: configurations are not trusted.
static constexpr int64_t boundLimit = 1 << 24;

namespace {
struct ConvertDSToPlan : ds::impl::ConvertDSToPlanBase<ConvertDSToPlan> {
  using ConvertDSToPlanBase::ConvertDSToPlanBase;

  FailureOr<PlanBounds> bounds(ModuleOp module) {
    if (maxBatch < 1 || maxBatch > boundLimit || maxRows < 1 || maxRows > boundLimit)
      return module.emitError("expects max-batch and max-rows of 1 to ")
                 << boundLimit << ", got " << maxBatch.getValue() << " and " << maxRows.getValue(),
             failure();
    auto model = module->getAttrOfType<DictionaryAttr>("ds.model");
    auto maxPositions = model ? model.getAs<IntegerAttr>("max_positions") : IntegerAttr();
    if (!maxPositions || maxPositions.getInt() < 1 || maxPositions.getInt() > boundLimit)
      return module.emitError("expects max_positions of 1 to ") << boundLimit << " in ds.model", failure();
    auto positions = module->getAttrOfType<DictionaryAttr>("ds.positions");
    auto offset = positions ? positions.getAs<IntegerAttr>("offset") : IntegerAttr();
    int64_t added = offset ? offset.getInt() : 0;
    if (added < 0 || added > boundLimit)
      return module.emitError("expects an offset of 0 to ") << boundLimit << " in ds.positions, got " << added, failure();
    return PlanBounds{maxBatch, maxRows, maxPositions.getInt(), added};
  }

  LogicalResult convert(ModuleOp module) {
    FailureOr<PlanBounds> programBounds = bounds(module);
    if (failed(programBounds))
      return failure();
    if (weights != "f32" && weights != "bf16" && weights != "f16")
      return module.emitError("expects weights to be f32, bf16 or f16, got '") << weights << "'";
    if (target != "cpu" && target != "cuda")
      return module.emitError("expects target to be cpu or cuda, got '") << target << "'";
    if (train && (target != "cpu" || weights != "f32"))
      return module.emitError("expects target cpu and weights of f32 to train, got '") << target << "' and '" << weights << "'";
    if (panelSums && (target != "cpu" || train))
      return module.emitError("expects target cpu, and nothing to train, for panel-sums");
    if (panelHalves && (target != "cpu" || weights != "bf16"))
      return module.emitError("expects target cpu and weights of bf16 for panel-halves");
    if (target == "cuda" && weights == "f32")
      return module.emitError("expects weights of bf16 or f16 for target cuda, got '") << weights << "'";
    flattenFusions(module);
    if (failed(moveConstants(module)))
      return failure();
    FailureOr<CacheTable> caches = CacheTable::create(module);
    if (failed(caches))
      return failure();
    SmallVector<ParameterOp> trained = trainedParameters(module); // accumulations become part of kernels below
    SmallVector<func::FuncOp> functions;
    for (func::FuncOp function : module.getOps<func::FuncOp>()) {
      if (!function.getBody().hasOneBlock())
        return function.emitError("expects a function of one block");
      if (failed(prepareFunction(function, *caches)))
        return failure();
      prepareGradients(function);
      functions.push_back(function);
    }
    if (functions.empty())
      return success();

    MLIRContext *context = &getContext();
    SymbolTable symbols(module);
    const Type matrixType = weights == "bf16"  ? Type(BFloat16Type::get(context))
                            : weights == "f16" ? Type(Float16Type::get(context))
                                               : Type(Float32Type::get(context));
    StorageTable storages(module, symbols, matrixType,
                          train              ? WeightPlaces::state
                          : target == "cuda" ? WeightPlaces::tiles
                          : panelSums        ? WeightPlaces::sums
                          : panelHalves      ? WeightPlaces::halves
                                             : WeightPlaces::panels);
    KernelTable kernels(module, symbols);
    ProgramBuilder programs(KernelRegistry::standard(), *programBounds, *caches, storages, kernels, std::move(trained));
    for (func::FuncOp function : functions)
      if (failed(programs.build(function, function)))
        return failure();
    for (func::FuncOp function : functions)
      function.erase();
    // Storages and kernels were appended as they were met: first all storages, then all kernels, then programs.
    Block *body = module.getBody();
    SmallVector<Operation *> behind;
    llvm::append_range(behind, body->getOps<ds_plan::KernelOp>());
    llvm::append_range(behind, body->getOps<ds_plan::ProgramOp>());
    for (Operation *op : behind)
      op->moveBefore(body, body->end());
    return success();
  }

  void runOnOperation() override {
    if (failed(convert(getOperation())))
      signalPassFailure();
  }
};
} // namespace
