// Models of a configuration alone: the tensors they ask for, and that nothing else differs from a model with weights.
#include "Formats/Files.h"
#include "ds/Import/Import.h"
#include "ds/Import/Safetensors.h"
#include <gtest/gtest.h>

using namespace mlir;
using namespace ds;

namespace {
constexpr const char *bertSizes =
    R"("vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12)";

std::string bert(const std::string &type, const std::string &architecture, const std::string &more = "") {
  return R"({"model_type": ")" + type + R"(", "architectures": [")" + architecture + R"("], )" + bertSizes +
         R"(, "max_position_embeddings": 10, "type_vocab_size": 2)" + more + "}";
}
const std::string gpt2 = R"({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": 20, "n_embd": 8, "n_layer": 2,
                            "n_head": 2, "n_positions": 10})";
const std::string llama = R"({"model_type": "llama", "architectures": ["LlamaForCausalLM"], "num_key_value_heads": 1, )" +
                          std::string(bertSizes) + ", \"max_position_embeddings\": 10}";

Result<ImportedModel> import(MLIRContext &context, const Folder &folder, const std::string &config, ImportOptions options = {}) {
  folder.write("config.json", config);
  return importModel(context, folder.path, options);
}

Result<ImportedModel> importAlone(MLIRContext &context, const Folder &folder, const std::string &config, const std::string &task = "") {
  return import(context, folder, config, {task, /*strict=*/true, /*randomWeights=*/true});
}

std::string text(ModuleOp module) {
  std::string out;
  llvm::raw_string_ostream os(out);
  module->print(os, OpPrintingFlags().enableDebugInfo());
  return out;
}

bool has(const ImportedModel &model, const std::string &name) { return model.tensors->find(name) != nullptr; }

/// A safetensors file of zeros with the tensors of `source`.
std::string fileOf(const TensorSource &source) {
  std::string header = "{";
  size_t offset = 0;
  for (const StoredTensor &tensor : source.tensors()) {
    std::string shape;
    for (int64_t size : tensor.shape)
      shape += (shape.empty() ? "" : ",") + std::to_string(size);
    header += (offset == 0 ? "\"" : ",\"") + tensor.name + "\":{\"dtype\":\"F32\",\"shape\":[" + shape + "],\"data_offsets\":[" +
              std::to_string(offset) + "," + std::to_string(offset + tensor.bytes) + "]}";
    offset += tensor.bytes;
  }
  return safetensors(header + "}", offset);
}
} // namespace

TEST(ConfigOnly, IsTheModuleOfAFolderThatHasTheseTensors) {
  for (const std::string &config :
       {bert("bert", "BertForMaskedLM"), bert("bert", "BertForMaskedLM", R"(, "tie_word_embeddings": false)"),
        bert("bert", "BertForSequenceClassification"), bert("roberta-prelayernorm", "RobertaPreLayerNormForMaskedLM"), gpt2, llama}) {
    MLIRContext context;
    Folder folder;
    Result<ImportedModel> alone = importAlone(context, folder, config);
    ASSERT_TRUE(alone) << alone.error().message;
    folder.write("model.safetensors", fileOf(*alone->tensors));
    Result<ImportedModel> stored = import(context, folder, config, {"", /*strict=*/true});
    ASSERT_TRUE(stored) << stored.error().message;
    EXPECT_EQ(text(*alone->module), text(*stored->module));
    EXPECT_TRUE(alone->notes.empty());
  }
}

TEST(ConfigOnly, NamesTensorsAsTheClassOfTheTask) {
  MLIRContext context;
  Folder folder;
  Result<ImportedModel> model = importAlone(context, folder, bert("bert", "BertForMaskedLM"));
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_TRUE(has(*model, "bert.embeddings.LayerNorm.weight") && has(*model, "cls.predictions.bias"));
  EXPECT_FALSE(has(*model, "cls.predictions.decoder.weight") || has(*model, "bert.embeddings.LayerNorm.gamma"));
  model = importAlone(context, folder, bert("bert", "BertForMaskedLM", R"(, "tie_word_embeddings": false)"));
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_TRUE(has(*model, "cls.predictions.decoder.weight") && has(*model, "cls.predictions.decoder.bias"));
  model = importAlone(context, folder, bert("bert", "BertModel"));
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_TRUE(has(*model, "embeddings.word_embeddings.weight"));
  model = importAlone(context, folder, gpt2);
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_TRUE(has(*model, "transformer.wte.weight"));
  EXPECT_FALSE(has(*model, "lm_head.weight"));
  EXPECT_EQ(model->tensors->find("transformer.h.1.attn.c_attn.weight")->shape, (std::vector<int64_t>{8, 24}));
  model = importAlone(context, folder, llama);
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_TRUE(has(*model, "lm_head.weight") && has(*model, "model.layers.0.self_attn.k_proj.weight"));
  EXPECT_FALSE(has(*model, "model.layers.0.self_attn.k_proj.bias"));
}

TEST(ConfigOnly, HoldsZeros) {
  MLIRContext context;
  Folder folder;
  Result<ImportedModel> model = importAlone(context, folder, gpt2);
  ASSERT_TRUE(model) << model.error().message;
  for (const StoredTensor &tensor : model->tensors->tensors()) {
    std::vector<float> values(tensor.elements(), 1);
    ASSERT_TRUE(model->tensors->readF32(tensor, 0, tensor.elements(), values.data()));
    model->tensors->dropPages(tensor);
    EXPECT_EQ(values, std::vector<float>(values.size(), 0)) << tensor.name;
  }
}

TEST(ConfigOnly, DoesNotOpenWeights) {
  MLIRContext context;
  Folder folder;
  folder.write("model.safetensors", "not one");
  EXPECT_TRUE(importAlone(context, folder, gpt2));
  EXPECT_FALSE(import(context, folder, gpt2));
}

TEST(ConfigOnly, RefusesByName) {
  MLIRContext context;
  Folder folder;
  Result<ImportedModel> model = importAlone(context, folder, R"({"model_type": "opt", "architectures": ["OPTForCausalLM"]})");
  ASSERT_FALSE(model);
  EXPECT_EQ(model.error().code, ErrorCode::BadData);
  EXPECT_NE(model.error().message.find("family 'opt' cannot be built from its configuration alone, as bert, roberta"), std::string::npos);
  model = importAlone(context, folder, bert("bert", "BertForMaskedLM", R"(, "num_mysteries": 3)"));
  ASSERT_FALSE(model);
  EXPECT_NE(model.error().message.find("num_mysteries"), std::string::npos);
  // 2^24 x 2^24 floats are more than a process can address.
  std::string huge = R"({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": 16777216, "n_embd": 16777216,
                        "n_layer": 1, "n_head": 1, "n_positions": 1, "n_inner": 1})";
  model = importAlone(context, folder, huge);
  ASSERT_FALSE(model);
  EXPECT_NE(model.error().message.find("'transformer.wte.weight': expects a size this machine can address"), std::string::npos);
  folder.write("model.gguf", "");
  model = importModel(context, folder.path + "/model.gguf", {"", false, /*randomWeights=*/true});
  ASSERT_FALSE(model);
  EXPECT_EQ(model.error().code, ErrorCode::Usage);
}
