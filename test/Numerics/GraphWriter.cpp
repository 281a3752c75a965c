#include "GraphWriter.h"
#include <cmath>
#include <cstdio>

using namespace ds::test;

static std::string number(int64_t value) { return std::to_string(value); }

static std::string number(double value) {
  char text[40];
  snprintf(text, sizeof text, "%.17e", value);
  return text;
}

static std::string vectorType(int64_t size) { return "tensor<" + number(size) + "xf32>"; }
static std::string matrixType(int64_t rows, int64_t columns) { return "tensor<" + number(rows) + "x" + number(columns) + "xf32>"; }

std::string GraphWriter::type(const GraphValue &value) const {
  return (value.isPooled ? "tensor<?x" : "tensor<?x?x") + number(value.width) + "xf32>";
}

void GraphWriter::line(const std::string &text) { body += indent + text + "\n"; }

GraphValue GraphWriter::fresh(int64_t width, const GraphValue *like) {
  GraphValue value{name(), width};
  if (like)
    value.isPooled = like->isPooled;
  return value;
}

std::string GraphWriter::parameter(std::vector<int64_t> shape, double center, double spread) {
  std::string name = "p" + number(static_cast<int64_t>(graph.parameters.size()));
  graph.parameters.push_back({name, std::move(shape), center, spread});
  return name;
}

std::string GraphWriter::weight(const std::string &parameter, const std::string &type) {
  std::string value = name();
  line(value + " = ds.weight @" + parameter + " : " + type);
  return value;
}

std::string GraphWriter::vector(int64_t size, double center, double spread) {
  if (random.chance(1, 10)) {
    std::string values, value = name();
    for (int64_t i = 0; i < size; ++i)
      values += (i ? ", " : "") + number(static_cast<double>(static_cast<float>(center + spread * random.signedUnit())));
    line(value + " = ds.constant dense<[" + values + "]> : " + vectorType(size));
    return value;
  }
  if (random.chance(1, 6))
    for (const GraphParameter &known : graph.parameters)
      if (known.shape == std::vector<int64_t>{size} && known.center == center)
        return weight(known.name, vectorType(size));
  return weight(parameter({size}, center, spread), vectorType(size));
}

GraphValue GraphWriter::embedding(const std::string &indices, int64_t rows, int64_t width, std::string *table) {
  std::string made = parameter({rows, width}, 0, 1.7);
  std::string matrix = weight(made, matrixType(rows, width));
  if (table)
    *table = made;
  GraphValue y = fresh(width);
  line(y.name + " = ds.embedding " + indices + ", " + matrix + " : tensor<?x?xi32>, " + matrixType(rows, width));
  return y;
}

GraphValue GraphWriter::linear(const GraphValue &x, int64_t width, bool bias) {
  double spread = std::sqrt(3.0 / static_cast<double>(x.width)); // keeps the variance
  if (random.chance(1, 16))                                      // two products with one matrix
    for (const GraphParameter &known : graph.parameters)
      if (known.shape == std::vector<int64_t>{width, x.width} && known.spread == spread)
        return tied(x, width, known.name, bias);
  return tied(x, width, parameter({width, x.width}, 0, spread), bias);
}

GraphValue GraphWriter::tied(const GraphValue &x, int64_t width, const std::string &matrix, bool bias) {
  std::string w = weight(matrix, matrixType(width, x.width)), b = bias ? vector(width, 0, 0.5) : "";
  GraphValue y = fresh(width, &x);
  y.degree = x.degree;
  line(y.name + " = ds.linear " + x.name + ", " + w + (bias ? " bias " + b : "") + " : " + type(x) + ", " + matrixType(width, x.width) +
       (bias ? ", " + vectorType(width) : ""));
  return y;
}

GraphValue GraphWriter::layerNorm(const GraphValue &x, bool bias) {
  std::string gain = vector(x.width, 1, 0.4), b = bias ? vector(x.width, 0, 0.5) : "";
  GraphValue y = fresh(x.width, &x);
  line(y.name + " = ds.layer_norm " + x.name + ", " + gain + (bias ? " bias " + b : "") + " eps " +
       random.pick<std::string>({"1.0e-5", "1.0e-12"}) + " : " + type(x) + ", " + vectorType(x.width) +
       (bias ? ", " + vectorType(x.width) : ""));
  return y;
}

GraphValue GraphWriter::rmsNorm(const GraphValue &x) {
  std::string gain = vector(x.width, 1, 0.4);
  GraphValue y = fresh(x.width, &x);
  line(y.name + " = ds.rms_norm " + x.name + ", " + gain + " eps " + random.pick<std::string>({"1.0e-5", "1.0e-6"}) + " : " + type(x) +
       ", " + vectorType(x.width));
  return y;
}

