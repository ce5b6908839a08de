// What inclusion probabilities and true variances say about the sample of one row.
#pragma once

#include <string>
#include <vector>

#include "core/attention/session.hpp"

namespace attnlab::measure {

/// Sums of x = e^logit / D over a set of keys, D the exact denominator of the row.
struct Mass {
  int64_t keys = 0;
  double sum = 0, squares = 0;

  void add(double x) {
    ++keys;
    sum += x;
    squares += x * x;
  }
  Mass operator-(const Mass& other) const {
    return {keys - other.keys, sum - other.sum, squares - other.squares};
  }
  /// Sum of squared distances from the mean, at least 0.
  double spread() const;
};

/// Mass of the visible keys of a row, and of those among them that are deterministic in `list`.
Mass visible_mass(const attention::TileOutcome& outcome, int64_t row);
Mass deterministic_mass(const attention::TileOutcome& outcome, int64_t row, const attention::RowList& list);

/// Variance of D^ / D given what is deterministic.
struct RatioVariance {
  double variance = 0;
  bool uniform =
      true;  ///< by the formula of uniform draws without replacement; else that of independent draws
};
/// Uniform: the sampled keys of the row have one p, and it is their share of the keys that are not
/// deterministic. Then the variance is n^2 (1/m - 1/n) S^2. Else sum (1 - p) / p x^2, estimated without bias
/// from the sample. O(active keys).
RatioVariance ratio_variance(const attention::TileOutcome& outcome, int64_t row,
                             const attention::RowList& list, const Mass& visible);

/// Keys that have to be drawn uniformly without replacement out of those that `prior` left over, so that by
/// the central limit theorem the relative error of the target exceeds epsilon with probability delta.
double minimum_budget(const attention::TileOutcome& prior, int64_t row, const attention::RowList& list,
                      const std::string& target, double epsilon, double delta);

}  // namespace attnlab::measure
