// manifest.json of a package, from a planned module.
#ifndef DS_LIB_TARGET_PACKAGE_MANIFEST_H
#define DS_LIB_TARGET_PACKAGE_MANIFEST_H

#include "ds/Import/TensorSource.h"
#include "mlir/IR/BuiltinOps.h"
#include <map>
#include <string>
#include <vector>

namespace ds {

/// What the manifest says of one file: small files carry a SHA-256, the weights the XXH3-128 of each chunk of `chunkBytes`.
struct FileRecord {
  int64_t bytes = 0;
  std::string sha256;
  int64_t chunkBytes = 0;
  std::vector<std::string> chunkHashes;
};

struct WeightsRecord {
  std::string file;
  int64_t dataOffset = 0, dataBytes = 0;
  std::string dtype;
};

/// The text of manifest.json for `planned`, a model of `tensors`; docs/package-format.md says what is in it.
Result<std::string> manifestText(mlir::ModuleOp planned, const TensorSource &tensors, const std::string &producer,
                                 const WeightsRecord &weights, const std::map<std::string, FileRecord> &files);

/// The programs of `planned` as callers see them: names, bounds, inputs and outputs, and the context of its caches. Equal in all plans of a
/// package.
std::string interfaceText(mlir::ModuleOp planned);

} // namespace ds
#endif // DS_LIB_TARGET_PACKAGE_MANIFEST_H
