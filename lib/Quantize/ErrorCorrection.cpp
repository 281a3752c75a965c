#include "ds/Quantize/ErrorCorrection.h"
#include "GroupScale.h"
#include <Eigen/Cholesky>
#include <Eigen/Core>
#include <algorithm>
#include <numeric>

using namespace ds;

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

struct ErrorCorrection::Factor {
  int64_t group;
  std::vector<int64_t> order; // number of the group that is rounded i-th
  std::vector<float> moments; // of columns, in that order
  Matrix root;                // R of H = R R^T, upper triangular, rows and columns in that order
};

ErrorCorrection::ErrorCorrection(std::unique_ptr<Factor> factor) : factor(std::move(factor)) {}
ErrorCorrection::ErrorCorrection(ErrorCorrection &&) noexcept = default;
ErrorCorrection &ErrorCorrection::operator=(ErrorCorrection &&) noexcept = default;
ErrorCorrection::~ErrorCorrection() = default;

/// Groups by the sum of their moments, largest first.
static std::vector<int64_t> orderOf(const Eigen::Map<const Matrix> &h, int64_t group) {
  std::vector<double> sums;
  for (int64_t first = 0; first < h.rows(); first += group)
    sums.push_back(h.diagonal().segment(first, group).cast<double>().sum());
  std::vector<int64_t> order(sums.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return std::pair(sums[b], a) < std::pair(sums[a], b); });
  return order;
}

Result<ErrorCorrection> ErrorCorrection::create(const float *moments, int64_t columns, int64_t group, double damping) {
  const Eigen::Map<const Matrix> given(moments, columns, columns);
  auto factor = std::make_unique<Factor>();
  factor->group = group;
  factor->order = orderOf(given, group);
  const auto groups = static_cast<int64_t>(factor->order.size());
  // R R^T = H with R upper is L L^T of H with rows and columns in reverse.
  Eigen::MatrixXd reversed(columns, columns);
  for (int64_t i = 0; i < groups; ++i)
    for (int64_t j = 0; j < groups; ++j)
      reversed.block((groups - 1 - i) * group, (groups - 1 - j) * group, group, group) =
          given.block(factor->order[i] * group, factor->order[j] * group, group, group).cast<double>().reverse();
  const double mean = reversed.diagonal().mean();
  reversed.diagonal().array() += mean > 0 ? mean * damping : 1.0;
  const Eigen::VectorXf diagonal = reversed.diagonal().reverse().cast<float>();
  factor->moments.assign(diagonal.begin(), diagonal.end());
  Eigen::LLT<Eigen::Ref<Eigen::MatrixXd>> decomposition(reversed);
  if (decomposition.info() != Eigen::Success)
    return Error::badData("expects moments of values, a positive semidefinite matrix, found none");
  factor->root = Eigen::MatrixXd(decomposition.matrixL()).reverse().cast<float>();
  return ErrorCorrection(std::move(factor));
}

Result<void> ErrorCorrection::quantize(const QuantizationScheme &scheme, const float *values, int64_t count, QuantizedRow *rows) const {
  const Matrix &root = factor->root;
  const int64_t columns = root.rows(), group = factor->group, groups = columns / group;
  auto rowed = [](int64_t row, const Error &error) { return Error::badData("row " + std::to_string(row) + ", " + error.message); };
  for (int64_t i = 0; i < count; ++i) {
    if (Result<void> finite = expectFinite(values + i * columns, columns); !finite)
      return rowed(i, finite.error());
    rows[i].codes.resize(columns);
    rows[i].scales.resize(groups);
    rows[i].offsets.resize(scheme.asymmetric ? groups : 0);
  }
  const Eigen::Map<const Matrix> matrix(values, count, columns);
  Matrix errors = Matrix::Zero(count, columns); // wanted - rounded, in the order of the root
  std::vector<float> best(group);
  for (int64_t turn = 0; turn < groups; ++turn) {
    const int64_t place = factor->order[turn], first = turn * group;
    const auto wanted = matrix.middleCols(place * group, group);
    const auto triangle = root.block(first, first, group, group);
    // What the errors so far add to each component of (wanted - rounded) R, and the changes of this group that would undo it.
    Matrix carried = errors.leftCols(first) * root.block(0, first, first, group);
    const Matrix undo = triangle.transpose().triangularView<Eigen::Lower>().solve(carried.transpose()).transpose();
    for (int64_t i = 0; i < count; ++i) {
      Eigen::Map<Eigen::RowVectorXf>(best.data(), group) = wanted.row(i) + undo.row(i);
      const GroupScale scale = searchScale(scheme, best.data(), factor->moments.data() + first, group);
      if (Result<void> stored = expectStorable(scheme, scale, place * group); !stored)
        return rowed(i, stored.error());
      rows[i].scales[place] = scale.scale;
      if (scheme.asymmetric)
        rows[i].offsets[place] = scale.offset;
      for (int64_t k = 0; k < group; ++k) {
        const int16_t code = scale.round(scheme, wanted(i, k) + carried(i, k) / triangle(k, k));
        const float error = wanted(i, k) - scale.valueOf(scheme, code);
        rows[i].codes[place * group + k] = code;
        errors(i, first + k) = error;
        carried.row(i).tail(group - k - 1) += error * triangle.row(k).tail(group - k - 1);
      }
    }
  }
  return {};
}

double ds::outputEnergy(const float *moments, int64_t columns, const float *values, int64_t count) {
  const Eigen::Map<const Matrix> rows(values, count, columns), h(moments, columns, columns);
  const Matrix products = rows * h;
  return products.cast<double>().cwiseProduct(rows.cast<double>()).sum();
}

double ds::errorEnergy(const float *moments, int64_t columns, const QuantizationScheme &scheme, const QuantizedRow *rows, float *values,
                       int64_t count) {
  std::vector<float> rounded(columns);
  for (int64_t i = 0; i < count; ++i) {
    dequantizeRow(scheme, rows[i], rounded.data());
    for (int64_t k = 0; k < columns; ++k)
      values[i * columns + k] -= rounded[k];
  }
  return outputEnergy(moments, columns, values, count);
}
