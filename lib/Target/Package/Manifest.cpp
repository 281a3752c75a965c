#include "Manifest.h"
#include "dialects/DSPlan/DSPlanDialect.h"
#include "dsrt/package.h"
#include <nlohmann/json.hpp>

using namespace mlir;
using namespace ds;
using namespace ds_plan;
using Json = nlohmann::ordered_json;

static Json toJson(Attribute attribute) {
  if (auto text = dyn_cast_or_null<StringAttr>(attribute))
    return text.getValue().str();
  if (auto flag = dyn_cast_or_null<BoolAttr>(attribute))
    return flag.getValue();
  if (auto number = dyn_cast_or_null<IntegerAttr>(attribute))
    return number.getInt();
  if (auto number = dyn_cast_or_null<FloatAttr>(attribute))
    return number.getValueAsDouble();
  if (auto list = dyn_cast_or_null<ArrayAttr>(attribute)) {
    Json json = Json::array();
    for (Attribute element : list)
      json.push_back(toJson(element));
    return json;
  }
  if (auto list = dyn_cast_or_null<DenseI64ArrayAttr>(attribute))
    return std::vector<int64_t>(list.asArrayRef().begin(), list.asArrayRef().end());
  if (auto dictionary = dyn_cast_or_null<DictionaryAttr>(attribute)) {
    Json json = Json::object();
    for (NamedAttribute entry : dictionary)
      json[entry.getName().str()] = toJson(entry.getValue());
    return json;
  }
  return nullptr; // absent, or `unit` for "none"
}

static Json shapeOf(Rows rows, MemRefType type) {
  Json shape = Json::array();
  if (rows == Rows::single)
    return Json::array({type.getShape().back()});
  if (rows == Rows::selected)
    shape.push_back("rows");
  else
    shape.push_back("batch");
  if (rows == Rows::tokens)
    shape.push_back("tokens");
  for (int64_t size : type.getShape().drop_front())
    shape.push_back(size);
  return shape;
}

static Json viewOf(ParameterOp parameter) {
  std::optional<ViewAttr> view = parameter.getView();
  if (!view)
    return nullptr;
  auto list = [](ArrayRef<int64_t> values) { return std::vector<int64_t>(values.begin(), values.end()); };
  return {{"offset", view->getOffset()}, {"sizes", list(view->getSizes())}, {"strides", list(view->getStrides())}};
}

/// By storage of a gradient, the layer whose gate says when it is added to, or -1.
static llvm::StringMap<int64_t> layersOf(ModuleOp planned) {
  llvm::StringMap<int64_t> layers;
  planned.walk([&](LaunchOp launch) {
    const int64_t gate = launch.getGate() ? static_cast<int64_t>(*launch.getGate()) : -1;
    for (Value out : launch.getOuts())
      if (auto weight = out.getDefiningOp<ds_plan::WeightOp>())
        if (auto [known, isNew] = layers.try_emplace(weight.getStorage(), gate); !isNew && known->second != gate)
          known->second = -1;
  });
  return layers;
}

/// What training keeps from step to step: docs/training.md. Null where nothing is trained.
static Result<Json> stateOf(ModuleOp planned, const TensorSource &tensors) {
  int64_t partBytes = 0;
  llvm::StringMap<StorageOp> values, gradients;
  for (StorageOp storage : planned.getOps<StorageOp>()) {
    if (storage.getState() && !storage.getParameter())
      partBytes = cast<MemRefType>(storage.getType()).getNumElements() * 4;
    else if (storage.getState() == State::parameter)
      values[*storage.getParameter()] = storage;
    else if (storage.getState() == State::gradient)
      gradients[*storage.getParameter()] = storage;
  }
  if (partBytes == 0)
    return Json(nullptr);
  const llvm::StringMap<int64_t> layers = layersOf(planned);
  Json trained = Json::array(), frozen = Json::array();
  for (ParameterOp parameter : planned.getOps<ParameterOp>()) {
    StorageOp value = values.lookup(parameter.getSymName()), gradient = gradients.lookup(parameter.getSymName());
    if (!value)
      continue;
    const StoredTensor *stored = tensors.find(parameter.getSource()->str());
    if (!stored)
      return Error::badData("expects tensor '" + parameter.getSource()->str() + "' in the model's files, found none");
    ArrayRef<int64_t> shape = parameter.getTensorType().getShape();
    Json entry = {{"name", parameter.getSymName().str()},
                  {"offset", *value.getOffset()},
                  {"shape", std::vector<int64_t>(shape.begin(), shape.end())},
                  {"source", parameter.getSource()->str()},
                  {"stored_shape", stored->shape},
                  {"view", viewOf(parameter)},
                  {"layer", gradient ? layers.lookup(gradient.getSymName()) : -1}};
    (gradient ? trained : frozen).push_back(std::move(entry));
  }
  auto recomputed = planned->getAttrOfType<IntegerAttr>("ds.recomputed_layers");
  return Json({{"part_bytes", partBytes},
               {"parts", {"parameter", "gradient", "moment1", "moment2"}},
               {"tensors", std::move(trained)},
               {"frozen", std::move(frozen)},
               {"recomputed_layers", recomputed ? recomputed.getInt() : 0}});
}

