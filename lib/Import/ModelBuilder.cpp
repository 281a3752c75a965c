#include "ModelBuilder.h"
#include "ds/Quantize/QuantizedType.h"
#include "mlir/IR/Verifier.h"
#include <cmath>

using namespace mlir;
using namespace ds;

static std::string shapeText(ArrayRef<int64_t> shape) {
  std::string text = "[";
  for (int64_t size : shape)
    text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  return text + "]";
}

ModelBuilder::ModelBuilder(MLIRContext &context, const TensorSource &tensors, Config &config)
    : config(config), tensors(tensors), builder(&context), module(ModuleOp::create(UnknownLoc::get(&context))) {}

Location ModelBuilder::at(const std::string &path) { return NameLoc::get(builder.getStringAttr(path)); }

RankedTensorType ModelBuilder::tensorType(ArrayRef<int64_t> shape) { return RankedTensorType::get(shape, builder.getF32Type()); }

int64_t ModelBuilder::width(Value value) { return cast<RankedTensorType>(value.getType()).getShape().back(); }

void ModelBuilder::begin(bool decoder, bool hasTokenTypes) {
  auto tokens = RankedTensorType::get({ShapedType::kDynamic, ShapedType::kDynamic}, builder.getI32Type());
  SmallVector<std::pair<const char *, Value *>> inputs = {{"input_ids", &inputIds}, {"positions", &positions}};
  if (!decoder)
    inputs.push_back({"mask", &mask});
  if (hasTokenTypes)
    inputs.push_back({"token_type_ids", &tokenTypes});
  SmallVector<Type> types(inputs.size(), tokens);
  builder.setInsertionPointToEnd(module->getBody());
  function = func::FuncOp::create(builder, module->getLoc(), decoder ? "forward" : "encode", builder.getFunctionType(types, {}));
  Block *body = function.addEntryBlock();
  for (auto [i, input] : llvm::enumerate(inputs)) {
    function.setArgAttr(i, "ds.name", builder.getStringAttr(input.first));
    *input.second = body->getArgument(i);
  }
  builder.setInsertionPointToEnd(body);
}

void ModelBuilder::result(const char *name, Value value) {
  results.push_back(value);
  resultNames.push_back(name);
}

Result<OwningOpRef<ModuleOp>> ModelBuilder::finish() {
  if (config.failure())
    return *config.failure();
  func::ReturnOp::create(builder, function.getLoc(), results);
  function.setType(builder.getFunctionType(function.getArgumentTypes(), ValueRange(results).getTypes()));
  for (auto [i, name] : llvm::enumerate(resultNames))
    function.setResultAttr(i, "ds.name", builder.getStringAttr(name));
  auto list = [&](ArrayRef<int64_t> values) { return builder.getI64ArrayAttr(values); };
  SmallVector<NamedAttribute> model;
  auto set = [&](const char *name, Attribute value) { model.push_back(builder.getNamedAttr(name, value)); };
  set("family", builder.getStringAttr(facts.family));
  set("name", builder.getStringAttr(facts.name));
  set("task", builder.getStringAttr(facts.task));
  set("vocab_size", builder.getI64IntegerAttr(facts.vocabSize));
  set("hidden_size", builder.getI64IntegerAttr(facts.hiddenSize));
  set("layers", builder.getI64IntegerAttr(facts.layers));
  set("max_positions", builder.getI64IntegerAttr(facts.maxPositions));
  if (facts.tokenTypes > 0)
    set("token_types", builder.getI64IntegerAttr(facts.tokenTypes));
  set("bos", list(facts.bos));
  set("eos", list(facts.eos));
  set("pad", facts.pad ? Attribute(builder.getI64IntegerAttr(*facts.pad)) : Attribute(builder.getUnitAttr()));
  SmallVector<StringRef> labels(facts.labels.begin(), facts.labels.end());
  set("labels", builder.getStrArrayAttr(labels));
  (*module)->setAttr("ds.model", builder.getDictionaryAttr(model));
  (*module)->setAttr("ds.positions",
                     builder.getDictionaryAttr({builder.getNamedAttr("rule", builder.getStringAttr(facts.positionRule)),
                                                builder.getNamedAttr("offset", builder.getI64IntegerAttr(facts.positionOffset)),
                                                builder.getNamedAttr("pad_id", builder.getI64IntegerAttr(facts.positionPad))}));
  std::string problem;
  ScopedDiagnosticHandler handler(builder.getContext(), [&](Diagnostic &diagnostic) {
    if (problem.empty())
      problem = diagnostic.str();
    return success();
  });
  if (failed(verify(*module)))
    return Error::badData("'" + config.fileName() + "': the model does not fit together: " + problem);
  return std::move(module);
}

std::string ModelBuilder::prefixOf(const std::string &name, std::initializer_list<const char *> prefixes) const {
  if (made)
    return facts.task == "encoder" ? *(prefixes.end() - 1) : *prefixes.begin();
  for (const char *prefix : prefixes)
    if (hasTensor(prefix + name))
      return prefix;
  return *prefixes.begin();
}

