// A package folder, checked and opened: manifest, mapped weights, and code of one CPU level or the launches of a device.
#ifndef DSRT_LIB_PACKAGE_H
#define DSRT_LIB_PACKAGE_H

#include "runtime/lib/Code.h"
#include "runtime/lib/DeviceName.h"
#include "runtime/lib/HugePages.h"
#include "runtime/lib/LaunchTable.h"
#include "runtime/lib/Memory.h"
#include "runtime/lib/WorkerPool.h"

namespace dsrt {

class Package {
public:
  /// Reads and checks a package in this order: manifest.sha256, manifest.json, the sizes of all files, then what it has for `device`: code
  /// for the CPU, or launches.json. An automatic device becomes the CPU where there is code for it, else cuda:0.
  /// Fails with missing, bad data, or unavailable (nothing for the device; no code for a level up to `level`).
  static Status open(const std::string &path, CpuLevel level, DeviceName &device, Package &package);
  /// Checks the hashes of all files (`skipWeightHashes`: but the weights'), of the weights those parts that the device reads, by all
  /// workers of `pool`; then code for the CPU is opened. Fails with missing and bad data.
  Status check(bool skipWeightHashes, WorkerPool &pool);

  std::string path;   // as it was given
  std::string folder; // from the root, for files that are read later, when the process may be elsewhere
  std::string manifestText;
  Manifest manifest;               // its weights and the bytes of a cache are those of the device
  CpuLevel level = CpuLevel::none; // of the opened code
  Code code;
  LaunchTable launches; // of a device other than the CPU
  /// The file that says what the launches on the device are; the package need not have it.
  std::string profileName() const { return launches.profileFile.empty() ? profileFile : launches.profileFile; }
  /// The text of a small file of the package, checked again; empty when there is none of the name. Fails with missing and bad data.
  Status readSmallFile(std::string_view name, std::string &text) const;
  /// Copies host code of the package, such as the emulator's, to sealed memory, checks it again and opens it. Fails as Code does.
  Status openCode(const std::string &file, Code &opened) const;
  /// Moves the weights to huge pages, as far as the system gives them, each part of a matrix by the worker that reads it.
  void moveWeights(WorkerPool &pool);
  int64_t hugeBytes = 0; // of the weights, moved to huge pages
  /// Gives the memory of the weights back; who reads them again finds them in their file.
  void forgetWeights() {
    if (hugeBytes == 0)
      weightsMapping.forget();
  }
  /// Lets go of the weights once a device has them.
  void dropWeights() { weightsMapping = Mapping(); }
  const uint8_t *weights() const { return weightsMapping.data() ? weightsMapping.data() + manifest.weightsOffset : nullptr; }

private:
  Status readManifest();
  Status checkSizes();
  Status chooseLevel(CpuLevel most);
  Status chooseFor(DeviceName &device, CpuLevel most);
  std::string offers() const;
  Status checkHashes(bool skipWeightHashes, WorkerPool &pool);
  bool isOfOthers(int64_t begin, int64_t end) const;
  std::string pathOf(std::string_view file) const { return concat(path, "/", file); }

  const CodeRecord *chosenCode = nullptr; // null: for another device
  Mapping weightsMapping;
  int64_t dataOffset = 0; // of the weights file
};

} // namespace dsrt
#endif // DSRT_LIB_PACKAGE_H
