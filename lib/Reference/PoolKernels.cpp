// Pooling of sequences.
#include "Kernels.h"
#include <algorithm>

using namespace mlir;
using namespace ds;
using namespace ds::reference;

Evaluated ds::reference::evaluate(PoolOp op, Inputs<PoolOp> in) {
  const Tensor &input = *in.getInput(), *mask = in.getMask();
  int64_t batch = input.shape[0], tokens = input.shape[1], width = input.shape[2];
  if (mask && failed(expectShape(op, "mask", *mask, {batch, tokens})))
    return failure();
  Tensor output = Tensor::zeros(input.elementType, {batch, width});
  if (tokens == 0 && batch > 0 && op.getKind() != PoolKind::mean)
    return op.emitOpError("expects at least one token");
  for (int64_t b = 0; b < batch; ++b) {
    const double *x = input.values.data() + b * tokens * width;
    double *y = output.values.data() + b * width;
    const double *seen = mask ? mask->values.data() + b * tokens : nullptr;
    if (op.getKind() == PoolKind::mean) {
      double count = 0;
      for (int64_t t = 0; t < tokens; ++t) {
        if (seen[t] == 0)
          continue;
        ++count;
        for (int64_t j = 0; j < width; ++j)
          y[j] += x[t * width + j];
      }
      for (int64_t j = 0; j < width; ++j)
        y[j] /= std::max(count, 1e-9);
      continue;
    }
    int64_t token = 0;
    if (op.getKind() == PoolKind::last)
      for (int64_t t = 0; t < tokens; ++t)
        token = seen[t] != 0 ? t : token;
    std::copy_n(x + token * width, width, y);
  }
  return output;
}
