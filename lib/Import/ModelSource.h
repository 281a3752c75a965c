// The two kinds of model files, brought to one form: a configuration in config.json's words and tensors by Hugging Face's names.
#ifndef DS_LIB_IMPORT_MODELSOURCE_H
#define DS_LIB_IMPORT_MODELSOURCE_H

#include "Config.h"
#include "ModelBuilder.h"
#include "ds/Import/Import.h"
#include "ds/Import/SafeOpen.h"

namespace ds {

/// A pooling that sentence-transformers puts behind the encoder.
struct Pooling {
  PoolKind kind;
  bool normalize = false;
};

struct ModelSource {
  std::string modelType, name, architecture; // architecture: architectures[0], may be empty
  std::optional<Config> config;
  std::unique_ptr<TensorSource> tensors;
  std::vector<SideFile> sideFiles;
  std::vector<int64_t> bos, eos;
  std::optional<int64_t> pad;
  std::optional<Pooling> pooling;
  bool rowsArePaired = false;
};

/// Without `weights`, `tensors` stays empty and no file of them is opened.
Result<ModelSource> openHuggingFace(const std::string &folder, bool weights = true);
Result<ModelSource> openGgufModel(const std::string &path);
/// The pooling that modules.json asks for; none when there is no such file.
Result<std::optional<Pooling>> readPooling(const std::string &folder);

} // namespace ds
#endif // DS_LIB_IMPORT_MODELSOURCE_H
