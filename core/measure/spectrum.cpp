#include "core/measure/spectrum.hpp"

#include <Eigen/SVD>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "core/base/error.hpp"
#include "core/base/parallel.hpp"

namespace attnlab::measure {
namespace {

using Dense = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

constexpr double sum_tolerance = 1e-3;
constexpr double odd_rows_share = 0.01;

double sum_of(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}
double sum_of_squares(std::span<const double> values) {
  return std::inner_product(values.begin(), values.end(), values.begin(), 0.0);
}

/// One row's probabilities: its elements over their sum.
struct Row {
  double entropy = 0, top_mass = 0;

  Row(const double* weights, int64_t visible, double total) {
    std::vector<double> p(static_cast<size_t>(visible));
    for (size_t j = 0; j < p.size(); ++j) {
      p[j] = weights[j] / total;
      if (p[j] > 0) entropy -= p[j] * std::log(p[j]);
    }
    const auto most = p.begin() + (visible + 9) / 10;
    std::partial_sort(p.begin(), most, p.end(), std::greater<>());
    top_mass = std::accumulate(p.begin(), most, 0.0);
  }
};

}  // namespace

std::vector<double> singular_values(const MatrixView& matrix) {
  if (matrix.rows == 0 || matrix.columns == 0) return {};
  const Eigen::Map<const Dense, 0, Eigen::OuterStride<>> a(matrix.data, matrix.rows, matrix.columns,
                                                           Eigen::OuterStride<>(matrix.stride));
  ATTNLAB_CHECK(a.allFinite(), "a matrix with NaN or infinite elements has no singular values");
  const Eigen::BDCSVD<Dense> svd(a, 0);
  const Eigen::VectorXd& values = svd.singularValues();
  return {values.data(), values.data() + values.size()};
}

int64_t numerical_rank(std::span<const double> singular, int64_t rows, int64_t columns) {
  if (singular.empty()) return 0;
  const double least = singular.front() * static_cast<double>(std::max(rows, columns)) *
                       std::numeric_limits<double>::epsilon();
  return std::count_if(singular.begin(), singular.end(), [&](double value) { return value > least; });
}

double effective_rank(std::span<const double> singular) {
  const double total = sum_of(singular);
  if (total <= 0) return 0;
  double entropy = 0;
  for (const double value : singular) {
    if (const double p = value / total; p > 0) entropy -= p * std::log(p);
  }
  return std::exp(entropy);
}

double participation_ratio(std::span<const double> singular) {
  const double total = sum_of(singular);
  return total <= 0 ? 0 : total * total / sum_of_squares(singular);
}

double stable_rank(std::span<const double> singular) {
  if (sum_of(singular) <= 0) return 0;
  return sum_of_squares(singular) / (singular.front() * singular.front());
}

std::optional<RowFigures> row_figures(const MatrixView& matrix, bool causal) {
  RowFigures figures;
  int64_t counted = 0, shared = 0;
  for (int64_t i = 0; i < matrix.rows; ++i) {
    const double* row = matrix.data + i * matrix.stride;
    const int64_t visible = causal
                                ? std::clamp<int64_t>(i + 1 + matrix.columns - matrix.rows, 0, matrix.columns)
                                : matrix.columns;
    if (std::any_of(row, row + visible, [](double weight) { return weight < 0; })) return std::nullopt;
    if (std::any_of(row + visible, row + matrix.columns, [](double weight) { return weight != 0; }))
      return std::nullopt;
    const double total = std::accumulate(row, row + visible, 0.0);
    if (std::abs(total - 1) > sum_tolerance) {
      ++figures.left_out;
      continue;
    }
    const Row measured(row, visible, total);
    ++counted;
    figures.entropy += measured.entropy;
    figures.top_mass += measured.top_mass;
    if (visible < 2) continue;
    ++shared;
    figures.entropy_share += measured.entropy / std::log(static_cast<double>(visible));
  }
  if (counted == 0 ||
      static_cast<double>(figures.left_out) > odd_rows_share * static_cast<double>(matrix.rows))
    return std::nullopt;
  figures.entropy /= static_cast<double>(counted);
  figures.top_mass /= static_cast<double>(counted);
  figures.entropy_share = shared == 0 ? std::numeric_limits<double>::quiet_NaN()
                                      : figures.entropy_share / static_cast<double>(shared);
  return figures;
}

int64_t hankel_rank(const MatrixView& square, std::span<const int64_t> cuts) {
  ATTNLAB_CHECK(square.rows == square.columns, "only a square matrix is cut at its tokens");
  std::vector<int64_t> ranks(cuts.size(), 0);
  base::parallel_for(static_cast<int64_t>(cuts.size()), [&](int64_t i, int) {
    const int64_t cut = cuts[static_cast<size_t>(i)];
    const MatrixView block = square.lower_left(cut, cut);
    ranks[static_cast<size_t>(i)] = numerical_rank(singular_values(block), block.rows, block.columns);
  });
  return ranks.empty() ? 0 : *std::max_element(ranks.begin(), ranks.end());
}

std::vector<int64_t> hankel_cuts(int64_t n) {
  const int64_t step = n <= 512 ? 1 : n / 64;
  std::vector<int64_t> cuts;
  for (int64_t cut = step; cut < n; cut += step) cuts.push_back(cut);
  return cuts;
}

}  // namespace attnlab::measure
