// What a matrix of attention weights is: how many directions it has, how flat its rows are, and what a
// recurrence would have to keep to compute it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace attnlab::measure {

// All functions are pure and thread-safe; results do not depend on the threads. Matrices must be finite.

/// Row-major elements that somebody else owns; row i begins at data + i * stride.
struct MatrixView {
  const double* data = nullptr;
  int64_t rows = 0, columns = 0, stride = 0;

  MatrixView(const double* first, int64_t row_count, int64_t column_count, int64_t row_stride = 0)
      : data(first),
        rows(row_count),
        columns(column_count),
        stride(row_stride == 0 ? column_count : row_stride) {}
  double at(int64_t row, int64_t column) const { return data[row * stride + column]; }
  /// Rows from `row` on, columns before `column`.
  MatrixView lower_left(int64_t row, int64_t column) const {
    return {data + row * stride, rows - row, column, stride};
  }
};

/// Largest first, min(rows, columns) of them. O(rows columns min(rows, columns)).
std::vector<double> singular_values(const MatrixView& matrix);

/// Singular values above sigma_1 max(rows, columns) epsilon, as NumPy and MATLAB count them.
int64_t numerical_rank(std::span<const double> singular, int64_t rows, int64_t columns);
/// exp(-sum p ln p), p = sigma / sum(sigma) (Roy and Vetterli, EUSIPCO 2007): from 1 to the rank. 0 of a zero
/// matrix, as are the next two.
double effective_rank(std::span<const double> singular);
/// (sum sigma)^2 / sum(sigma^2).
double participation_ratio(std::span<const double> singular);
/// Squared Frobenius norm / sigma_1^2.
double stable_rank(std::span<const double> singular);

/// Rows as probabilities over the keys that they see.
struct RowFigures {
  double entropy = 0;        ///< -sum p ln p, mean over the rows, nats
  double entropy_share = 0;  ///< of ln(visible keys), mean over the rows that see two or more; NaN: none
  double top_mass = 0;       ///< of the largest tenth of the visible keys, rounded up, mean over the rows
  int64_t left_out = 0;      ///< rows that do not sum to 1, such as those without any weight
};
/// `causal`: row i sees columns 0 to i + columns - rows. Empty where an element is negative, an unseen one is
/// not 0, or more than a hundredth of the rows sum to something other than 1 +- 0.001: no rows of
/// probabilities.
std::optional<RowFigures> row_figures(const MatrixView& matrix, bool causal);

/// The largest rank of A[t:, :t] over the cuts t: the numbers that a linear recurrence must carry from the
/// columns before t to the rows from t on. Of a causal matrix whose own rank says nothing.
int64_t hankel_rank(const MatrixView& square, std::span<const int64_t> cuts);
/// All of 1 to n - 1 for n up to 512, else the multiples of n / 64.
std::vector<int64_t> hankel_cuts(int64_t n);

}  // namespace attnlab::measure
