#include "ds/Import/Import.h"
#include "ConfigOnlySource.h"
#include "Families/Family.h"
#include "ModelSource.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include <filesystem>

using namespace mlir;
using namespace ds;

static Result<std::string> chooseTask(const ModelSource &source, const Family &family, const std::string &wanted) {
  StringRef name = source.architecture;
  std::string task;
  if (name.ends_with("ForMaskedLM"))
    task = "masked-lm";
  else if (name.ends_with("ForSequenceClassification"))
    task = "sequence-classification";
  else if (name.ends_with("ForCausalLM") || name.ends_with("LMHeadModel") || (name.empty() && family.decoder))
    task = "causal-lm";
  else if ((name.ends_with("Model") || name.empty()) && !family.decoder)
    task = "encoder";
  // What sentence-transformers pools are hidden states, whatever head the encoder was trained with.
  if (source.pooling && wanted.empty()) {
    if (family.decoder)
      return Error::badData("'" + source.config->fileName() +
                            "': key 'model_type': expects an encoder, as modules.json has a pooling, found '" + source.modelType + "'");
    task = "encoder";
  }
  std::string file = source.config->fileName();
  if (!wanted.empty()) {
    bool known = wanted == "causal-lm" || wanted == "masked-lm" || wanted == "sequence-classification" || wanted == "encoder";
    if (!known || (wanted == "causal-lm") != family.decoder)
      return Error::usage("--task: expects " + std::string(family.decoder ? "causal-lm" : "encoder, masked-lm or sequence-classification") +
                          " for family '" + family.modelType + "', got '" + wanted + "'");
    return wanted;
  }
  if (task.empty() || (task == "causal-lm") != family.decoder)
    return Error::badData(
        "'" + file + "': key 'architectures': expects " +
        (family.decoder ? "a ...ForCausalLM or ...LMHeadModel" : "a ...Model, ...ForMaskedLM or ...ForSequenceClassification") +
        " of family '" + family.modelType + "', found '" + source.architecture + "'");
  return task;
}

static Error unknownFamily(const ModelSource &source) {
  std::string names;
  for (const Family &family : allFamilies())
    names += (names.empty() ? "" : ", ") + std::string(family.modelType);
  return Error::badData("'" + source.config->fileName() + "': key 'model_type': expects one of " + names + ", found '" + source.modelType +
                        "'");
}

static Error needsWeights(const ModelSource &source) {
  std::string names;
  for (const Family &family : allFamilies())
    if (family.fromConfig)
      names += (names.empty() ? "" : ", ") + std::string(family.modelType);
  return Error::badData("'" + source.config->fileName() + "': key 'model_type': family '" + source.modelType +
                        "' cannot be built from its configuration alone, as " + names + " can");
}

Result<ImportedModel> ds::importModel(MLIRContext &context, const std::string &path, const ImportOptions &options) {
  context.loadDialect<DSDialect, func::FuncDialect>();
  std::error_code error;
  if (!std::filesystem::exists(path, error))
    return Error::missing("'" + path + "': expects a model's folder or a GGUF file, found nothing");
  bool folder = std::filesystem::is_directory(path, error);
  if (options.randomWeights && !folder)
    return Error::usage("--random-weights: expects a folder with config.json, got '" + path + "'");
  Result<ModelSource> source = folder ? openHuggingFace(path, /*weights=*/!options.randomWeights) : openGgufModel(path);
  if (!source)
    return source.error();
  const Family *family = findFamily(source->modelType);
  if (!family)
    return unknownFamily(*source);
  Result<std::string> task = chooseTask(*source, *family, options.task);
  if (!task)
    return task.error();

  ConfigOnlySource *made = nullptr;
  if (options.randomWeights) {
    if (!family->fromConfig)
      return needsWeights(*source);
    auto tensors = std::make_unique<ConfigOnlySource>(source->config->fileName());
    made = tensors.get();
    source->tensors = std::move(tensors);
  }
  ModelBuilder builder(context, *source->tensors, *source->config);
  builder.made = made;
  builder.marksDropout = options.dropout;
  builder.dropoutRate = options.dropoutRate;
  builder.rowsArePaired = source->rowsArePaired;
  builder.facts.family = family->modelType;
  builder.facts.name = source->name;
  builder.facts.task = *task;
  builder.facts.bos = source->bos;
  builder.facts.eos = source->eos;
  builder.facts.pad = source->pad;
  for (const char *key : {"is_decoder", "add_cross_attention", "is_encoder_decoder"})
    source->config->require(key, false);
  Value hidden = family->build(builder);
  if (Result<void> read = source->config->finish(); !read)
    return read.error();
  if (*task == "encoder" && source->pooling) {
    Value pooled = builder.pool(hidden, "pooling", source->pooling->kind);
    // The bound of torch.nn.functional.normalize.
    builder.result("embedding", source->pooling->normalize ? builder.l2Normalize(pooled, "normalize", 1e-12) : pooled);
  }
  Result<OwningOpRef<ModuleOp>> module = builder.finish();
  if (!module)
    return module.error();
  ImportedModel model;
  model.module = std::move(*module);
  for (const std::string &name : builder.unusedTensors()) {
    std::string line = "tensor '" + name + "' is not read by family '" + family->modelType + "'";
    if (options.strict)
      return Error::badData("'" + path + "': " + line);
    model.notes.push_back(line);
  }
  model.tensors = std::move(source->tensors);
  model.sideFiles = std::move(source->sideFiles);
  return model;
}
