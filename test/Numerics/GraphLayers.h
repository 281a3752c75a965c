// The layers of random graphs: those of known models with all their variations, free ones, and ones that tempt a fusion into a cycle.
#ifndef DS_TEST_NUMERICS_GRAPHLAYERS_H
#define DS_TEST_NUMERICS_GRAPHLAYERS_H

#include "GraphWriter.h"

namespace ds::test {

class GraphLayers {
public:
  GraphLayers(GraphWriter &writer, Random &random, const GraphHeads &heads, int64_t hidden, int64_t inner);

  /// A layer over the stream `h`; `outer` is a value from before all layers, which some layers read.
  GraphValue layer(const GraphValue &h, const GraphValue &outer);
  /// The norm of this model, with or without a bias.
  GraphValue norm(const GraphValue &x);
  GraphValue activation(const GraphValue &x);
  /// A linear whose bias is left to chance.
  GraphValue linear(const GraphValue &x, int64_t width);

private:
  GraphValue body(const GraphValue &h, const GraphValue &outer);
  GraphValue attentionBlock(const GraphValue &x, const GraphValue &other);
  GraphValue mlp(const GraphValue &x);
  GraphValue residual(const GraphValue &a, const GraphValue &b);
  GraphValue freeLayer(const GraphValue &h, const GraphValue &outer);
  GraphValue temptingLayer(const GraphValue &h);
  /// Brings a value of high degree back to size.
  GraphValue tame(const GraphValue &x);

  GraphWriter &writer;
  Random &random;
  GraphHeads heads;
  int64_t hidden, inner;
  bool rms, gated, biased;
  std::string act;
};

} // namespace ds::test
#endif // DS_TEST_NUMERICS_GRAPHLAYERS_H
