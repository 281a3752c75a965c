#include "ds/Target/CUDA/CodeGen.h"
#include <nlohmann/json.hpp>

using Json = nlohmann::ordered_json;

std::string ds::launchTable(const GpuKernels &kernels, llvm::ArrayRef<GpuModuleFile> modules, const std::optional<GpuPart> &part) {
  Json table = {{"format", "ds-launches"}, {"version", part ? 2 : 1}};
  if (part) {
    table["weights"] = {{"offset", part->weightsOffset}, {"bytes", part->weightsBytes}};
    table["cache_bytes"] = part->cacheBytes;
    table["profile"] = part->profile;
  }
  table["modules"] = Json::array();
  for (const GpuModuleFile &module : modules)
    table["modules"].push_back({{"target", module.target}, {"arch", module.arch}, {"file", module.file}});
  Json launches = Json::parse(kernels.launches, nullptr, /*allow_exceptions=*/false);
  table["kernels"] = std::move(launches["kernels"]);
  table["programs"] = std::move(launches["programs"]);
  return table.dump(1, ' ') + "\n";
}
