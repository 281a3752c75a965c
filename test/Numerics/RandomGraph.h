// Models made up from a seed: modules of phase `imported` that mix the ops of `ds` in the ways models do, and in ways none does.
#ifndef DS_TEST_NUMERICS_RANDOMGRAPH_H
#define DS_TEST_NUMERICS_RANDOMGRAPH_H

#include <cstdint>
#include <string>
#include <vector>

namespace ds::test {

/// The same numbers for a seed everywhere (splitmix64).
class Random {
public:
  explicit Random(uint64_t seed) : state(seed * 0x9E3779B97F4A7C15ull + 0x632BE59BD9B4E019ull) {}
  uint64_t next() {
    uint64_t z = state += 0x9E3779B97F4A7C15ull;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ z >> 27) * 0x94D049BB133111EBull;
    return z ^ z >> 31;
  }
  /// 0 to `bound` - 1.
  int64_t below(int64_t bound) { return static_cast<int64_t>(next() % static_cast<uint64_t>(bound)); }
  bool chance(int64_t of, int64_t in) { return below(in) < of; }
  /// -1 to 1.
  double signedUnit() { return static_cast<double>(next() >> 11) * 0x1p-52 - 1; }
  template <typename T> const T &pick(const std::vector<T> &list) { return list[below(static_cast<int64_t>(list.size()))]; }

private:
  uint64_t state;
};

/// A weight of the model: values about `center`, at most `spread` away.
struct GraphParameter {
  std::string name;
  std::vector<int64_t> shape;
  double center, spread;
};

/// What a result of the function has rows of.
enum class ResultRows { tokens, batch, selected };
struct GraphResult {
  std::string name;
  ResultRows rows;
};

struct RandomGraph {
  uint64_t seed = 0;
  bool isCausal = false; // `@forward` of a causal language model; otherwise `@encode`
  int64_t vocabulary = 0, maxPositions = 0, positionOffset = 0, typeCount = 0;
  std::vector<std::string> inputs;  // ds.name of each argument, in order
  std::vector<GraphResult> results; // in order
  std::vector<GraphParameter> parameters;

  /// The module. With `masked`, `@forward` takes a mask of padding and hands it to every attention, as the program `forward` of the plan
  /// does.
  std::string text(bool masked = false) const;

  std::string function() const { return isCausal ? "forward" : "encode"; }

  std::string parts; // of the text; `\x01` stands where a mask would be an operand, `\x02` where it would be an argument
};

/// The graph of `seed`.
RandomGraph makeRandomGraph(uint64_t seed);

} // namespace ds::test
#endif // DS_TEST_NUMERICS_RANDOMGRAPH_H
