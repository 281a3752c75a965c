#include "GraphLayers.h"

using namespace ds::test;

/// Values of a higher degree are brought back to size before they are multiplied again.
static constexpr int highestDegree = 3;

GraphLayers::GraphLayers(GraphWriter &writer, Random &random, const GraphHeads &heads, int64_t hidden, int64_t inner)
    : writer(writer), random(random), heads(heads), hidden(hidden), inner(inner), rms(random.chance(1, 2)), gated(random.chance(1, 2)),
      biased(random.chance(1, 2)), act(random.pick<std::string>({"gelu erf", "gelu tanh", "silu", "quick_gelu", "relu", "tanh"})) {}

GraphValue GraphLayers::norm(const GraphValue &x) { return rms ? writer.rmsNorm(x) : writer.layerNorm(x, random.chance(3, 4)); }

GraphValue GraphLayers::linear(const GraphValue &x, int64_t width) { return writer.linear(x, width, random.chance(biased ? 9 : 1, 10)); }

GraphValue GraphLayers::activation(const GraphValue &x) {
  return writer.unary(
      random.chance(1, 8) ? random.pick<std::string>({"gelu erf", "gelu tanh", "silu", "quick_gelu", "relu", "tanh", "softmax"}) : act, x);
}

GraphValue GraphLayers::residual(const GraphValue &a, const GraphValue &b) {
  return random.chance(1, 2) ? writer.binary("add", a, b) : writer.binary("add", b, a);
}

GraphValue GraphLayers::tame(const GraphValue &x) { return x.degree > highestDegree ? writer.unary("tanh", x) : x; }

/// Query, key and value, attention, projection. Mostly all three read `x`; `other` is another stream of the same width.
GraphValue GraphLayers::attentionBlock(const GraphValue &x, const GraphValue &other) {
  GraphHeads how = heads;
  GraphValue inputs[3] = {x, x, x}, made[3];
  if (random.chance(1, 12))
    inputs[random.below(3)] = other;
  const int64_t order[3][3] = {{0, 1, 2}, {2, 0, 1}, {1, 2, 0}};
  int64_t which = random.below(3);
  for (int64_t i : order[which])
    made[i] = linear(inputs[i], how.size * (i == 0 ? how.heads : how.kvHeads));
  GraphValue query = made[0], key = made[1], value = made[2];
  if (random.chance(1, 12))
    value = random.chance(1, 2) ? activation(value) : key;
  if (!how.rope.empty()) {
    query = writer.rope(query, how.heads, how);
    if (random.chance(9, 10))
      key = writer.rope(key, how.kvHeads, how);
  }
  GraphValue context = writer.attention(query, key, value, how);
  if (random.chance(1, 10))
    context = writer.binary(random.pick<std::string>({"add", "mul"}), context, random.chance(1, 2) ? made[0] : query);
  if (random.chance(1, 12)) { // two attentions over the same keys and values
    how.window = how.isCausal && !how.window ? 5 : 0;
    context = writer.binary("add", context, writer.attention(query, key, value, how));
  }
  return linear(tame(context), hidden);
}

GraphValue GraphLayers::mlp(const GraphValue &x) {
  GraphValue wide;
  switch (random.below(8)) {
  case 0: // add of two products
    wide = activation(writer.binary("add", linear(x, inner), linear(x, inner)));
    break;
  case 1: { // a chain between products
    wide = linear(x, inner);
    for (int64_t i = random.below(3); i >= 0; --i)
      wide = activation(wide);
    break;
  }
  case 2: { // what the activation read is read again
    GraphValue up = linear(x, inner);
    wide = writer.binary(random.pick<std::string>({"mul", "add"}), activation(up), up);
    break;
  }
  default:
    if (gated) {
      bool gateFirst = random.chance(1, 2);
      GraphValue first = linear(x, inner), second = linear(x, inner);
      GraphValue gate = activation(gateFirst ? first : second), up = gateFirst ? second : first;
      wide = random.chance(1, 2) ? writer.binary("mul", gate, up) : writer.binary("mul", up, gate);
    } else {
      wide = activation(linear(x, inner));
    }
  }
  if (random.chance(1, 10))
    wide = writer.binary("mul", wide, wide);
  if (random.chance(1, 10))
    wide = norm(wide);
  return linear(tame(wide), hidden);
}

