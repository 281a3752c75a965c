#include "RandomGraph.h"
#include "GraphLayers.h"

using namespace ds::test;

static std::string number(int64_t value) { return std::to_string(value); }

/// Replaces each `mark` of `text`.
static std::string replaced(const std::string &text, char mark, const std::string &by) {
  std::string out;
  for (char c : text)
    c == mark ? out += by : out += c;
  return out;
}

std::string RandomGraph::text(bool masked) const {
  return replaced(replaced(parts, '\x01', masked ? " mask %mask : tensor<?x?xi32>" : ""), '\x02',
                  masked ? ", %mask: tensor<?x?xi32> {ds.name = \"mask\"}" : "");
}

/// How the heads of a model are made.
static GraphHeads makeHeads(Random &random, bool isCausal) {
  GraphHeads heads;
  heads.size = random.pick<int64_t>({8, 10, 12, 16, 16, 20, 24, 32, 32, 40, 48, 64, 80});
  heads.kvHeads = heads.size > 40 ? 1 : 1 + random.below(2);
  heads.heads = heads.kvHeads * (heads.size > 40 ? 1 + random.below(2) : 1 + random.below(3));
  heads.scale = random.chance(3, 4) ? 1 / std::max(2.0, static_cast<double>(heads.size) / 6) : 1;
  heads.isCausal = isCausal || random.chance(1, 6);
  if (random.chance(1, 2)) {
    heads.rope = random.pick<std::string>({"half", "interleaved"});
    heads.rotary = random.chance(2, 3) ? heads.size : 2 + 2 * random.below(heads.size / 2);
    heads.base = random.pick<double>({1e4, 1e6, 100});
    if (random.chance(1, 6))
      heads.scaling = random.pick<std::string>({"<\"linear\", 4.0, 1.0, 4.0, 32.0>", "<\"llama3\", 8.0, 1.0, 4.0, 32.0>"});
  }
  if (heads.isCausal && random.chance(1, 5))
    heads.window = 1 + random.below(24);
  heads.slopes = random.chance(1, 5);
  return heads;
}

/// Word, position and type embeddings, and what some models do with the sum.
static GraphValue makeEmbeddings(GraphWriter &writer, Random &random, RandomGraph &graph, GraphLayers &layers, int64_t hidden,
                                 std::string &table) {
  int64_t width = random.chance(1, 10) ? 24 : hidden; // a smaller table and a product, as opt
  GraphValue x = writer.embedding("%input_ids", graph.vocabulary, width, &table);
  if (width != hidden) {
    table.clear();
    x = layers.linear(x, hidden);
  }
  if (random.chance(1, 2))
    x = writer.binary("add", x, writer.embedding("%positions", graph.maxPositions + graph.positionOffset, hidden));
  if (graph.typeCount)
    x = writer.binary("add", x, writer.embedding("%token_type_ids", graph.typeCount, hidden));
  return random.chance(1, 2) ? layers.norm(x) : x;
}

/// What computes logits from `hidden`: ops that each token passes alone.
static GraphValue makeHead(GraphWriter &writer, Random &random, const RandomGraph &graph, GraphLayers &layers, GraphValue x,
                           const std::string &table) {
  if (random.chance(1, 4))
    x = layers.norm(layers.activation(layers.linear(x, x.width)));
  if (random.chance(1, 10))
    x = writer.binary("add", x, layers.norm(x));
  GraphValue logits = table.empty() || random.chance(1, 2) ? layers.linear(x, graph.vocabulary)
                                                           : writer.tied(x, graph.vocabulary, table, random.chance(1, 4));
  return random.chance(1, 12) ? writer.unary("softmax", logits) : logits;
}