template <typename OpT> static Json placesOf(ProgramOp program) {
  std::map<int64_t, Json> places;
  for (OpT op : program.getBody().getOps<OpT>())
    places[op.getIndex()] = {{"name", op.getName().str()}, {"shape", shapeOf(op.getRows(), cast<MemRefType>(op.getType()))}};
  Json list = Json::array();
  for (auto &[index, place] : places)
    list.push_back(place);
  return list;
}

static int64_t contextOf(ModuleOp planned) {
  int64_t context = 0;
  planned.walk([&](ds_plan::CacheOp cache) { context = std::max(context, cast<MemRefType>(cache.getType()).getDimSize(0)); });
  return context;
}

/// Whether a key counts by how far before the query it stands.
static bool countsDistances(ModuleOp planned) {
  return planned
      .walk([](AttentionOp attention) {
        return attention.getWindow() || attention.getSlopes() ? WalkResult::interrupt() : WalkResult::advance();
      })
      .wasInterrupted();
}

std::string ds::interfaceText(ModuleOp planned) {
  Json json = {{"context", contextOf(planned)}, {"programs", Json::array()}};
  for (ProgramOp program : planned.getOps<ProgramOp>())
    json["programs"].push_back({{"name", program.getSymName().str()},
                                {"max_batch", program.getMaxBatch()},
                                {"max_rows", program.getMaxRows()},
                                {"inputs", placesOf<InputOp>(program)},
                                {"outputs", placesOf<OutputOp>(program)}});
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Result<std::string> ds::manifestText(ModuleOp planned, const TensorSource &tensors, const std::string &producer,
                                     const WeightsRecord &weights, const std::map<std::string, FileRecord> &files) {
  auto model = planned->getAttrOfType<DictionaryAttr>("ds.model");
  auto positions = planned->getAttrOfType<DictionaryAttr>("ds.positions");
  if (!model || !positions)
    return Error::internal("a planned module without ds.model or ds.positions");
  Json json;
  json["format"] = DS_PACKAGE_FORMAT;
  json["version"] = DS_PACKAGE_VERSION;
  json["abi"] = DS_ABI;
  json["producer"] = producer;
  json["model"] = toJson(model);
  int64_t parameters = 0;
  for (ParameterOp parameter : planned.getOps<ParameterOp>())
    if (parameter.getSource())
      parameters += parameter.getTensorType().getNumElements();
  json["model"]["parameters"] = parameters;
  json["model"]["weights_dtype"] = weights.dtype;
  json["positions"] = toJson(positions);

  int64_t kvBytes = 0;
  std::string cacheType = "f32";
  Json programs = Json::array();
  for (ProgramOp program : planned.getOps<ProgramOp>()) {
    kvBytes = std::max<int64_t>(kvBytes, program.getKvBytes());
    for (ds_plan::CacheOp cache : program.getBody().getOps<ds_plan::CacheOp>()) {
      Type element = cast<MemRefType>(cache.getType()).getElementType();
      cacheType = element.isInteger(8) ? "int8" : element.isBF16() ? "bf16" : "f32";
    }
    programs.push_back({{"name", program.getSymName().str()},
                        {"symbol", DS_PROGRAM_PREFIX + program.getSymName().str()},
                        {"max_batch", program.getMaxBatch()},
                        {"max_rows", program.getMaxRows()},
                        {"arena_bytes", program.getArenaBytes()},
                        {"inputs", placesOf<InputOp>(program)},
                        {"outputs", placesOf<OutputOp>(program)}});
  }
  if (kvBytes > 0)
    json["cache"] = {{"context", contextOf(planned)},
                     {"bytes_per_sequence", kvBytes},
                     {"type", cacheType},
                     {"counts_distances", countsDistances(planned)}};
  Result<Json> state = stateOf(planned, tensors);
  if (!state)
    return state.error();
  if (!state->is_null())
    json["state"] = std::move(*state);
  json["weights"] = {{"file", weights.file}, {"data_offset", weights.dataOffset}, {"data_bytes", weights.dataBytes}};
  json["code"] = Json::array();
  json["programs"] = std::move(programs);
  json["files"] = Json::object();
  for (const auto &[name, record] : files) {
    Json entry = {{"bytes", record.bytes}};
    if (record.chunkBytes > 0)
      entry["xxh3_chunks"] = {{"bytes", record.chunkBytes}, {"hashes", record.chunkHashes}};
    else
      entry["sha256"] = record.sha256;
    json["files"][name] = std::move(entry);
    StringRef level = name;
    if (level.consume_front("code/") && level.consume_back(".so"))
      if (level != "emulate") // that one is listed with the launches
        json["code"].push_back({{"level", level.str()}, {"file", name}});
    if (name == "code/launches.json")
      json["launches"] = name;
  }
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}
