// Kernels around matrix products: their plans, and what they compute by plain loops.
#ifndef DS_TEST_TARGET_CUDA_GEMMKERNEL_H
#define DS_TEST_TARGET_CUDA_GEMMKERNEL_H

#include "EmulatedPlan.h"
#include "TileMatrix.h"
#include <functional>

namespace ds::test {

/// A product, or two that meet, and what comes behind it.
struct Product {
  int64_t columns = 0;
  TileType type = {};
  bool bias = false;
  std::string op = {};   // "silu", "gelu erf": of the product
  bool gates = false;    // then times a second product
  bool residual = false; // then plus rows of their own
  int64_t heads = 0;     // of rope and caches
  std::string rope = {}; // "half", "interleaved"
  int64_t rotary = 0;
  std::string store = {}; // "keys", "values"
  bool result = true;
};

struct GemmShape {
  int64_t depth = 0;
  std::vector<Product> products;
  std::string norm = {}; // "layer_norm", "rms_norm"
  bool normIsResult = false;
  int64_t context = 0;              // slots of the caches; 0: packed rows
  bool bf16 = false, codes = false; // what caches hold; neither: f32

  bool isNarrow() const { return context && (bf16 || codes); }
  /// Of the cache of a product.
  int64_t cacheBytes(const Product &product) const;
};

/// Queries, keys and values of one input: 4 and twice 2 heads of `size`, of which rope turns `rotary` values of the first two. `result`:
/// keys and values are given back as well.
GemmShape attentionInput(TileType type, int64_t size, const std::string &rope, int64_t rotary, int64_t context, bool result);

/// A kernel with its weights.
class GemmKernel {
public:
  explicit GemmKernel(const GemmShape &shape);

  /// A plan whose steps have up to `maxRows` rows.
  std::string text(int64_t maxRows = 4096) const;
  std::string name() const;

  /// Runs a step and checks what it writes.
  void check(const EmulatedPlan &code, int32_t batch, int32_t tokens, size_t seeds = 5) const;
  /// Runs a step and gives back what it writes, caches last; `error` is what `EmulatedPlan::run` says.
  std::vector<std::vector<float>> run(const EmulatedPlan &code, int32_t batch, int32_t tokens, std::string &error) const;

  /// Element `i` of the input of a step is this.
  std::function<float(int64_t i, float value)> adjust;

private:
  struct Step;
  using Rows = std::vector<std::vector<double>>;
  std::string weight(const std::string &layout, const std::string &type, const std::string &tensor, const void *data, size_t bytes);
  std::string vector(int64_t width, std::vector<float> &values);
  void argument(const std::string &name, const std::string &type, const std::string &operand);
  void addProduct(size_t index);
  Rows inputOf(const Step &step) const;
  Rows productOf(const Step &step, const Rows &x, size_t index, size_t which) const;
  Rows exact(const Step &step, const Rows &x, size_t index) const;
  static double angle(const Product &product, int64_t position, int64_t d, bool sine);
  static void turn(const Step &step, const Product &product, Rows &rows);
  /// With an error of up to `most` of the power of a row.
  void compare(const std::string &what, const Rows &want, const std::function<float(int64_t row, int64_t column)> &got, double most) const;
  void checkStore(const Step &step, size_t index, const Rows &want, double most) const;
  /// A narrow cache holds what the rows of the result are rounded to, or near `want` where there is no result; nothing else is touched.
  void checkNarrow(const Step &step, size_t index, const Rows &want) const;
  std::string run(const EmulatedPlan &code, Step &step, size_t seeds) const;

  struct Matrices {
    std::vector<float> values[2], bias[2];
  };
  GemmShape shape;
  OneLaunch plan;
  std::string parameters, head, body, returned, returnedTypes;
  std::vector<std::string> ins, aux, outs, names; // the last of what each product becomes
  std::vector<uint8_t> weights;
  std::vector<float> gain, shift;
  std::vector<Matrices> matrices; // of each product
  int64_t cacheBytes = 0;
  bool hasRope = false;
};

} // namespace ds::test
#endif // DS_TEST_TARGET_CUDA_GEMMKERNEL_H
