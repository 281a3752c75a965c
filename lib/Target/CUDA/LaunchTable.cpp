#include "ds/Target/CUDA/CodeGen.h"
#include <algorithm>
#include <nlohmann/json.hpp>

using Json = nlohmann::ordered_json;

std::string ds::launchTable(const GpuKernels &kernels, llvm::ArrayRef<GpuModuleFile> modules, const std::optional<GpuPart> &part) {
  Json launches = Json::parse(kernels.launches, nullptr, /*allow_exceptions=*/false);
  auto isMarked = [](const Json &kernel) { return kernel.contains("only") || kernel.contains("except"); };
  const bool areMarked = std::any_of(launches["kernels"].begin(), launches["kernels"].end(), isMarked);
  auto hasProducts = [](const Json &program) {
    auto isOfLibrary = [](const Json &launch) { return launch.contains("library"); };
    return std::any_of(program["launches"].begin(), program["launches"].end(), isOfLibrary);
  };
  const bool multiplies = std::any_of(launches["programs"].begin(), launches["programs"].end(), hasProducts);
  Json table = {{"format", "ds-launches"}, {"version", multiplies ? 4 : areMarked ? 3 : part ? 2 : 1}};
  if (part) {
    table["weights"] = {{"offset", part->weightsOffset}, {"bytes", part->weightsBytes}};
    table["cache_bytes"] = part->cacheBytes;
    table["profile"] = part->profile;
  }
  table["modules"] = Json::array();
  for (const GpuModuleFile &module : modules)
    table["modules"].push_back({{"target", module.target}, {"arch", module.arch}, {"file", module.file}});
  table["kernels"] = std::move(launches["kernels"]);
  table["programs"] = std::move(launches["programs"]);
  return table.dump(1, ' ') + "\n";
}
