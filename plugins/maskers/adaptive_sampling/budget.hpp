// How many draws a relative error needs: the formulas of the README, by its equation numbers.
#pragma once

#include <attnlab/sampling.hpp>

#include <algorithm>
#include <cmath>
#include <span>

namespace adaptive_sampling {

/// Sums of vectors over the known keys, with mean and spread over those of them that are the pilot. One pass
/// over the keys. Does not own its memory: `total` and `mean` have one element per channel.
class Moments {
 public:
  Moments(std::span<double> total, std::span<double> mean) : total_(total), mean_(mean) {
    std::fill(total_.begin(), total_.end(), 0.0);
    std::fill(mean_.begin(), mean_.end(), 0.0);
  }
  /// A key of an earlier stage with the vector weight * value.
  void add(double weight, std::span<const float> value) {
    for (size_t c = 0; c < total_.size(); ++c) total_[c] += weight * static_cast<double>(value[c]);
  }
  /// A key of the pilot.
  void add_pilot(double weight, std::span<const float> value) {
    add(weight, value);
    ++pilot_;
    for (size_t c = 0; c < mean_.size(); ++c) {
      const double x = weight * static_cast<double>(value[c]), change = x - mean_[c];
      mean_[c] += change / pilot_;
      squares_ += change * (x - mean_[c]);
    }
  }
  double pilot() const { return pilot_; }
  /// Sum of squared distances of the pilot from its mean.
  double squares() const { return squares_; }
  /// Norm of the sum over the known keys.
  double known() const { return estimate(0); }
  /// Norm of the sum over all keys when `rest` unknown ones are like the pilot.
  double estimate(double rest) const {
    double square = 0;
    for (size_t c = 0; c < total_.size(); ++c) {
      const double sum = total_[c] + rest * mean_[c];
      square += sum * sum;
    }
    return std::sqrt(square);
  }

 private:
  std::span<double> total_, mean_;
  double pilot_ = 0, squares_ = 0;
};

/// x with P(chi-square of `degrees` > x) = tail: exact for 1 and 2 degrees, else Wilson and Hilferty (1931).
inline double chi_square_upper(double tail, int degrees) {
  if (degrees == 1) return std::pow(attnlab::normal_quantile(tail / 2), 2);
  if (degrees == 2) return -2 * std::log(tail);
  const double spread = 2.0 / (9 * degrees);
  const double root = 1 - spread - attnlab::normal_quantile(tail) * std::sqrt(spread);
  return degrees * std::pow(std::max(0.0, root), 3);
}

/// The quantile of eq. 4: of a sum of squares whatever the spectrum of its covariance, relative to its trace.
/// The supremum over the rank lies at 1 for a small tail and tends to 1 for infinite rank.
inline double worst_chi_square(double tail) {
  double largest = 1;
  for (int degrees = 1; degrees <= 64; ++degrees)
    largest = std::max(largest, chi_square_upper(tail, degrees) / degrees);
  return largest;
}

/// Eq. 3: draws out of `rest` keys by the central limit theorem. `quantile` is that of the squared error over
/// its variance, `tau` the error allowed.
inline double normal_draws(const Moments& moments, double rest, double quantile, double tau) {
  if (moments.squares() == 0) return 0;
  // Upper 80 % confidence bound: a pilot's variance is itself noisy.
  const double variance = moments.squares() / attnlab::chi_square_quantile(0.2, moments.pilot() - 1);
  const double m0 = rest * rest * quantile * variance / (tau * tau);
  // m0 / (1 + m0 / rest) in a form that survives m0 = infinity.
  return m0 > 0 ? 1 / (1 / m0 + 1 / rest) : 0;
}

/// Tail of the deviation u of a sum of `count` draws without replacement from its mean: u is at least the
/// root of u^2 = proxy * count + slope * u with the probability that `proxy` and `slope` were made for.
struct Tail {
  double proxy, slope;

  /// The deviation of the sum of m out of n draws. Drawing m is leaving n - m out, and the two sums deviate
  /// equally: the smaller count holds (eq. 8).
  double deviation(double m, double n) const {
    const double count = std::min(m, n - m);
    return (slope + std::sqrt(slope * slope + 4 * proxy * count)) / 2;
  }
  /// Eq. 9: the fewest m out of `rest` draws whose deviation is at most tau * m / rest.
  double draws(double rest, double tau) const {
    const double p = proxy * (rest / tau) * (rest / tau), s = slope * (rest / tau);
    if (!(p < 1e100 && s < 1e100)) return rest;  // also for NaN
    const double less = s - p, root = std::sqrt(less * less + 4 * p * rest);
    const double upper_half = less > 0          ? (less + root) / 2
                              : root - less > 0 ? 2 * p * rest / (root - less)
                                                : 0;
    return std::min({p + s, upper_half, rest});
  }
};

/// Eq. 5 and 6: vectors within `diameter` of one another, numbers when `scalar`.
inline Tail hoeffding_tail(double diameter, bool scalar, double delta) {
  return {(scalar ? 0.5 : 2.0) * std::log(2 / delta) * diameter * diameter, 0};
}

/// Eq. 7: the same with a variance.
inline Tail bernstein_tail(double variance, double diameter, double delta) {
  return {2 * std::log(2 / delta) * variance, 2.0 / 3 * std::log(2 / delta) * diameter};
}

/// Maurer and Pontil (2009), theorem 10: the standard deviation of a population is at most this, except with
/// probability `delta`.
inline double deviation_bound(const Moments& moments, double diameter, double delta) {
  const double degrees = moments.pilot() - 1;
  return std::sqrt(moments.squares() / degrees) + diameter * std::sqrt(2 * std::log(1 / delta) / degrees);
}

/// Eq. 10: draws out of `rest` keys with an error of at most epsilon times the norm of the whole sum, except
/// with probability `delta`. The norm is bounded from below by the pilot, and by the known keys where all
/// terms are positive (`scalar`).
inline double bounded_draws(const Moments& moments, double rest, double epsilon, double delta,
                            double diameter, bool scalar, bool use_variance) {
  const double all = rest + moments.pilot();
  const double share = delta / (use_variance ? 3 : 2);
  Tail tail = hoeffding_tail(diameter, scalar, share), pilot_tail = tail;
  if (use_variance) {
    const double variance = std::pow(deviation_bound(moments, diameter, share), 2);
    pilot_tail = bernstein_tail(variance, diameter, share);
    // The rest's squares are part of all squares.
    tail = bernstein_tail(variance * all / rest, diameter, share);
  }
  const double pilot_error = pilot_tail.deviation(moments.pilot(), all) * all / moments.pilot();
  const double norm = std::max(scalar ? moments.known() : 0, moments.estimate(rest) - pilot_error);
  return norm > 0 ? tail.draws(rest, epsilon * norm) : rest;
}

}  // namespace adaptive_sampling
