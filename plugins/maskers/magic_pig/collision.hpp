// The probability that a key collides with a query, which weights the sample.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <vector>

namespace magic_pig {

/// P(at least `min_tables` of `tables` tables put two vectors into one bucket), as a function of the cosine
/// between them. A table agrees when `bits` random hyperplanes all have the vectors on one side: with
/// probability s = (1 - angle / pi)^bits. Immutable.
class CollisionProbability {
 public:
  /// 1 <= min_tables <= tables, bits >= 1.
  CollisionProbability(int64_t tables, int64_t bits, int64_t min_tables)
      : tables_(tables), bits_(bits), min_tables_(min_tables), log_choose_(1, 0.0) {
    for (int64_t j = 1; j <= tables; ++j) {
      log_choose_.push_back(log_choose_.back() +
                            std::log(static_cast<double>(tables - j + 1) / static_cast<double>(j)));
    }
  }

  /// Its natural logarithm, for a cosine in [-1, 1]: finite, at most 0. A binomial upper tail: the largest
  /// term in logs, the others relative to it, all of them positive, so that nothing cancels or underflows.
  /// Time: proportional to the standard deviation of the number of collisions.
  double log(double cosine) const {
    // acos(-x) = pi - acos(x) without cancellation near -1. A double does not tell angles closer to pi than
    // about 1e-8 apart; the floor keeps the logarithm finite there.
    const double agreement = std::max(std::acos(-cosine) / std::numbers::pi, 1e-9);
    const double hit = static_cast<double>(bits_) * std::log(agreement);
    if (hit >= 0) return 0;
    const double one_table = std::exp(hit), miss = std::log(-std::expm1(hit));
    const auto mode = static_cast<int64_t>(static_cast<double>(tables_ + 1) * one_table);
    const int64_t peak = std::clamp(mode, min_tables_, tables_);
    const double largest = log_choose_[static_cast<size_t>(peak)] + static_cast<double>(peak) * hit +
                           static_cast<double>(tables_ - peak) * miss;

    // Neighbouring terms: P(j + 1) / P(j) = (tables - j) / (j + 1) * odds.
    const double odds = std::exp(hit - miss);
    double sum = 1, term = 1;
    for (int64_t j = peak; j < tables_ && term > negligible; ++j) {
      sum += term *= static_cast<double>(tables_ - j) / static_cast<double>(j + 1) * odds;
    }
    term = 1;
    for (int64_t j = peak; j > min_tables_ && term > negligible; --j) {
      sum += term *= static_cast<double>(j) / static_cast<double>(tables_ - j + 1) / odds;
    }
    return std::min(0.0, largest + std::log(sum));
  }

 private:
  static constexpr double negligible = 1e-20;  // falling ratios: what follows adds less than 1e-16 in all

  int64_t tables_, bits_, min_tables_;
  std::vector<double> log_choose_;  // ln C(tables, j)
};

}  // namespace magic_pig
