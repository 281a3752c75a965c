#include "ds/Analysis/CostModel.h"
#include "ds/Analysis/LinearTiling.h"
#include "ds/Analysis/OutputNeeds.h"
#include "ds/Analysis/RowSharing.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"
#include <nlohmann/json.hpp>

using namespace mlir;
using namespace ds;
using namespace ds_plan;

FailureOr<dsrt::MachineDescription> ds::machineOf(ModuleOp module, const std::string &path) {
  if (path.empty())
    return dsrt::builtInMachine();
  dsrt::MachineDescription machine;
  std::string error;
  if (dsrt::readMachine(path, machine, error) != 0)
    return module.emitError(error), failure();
  return machine;
}

CostStep ds::stepOf(ProgramOp program, const CostStep &wanted) {
  CostStep step = wanted;
  int64_t maxBatch = program.getMaxBatch(), maxRows = program.getMaxRows();
  step.batch = std::clamp<int64_t>(step.batch, 1, maxBatch);
  step.tokens = maxRows == maxBatch ? 1 : std::clamp<int64_t>(step.tokens, 1, maxRows / step.batch);
  auto caches = program.getOps<ds_plan::CacheOp>();
  if (caches.empty()) {
    step.past = 0;
    return step;
  }
  const int64_t context = cast<MemRefType>((*caches.begin()).getType()).getDimSize(0);
  step.tokens = std::min(step.tokens, context);
  step.past = std::clamp<int64_t>(step.past, 0, context - step.tokens);
  return step;
}

dsrt::StepSizes ds::sizesOf(const CostStep &step, const std::vector<dsrt::LaunchFacts> &launches) {
  dsrt::StepSizes sizes;
  sizes.batch = static_cast<int>(step.batch);
  sizes.tokens = static_cast<int>(step.tokens);
  sizes.rows = sizes.batch;
  const auto sequences = static_cast<double>(step.batch);
  auto seenThrough = [&](double window) {
    const dsrt::SeenKeys one = dsrt::seenKeys(static_cast<int64_t>(window), step.past, step.tokens);
    return dsrt::SeenKeys{sequences * one.keys, sequences * one.pairs};
  };
  const dsrt::SeenKeys all = seenThrough(0);
  sizes.keys = all.keys;
  sizes.pairs = all.pairs;
  for (const dsrt::LaunchFacts &launch : launches)
    if (launch.window > 0 && llvm::none_of(sizes.windows, [&](const auto &known) { return known.first == launch.window; }))
      sizes.windows.emplace_back(launch.window, seenThrough(launch.window));
  sizes.workingSet = dsrt::workingSetOf(launches, sizes);
  return sizes;
}

ProgramCost ds::costOf(ProgramOp program, const SymbolTable &symbols, const CostStep &wanted, const dsrt::MachineDescription &machine,
                       llvm::StringRef level) {
  ProgramCost cost;
  const CostStep step = cost.step = stepOf(program, wanted);
  const auto leftOut = launchesLeftOut(program);
  std::vector<dsrt::LaunchFacts> facts, run;
  for (LaunchOp launch : program.getOps<LaunchOp>()) {
    facts.push_back(factsOf(launch, symbols));
    if (!leftOut.contains(launch))
      run.push_back(facts.back());
  }
  const dsrt::StepSizes sizes = sizesOf(step, run);
  for (auto [launch, known] : llvm::zip_equal(program.getOps<LaunchOp>(), facts)) {
    dsrt::LaunchWork work = dsrt::workOf(known, sizes);
    cost.launches.push_back({launch, work, dsrt::predict(work, machine, step.threads, level),
                             dsrt::roofline(work, machine, step.threads, level), leftOut.contains(launch)});
    if (!cost.launches.back().isLeftOut)
      cost.ns += cost.launches.back().prediction.ns;
  }
  int64_t rows = linearRowsOfThread;
  for (LaunchOp launch : program.getOps<LaunchOp>())
    rows = std::max(rows, rowsOfThread(symbols.lookup<KernelOp>(launch.getKernel())));
  const bool chainsGoByRows = step.batch * step.tokens >= step.threads * rows;
  cost.barriers =
      llvm::count_if(program.getOps<BarrierOp>(), [&](BarrierOp barrier) { return !chainsGoByRows || !barrier.isInsideChain(); });
  cost.ns += static_cast<double>(cost.barriers) * dsrt::limitsAt(machine, step.threads).barrierNs;
  return cost;
}

namespace {
/// All launches of one kernel.
struct KernelTotal {
  int64_t launches = 0;
  double ns = 0, rooflineNs = 0, bytes = 0, flops = 0;
  dsrt::Bound bound = dsrt::Bound::launch;
};
} // namespace