void ModelBuilder::expectTensor(const std::string &name, ArrayRef<int64_t> shape) {
  read.insert(name);
  if (made)
    if (Result<void> added = made->add(name, shape.vec()); !added)
      return fail(added.error());
  const StoredTensor *tensor = tensors.find(name);
  if (!tensor) {
    std::string file = tensors.tensors().empty() ? config.fileName() : tensors.tensors().front().file;
    return fail(Error::badData("'" + file + "': tensor '" + name + "': expects shape " + shapeText(shape) + ", found none"));
  }
  auto place = "'" + tensor->file + "': tensor '" + name + "': expects ";
  if (ArrayRef<int64_t>(tensor->shape) != shape)
    return fail(
        Error::badData(place + "shape " + shapeText(shape) + " as '" + config.fileName() + "' says, found " + shapeText(tensor->shape)));
  switch (tensor->type) {
  case StoredType::I64:
  case StoredType::I32:
  case StoredType::I16:
  case StoredType::I8:
  case StoredType::U8:
  case StoredType::Bool:
    return fail(Error::badData(place + "a floating type, found " + storedTypeName(tensor->type)));
  default:
    return;
  }
}

Value ModelBuilder::declare(const std::string &symbol, const std::string &source, ViewAttr view, ArrayRef<int64_t> shape) {
  RankedTensorType type = tensorType(shape);
  if (declared.insert(symbol).second) {
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPoint(function);
    auto parameter = ParameterOp::create(builder, at(symbol), builder.getStringAttr(symbol), TypeAttr::get(type),
                                         builder.getStringAttr(source), view, ElementsAttr(), MoqAttr());
    if (const StoredTensor *tensor = tensors.find(source); tensor && schemeOfStored(tensor->type))
      parameter->setAttr(storedTypeAttrName, builder.getStringAttr(storedTypeName(tensor->type)));
  }
  return WeightOp::create(builder, at(symbol), type, FlatSymbolRefAttr::get(builder.getContext(), symbol));
}

Value ModelBuilder::vectorWeight(const std::string &name, int64_t size, const RowView &rows, const std::string &part) {
  bool whole = rows.sizes.empty();
  expectTensor(name, {whole ? size : rows.total});
  ViewAttr view = whole ? ViewAttr() : ViewAttr::get(builder.getContext(), rows.offset, rows.sizes, rows.strides);
  return declare(part.empty() ? name : name + "." + part, name, view, {size});
}

Value ModelBuilder::matrixWeight(const std::string &name, int64_t rows, int64_t columns, const LinearOptions &options) {
  RowView view = options.rows;
  bool whole = view.sizes.empty();
  if (whole)
    view = RowView::block(0, rows, rows);
  if (options.transposed)
    expectTensor(name, {columns, view.total});
  else
    expectTensor(name, {view.total, columns});
  ViewAttr attribute;
  if (!whole || options.transposed) {
    // A row is `columns` elements long where rows lie side by side, and one element where columns do.
    int64_t rowStride = options.transposed ? 1 : columns;
    for (int64_t &stride : view.strides)
      stride *= rowStride;
    view.sizes.push_back(columns);
    view.strides.push_back(options.transposed ? view.total : 1);
    attribute = ViewAttr::get(builder.getContext(), view.offset * rowStride, view.sizes, view.strides);
  }
  return declare(options.part.empty() ? name : name + "." + options.part, name, attribute, {rows, columns});
}

Value ModelBuilder::constant(ArrayRef<float> values) {
  RankedTensorType type = tensorType({static_cast<int64_t>(values.size())});
  return ConstantOp::create(builder, at("constant." + std::to_string(constants++)), type, DenseElementsAttr::get(type, values));
}

void ModelBuilder::ignoreTensors(std::initializer_list<const char *> suffixes) {
  ignored.insert(ignored.end(), suffixes.begin(), suffixes.end());
}

std::vector<std::string> ModelBuilder::unusedTensors() const {
  std::vector<std::string> names;
  for (const StoredTensor &tensor : tensors.tensors())
    if (read.count(tensor.name) == 0 &&
        llvm::none_of(ignored, [&](const std::string &suffix) { return StringRef(tensor.name).ends_with(suffix); }))
      names.push_back(tensor.name);
  return names;
}

Value ModelBuilder::embedding(Value indices, const std::string &path, int64_t rows, int64_t columns) {
  Value table = matrixWeight(path + ".weight", rows, columns);
  return EmbeddingOp::create(builder, at(path), indices, table);
}

Value ModelBuilder::linear(Value input, const std::string &path, int64_t out, const LinearOptions &options) {
  Value weight = matrixWeight(path + ".weight", out, width(input), options);
  Value bias = options.bias ? vectorWeight(path + ".bias", out, options.rows, options.part) : Value();
  return linearWith(input, options.part.empty() ? path : path + "." + options.part, weight, bias);
}

Value ModelBuilder::linearWith(Value input, const std::string &path, Value weight, Value bias) {
  return LinearOp::create(builder, at(path), input, weight, bias, IntegerAttr(), UnitAttr(), TypeAttr());
}

