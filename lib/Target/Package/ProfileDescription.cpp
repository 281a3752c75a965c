#include "ds/Target/Package/ProfileDescription.h"
#include "dialects/DSPlan/DSPlanDialect.h"
#include "ds/Analysis/OpCost.h"
#include "mlir/IR/SymbolTable.h"
#include <nlohmann/json.hpp>

using namespace mlir;
using namespace ds;
using namespace ds_plan;
using Json = nlohmann::ordered_json;

static int64_t elementBytes(Type type) { return cast<ShapedType>(type).getElementTypeBitWidth() / 8; }

static std::string moduleOf(Location loc) {
  auto name = dyn_cast<NameLoc>(loc);
  return name ? name.getName().str() : std::string();
}

/// Bytes of one row of an activation, 4 for integers.
static int64_t rowBytes(Value value) {
  auto type = cast<MemRefType>(value.getType());
  return (type.getRank() == 1 ? 1 : type.getShape().back()) * elementBytes(type);
}

static std::string rowsOf(LaunchOp launch) {
  Operation *first = launch.getOuts().front().getDefiningOp();
  Rows rows = Rows::tokens;
  if (auto buffer = dyn_cast<BufferOp>(first))
    rows = buffer.getRows();
  else if (auto output = dyn_cast<OutputOp>(first))
    rows = output.getRows();
  return stringifyRows(rows == Rows::packed ? Rows::tokens : rows).str();
}

namespace {
/// Writes the launches of a module.
class Description {
public:
  explicit Description(ModuleOp planned) : symbols(planned) {}

  Json launch(LaunchOp op);

private:
  Json op(Operation *op, const std::string &module, LaunchOp launch);
  StorageOp storage(Value value) {
    auto weight = value.getDefiningOp<ds_plan::WeightOp>();
    return weight ? symbols.lookup<StorageOp>(weight.getStorage()) : StorageOp();
  }

  SymbolTable symbols;
};
} // namespace

Json Description::op(Operation *op, const std::string &module, LaunchOp launch) {
  OpCost cost = costOf(op);
  Json weights = Json::object();
  Json json = {{"op", op->getName().stripDialect().str()}, {"module", module}};
  for (Value operand : op->getOperands()) {
    auto argument = dyn_cast<BlockArgument>(operand);
    StorageOp stored = argument ? storage(launch.getIns()[argument.getArgNumber()]) : StorageOp();
    if (!stored || !stored.getParameter())
      continue;
    auto parameter = symbols.lookup<ParameterOp>(*stored.getParameter());
    weights[stored.getParameter()->str()] = parameter ? parameter.getTensorType().getNumElements() : 0;
    if (isa<LinearOp>(op) && stored.getLayout() == Layout::panels)
      json["matrix"] = cast<MemRefType>(stored.getType()).getElementType().isBF16() ? "bf16" : "f32";
  }
  json["weights"] = std::move(weights);
  json["macs_per_row"] = cost.macsPerRow;
  json["macs_per_pair"] = cost.macsPerPair;
  json["flops_per_row"] = cost.flopsPerRow;
  json["flops_per_pair"] = cost.flopsPerPair;
  json["flops_per_key"] = cost.flopsPerKey;
  json["compatible_flops_per_row"] = cost.compatibleFlopsPerRow;
  json["compatible_flops_per_pair"] = cost.compatibleFlopsPerPair;
  if (auto attention = dyn_cast<AttentionOp>(op))
    json["causal"] = attention.getCausal();
  return json;
}

Json Description::launch(LaunchOp launch) {
  auto kernel = symbols.lookup<KernelOp>(launch.getKernel());
  auto modules = launch->getAttrOfType<ArrayAttr>("ds_plan.modules");
  std::string module = moduleOf(launch.getLoc());
  int64_t weightBytes = 0, bytesPerRow = 0, bytesPerKey = 0, scratch = 0;
  auto count = [&](Value value, bool reads) {
    Operation *place = value.getDefiningOp();
    auto type = cast<MemRefType>(value.getType());
    if (StorageOp stored = storage(value)) {
      bool isTable = kernel.getFamily() == "embed" && type.getRank() >= 2;
      if (isTable) // one row of it
        bytesPerRow += (stored.getLayout() == Layout::panels ? type.getDimSize(1) : type.getShape().back()) * elementBytes(type);
      else if (stored.getLayout() != Layout::rope)
        weightBytes += type.getNumElements() * elementBytes(type);
    } else if (isa<ds_plan::CacheOp>(place)) {
      (reads ? bytesPerKey : bytesPerRow) += type.getShape().back() * elementBytes(type);
    } else {
      bytesPerRow += rowBytes(value);
    }
  };
  for (Value value : launch.getIns())
    count(value, true);
  for (Value value : launch.getOuts())
    count(value, false);
  for (Value value : launch.getAux()) {
    if (value.getDefiningOp<BufferOp>())
      scratch += rowBytes(value);
    else
      count(value, true);
  }
  Json ops = Json::array();
  for (auto [index, operation] : llvm::enumerate(kernel.getBody().front().without_terminator()))
    ops.push_back(op(&operation, modules && index < modules.size() ? cast<StringAttr>(modules[index]).str() : module, launch));
  return {{"kernel", launch.getKernel().str()},
          {"family", kernel.getFamily().str()},
          {"module", module},
          {"rows", rowsOf(launch)},
          {"weight_bytes", weightBytes},
          {"bytes_per_row", bytesPerRow},
          {"bytes_per_key", bytesPerKey},
          {"scratch_bytes_per_row", scratch},
          {"ops", std::move(ops)}};
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