std::string ds::costReport(ModuleOp planned, const CostStep &step, const dsrt::MachineDescription &machine, llvm::StringRef level) {
  std::string text;
  llvm::raw_string_ostream out(text);
  SymbolTable symbols(planned);
  out << "predicted for " << machine.processor << ", " << step.threads << (step.threads == 1 ? " thread\n" : " threads\n");
  for (ProgramOp program : planned.getOps<ProgramOp>()) {
    ProgramCost cost = costOf(program, symbols, step, machine, level);
    llvm::MapVector<StringRef, KernelTotal> kernels;
    llvm::erase_if(cost.launches, [](const LaunchCost &launch) { return launch.isLeftOut; });
    for (LaunchCost &launch : cost.launches) {
      KernelTotal &total = kernels[launch.launch.getKernel()];
      ++total.launches;
      total.ns += launch.prediction.ns;
      total.rooflineNs += launch.roofline.ns;
      total.bytes += launch.work.bytes();
      total.flops += launch.work.flops;
      total.bound = launch.prediction.bound;
    }
    out << "program " << program.getSymName() << ": batch " << cost.step.batch << ", tokens " << cost.step.tokens << ", past "
        << cost.step.past << ": " << llvm::format("%.1f", cost.ns / 1e3) << " us, " << cost.launches.size() << " launches, "
        << cost.barriers << " barriers of " << llvm::format("%.0f", dsrt::limitsAt(machine, cost.step.threads).barrierNs) << " ns\n";
    out << "  launches    us each      share   MB each  GFLOP/s     GB/s  roofline  bound    kernel\n";
    auto sorted = kernels.takeVector();
    llvm::sort(sorted,
               [](const auto &a, const auto &b) { return a.second.ns != b.second.ns ? a.second.ns > b.second.ns : a.first < b.first; });
    for (auto &[name, total] : sorted) {
      auto count = static_cast<double>(total.launches);
      out << llvm::format("  %8lld %10.2f", static_cast<long long>(total.launches), total.ns / count / 1e3)
          << llvm::format(" %8.1f %%", 100 * total.ns / cost.ns) << llvm::format(" %9.3f", total.bytes / count / 1e6)
          << llvm::format(" %8.1f", total.flops / total.ns) << llvm::format(" %8.1f", total.bytes / total.ns)
          << llvm::format(" %7.0f %%", 100 * total.rooflineNs / total.ns) << "  " << llvm::left_justify(dsrt::nameOf(total.bound), 7)
          << "  " << name << "\n";
    }
  }
  return text;
}

std::string ds::costJson(ModuleOp planned, const CostStep &step, const dsrt::MachineDescription &machine, llvm::StringRef level) {
  using Json = nlohmann::ordered_json;
  Json json = {{"machine", machine.processor}, {"threads", step.threads}, {"programs", Json::array()}};
  SymbolTable symbols(planned);
  for (ProgramOp program : planned.getOps<ProgramOp>()) {
    ProgramCost cost = costOf(program, symbols, step, machine, level);
    Json launches = Json::array();
    for (const LaunchCost &launch : cost.launches) {
      const dsrt::LaunchWork &work = launch.work;
      launches.push_back({{"kernel", LaunchOp(launch.launch).getKernel().str()},
                          {"family", work.family},
                          {"matrix", dsrt::nameOf(work.matrix)},
                          {"rows", work.rows},
                          {"tiles", work.tiles},
                          {"macs", work.macs},
                          {"flops", work.flops},
                          {"lane_ops", work.laneOps},
                          {"weight_bytes", work.weightBytes},
                          {"read_bytes", work.readBytes},
                          {"written_bytes", work.writtenBytes},
                          {"cache_bytes", work.cacheBytes},
                          {"scratch_bytes", work.scratchBytes},
                          {"line_bytes", work.lineBytes},
                          {"slot_bytes", work.slotBytes},
                          {"working_set", work.workingSet},
                          {"ns", launch.prediction.ns},
                          {"mac_ns", launch.prediction.macNs},
                          {"lane_ns", launch.prediction.laneNs},
                          {"feed_ns", launch.prediction.feedNs},
                          {"compute_ns", launch.prediction.computeNs},
                          {"memory_ns", launch.prediction.memoryNs},
                          {"bound", dsrt::nameOf(launch.prediction.bound)},
                          {"roofline_ns", launch.roofline.ns},
                          {"left_out", launch.isLeftOut}});
    }
    json["programs"].push_back({{"name", program.getSymName().str()},
                                {"batch", cost.step.batch},
                                {"tokens", cost.step.tokens},
                                {"past", cost.step.past},
                                {"barriers", cost.barriers},
                                {"ns", cost.ns},
                                {"launches", std::move(launches)}});
  }
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}
