#include "ds/Quantize/MoqScheme.h"
#include <algorithm>
#include <charconv>
#include <numeric>

using namespace ds;

Result<MoqGrid> ds::parseMoqGrid(std::string_view name) {
  auto refuse = [&] {
    return Error::usage("expects moqB with B from 1 to 8, or moqB-asym or moqB-inference from 3 on, each also with -groupsN, got '" +
                        std::string(name) + "'");
  };
  std::string_view rest = name;
  auto take = [&](std::string_view part) {
    if (!rest.starts_with(part))
      return false;
    rest.remove_prefix(part.size());
    return true;
  };
  auto takeNumber = [&](auto &number) {
    auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), number);
    rest.remove_prefix(static_cast<size_t>(end - rest.data()));
    return error == std::errc() && number >= 1;
  };
  MoqGrid grid;
  if (!take("moq") || !takeNumber(grid.bits) || grid.bits > 8)
    return refuse();
  grid.asymmetric = take("-asym");
  grid.inference = !grid.asymmetric && take("-inference");
  if (take("-groups") && !takeNumber(grid.groups))
    return refuse();
  if (!rest.empty() || ((grid.asymmetric || grid.inference) && grid.bits < 3))
    return refuse();
  return grid;
}

std::string ds::nameOf(const MoqGrid &grid) {
  std::string name = "moq" + std::to_string(grid.bits) + (grid.asymmetric ? "-asym" : grid.inference ? "-inference" : "");
  return grid.groups == 1 ? name : name + "-groups" + std::to_string(grid.groups);
}

/// Columns of a row, from each multiple of which on one group follows; none where groups end elsewhere in each row.
static std::optional<int64_t> columnsTogether(const StoredMatrix &matrix, int64_t run) {
  auto isWhole = [&](int64_t places) { return places % matrix.columns == 0; };
  if (matrix.strides.back() == 1 && isWhole(matrix.sizes.back()) && isWhole(matrix.offset) &&
      std::all_of(matrix.strides.begin(), matrix.strides.end() - 1, isWhole))
    return std::gcd(run, matrix.columns);
  // Transposed: a row of the tensor is a column here.
  if (matrix.sizes.size() == 2 && matrix.strides[0] == 1 && matrix.sizes[1] == matrix.columns &&
      matrix.offset + matrix.sizes[0] <= matrix.strides[1] && run % matrix.strides[1] == 0)
    return std::gcd(run / matrix.strides[1], matrix.columns);
  return std::nullopt;
}

Result<QuantizationScheme> ds::schemeOfGrid(const MoqGrid &grid, const StoredMatrix &matrix) {
  QuantizationScheme scheme{std::max(grid.bits, 2), 0, grid.asymmetric, false};
  if (grid.groups == 1)
    return scheme;
  if (matrix.elements % grid.groups != 0)
    return Error::badData("expects a number of groups that divides " + std::to_string(matrix.elements) + " values, got " +
                          std::to_string(grid.groups));
  const int64_t run = matrix.elements / grid.groups;
  std::optional<int64_t> together = columnsTogether(matrix, run);
  if (!together || *together % 16 != 0)
    return Error::badData("expects groups of whole rows, or that end behind a multiple of 16 columns, got runs of " + std::to_string(run) +
                          " values for rows of " + std::to_string(matrix.columns) + (together ? "" : " in another order"));
  scheme.group = *together == matrix.columns ? 0 : *together;
  return scheme;
}
