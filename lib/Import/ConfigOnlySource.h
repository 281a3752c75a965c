// The tensors of a model that has a configuration and no weights: they are there as soon as a family asks for them, and hold zeros.
#ifndef DS_LIB_IMPORT_CONFIGONLYSOURCE_H
#define DS_LIB_IMPORT_CONFIGONLYSOURCE_H

#include "ds/Import/TensorSource.h"
#include <unordered_map>

namespace ds {

class ConfigOnlySource : public TensorSource {
public:
  /// `file` is the configuration, for messages.
  explicit ConfigOnlySource(std::string file) : file(std::move(file)) {}
  ConfigOnlySource(const ConfigOnlySource &) = delete;
  ConfigOnlySource &operator=(const ConfigOnlySource &) = delete;
  ~ConfigOnlySource() override;

  /// Takes in an f32 tensor; one that is there already stays as it is. Fails with BadData for more bytes than there are addresses.
  Result<void> add(const std::string &name, const std::vector<int64_t> &shape);

  const StoredTensor *find(std::string_view name) const override;
  const std::vector<StoredTensor> &tensors() const override { return all; }

private:
  std::string file;
  std::vector<StoredTensor> all;
  std::unordered_map<std::string, size_t> places;
  // One mapping of zeros, as long as the largest tensor; untouched pages of it take no memory.
  void *zeros = nullptr;
  size_t zeroBytes = 0;
};

} // namespace ds
#endif // DS_LIB_IMPORT_CONFIGONLYSOURCE_H
