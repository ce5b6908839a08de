#include "core/measure/paired.hpp"

#include <attnlab/philox.hpp>

#include <algorithm>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <numeric>

#include "core/base/error.hpp"

namespace attnlab::measure {
namespace {

constexpr int kResamples = 2000;

double mean_of(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

/// Between neighbours of the sorted values, as NumPy's default.
double quantile(const std::vector<double>& sorted, double share) {
  const double place = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (place - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

}  // namespace

Estimate t_interval(std::span<const double> values, double confidence) {
  Estimate estimate;
  estimate.count = static_cast<int64_t>(values.size());
  if (values.empty()) return estimate;
  estimate.mean = mean_of(values);
  if (values.size() < 2) return estimate;
  double squares = 0;
  for (const double value : values) squares += (value - estimate.mean) * (value - estimate.mean);
  const auto n = static_cast<double>(values.size());
  estimate.deviation = std::sqrt(squares / (n - 1));
  const boost::math::students_t distribution(n - 1);
  const double reach =
      boost::math::quantile(distribution, (1 + confidence) / 2) * estimate.deviation / std::sqrt(n);
  estimate.low = estimate.mean - reach;
  estimate.high = estimate.mean + reach;
  return estimate;
}

PairedTest paired_t_test(std::span<const double> differences, double confidence) {
  PairedTest test;
  test.difference = t_interval(differences, confidence);
  if (differences.size() < 2) return test;
  const Estimate& d = test.difference;
  const auto n = static_cast<double>(d.count);
  if (d.deviation == 0) {
    test.t = d.mean == 0 ? 0 : std::copysign(std::numeric_limits<double>::infinity(), d.mean);
    test.p = d.mean == 0 ? 1 : 0;
    return test;
  }
  test.t = d.mean / (d.deviation / std::sqrt(n));
  if (std::isfinite(test.t))
    test.p = 2 * boost::math::cdf(boost::math::complement(boost::math::students_t(n - 1), std::fabs(test.t)));
  return test;
}

std::vector<double> holm(std::span<const double> p) {
  std::vector<size_t> order;
  for (size_t i = 0; i < p.size(); ++i) {
    if (!std::isnan(p[i])) order.push_back(i);
  }
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return p[a] < p[b]; });
  std::vector<double> adjusted(p.begin(), p.end());
  double least = 0;
  for (size_t rank = 0; rank < order.size(); ++rank) {
    least = std::max(least, std::min(1.0, static_cast<double>(order.size() - rank) * p[order[rank]]));
    adjusted[order[rank]] = least;
  }
  return adjusted;
}

Estimate block_bootstrap(std::span<const double> values, std::span<const double> weights, uint64_t seed,
                         double confidence) {
  ATTNLAB_CHECK(values.size() == weights.size(), "one weight for each value");
  Estimate estimate;
  const auto n = static_cast<int64_t>(values.size());
  estimate.count = n;
  auto mean_at = [&](const auto& index_of) {
    double sum = 0, mass = 0;
    for (int64_t i = 0; i < n; ++i) {
      const auto at = static_cast<size_t>(index_of(i));
      sum += weights[at] * values[at];
      mass += weights[at];
    }
    return sum / mass;
  };
  if (n == 0) return estimate;
  estimate.mean = mean_at([](int64_t i) { return i; });
  if (n < 2) return estimate;
  const auto block = static_cast<int64_t>(std::ceil(std::cbrt(static_cast<double>(n)) - 1e-9));
  std::vector<double> means(kResamples);
  Philox random(seed);
  for (double& mean : means) {
    int64_t begin = 0;
    mean = mean_at([&](int64_t i) {
      if (i % block == 0) begin = static_cast<int64_t>(random.below(static_cast<uint64_t>(n)));
      return (begin + i % block) % n;
    });
  }
  std::erase_if(means, [](double mean) { return !std::isfinite(mean); });  // resamples without any weight
  if (means.size() < 2) return estimate;
  std::sort(means.begin(), means.end());
  estimate.deviation = t_interval(means).deviation;
  estimate.low = quantile(means, (1 - confidence) / 2);
  estimate.high = quantile(means, (1 + confidence) / 2);
  return estimate;
}

}  // namespace attnlab::measure