RandomGraph ds::test::makeRandomGraph(uint64_t seed) {
  Random random(seed);
  RandomGraph graph;
  graph.seed = seed;
  graph.isCausal = random.chance(1, 2);
  GraphHeads heads = makeHeads(random, graph.isCausal);
  bool hasMask = !graph.isCausal && random.chance(4, 5);
  heads.masked = hasMask;
  graph.vocabulary = random.pick<int64_t>({5, 31, 32, 50, 97, 130});
  graph.maxPositions = random.pick<int64_t>({48, 64, 70});
  graph.positionOffset = random.chance(1, 4) ? 2 : 0;
  graph.typeCount = hasMask && random.chance(1, 2) ? 2 : 0;
  int64_t hidden = random.chance(3, 4) ? heads.heads * heads.size : random.pick<int64_t>({9, 17, 24, 33, 48, 50, 63, 64, 96, 100});
  int64_t inner = random.pick<int64_t>({7, 16, 31, 33, 48, 64, 65, 96, 100, 129, 192});
  if (random.chance(1, 12))
    inner = random.pick<int64_t>({520, 1100, 2060});
  graph.inputs = {"input_ids", "positions"};
  if (hasMask)
    graph.inputs.push_back("mask");
  if (graph.typeCount)
    graph.inputs.push_back("token_type_ids");

  GraphWriter writer(graph, random);
  GraphLayers layers(writer, random, heads, hidden, inner);
  std::string table;
  GraphValue x = makeEmbeddings(writer, random, graph, layers, hidden, table), first = x;
  int64_t count = random.chance(2, 3) ? 1 : 2;
  std::vector<GraphValue> streams = {first};
  for (int64_t i = 0; i < count; ++i)
    streams.push_back(x = layers.layer(x, streams[random.below(i + 1)]));
  GraphValue last = random.chance(3, 4) ? layers.norm(x) : x;

  std::vector<GraphValue> values = {last};
  graph.results = {{"hidden", ResultRows::tokens}};
  std::string task = "encoder";
  if (graph.isCausal || random.chance(1, 3)) {
    task = graph.isCausal ? "causal-lm" : "masked-lm";
    bool gathers = !graph.isCausal && random.chance(1, 3);
    if (gathers)
      graph.inputs.push_back("rows");
    values.push_back(makeHead(writer, random, graph, layers, gathers ? writer.gather(last) : last, table));
    graph.results.push_back({"logits", gathers ? ResultRows::selected : ResultRows::tokens});
  } else if (random.chance(1, 4)) {
    task = "sequence-classification";
    GraphValue pooled = hasMask ? writer.pool(random.pick<std::string>({"cls", "mean", "last"}), last) : last;
    GraphValue dense = layers.activation(layers.linear(pooled, hidden));
    values.push_back(layers.linear(dense, 3));
    graph.results.push_back({"logits", hasMask ? ResultRows::batch : ResultRows::tokens});
  }
  if (hasMask && random.chance(1, 2)) {
    GraphValue pooled = writer.pool(random.pick<std::string>({"cls", "mean", "last"}), last);
    values.push_back(random.chance(1, 2) ? writer.l2Normalize(pooled) : layers.activation(layers.linear(pooled, 20)));
    graph.results.push_back({"embedding", ResultRows::batch});
  } else if (random.chance(1, 5) && x.name != last.name) { // a value that is read and a result
    values.push_back(x);
    graph.results.push_back({"embedding", ResultRows::tokens});
  }

  std::string arguments, results, returned, types;
  for (const std::string &input : graph.inputs)
    arguments +=
        (arguments.empty() ? "%" : ", %") + input + ": tensor<?x" + (input == "rows" ? "" : "?x") + "i32> {ds.name = \"" + input + "\"}";
  for (size_t i = 0; i < values.size(); ++i) {
    std::string comma = i ? ", " : "";
    results += comma + writer.type(values[i]) + " {ds.name = \"" + graph.results[i].name + "\"}";
    returned += comma + values[i].name;
    types += comma + writer.type(values[i]);
  }
  graph.parts = "module attributes {ds.model = {family = \"random\", name = \"seed-" + number(static_cast<int64_t>(seed)) +
                "\", task = \"" + task + "\", vocab_size = " + number(graph.vocabulary) + " : i64, hidden_size = " + number(hidden) +
                " : i64, layers = " + number(count) + " : i64, max_positions = " + number(graph.maxPositions) + " : i64, labels = []},\n" +
                "                   ds.positions = {rule = \"arange\", offset = " + number(graph.positionOffset) +
                " : i64, pad_id = 0 : i64}} {\n";
  for (const GraphParameter &parameter : graph.parameters) {
    std::string shape;
    for (int64_t size : parameter.shape)
      shape += number(size) + "x";
    graph.parts += "  ds.parameter @" + parameter.name + " from \"" + parameter.name + "\" : tensor<" + shape + "f32>\n";
  }
  graph.parts += "  func.func @" + graph.function() + "(" + arguments + "\x02) -> (" + results + ") {\n" + writer.body + "    return " +
                 returned + " : " + types + "\n  }\n}\n";
  return graph;
}