/// Ops on operands chosen at random, the latest values first; all of them end in the result.
GraphValue GraphLayers::freeLayer(const GraphValue &h, const GraphValue &outer) {
  std::vector<GraphValue> values = {outer, h};
  std::vector<bool> read = {true, false};
  auto pick = [&] {
    auto count = static_cast<int64_t>(values.size());
    int64_t index = count - 1 - std::min(random.below(count), random.below(count));
    read[index] = true;
    return values[index];
  };
  auto keep = [&](const GraphValue &value) {
    values.push_back(tame(value));
    read.push_back(false);
  };
  for (int64_t step = 0, steps = 4 + random.below(8); step < steps; ++step) {
    GraphValue x = pick();
    switch (random.below(10)) {
    case 0:
    case 1:
    case 2:
      keep(linear(x, random.chance(2, 3) ? hidden : inner));
      break;
    case 3:
      keep(norm(x));
      break;
    case 4:
      keep(random.chance(1, 4) ? writer.l2Normalize(x) : activation(x));
      break;
    case 5:
      keep(activation(x));
      break;
    default: {
      GraphValue y = pick();
      for (int64_t tries = 0; y.width != x.width && tries < 4; ++tries)
        y = pick();
      keep(writer.binary(random.pick<std::string>({"add", "add", "mul"}), x, y.width == x.width ? y : x));
    }
    }
  }
  GraphValue sum = values.back().width == hidden ? values.back() : linear(values.back(), hidden);
  for (size_t i = 0; i + 1 < values.size(); ++i)
    if (!read[i])
      sum = residual(sum, values[i].width == hidden ? values[i] : linear(values[i], hidden));
  return sum;
}

/// Products whose results leave a group that looks fusible and come back to it: fused as a whole, they would wait for themselves.
GraphValue GraphLayers::temptingLayer(const GraphValue &h) {
  GraphValue x = norm(h), a = linear(x, hidden);
  switch (random.below(7)) {
  case 0: // a -> norm -> b -> add(a, b)
    return residual(a, linear(norm(a), hidden));
  case 1: { // the third product of one input is added to what the first became
    GraphValue b = linear(x, hidden), c = linear(activation(a), hidden);
    return residual(b, c);
  }
  case 2: { // keys depend on queries
    GraphValue k = linear(random.chance(1, 2) ? residual(x, activation(a)) : activation(a), heads.size * heads.kvHeads);
    GraphValue q = linear(x, heads.size * heads.heads), v = linear(x, heads.size * heads.kvHeads);
    return residual(linear(writer.attention(q, k, v, heads), hidden), a);
  }
  case 3: { // gate -> product -> up of the same gate
    GraphValue gate = activation(linear(x, inner)), up = linear(linear(gate, hidden), inner);
    return residual(linear(tame(writer.binary("mul", gate, up)), hidden), h);
  }
  case 4: { // the residual is made of the product it is added to
    GraphValue b = linear(h, hidden);
    return residual(writer.binary("add", b, a), writer.unary("softmax", writer.binary("add", b, x)));
  }
  case 5: { // a norm of the sum whose parts are read after it
    GraphValue sum = residual(a, h), n = norm(sum), b = linear(n, hidden);
    return writer.binary("add", writer.binary("add", b, n), writer.binary("add", sum, a));
  }
  default: { // two chains that cross
    GraphValue b = linear(x, hidden), c = linear(activation(a), hidden), d = linear(activation(b), hidden);
    return residual(tame(writer.binary("mul", c, b)), tame(writer.binary("mul", d, a)));
  }
  }
}

GraphValue GraphLayers::body(const GraphValue &h, const GraphValue &outer) {
  switch (random.below(11)) {
  case 0:
  case 1:
  case 2: { // norm first, as llama and gpt2
    GraphValue a = norm(h), o = attentionBlock(a, h);
    GraphValue sum = residual(random.chance(1, 8) ? a : h, o);
    return residual(sum, mlp(norm(sum)));
  }
  case 3:
  case 4: { // norm last, as bert
    GraphValue n = norm(residual(h, attentionBlock(h, outer)));
    return norm(residual(n, mlp(n)));
  }
  case 5: { // attention and MLP beside each other, as gptj and gpt_neox
    GraphValue a = norm(h), o = attentionBlock(a, h), d = mlp(random.chance(1, 2) ? a : norm(h));
    return random.chance(1, 2) ? residual(residual(o, d), h) : residual(residual(h, o), d);
  }
  case 6:
    return residual(h, attentionBlock(norm(h), outer));
  case 7:
    return residual(h, mlp(norm(h)));
  case 8:
    return temptingLayer(h);
  case 9: // the first stream comes back
    return residual(residual(h, outer), mlp(norm(h)));
  default:
    return freeLayer(h, outer);
  }
}

GraphValue GraphLayers::layer(const GraphValue &h, const GraphValue &outer) {
  if (random.chance(1, 8))
    return body(h, outer);   // not every model has layers
  if (random.chance(1, 8)) { // two streams, as results that are also inputs
    std::vector<GraphValue> in = writer.openLayer({h, outer});
    GraphValue out = body(in[0], in[1]);
    return writer.closeLayer({out, random.chance(1, 2) ? in[1] : residual(out, in[1])})[0];
  }
  std::vector<GraphValue> in = writer.openLayer({h});
  return writer.closeLayer({body(in[0], outer)})[0];
}
