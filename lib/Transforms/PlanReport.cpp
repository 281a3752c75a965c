#include "ds/Transforms/PlanReport.h"
#include "PlanMemory.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace ds_plan;

/// `12.3 MiB`, after the exact count.
static std::string bytes(int64_t count) {
  std::string text;
  llvm::raw_string_ostream out(text);
  out << count << " bytes (" << llvm::format("%.1f", static_cast<double>(count) / (1 << 20)) << " MiB)";
  return text;
}

std::string ds::planReport(ModuleOp module, int64_t batch) {
  std::string text;
  llvm::raw_string_ostream out(text);
  int64_t kvBytes = 0, maxBatch = 0, context = 0;
  for (auto program : module.getOps<ProgramOp>()) {
    auto count = [&](auto range) { return std::distance(range.begin(), range.end()); };
    int64_t launches = count(program.getOps<LaunchOp>()), barriers = count(program.getOps<BarrierOp>()), apart = 0;
    for (auto buffer : program.getOps<BufferOp>())
      apart += bufferBytes(buffer);
    for (auto cache : program.getOps<ds_plan::CacheOp>())
      context = std::max<int64_t>(context, cast<MemRefType>(cache.getType()).getDimSize(0));
    out << "program " << program.getSymName() << ": at most " << program.getMaxBatch() << " sequences and " << program.getMaxRows()
        << " tokens a step, " << launches << " launches, " << barriers << " barriers\n"
        << "  arena: peak " << bytes(program.getArenaBytes()) << ", without reuse " << bytes(apart) << "\n";
    kvBytes = std::max<int64_t>(kvBytes, program.getKvBytes());
    maxBatch = std::max<int64_t>(maxBatch, program.getMaxBatch());
  }
  int64_t weightBytes = 0, partBytes = 0;
  for (auto storage : module.getOps<StorageOp>()) {
    const int64_t size = staticBytes(cast<MemRefType>(storage.getType()));
    if (!storage.getState())
      weightBytes += size;
    else if (!storage.getParameter()) // a whole part; what belongs to a parameter lies in one
      partBytes = size;
  }
  auto kernels = module.getOps<KernelOp>();
  out << "kernels: " << std::distance(kernels.begin(), kernels.end()) << "\n";
  out << "weights: " << bytes(weightBytes) << "\n";
  if (partBytes > 0)
    out << "state: " << bytes(4 * partBytes) << ", a quarter each: parameters, gradients and two moments\n";
  if (kvBytes > 0) {
    int64_t sequences = batch > 0 ? batch : maxBatch;
    out << "caches: " << bytes(kvBytes) << " a sequence of " << context << " tokens, " << bytes(kvBytes * sequences) << " for " << sequences
        << " sequences\n";
  }
  return text;
}
