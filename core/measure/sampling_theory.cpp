#include "core/measure/sampling_theory.hpp"

#include <attnlab/sampling.hpp>

#include <algorithm>
#include <cmath>

namespace attnlab::measure {
namespace {

/// x of the keys of one row.
class RowMass {
 public:
  RowMass(const attention::TileOutcome& outcome, int64_t row)
      : logits_(outcome.tile->logits() + row * outcome.tile->logits_stride()),
        log_denominator_(double{outcome.exact_lse[row]}) {}
  double operator[](int64_t key) const { return std::exp(double{logits_[key]} - log_denominator_); }

 private:
  const float* logits_;
  double log_denominator_;
};

template <class Visit>
void each_deterministic(const attention::RowList& list, const Visit& visit) {
  for (const auto& run : list.runs) {
    for (int32_t key = run.begin; key < run.end; ++key) visit(key);
  }
  for (int32_t key : list.ids) visit(key);
}

/// Draws out of `keys` whose total has variance keys * spread / m without the finite correction.
double draws(double keys, double spread, double quantile, double error) {
  if (!(spread > 0) || keys < 2) return 0;
  const double m0 = keys * keys * quantile * spread / (keys - 1) / (error * error);
  return m0 > 0 ? 1 / (1 / m0 + 1 / keys) : 0;
}

/// Largest over r of the quantile of a chi-square variable with r degrees, divided by r.
double worst_quantile(double delta) {
  double largest = 1;
  for (int degrees = 1; degrees <= 64; ++degrees) {
    largest = std::max(largest, chi_square_quantile(1 - delta, degrees) / degrees);
  }
  return largest;
}

}  // namespace

double Mass::spread() const {
  return keys < 1 ? 0 : std::max(0.0, squares - sum * sum / static_cast<double>(keys));
}

Mass visible_mass(const attention::TileOutcome& outcome, int64_t row) {
  const RowMass x(outcome, row);
  std::vector<kernels::Range> runs;
  outcome.tile->visible_runs(row, runs);
  Mass mass;
  for (const auto& run : runs) {
    for (int32_t key = run.begin; key < run.end; ++key) mass.add(x[key]);
  }
  return mass;
}

Mass deterministic_mass(const attention::TileOutcome& outcome, int64_t row, const attention::RowList& list) {
  const RowMass x(outcome, row);
  Mass mass;
  each_deterministic(list, [&](int32_t key) { mass.add(x[key]); });
  return mass;
}

RatioVariance ratio_variance(const attention::TileOutcome& outcome, int64_t row,
                             const attention::RowList& list, const Mass& visible) {
  if (list.sampled.empty()) return {};
  const Mass free = visible - deterministic_mass(outcome, row, list);
  const auto [low, high] = std::minmax_element(list.log_weight.begin(), list.log_weight.end());
  const auto n = static_cast<double>(free.keys), m = static_cast<double>(list.sampled.size());
  if (*low == *high && std::abs(m * std::exp(double{*low}) - n) <= 1e-4 * n) {
    return {n < 2 ? 0 : n * n * (1 / m - 1 / n) * free.spread() / (n - 1), true};
  }
  const RowMass x(outcome, row);
  double variance = 0;
  for (size_t i = 0; i < list.sampled.size(); ++i) {
    const double weight = std::exp(double{list.log_weight[i]}), mass = x[list.sampled[i]];
    variance += (weight * weight - weight) * mass * mass;
  }
  return {variance, false};
}

double minimum_budget(const attention::TileOutcome& prior, int64_t row, const attention::RowList& list,
                      const std::string& target, double epsilon, double delta) {
  const double share = target == "output" ? 4 : 1, tail = target == "output" ? delta / 2 : delta;
  const RowMass x(prior, row);
  std::vector<uint8_t> known(static_cast<size_t>(prior.tile->visible_end(row)), 0);
  each_deterministic(list, [&](int32_t key) { known[static_cast<size_t>(key)] = 1; });
  std::vector<kernels::Range> runs;
  prior.tile->visible_runs(row, runs);

  const auto width = static_cast<size_t>(prior.tile->value_dim());
  const bool vector = target != "denominator";
  Mass mass;
  std::vector<double> sum(width, 0.0);
  double squares = 0;
  for (const auto& run : runs) {
    for (int32_t key = run.begin; key < run.end; ++key) {
      if (known[static_cast<size_t>(key)] != 0) continue;
      const double weight = x[key];
      mass.add(weight);
      if (!vector) continue;
      const float* value = prior.tile->value() + key * prior.tile->value_stride();
      for (size_t c = 0; c < width; ++c) {
        sum[c] += weight * double{value[c]};
        squares += weight * weight * double{value[c]} * double{value[c]};
      }
    }
  }
  const auto n = static_cast<double>(mass.keys);
  double needed = 0;
  if (target != "numerator") {
    const double z = normal_quantile(std::max(tail / 2, 1e-300));
    needed = draws(n, mass.spread(), z * z, epsilon / share);
  }
  if (vector) {
    double norm = 0;
    const float* exact = prior.exact_out + row * prior.tile->value_dim();
    for (size_t c = 0; c < width; ++c) {
      squares -= sum[c] * sum[c] / std::max(n, 1.0);
      norm += double{exact[c]} * double{exact[c]};
    }
    needed = std::max(needed, draws(n, squares, worst_quantile(tail), epsilon / share * std::sqrt(norm)));
  }
  return std::ceil(std::min(needed, n));
}

}  // namespace attnlab::measure
