// A package folder, checked and opened: manifest, mapped weights, code of one CPU level.
#ifndef DSRT_LIB_PACKAGE_H
#define DSRT_LIB_PACKAGE_H

#include "runtime/lib/Code.h"
#include "runtime/lib/HugePages.h"
#include "runtime/lib/Manifest.h"
#include "runtime/lib/Memory.h"
#include "runtime/lib/WorkerPool.h"

namespace dsrt {

class Package {
public:
  /// Reads and checks a package in this order: manifest.sha256, manifest.json, the sizes of all files, the CPU level, the hashes of
  /// all files (`skipWeightHashes`: but the weights'), by all workers of `pool`; then code is opened.
  /// Fails with missing, bad data, or unavailable (no code for a level up to `level`).
  static Status open(const std::string &path, CpuLevel level, bool skipWeightHashes, WorkerPool &pool, Package &package);

  std::string path;
  std::string manifestText;
  Manifest manifest;
  CpuLevel level = CpuLevel::none; // of the opened code
  Code code;
  /// The text of a small file of the package, checked again; empty when there is none of the name. Fails with missing and bad data.
  Status readSmallFile(std::string_view name, std::string &text) const;
  /// Moves the weights to huge pages, as far as the system gives them.
  void moveWeights() { hugeBytes = moveToHugePages(weightsMapping.data(), weightsMapping.size()); }
  int64_t hugeBytes = 0; // of the weights, moved to huge pages
  const uint8_t *weights() const { return weightsMapping.data() ? weightsMapping.data() + manifest.weightsOffset : nullptr; }

private:
  Status readManifest();
  Status checkSizes();
  Status chooseLevel(CpuLevel level, const CodeRecord *&chosen);
  Status checkHashes(bool skipWeightHashes, WorkerPool &pool);
  std::string pathOf(std::string_view file) const { return concat(path, "/", file); }

  Mapping weightsMapping;
};

} // namespace dsrt
#endif // DSRT_LIB_PACKAGE_H
