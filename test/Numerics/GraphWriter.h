// Writes ops of `ds` as text, and keeps what a generator of graphs has to know of the values so far.
#ifndef DS_TEST_NUMERICS_GRAPHWRITER_H
#define DS_TEST_NUMERICS_GRAPHWRITER_H

#include "RandomGraph.h"

namespace ds::test {

/// A value in the text. `degree` bounds how far products have raised it: errors of f32 grow with it, so it is kept small.
struct GraphValue {
  std::string name;
  int64_t width = 0;
  int degree = 1;
  bool isPooled = false; // [B, W] in place of [B, T, W]
};

/// What all layers of a model share.
struct GraphHeads {
  int64_t heads, kvHeads, size;
  double scale;
  bool isCausal;
  std::string rope; // "half" or "interleaved", empty for none
  int64_t rotary = 0;
  double base = 1e4;
  std::string scaling; // of rope, may be empty
  int64_t window = 0;  // 0 for none
  bool slopes = false;
  bool masked = false; // attention of encoders
};

class GraphWriter {
public:
  GraphWriter(RandomGraph &graph, Random &random) : graph(graph), random(random) {}

  std::string type(const GraphValue &value) const;
  void line(const std::string &text);
  GraphValue fresh(int64_t width, const GraphValue *like = nullptr);
  /// A new name for a value.
  std::string name() { return "%v" + std::to_string(count++); }

  GraphValue embedding(const std::string &indices, int64_t rows, int64_t width, std::string *table = nullptr);
  GraphValue linear(const GraphValue &x, int64_t width, bool bias);
  /// With a matrix that is declared already.
  GraphValue tied(const GraphValue &x, int64_t width, const std::string &matrix, bool bias);
  GraphValue layerNorm(const GraphValue &x, bool bias);
  GraphValue rmsNorm(const GraphValue &x);
  /// `op` with its attributes in front of the operand: "gelu erf", "silu", "softmax".
  GraphValue unary(const std::string &op, const GraphValue &x);
  GraphValue l2Normalize(const GraphValue &x);
  GraphValue binary(const std::string &op, const GraphValue &a, const GraphValue &b);
  GraphValue rope(const GraphValue &x, int64_t heads, const GraphHeads &how);
  GraphValue attention(const GraphValue &q, const GraphValue &k, const GraphValue &v, const GraphHeads &how);
  GraphValue pool(const std::string &kind, const GraphValue &x);
  GraphValue gather(const GraphValue &x);

  /// Begins a `ds.layer` over `inputs` and returns its block arguments; `close` returns its results.
  std::vector<GraphValue> openLayer(const std::vector<GraphValue> &inputs);
  std::vector<GraphValue> closeLayer(const std::vector<GraphValue> &yielded);

  /// Declares a parameter and returns its name.
  std::string parameter(std::vector<int64_t> shape, double center, double spread);

  std::string body;

private:
  /// Reads a parameter: the name of the value.
  std::string weight(const std::string &parameter, const std::string &type);
  /// A vector of `size`: a new parameter, one that is there already, or a constant in the text.
  std::string vector(int64_t size, double center, double spread);

  RandomGraph &graph;
  Random &random;
  int64_t count = 0, layers = 0;
  std::string indent = "    ";
  struct OpenLayer {
    std::string results, header;
    std::vector<GraphValue> outputs;
  };
  std::vector<OpenLayer> open;
};

} // namespace ds::test
#endif // DS_TEST_NUMERICS_GRAPHWRITER_H
