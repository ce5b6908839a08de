// The probability that a key collides with a query, which weights the sample.
#pragma once

#include <algorithm>
#include <bit>
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

/// CollisionProbability from tables: cubic interpolation over the root of the distance of the cosine from 1
/// or -1, in which its logarithm is smooth. Exact where the cosine is 0 or 1 and below -0.98. Immutable.
class CollisionTable {
 public:
  CollisionTable(int64_t tables, int64_t bits, int64_t min_tables)
      : exact_(tables, bits, min_tables), intervals_(interval_count(tables, bits)) {
    const auto fill = [&](double sign, std::vector<double>& nodes) {
      for (int64_t i = 0; i <= intervals_; ++i) {
        const double root = static_cast<double>(i) / static_cast<double>(intervals_);
        nodes.push_back(exact_.log(sign * (1 - root * root)));
      }
    };
    fill(1, acute_);
    fill(-1, obtuse_);
  }

  /// ln p, at most 0, within 5e-7 (relative where it is below -1) of CollisionProbability::log.
  double log(double cosine) const {
    const double root = std::sqrt(1 - std::abs(cosine));
    if (cosine < 0 && root < 0.125) return exact_.log(cosine);
    const double at = root * static_cast<double>(intervals_);
    const auto node = std::clamp<int64_t>(static_cast<int64_t>(at), 1, intervals_ - 2);
    const double u = at - static_cast<double>(node);
    const double* f = (cosine < 0 ? obtuse_ : acute_).data() + node;
    // Lagrange, on the nodes at -1, 0, 1 and 2.
    const double below = u * (u - 1), around = (u + 1) * (u - 2);
    return std::min(0.0, f[-1] * (below * (u - 2) / -6) + f[0] * (around * (u - 1) / 2) +
                             f[1] * (around * u / -2) + f[2] * (below * (u + 1) / 6));
  }

 private:
  /// Many in the width in which p rises.
  static int64_t interval_count(int64_t tables, int64_t bits) {
    const double wanted = 16 * static_cast<double>(bits) * std::sqrt(static_cast<double>(tables));
    return std::clamp<int64_t>(static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(wanted))), 256,
                               16384);
  }

  CollisionProbability exact_;
  int64_t intervals_;
  std::vector<double> acute_, obtuse_;  // ln p by the root of 1 - |cosine|
};

}  // namespace magic_pig
