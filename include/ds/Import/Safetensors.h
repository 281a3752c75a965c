// Reads safetensors, one file or the shards of a folder, with every check the format asks for.
// Source: the safetensors format, https://github.com/huggingface/safetensors.
#ifndef DS_IMPORT_SAFETENSORS_H
#define DS_IMPORT_SAFETENSORS_H

#include "ds/Import/SafeOpen.h"
#include "ds/Import/TensorSource.h"
#include <memory>

namespace ds {

/// Reads the header of a mapped safetensors file: dtypes, shapes and offsets within the file, no overlap, no holes, no name twice.
/// The tensors point into `file`. Fails with BadData.
Result<std::vector<StoredTensor>> parseSafetensors(const MappedFile &file);
/// The same on bytes; `name` opens messages.
Result<std::vector<StoredTensor>> parseSafetensors(const uint8_t *data, size_t size, const std::string &name);

/// Opens `model.safetensors`, or the shards that `model.safetensors.index.json` names, of a Hugging Face folder.
/// Fails with Missing when there are no safetensors, and BadData when index and shards disagree.
Result<std::unique_ptr<TensorSource>> openSafetensorsFolder(const std::string &folder);

} // namespace ds
#endif // DS_IMPORT_SAFETENSORS_H
