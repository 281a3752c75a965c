#include "Forward.h"
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

Failure lastFailure(dsrt_status status) { return {status, dsrt_last_error()}; }

std::string defaultOutput(const dsrt_model *model) {
  int64_t shape[3];
  int32_t rank;
  for (const char *name : {"embedding", "logits"})
    if (dsrt_output_shape(model, name, 1, 1, shape, &rank) == DSRT_OK)
      return name;
  return "hidden";
}

/// input_ids as [batch, tokens]; an array of rank 1 is one row.
static Failure batchSizes(const NamedArrays &inputs, int32_t &batch, int32_t &tokens) {
  auto ids = inputs.find("input_ids");
  if (ids == inputs.end())
    return {2, "invalid argument: input_ids: expects --input input_ids=..., got none"};
  const std::vector<int64_t> &shape = ids->second.shape;
  if (ids->second.type != ElementType::i32 || shape.empty() || shape.size() > 2 || ids->second.elements() > INT32_MAX)
    return {2, "invalid argument: input_ids: expects [batch, tokens] of i32, got " + ids->second.typeText()};
  batch = shape.size() == 2 ? static_cast<int32_t>(shape[0]) : 1;
  tokens = static_cast<int32_t>(shape.back());
  return {};
}

static Failure sameShape(const std::string &name, const Array &array, const Array &ids) {
  if (array.type != ElementType::i32 || array.elements() != ids.elements())
    return {2, "invalid argument: " + name + ": expects the shape of input_ids, " + ids.typeText() + ", got " + array.typeText()};
  return {};
}

Failure runForward(dsrt_model *model, const NamedArrays &inputs, NamedArrays &outputs) {
  dsrt_batch batch = {};
  batch.size = sizeof(batch);
  if (Failure failure = batchSizes(inputs, batch.batch, batch.tokens))
    return failure;
  const Array &ids = inputs.at("input_ids");
  for (const auto &[name, array] : inputs) {
    if (name != "input_ids" && name != "attention_mask" && name != "token_type_ids")
      return {2, "invalid argument: expects the inputs input_ids, attention_mask and token_type_ids, got '" + name + "'"};
    if (Failure failure = sameShape(name, array, ids))
      return failure;
    (name == "input_ids"        ? batch.input_ids
     : name == "attention_mask" ? batch.attention_mask
                                : batch.token_type_ids) = array.integers.data();
  }
  for (auto &[name, array] : outputs) {
    int64_t shape[3];
    int32_t rank = 0;
    if (dsrt_status status = dsrt_output_shape(model, name.c_str(), batch.batch, batch.tokens, shape, &rank); status != DSRT_OK)
      return lastFailure(status);
    array.type = ElementType::f32;
    array.shape.assign(shape, shape + rank);
    array.floats.resize(array.elements());
    if (dsrt_status status = dsrt_forward(model, &batch, name.c_str(), array.floats.data(), array.floats.size()); status != DSRT_OK)
      return lastFailure(status);
  }
  return {};
}

/// The declaration of a program in the manifest, which the runtime has checked; null when there is none.
static nlohmann::json findProgram(const dsrt_model *model, const std::string &name) {
  nlohmann::json manifest = nlohmann::json::parse(dsrt_manifest_json(model));
  for (const nlohmann::json &program : manifest["programs"])
    if (program["name"] == name)
      return program;
  return nullptr;
}

static void addDefaults(const nlohmann::json &program, int32_t batch, int32_t tokens, NamedArrays &inputs) {
  for (const nlohmann::json &declared : program["inputs"]) {
    std::string name = declared["name"];
    if (inputs.count(name))
      continue;
    Array &array = inputs[name];
    array.type = ElementType::i32;
    array.shape = declared["shape"].size() == 2 ? std::vector<int64_t>{batch, tokens} : std::vector<int64_t>{batch};
    for (int64_t i = 0; i < array.elements(); ++i) {
      int64_t value = name == "positions" ? i % tokens : name == "mask" ? 1 : name == "rows" ? (i + 1) * tokens - 1 : 0;
      array.integers.push_back(static_cast<int32_t>(value));
    }
  }
}

Failure runProgram(dsrt_model *model, const std::string &name, const NamedArrays &given, NamedArrays &outputs) {
  int32_t batch = 0, tokens = 0;
  if (Failure failure = batchSizes(given, batch, tokens))
    return failure;
  if (tokens < 1)
    return {2, "invalid argument: input_ids: expects at least one token"};
  nlohmann::json program = findProgram(model, name);
  if (program.is_null())
    return {2, "invalid argument: the package has no program '" + name + "'"};
  NamedArrays inputs = given;
  addDefaults(program, batch, tokens, inputs);
  auto rows = static_cast<int32_t>(inputs.count("rows") ? inputs.at("rows").elements() : 0);
  std::vector<dsrt_array> inputList, outputList;
  for (auto &[inputName, array] : inputs) {
    if (array.type != ElementType::i32)
      return {2, "invalid argument: " + inputName + ": expects i32, got " + array.typeText()};
    inputList.push_back({inputName.c_str(), array.integers.data(), array.integers.size()});
  }
  for (auto &[outputName, array] : outputs) {
    for (const nlohmann::json &declared : program["outputs"])
      if (declared["name"] == outputName)
        for (const nlohmann::json &axis : declared["shape"])
          array.shape.push_back(axis == "batch" ? batch : axis == "tokens" ? tokens : axis == "rows" ? rows : axis.get<int64_t>());
    array.type = ElementType::f32;
    array.floats.resize(array.elements());
    outputList.push_back({outputName.c_str(), array.floats.data(), array.floats.size()});
  }
  dsrt_status status = dsrt_run_program(model, name.c_str(), batch, tokens, rows, inputList.data(), static_cast<int32_t>(inputList.size()),
                                        outputList.data(), static_cast<int32_t>(outputList.size()));
  return status == DSRT_OK ? Failure() : lastFailure(status);
}

static std::string placeOf(const Array &array, int64_t index) {
  std::string text;
  for (size_t axis = array.shape.size(); axis-- > 0;) {
    text = "[" + std::to_string(index % array.shape[axis]) + "]" + text;
    index /= array.shape[axis];
  }
  return text;
}

Failure compareArrays(const std::string &name, const Array &got, const Array &expected, double atol, double rtol) {
  if (expected.type != ElementType::f32 || expected.shape != got.shape)
    return {1, name + ": expects " + expected.typeText() + ", got " + got.typeText()};
  int64_t worst = -1, failures = 0;
  double worstDifference = 0, greatest = 0;
  for (int64_t i = 0; i < got.elements(); ++i) {
    double a = got.floats[i], b = expected.floats[i];
    double difference = a == b || (std::isnan(a) && std::isnan(b)) ? 0 : std::fabs(a - b);
    greatest = difference > greatest ? difference : greatest;
    if (difference <= atol + rtol * std::fabs(b))
      continue;
    ++failures;
    // A NaN is worse than any number.
    if (worst < 0 || std::isnan(difference) || difference > worstDifference) {
      worst = i;
      worstDifference = difference;
    }
  }
  char line[256];
  if (worst < 0) {
    std::printf("%s: %lld elements agree, greatest difference %.3g\n", name.c_str(), static_cast<long long>(got.elements()), greatest);
    return {};
  }
  std::snprintf(line, sizeof(line), ": expects %.9g, got %.9g, difference %.3g; %lld of %lld elements differ",
                static_cast<double>(expected.floats[worst]), static_cast<double>(got.floats[worst]), worstDifference,
                static_cast<long long>(failures), static_cast<long long>(got.elements()));
  return {1, name + placeOf(got, worst) + line};
}
