// Means with intervals, and differences of pairs.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace attnlab::measure {

/// A mean with its two-sided interval; NaN for what the values do not tell.
struct Estimate {
  int64_t count = 0;
  double mean = std::numeric_limits<double>::quiet_NaN();
  double deviation = mean;  ///< sample standard deviation, n - 1
  double low = mean, high = mean;
};

/// Student's t interval of the mean of independent values. One value has no interval.
Estimate t_interval(std::span<const double> values, double confidence = 0.95);

/// Student's paired t-test of mean difference 0.
struct PairedTest {
  Estimate difference;
  double t = std::numeric_limits<double>::quiet_NaN();
  double p = t;  ///< two-sided; 1 where all differences are 0, 0 where all are the same other number
};
PairedTest paired_t_test(std::span<const double> differences, double confidence = 0.95);

/// Holm's step-down adjustment: rejecting those at or below alpha keeps the chance of any false rejection at
/// alpha, whatever their dependence. NaNs stay, and are not counted.
std::vector<double> holm(std::span<const double> p);

/// The weighted mean of a series whose neighbours may be alike, such as windows of one text, with the
/// percentile interval of a circular block bootstrap: blocks of ceil(n^(1/3)) neighbours, 2000 resamples, a
/// pure function of values, weights and seed. `deviation` is the bootstrap's standard error.
Estimate block_bootstrap(std::span<const double> values, std::span<const double> weights, uint64_t seed,
                         double confidence = 0.95);

}  // namespace attnlab::measure
