// The contracts of the phases before code is made.
#include "PlanMemory.h"
#include "ds/Transforms/Phases.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "llvm/ADT/StringSwitch.h"

using namespace mlir;
using namespace ds;

StringRef ds::stringifyPhase(Phase phase) {
  switch (phase) {
  case Phase::imported:
    return "imported";
  case Phase::normalized:
    return "normalized";
  case Phase::planned:
    return "planned";
  }
  llvm_unreachable("all phases have a name");
}

std::optional<Phase> ds::symbolizePhase(StringRef name) {
  for (Phase phase : allPhases)
    if (stringifyPhase(phase) == name)
      return phase;
  return std::nullopt;
}

/// The attributes every phase keeps.
static LogicalResult verifyModel(ModuleOp module, StringRef &task) {
  auto model = module->getAttrOfType<DictionaryAttr>("ds.model");
  auto positions = module->getAttrOfType<DictionaryAttr>("ds.positions");
  if (!model || !positions)
    return module.emitError("expects the attributes ds.model and ds.positions");
  for (StringRef key : {"family", "name", "task"})
    if (!model.getAs<StringAttr>(key))
      return module.emitError("expects ds.model to have a string '") << key << "'";
  for (StringRef key : {"vocab_size", "hidden_size", "layers", "max_positions"})
    if (auto value = model.getAs<IntegerAttr>(key); !value || value.getInt() < (key == "layers" ? 0 : 1))
      return module.emitError("expects ds.model to have a positive integer '") << key << "'";
  task = model.getAs<StringAttr>("task").getValue();
  if (!llvm::is_contained({"causal-lm", "encoder", "masked-lm", "sequence-classification"}, task))
    return module.emitError("expects the task of ds.model to be one of the package format, got '") << task << "'";
  auto rule = positions.getAs<StringAttr>("rule");
  if (!rule || !llvm::is_contained({"arange", "from_mask", "from_ids"}, rule.getValue()))
    return module.emitError("expects the rule of ds.positions to be arange, from_mask or from_ids");
  return success();
}

/// Arguments and results of a function carry names and types of the package format.
static LogicalResult verifyInterface(func::FuncOp function, StringRef task) {
  llvm::SmallDenseSet<StringRef> names;
  for (unsigned i = 0; i < function.getNumArguments(); ++i) {
    auto name = function.getArgAttrOfType<StringAttr>(i, "ds.name");
    auto type = dyn_cast<RankedTensorType>(function.getArgumentTypes()[i]);
    if (!name || !names.insert(name.getValue()).second)
      return function.emitError("expects argument ") << i << " to have a ds.name of its own";
    int64_t rank = llvm::StringSwitch<int64_t>(name.getValue())
                       .Cases({"input_ids", "positions", "mask", "token_type_ids"}, 2)
                       .Cases({"past", "rows"}, 1)
                       .Default(0);
    if (rank == 0 || !type || !type.getElementType().isInteger(32) || type.getRank() != rank)
      return function.emitError("expects argument ")
             << name << " to be an input of the package format, got " << function.getArgumentTypes()[i];
  }
  names.clear();
  for (unsigned i = 0; i < function.getNumResults(); ++i) {
    auto name = function.getResultAttrOfType<StringAttr>(i, "ds.name");
    auto type = dyn_cast<RankedTensorType>(function.getResultTypes()[i]);
    if (!name || !names.insert(name.getValue()).second)
      return function.emitError("expects result ") << i << " to have a ds.name of its own";
    if (!llvm::is_contained({"hidden", "logits", "embedding"}, name.getValue()) || !type || !type.getElementType().isF32() ||
        type.isDynamicDim(type.getRank() - 1))
      return function.emitError("expects result ")
             << name << " to be an output of the package format, got " << function.getResultTypes()[i];
  }
  if (!names.contains("hidden") || (task != "encoder" && !names.contains("logits")))
    return function.emitError("expects the results of task ") << task;
  return success();
}

/// The functions of a task: what the importer gives, or its clones with a cache.
static LogicalResult verifyImported(ModuleOp module) {
  StringRef task;
  if (failed(verifyModel(module, task)))
    return failure();
  bool found = false;
  for (Operation &op : *module.getBody()) {
    if (isa<ParameterOp, ds::CacheOp>(op))
      continue;
    auto function = dyn_cast<func::FuncOp>(op);
    if (!function)
      return op.emitError("expects parameters, caches and functions alone");
    bool known = task == "causal-lm" ? llvm::is_contained({"forward", "prefill", "decode"}, function.getSymName())
                                     : function.getSymName() == "encode";
    if (!known)
      return function.emitError("expects a function of task ") << task;
    found = true;
    if (failed(verifyInterface(function, task)))
      return failure();
    WalkResult walk = function.walk([&](Operation *inner) {
      if (inner == function || isa<func::ReturnOp>(inner) || isa<DSDialect>(inner->getDialect()))
        return WalkResult::advance();
      inner->emitError("expects ops of the ds dialect");
      return WalkResult::interrupt();
    });
    if (walk.wasInterrupted())
      return failure();
  }
  if (!found)
    return module.emitError("expects a function of task ") << task;
  return success();
}

/// Imported, and nothing is unused.
static LogicalResult verifyNormalized(ModuleOp module) {
  if (failed(verifyImported(module)))
    return failure();
  llvm::DenseSet<StringAttr> used;
  if (std::optional<SymbolTable::UseRange> uses = SymbolTable::getSymbolUses(&module.getBodyRegion()))
    for (const SymbolTable::SymbolUse &use : *uses)
      used.insert(use.getSymbolRef().getRootReference());
  for (auto parameter : module.getOps<ParameterOp>())
    if (!used.contains(parameter.getSymNameAttr()))
      return parameter.emitError("expects a parameter that a function reads");
  WalkResult walk = module.walk([](Operation *op) {
    if (!isOpTriviallyDead(op))
      return WalkResult::advance();
    op->emitError("expects an op whose result is read");
    return WalkResult::interrupt();
  });
  return failure(walk.wasInterrupted());
}

LogicalResult ds::verifyPhase(ModuleOp module, Phase phase) {
  switch (phase) {
  case Phase::imported:
    return verifyImported(module);
  case Phase::normalized:
    return verifyNormalized(module);
  case Phase::planned: {
    StringRef task;
    if (failed(verifyModel(module, task)))
      return failure();
    return verifyPlan(module, task);
  }
  }
  llvm_unreachable("all phases have a contract");
}
