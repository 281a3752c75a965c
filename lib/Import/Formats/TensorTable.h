// Tensors of one or more mapped files, found by name.
#ifndef DS_LIB_IMPORT_FORMATS_TENSORTABLE_H
#define DS_LIB_IMPORT_FORMATS_TENSORTABLE_H

#include "ds/Import/SafeOpen.h"
#include "ds/Import/TensorSource.h"
#include <unordered_map>

namespace ds {

/// Bytes of one element; 0 for types of blocks.
uint64_t storedTypeBytes(StoredType type);

class TensorTable : public TensorSource {
public:
  /// Takes a file and its tensors. Fails with BadData when a name is there already.
  Result<void> add(MappedFile file, std::vector<StoredTensor> more);

  const StoredTensor *find(std::string_view name) const override;
  const std::vector<StoredTensor> &tensors() const override { return all; }

private:
  std::vector<MappedFile> files;
  std::vector<StoredTensor> all;
  std::unordered_map<std::string, size_t> places;
};

} // namespace ds
#endif // DS_LIB_IMPORT_FORMATS_TENSORTABLE_H