Value ModelBuilder::layerNorm(Value input, const std::string &path, double eps, bool bias) {
  // The first BERT checkpoints keep TensorFlow's names of the two.
  bool old = !hasTensor(path + ".weight") && hasTensor(path + ".gamma");
  Value gain = vectorWeight(path + (old ? ".gamma" : ".weight"), width(input));
  Value shift = bias ? vectorWeight(path + (old ? ".beta" : ".bias"), width(input)) : Value();
  return LayerNormOp::create(builder, at(path), input.getType(), input, gain, shift, builder.getF64FloatAttr(eps));
}

Value ModelBuilder::rmsNorm(Value input, const std::string &path, double eps) {
  Value gain = vectorWeight(path + ".weight", width(input));
  return RmsNormOp::create(builder, at(path), input.getType(), input, gain, builder.getF64FloatAttr(eps));
}

Value ModelBuilder::activation(Value input, const std::string &path, Activation kind) {
  Type type = input.getType();
  switch (kind) {
  case Activation::gelu:
    return GeluOp::create(builder, at(path), type, input, GeluKind::erf);
  case Activation::geluTanh:
    return GeluOp::create(builder, at(path), type, input, GeluKind::tanh);
  case Activation::relu:
    return ReluOp::create(builder, at(path), type, input);
  case Activation::silu:
    return SiluOp::create(builder, at(path), type, input);
  case Activation::quickGelu:
    return QuickGeluOp::create(builder, at(path), type, input);
  }
  llvm_unreachable("an activation of the enumeration");
}

Value ModelBuilder::add(Value a, Value b, const std::string &path) { return AddOp::create(builder, at(path), a.getType(), a, b); }

Value ModelBuilder::mul(Value a, Value b, const std::string &path) { return MulOp::create(builder, at(path), a.getType(), a, b); }

Value ModelBuilder::tanh(Value input, const std::string &path) { return TanhOp::create(builder, at(path), input.getType(), input); }

Value ModelBuilder::rope(Value input, const std::string &path, RopeStyle style, int64_t heads, int64_t rotary,
                         const RopeSettings &settings) {
  RopeScalingAttr scaling;
  if (!settings.kind.empty())
    scaling = RopeScalingAttr::get(builder.getContext(), settings.kind, settings.factor, settings.low, settings.high, settings.original);
  return RopeOp::create(builder, at(path), input.getType(), input, positions, RopeStyleAttr::get(builder.getContext(), style),
                        builder.getI64IntegerAttr(heads), builder.getI64IntegerAttr(rotary), builder.getF64FloatAttr(settings.base),
                        scaling, UnitAttr());
}

Value ModelBuilder::attention(Value query, Value key, Value value, const std::string &path, const AttentionOptions &options) {
  double scale = options.scale > 0 ? options.scale : 1 / std::sqrt(static_cast<double>(width(query) / options.heads));
  Value context = AttentionOp::create(
      builder, at(path), query.getType(), query, key, value, options.mask, /*past=*/Value(), options.slopes, /*seed=*/Value(),
      /*rate=*/FloatAttr(), /*site=*/IntegerAttr(), builder.getI64IntegerAttr(options.heads), builder.getI64IntegerAttr(options.kvHeads),
      builder.getF64FloatAttr(scale), options.causal ? builder.getUnitAttr() : UnitAttr(),
      options.window > 0 ? builder.getI64IntegerAttr(options.window) : IntegerAttr());
  return dropout(context, options.dropout);
}

Value ModelBuilder::pool(Value input, const std::string &path, PoolKind kind) {
  return PoolOp::create(builder, at(path), input, kind == PoolKind::cls ? Value() : mask, PoolKindAttr::get(builder.getContext(), kind));
}

Value ModelBuilder::l2Normalize(Value input, const std::string &path, double eps) {
  return L2NormalizeOp::create(builder, at(path), input.getType(), input, builder.getF64FloatAttr(eps));
}

double ModelBuilder::rate(const char *key, double fallback) {
  if (!marksDropout || dropoutRate)
    return dropoutRate.value_or(0);
  double rate = config.number(key, fallback, 0, 1);
  if (rate == 1)
    config.fail(key, "a rate of dropout of 0 to less than 1");
  return rate;
}

Value ModelBuilder::dropout(Value value, double rate) {
  if (rate > 0 && !config.failure())
    value.getDefiningOp()->setAttr(dropoutAttrName, builder.getF64FloatAttr(rate));
  return value;
}

Value ModelBuilder::layer(const std::string &path, Value input, const std::function<Value(Value)> &body) {
  auto layer = LayerOp::create(builder, at(path), TypeRange(input.getType()), builder.getStringAttr(path), ValueRange(input));
  OpBuilder::InsertionGuard guard(builder);
  Block *block = builder.createBlock(&layer.getBody(), {}, {input.getType()}, {at(path)});
  Value value = body(block->getArgument(0));
  YieldOp::create(builder, at(path), value);
  return layer.getResult(0);
}
