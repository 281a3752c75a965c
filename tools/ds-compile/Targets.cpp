#include "Targets.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/TargetParser/Host.h"

using namespace mlir;
using namespace ds;

/// False for a level with instructions for dot products that a package has no use for.
static bool isOfUse(const CpuLevel &level, const CompileOptions &options) {
  const bool isBf16 = options.weights == "bf16" || options.compute == "bf16";
  if (level.addsBeside)
    return !options.train && !isBf16 && options.activations != "int8";
  if (level.roundsForBf16())
    return isBf16 || options.activations == "int8"; // attention, of the last
  return level.byteDots != Dots::native || options.quantize != "none" || !options.quantizeRules.empty();
}

/// The best level of this machine that is of use, or null when it has none.
static const CpuLevel *nativeLevel(const CompileOptions &options) {
  llvm::StringMap<bool> features = llvm::sys::getHostCPUFeatures();
  const CpuLevel *best = nullptr;
  for (auto [name, needed] : {std::pair("x86-64-v2", "sse4.2"),
                              {"x86-64-v3", "avx2"},
                              {"x86-64-v4", "avx512vl"},
                              {"x86-64-v4-vnni", "avx512vnni"},
                              {"x86-64-v4-bf16", "avx512bf16"},
                              {"x86-64-v4-fp16", "avx512fp16"}})
    if (const CpuLevel *level = findCpuLevel(name); features.lookup(needed) && isOfUse(*level, options))
      best = level;
  constexpr llvm::StringLiteral zen4 = "znver4";
  if (const CpuLevel *level = findCpuLevel(zen4); llvm::sys::getHostCPUName() == zen4 && isOfUse(*level, options))
    best = level;
  return best;
}

static Result<void> readLevels(const CompileOptions &options, std::vector<CpuLevel> &levels) {
  if (options.targetCpus.empty()) {
    llvm::copy_if(allCpuLevels(), std::back_inserter(levels), [&](const CpuLevel &level) { return isOfUse(level, options); });
    return {};
  }
  for (const std::string &name : options.targetCpus) {
    const CpuLevel *level = name == "native" ? nativeLevel(options) : findCpuLevel(name);
    if (!level)
      return Error::usage("--target-cpu: expects " + llvm::join(llvm::map_range(allCpuLevels(), std::mem_fn(&CpuLevel::name)), ", ") +
                          " or native, got '" + name + "'");
    if (llvm::none_of(levels, [&](const CpuLevel &other) { return other.name == level->name; }))
      levels.push_back(*level);
  }
  return {};
}

/// Reads --cublaslt.
static Result<int64_t> readLibraryRows(const CompileOptions &options, const Targets &targets) {
  constexpr int64_t least = 17, usual = 512;
  if (!options.cublaslt)
    return int64_t(0);
  if (targets.archs.empty())
    return Error::usage("--cublaslt: expects --target=cuda, got --target=" + options.target);
  int64_t rows = usual;
  if (!options.cublaslt->empty() && StringRef(*options.cublaslt).getAsInteger(10, rows))
    rows = 0;
  if (rows < least || rows > options.maxRows)
    return Error::usage("--cublaslt: expects " + std::to_string(least) + " rows to --max-rows, " + std::to_string(options.maxRows) +
                        ", got " + (options.cublaslt->empty() ? std::to_string(usual) : "'" + *options.cublaslt + "'"));
  return rows;
}

Result<Targets> ds::readTargets(const CompileOptions &options) {
  Targets targets;
  bool afterCuda = false;
  for (StringRef name : llvm::split(options.target, ',')) {
    if (name == "cpu") {
      targets.cpu = true;
      afterCuda = false;
      continue;
    }
    const bool isFirst = name.consume_front("cuda");
    if (isFirst ? !name.empty() && !name.consume_front(":") : !afterCuda)
      return Error::usage("--target: expects a list of cpu, cuda and cuda:ARCH,..., got '" + options.target + "'");
    afterCuda = true;
    llvm::Expected<GpuArch> arch = findGpuArch(isFirst && name.empty() ? "sm_90a" : name);
    if (!arch)
      return Error::usage("--target: " + llvm::toString(arch.takeError()));
    if (llvm::none_of(targets.archs, [&](const GpuArch &other) { return other.name == arch->name; }))
      targets.archs.push_back(*arch);
  }
  if (options.noWgmma) {
    if (llvm::none_of(targets.archs, [](const GpuArch &arch) { return arch.hasWarpgroups; }))
      return Error::usage("--no-wgmma: expects --target=cuda:" + GpuArch::warpgroups.str() + ", got --target=" + options.target);
    for (GpuArch &arch : targets.archs)
      arch.hasWarpgroups = false;
  }
  Result<int64_t> rows = readLibraryRows(options, targets);
  if (!rows)
    return rows.error();
  targets.libraryRows = *rows;
  if (Result<void> read = readLevels(options, targets.levels); !read)
    return read.error();
  return targets;
}
