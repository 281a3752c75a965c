#include "ds/Analysis/GpuCostModel.h"
#include "dialects/DS/DSDialect.h"
#include "ds/Analysis/OutputNeeds.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"
#include <nlohmann/json.hpp>

using namespace mlir;
using namespace ds;
using namespace ds_plan;

GpuProgramCost ds::gpuCostOf(ProgramOp program, const SymbolTable &symbols, const CostStep &wanted, const dsrt::GpuMachine &machine) {
  GpuProgramCost cost;
  cost.step = stepOf(program, wanted);
  const auto leftOut = launchesLeftOut(program);
  std::vector<dsrt::LaunchFacts> facts, run;
  for (LaunchOp launch : program.getOps<LaunchOp>()) {
    facts.push_back(factsOf(launch, symbols));
    if (!leftOut.contains(launch))
      run.push_back(facts.back());
  }
  const dsrt::StepSizes sizes = sizesOf(cost.step, run);
  for (auto [launch, known] : llvm::zip_equal(program.getOps<LaunchOp>(), facts)) {
    dsrt::GpuLaunchFacts of = dsrt::gpuLaunchOf(known, sizes);
    const dsrt::GpuPrediction prediction = dsrt::predict(of, machine);
    cost.launches.push_back({launch, std::move(of), prediction, leftOut.contains(launch)});
    if (cost.launches.back().isLeftOut)
      continue;
    cost.ns += prediction.ns;
    cost.floorNs += prediction.floorNs;
  }
  return cost;
}

namespace {
/// All launches of one kernel.
struct KernelTotal {
  int64_t launches = 0;
  double ns = 0, floorNs = 0, bytes = 0, flops = 0;
  dsrt::Bound bound = dsrt::Bound::launch;
};
} // namespace

std::string ds::gpuCostReport(ModuleOp planned, const CostStep &step, const dsrt::GpuMachine &machine) {
  std::string text;
  llvm::raw_string_ostream out(text);
  SymbolTable symbols(planned);
  out << "predicted for " << machine.name << ", " << machine.arch << "\n";
  for (ProgramOp program : planned.getOps<ProgramOp>()) {
    GpuProgramCost cost = gpuCostOf(program, symbols, step, machine);
    llvm::MapVector<StringRef, KernelTotal> kernels;
    llvm::erase_if(cost.launches, [](const GpuLaunchCost &launch) { return launch.isLeftOut; });
    for (GpuLaunchCost &launch : cost.launches) {
      KernelTotal &total = kernels[launch.launch.getKernel()];
      ++total.launches;
      total.ns += launch.prediction.ns;
      total.floorNs += launch.prediction.floorNs;
      total.bytes += launch.facts.work.bytes();
      total.flops += launch.facts.work.flops;
      total.bound = launch.prediction.bound;
    }
    out << "program " << program.getSymName() << ": batch " << cost.step.batch << ", tokens " << cost.step.tokens << ", past "
        << cost.step.past << ": " << llvm::format("%.1f us, memory floor %.1f us, ", cost.ns / 1e3, cost.floorNs / 1e3)
        << cost.launches.size() << " launches\n";
    out << "  launches   MB each    MFLOP each  floor us  predicted us      share  bound    kernel\n";
    auto sorted = kernels.takeVector();
    llvm::sort(sorted,
               [](const auto &a, const auto &b) { return a.second.ns != b.second.ns ? a.second.ns > b.second.ns : a.first < b.first; });
    for (auto &[name, total] : sorted) {
      auto count = static_cast<double>(total.launches);
      out << llvm::format("  %8lld %9.3f %13.3f", static_cast<long long>(total.launches), total.bytes / count / 1e6,
                          total.flops / count / 1e6)
          << llvm::format(" %9.2f %13.2f %8.1f %%", total.floorNs / count / 1e3, total.ns / count / 1e3,
                          cost.ns > 0 ? 100 * total.ns / cost.ns : 0.0)
          << "  " << llvm::left_justify(dsrt::nameOf(total.bound), 7) << "  " << name << "\n";
    }
  }
  return text;
}

std::string ds::gpuCostJson(ModuleOp planned, const CostStep &step, const dsrt::GpuMachine &machine) {
  using Json = nlohmann::ordered_json;
  Json json = {{"machine", machine.name}, {"arch", machine.arch}, {"programs", Json::array()}};
  SymbolTable symbols(planned);
  for (ProgramOp program : planned.getOps<ProgramOp>()) {
    GpuProgramCost cost = gpuCostOf(program, symbols, step, machine);
    Json launches = Json::array();
    for (const GpuLaunchCost &launch : cost.launches) {
      const dsrt::LaunchWork &work = launch.facts.work;
      launches.push_back({{"kernel", LaunchOp(launch.launch).getKernel().str()},
                          {"family", work.family},
                          {"rows", work.rows},
                          {"macs", work.macs},
                          {"flops", work.flops},
                          {"lane_ops", work.laneOps},
                          {"codes", launch.facts.codes},
                          {"bytes", work.bytes()},
                          {"weight_bytes", work.weightBytes},
                          {"read_bytes", work.readBytes},
                          {"written_bytes", work.writtenBytes},
                          {"cache_bytes", work.cacheBytes},
                          {"ns", launch.prediction.ns},
                          {"floor_ns", launch.prediction.floorNs},
                          {"compute_ns", launch.prediction.computeNs},
                          {"memory_ns", launch.prediction.memoryNs},
                          {"bound", dsrt::nameOf(launch.prediction.bound)},
                          {"left_out", launch.isLeftOut}});
    }
    json["programs"].push_back({{"name", program.getSymName().str()},
                                {"batch", cost.step.batch},
                                {"tokens", cost.step.tokens},
                                {"past", cost.step.past},
                                {"ns", cost.ns},
                                {"floor_ns", cost.floorNs},
                                {"launches", std::move(launches)}});
  }
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}
