// Writes a package: packed weights, code, manifest and side files, all or nothing. The format is docs/package-format.md.
#ifndef DS_TARGET_PACKAGE_PACKAGEWRITER_H
#define DS_TARGET_PACKAGE_PACKAGEWRITER_H

#include "ds/Import/Result.h"
#include "ds/Import/TensorSource.h"
#include "ds/Quantize/QuantizedMatrix.h"
#include "mlir/IR/BuiltinOps.h"
#include <functional>
#include <string>
#include <vector>

namespace ds {

/// One file of a package, by its name in the folder.
struct PackageFile {
  std::string name;
  std::string content;
};

struct PackageOptions {
  std::string producer;
  unsigned threads = 1;
  const QuantizedMatrices *matrices = nullptr; // whose codes were chosen before; others are rounded here
  /// Called with the bytes of weights written so far and their total, from any thread.
  std::function<void(int64_t done, int64_t total)> progress;
  /// Asked between pieces of work, from any thread; true ends the writing with CannotWrite.
  std::function<bool()> cancelled;
};

/// The plan of a target (phase `planned`: placed `ds_plan` programs and storages), and where its range of the data part begins: that of the
/// first one at 0.
struct PackagePart {
  mlir::ModuleOp planned;
  int64_t weightsOffset = 0;
};

/// Writes the package of `parts` to folder `path`: the plan of one target, or of the CPU and then that of a device, as `placeTogether` left
/// them. The manifest speaks of the first.
///   tensors  where the sources of their `ds.parameter`s are read from, a few rows at a time
///   files    code and side files
/// Works in a folder beside `path` and renames it at the end; an older package at `path` is replaced, anything else there is an error.
/// Fails with CannotWrite or BadData; then `path` is as it was.
Result<void> writePackage(llvm::ArrayRef<PackagePart> parts, const TensorSource &tensors, const std::vector<PackageFile> &files,
                          const std::string &path, const PackageOptions &options);

} // namespace ds
#endif // DS_TARGET_PACKAGE_PACKAGEWRITER_H