GraphValue GraphWriter::unary(const std::string &op, const GraphValue &x) {
  GraphValue y = fresh(x.width, &x);
  y.degree = op == "tanh" || op == "softmax" ? 1 : x.degree;
  line(y.name + " = ds." + op + " " + x.name + " : " + type(x));
  return y;
}

GraphValue GraphWriter::l2Normalize(const GraphValue &x) {
  GraphValue y = fresh(x.width, &x);
  line(y.name + " = ds.l2_normalize " + x.name + " eps 1.0e-12 : " + type(x));
  return y;
}

GraphValue GraphWriter::binary(const std::string &op, const GraphValue &a, const GraphValue &b) {
  GraphValue y = fresh(a.width, &a);
  y.degree = op == "mul" ? a.degree + b.degree : std::max(a.degree, b.degree);
  line(y.name + " = ds." + op + " " + a.name + ", " + b.name + " : " + type(a));
  return y;
}

GraphValue GraphWriter::rope(const GraphValue &x, int64_t heads, const GraphHeads &how) {
  GraphValue y = fresh(x.width);
  y.degree = x.degree;
  line(y.name + " = ds.rope " + how.rope + " " + x.name + ", %positions heads " + number(heads) + " rotary " + number(how.rotary) +
       " base " + number(how.base) + (how.scaling.empty() ? "" : " scaling " + how.scaling) + " : " + type(x) + ", tensor<?x?xi32>");
  return y;
}

GraphValue GraphWriter::attention(const GraphValue &q, const GraphValue &k, const GraphValue &v, const GraphHeads &how) {
  std::string slopes = how.slopes ? vector(how.heads, 0.1, 0.05) : "";
  GraphValue y = fresh(q.width);
  y.degree = v.degree;
  std::string mask = how.masked ? " mask %mask : tensor<?x?xi32>" : graph.isCausal ? "\x01" : "";
  line(y.name + " = ds.attention " + q.name + ", " + k.name + ", " + v.name + mask +
       (how.slopes ? " slopes " + slopes + " : " + vectorType(how.heads) : "") + " heads " + number(how.heads) + " kv_heads " +
       number(how.kvHeads) + " scale " + number(how.scale) + (how.isCausal ? " causal" : "") +
       (how.window ? " window " + number(how.window) : "") + " : " + type(q) + ", " + type(k));
  return y;
}

GraphValue GraphWriter::pool(const std::string &kind, const GraphValue &x) {
  GraphValue y{name(), x.width, x.degree, true};
  line(y.name + " = ds.pool " + kind + " " + x.name + " mask %mask : " + type(x) + ", tensor<?x?xi32>");
  return y;
}

GraphValue GraphWriter::gather(const GraphValue &x) {
  GraphValue y{name(), x.width, x.degree, true};
  line(y.name + " = ds.gather_rows " + x.name + ", %rows : " + type(x) + ", tensor<?xi32>");
  return y;
}

std::vector<GraphValue> GraphWriter::openLayer(const std::vector<GraphValue> &inputs) {
  std::vector<GraphValue> arguments, outputs;
  std::string results, operands, types, declared;
  for (const GraphValue &input : inputs) {
    std::string comma = outputs.empty() ? "" : ", ";
    GraphValue output = input, argument = input;
    output.name = name();
    argument.name = name();
    results += comma + output.name;
    operands += comma + input.name;
    types += comma + type(input);
    declared += comma + argument.name + ": " + type(input);
    outputs.push_back(output);
    arguments.push_back(argument);
  }
  line(results + " = ds.layer \"layers." + number(layers++) + "\"(" + operands + ") : (" + types + ") -> " +
       (inputs.size() == 1 ? types : "(" + types + ")") + " {");
  line("^bb0(" + declared + "):");
  open.push_back({results, types, outputs});
  indent += "  ";
  return arguments;
}

std::vector<GraphValue> GraphWriter::closeLayer(const std::vector<GraphValue> &yielded) {
  std::vector<GraphValue> outputs = open.back().outputs;
  std::string values;
  for (size_t i = 0; i < yielded.size(); ++i) {
    values += (i ? ", " : "") + yielded[i].name;
    outputs[i].degree = yielded[i].degree;
  }
  line("ds.yield " + values + " : " + open.back().header);
  open.pop_back();
  indent.resize(indent.size() - 2);
  line("}");
  return outputs;
}
