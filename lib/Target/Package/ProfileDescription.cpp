#include "ds/Target/Package/ProfileDescription.h"
#include "dialects/DSPlan/DSPlanDialect.h"
#include "ds/Analysis/LaunchCost.h"
#include "ds/Analysis/OpCost.h"
#include "ds/Conversion/ModulePath.h"
#include "mlir/IR/SymbolTable.h"
#include <nlohmann/json.hpp>

using namespace mlir;
using namespace ds;
using namespace ds_plan;
using Json = nlohmann::ordered_json;

namespace {
/// Writes the launches of a module.
class Description {
public:
  explicit Description(ModuleOp planned) : symbols(planned) {}

  Json launch(LaunchOp op);

private:
  Json op(Operation *op, const std::string &module, LaunchOp launch, dsrt::MatrixType matrix);

  SymbolTable symbols;
};
} // namespace

Json Description::op(Operation *op, const std::string &module, LaunchOp launch, dsrt::MatrixType matrix) {
  OpCost cost = costOf(op);
  Json weights = Json::object();
  Json json = {{"op", op->getName().stripDialect().str()}, {"module", module}};
  for (Value operand : op->getOperands()) {
    auto argument = dyn_cast<BlockArgument>(operand);
    StorageOp stored = argument ? storageOf(launch.getIns()[argument.getArgNumber()], symbols) : StorageOp();
    if (!stored || !stored.getParameter())
      continue;
    auto parameter = symbols.lookup<ParameterOp>(*stored.getParameter());
    weights[stored.getParameter()->str()] = parameter ? parameter.getTensorType().getNumElements() : 0;
  }
  if (isa<LinearOp, AttentionOp>(op) && matrix != dsrt::MatrixType::none)
    json["matrix"] = dsrt::nameOf(matrix);
  json["weights"] = std::move(weights);
  json["macs_per_row"] = cost.macsPerRow;
  json["macs_per_pair"] = cost.macsPerPair;
  json["flops_per_row"] = cost.flopsPerRow;
  json["flops_per_pair"] = cost.flopsPerPair;
  json["flops_per_key"] = cost.flopsPerKey;
  json["lane_ops_per_row"] = cost.laneOpsPerRow;
  json["lane_ops_per_pair"] = cost.laneOpsPerPair;
  json["lane_ops_per_key"] = cost.laneOpsPerKey;
  json["compatible_flops_per_row"] = cost.compatibleFlopsPerRow;
  json["compatible_flops_per_pair"] = cost.compatibleFlopsPerPair;
  auto addSight = [&](auto attention) {
    json["causal"] = attention.getCausal();
    if (std::optional<uint64_t> window = attention.getWindow())
      json["window"] = *window;
  };
  if (auto attention = dyn_cast<AttentionOp>(op))
    addSight(attention);
  if (auto gradient = dyn_cast<AttentionGradOp>(op))
    addSight(gradient);
  return json;
}

Json Description::launch(LaunchOp launch) {
  auto kernel = symbols.lookup<KernelOp>(launch.getKernel());
  auto modules = launch->getAttrOfType<ArrayAttr>("ds_plan.modules");
  std::string module = modulePath(launch.getLoc());
  const dsrt::LaunchFacts facts = factsOf(launch, symbols);
  auto whole = [](double bytes) { return static_cast<int64_t>(bytes); };
  Json ops = Json::array();
  for (auto [index, operation] : llvm::enumerate(kernel.getBody().front().without_terminator()))
    ops.push_back(
        op(&operation, modules && index < modules.size() ? cast<StringAttr>(modules[index]).str() : module, launch, facts.matrix));
  Json json = {{"kernel", launch.getKernel().str()},
               {"family", facts.family},
               {"module", module},
               {"rows", nameOf(facts.rows).str()},
               {"rows_are_tiles", facts.rowsAreTiles},
               {"weight_bytes", whole(facts.weightBytes)},
               {"bytes_per_row", whole(facts.readBytesPerRow + facts.writtenBytesPerRow + facts.lookupBytesPerRow)},
               {"written_bytes_per_row", whole(facts.writtenBytesPerRow)},
               {"bytes_per_key", whole(facts.bytesPerKey)},
               {"output_bytes_per_row", whole(facts.outputBytesPerRow)},
               {"lookup_bytes_per_row", whole(facts.lookupBytesPerRow)},
               {"table_bytes_per_row", whole(facts.tableBytesPerRow)},
               {"table_size", whole(facts.tableSize)},
               {"key_block_bytes", whole(facts.keyBlockBytes)},
               {"scratch_bytes_per_row", whole(facts.scratchBytesPerRow)},
               {"ops", std::move(ops)}};
  if (facts.codes > 0)
    json["codes"] = whole(facts.codes);
  if (facts.heads > 0)
    json["heads"] = whole(facts.heads);
  if (launch.getGate())
    json["gate"] = *launch.getGate();
  return json;
}

std::string ds::profileDescription(ModuleOp planned, StringRef fusion) {
  Json json = {{"format", "ds-profile"}, {"version", 1}, {"fusion", fusion.str()}, {"programs", Json::array()}};
  Description description(planned);
  for (ProgramOp program : planned.getOps<ProgramOp>()) {
    Json launches = Json::array();
    for (LaunchOp launch : program.getBody().getOps<LaunchOp>())
      launches.push_back(description.launch(launch));
    json["programs"].push_back({{"name", program.getSymName().str()}, {"launches", std::move(launches)}});
  }
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}
