// Embedding, linear, and the choice of rows.
#include "Kernels.h"
#include "mlir/IR/Threading.h"

using namespace mlir;
using namespace ds;
using namespace ds::reference;

LogicalResult ds::reference::expectShape(Operation *op, StringRef name, const Tensor &tensor, ArrayRef<int64_t> shape) {
  bool equal = tensor.shape.size() == shape.size();
  for (size_t axis = 0; equal && axis < shape.size(); ++axis)
    equal = shape[axis] < 0 || shape[axis] == tensor.shape[axis];
  if (equal)
    return success();
  return op->emitOpError("expects ") << name << " of shape " << shapeText(shape) << ", got " << shapeText(tensor.shape);
}

Evaluated ds::reference::evaluate(EmbeddingOp op, Inputs<EmbeddingOp> in) {
  const Tensor &indices = *in.getIndices(), &table = *in.getTable();
  int64_t width = table.shape[1];
  std::vector<int64_t> shape = indices.shape;
  shape.push_back(width);
  Tensor output = Tensor::zeros(table.elementType, std::move(shape));
  for (int64_t i = 0; i < indices.elements(); ++i) {
    auto index = static_cast<int64_t>(indices.values[i]);
    if (index < 0 || index >= table.shape[0])
      return op.emitOpError("expects indices of 0 to ") << table.shape[0] - 1 << ", got " << index << " at element " << i;
    std::copy_n(table.values.data() + index * width, width, output.values.data() + i * width);
  }
  return output;
}

/// `out[r, n] = sum_k x[r, k] * w[n, k]` for rows [0, Rows) and columns [0, Columns): each value read serves several sums.
template <int Rows, int Columns> static void multiplyBlock(const double *x, const double *w, int64_t depth, double *out, int64_t stride) {
  double sums[Rows][Columns] = {};
  for (int64_t k = 0; k < depth; ++k)
    for (int r = 0; r < Rows; ++r)
      for (int n = 0; n < Columns; ++n)
        sums[r][n] += x[r * depth + k] * w[n * depth + k];
  for (int r = 0; r < Rows; ++r)
    for (int n = 0; n < Columns; ++n)
      out[r * stride + n] = sums[r][n];
}

template <int Columns>
static void multiplyColumns(const double *x, int64_t rows, const double *w, int64_t depth, double *out, int64_t stride) {
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4)
    multiplyBlock<4, Columns>(x + r * depth, w, depth, out + r * stride, stride);
  for (; r < rows; ++r)
    multiplyBlock<1, Columns>(x + r * depth, w, depth, out + r * stride, stride);
}

void ds::reference::multiply(MLIRContext *context, const double *x, int64_t rows, const double *w, int64_t columns, int64_t depth,
                             double *out) {
  constexpr int64_t block = 64;
  parallelFor(context, 0, (columns + block - 1) / block, [&](size_t part) {
    int64_t end = std::min<int64_t>(columns, (part + 1) * block), n = part * block;
    for (; n + 4 <= end; n += 4)
      multiplyColumns<4>(x, rows, w + n * depth, depth, out + n, columns);
    for (; n < end; ++n)
      multiplyColumns<1>(x, rows, w + n * depth, depth, out + n, columns);
  });
}

Tensor ds::reference::transposed(const Tensor &matrix) {
  int64_t rows = matrix.shape[0], columns = matrix.shape[1];
  Tensor output = Tensor::zeros(matrix.elementType, {columns, rows});
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c)
      output.values[c * rows + r] = matrix.values[r * columns + c];
  return output;
}

Evaluated ds::reference::evaluate(LinearOp op, Inputs<LinearOp> in) {
  const Tensor &input = *in.getInput();
  Tensor changed; // the weight, transposed or rounded
  if (op.getTransposed())
    changed = transposed(*in.getWeight());
  else if (op.getRounded())
    changed = *in.getWeight();
  if (op.getRounded())
    for (double &value : changed.values)
      value = roundToType(value, *op.getRounded());
  const Tensor &weight = op.getTransposed() || op.getRounded() ? changed : *in.getWeight();
  int64_t depth = input.shape.back(), columns = weight.shape[0], rows = input.rows();
  if (failed(expectShape(op, "weight", weight, {-1, depth})) || (in.getBias() && failed(expectShape(op, "bias", *in.getBias(), {columns}))))
    return failure();
  std::vector<int64_t> shape = input.shape;
  shape.back() = columns;
  Tensor output = Tensor::zeros(input.elementType, std::move(shape));
  multiply(op.getContext(), input.values.data(), rows, weight.values.data(), columns, depth, output.values.data());
  if (in.getBias())
    for (int64_t i = 0; i < output.elements(); ++i)
      output.values[i] += in.getBias()->values[i % columns];
  return output;
}

Evaluated ds::reference::evaluate(GatherRowsOp op, Inputs<GatherRowsOp> in) {
  const Tensor &input = *in.getInput(), &rows = *in.getRows();
  int64_t width = input.shape[2], count = input.rows();
  Tensor output = Tensor::zeros(input.elementType, {rows.elements(), width});
  for (int64_t r = 0; r < rows.elements(); ++r) {
    auto row = static_cast<int64_t>(rows.values[r]);
    if (row < 0 || row >= count)
      return op.emitOpError("expects rows of 0 to ") << count - 1 << ", got " << row << " at element " << r;
    std::copy_n(input.values.data() + row * width, width, output.values.data() + r * width);
  }
  return output;
}
