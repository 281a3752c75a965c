#include "Family.h"

using namespace mlir;
using namespace ds;

ArrayRef<Family> ds::allFamilies() {
  static const Family families[] = {
      {"bert", false, buildBert, true},
      {"roberta", false, buildRoberta, true},
      {"roberta-prelayernorm", false, buildRobertaPreLayerNorm, true},
      {"bloom", true, buildBloom},
      {"distilbert", false, buildDistilBert},
      {"gpt2", true, buildGpt2, true},
      {"gptj", true, buildGptJ},
      {"gpt_neo", true, buildGptNeo},
      {"gpt_neox", true, buildGptNeoX},
      {"llama", true, buildLlama, true},
      {"mistral", true, buildMistral, true},
      {"qwen2", true, buildQwen2, true},
      {"opt", true, buildOpt},
      {"phi", true, buildPhi},
  };
  return families;
}

const Family *ds::findFamily(StringRef modelType) {
  for (const Family &family : allFamilies())
    if (modelType == family.modelType)
      return &family;
  return nullptr;
}

int64_t ds::headSize(ModelBuilder &b, const char *key, int64_t hidden, int64_t heads) {
  if (hidden % heads == 0)
    return hidden / heads;
  b.config.fail(key, "a divisor of the hidden size " + std::to_string(hidden));
  return 1;
}

Value ds::causalResults(ModelBuilder &b, Value hidden, const std::string &headName, const std::string &tableName, bool tied, bool bias) {
  b.result("hidden", hidden);
  // A tied head may be stored a second time; the table is the one that counts.
  bool own = !tied && b.hasTensor(headName + ".weight");
  if (!tied && !own)
    b.config.fail("tie_word_embeddings", "true, as there is no tensor '" + headName + ".weight'");
  Value weight = b.matrixWeight((own ? headName : tableName) + ".weight", b.facts.vocabSize, ModelBuilder::width(hidden));
  Value shift = bias ? b.vectorWeight(headName + ".bias", b.facts.vocabSize) : Value();
  if (tied)
    b.ignoreTensors({"lm_head.weight", "embed_out.weight"});
  b.result("logits", b.linearWith(hidden, headName, weight, shift));
  return hidden;
}

Value ds::mlp(ModelBuilder &b, Value input, const MlpPaths &paths, int64_t inner, Activation kind, const LinearOptions &options) {
  Value wide = b.linear(input, paths.in, inner, options);
  return b.linear(b.activation(wide, paths.activation, kind), paths.out, ModelBuilder::width(input), options);
}

static constexpr int64_t maxLabels = 65536;

std::vector<std::string> ds::readLabels(Config &config) {
  std::vector<std::string> labels;
  if (const Json *map = config.raw("id2label"); map && map->isObject()) {
    size_t count = map->elements.size();
    if (count < 1 || count > static_cast<size_t>(maxLabels)) {
      config.fail("id2label", "1 to " + std::to_string(maxLabels) + " labels");
      return {""};
    }
    labels.resize(count);
    std::vector<bool> named(count);
    for (auto [key, label] : llvm::zip_equal(map->keys, map->elements)) {
      size_t index;
      if (StringRef(key).getAsInteger(10, index) || index >= count || named[index] || label.kind != Json::Kind::String) {
        config.fail("id2label", "a name for each of 0 to " + std::to_string(count - 1));
        break;
      }
      named[index] = true;
      labels[index] = label.text;
    }
    return labels;
  }
  int64_t count = config.size("num_labels", 2, maxLabels);
  for (int64_t i = 0; i < count; ++i)
    labels.push_back("LABEL_" + std::to_string(i));
  return labels;
}
