// Adaptive sampling against theory. The reference draws with replacement, from a range that still holds the
// active keys, counts the pilot as sample and forgets the finite population.
#include <attnlab/sampling.hpp>

#include <algorithm>
#include <cmath>

#include "core/measure/verify_sampling.hpp"
#include "tests/golden/hub_checks.hpp"
#include "tests/golden/hub_compare.hpp"

namespace attnlab::golden {
namespace {

constexpr auto method = "adaptive_sampling";

/// A count, or a share of `keys`, at least one.
int64_t size_of(const io::Json& size, int64_t keys) {
  if (size.is_number_integer()) return size.get<int64_t>();
  return std::max<int64_t>(1,
                           static_cast<int64_t>(std::floor(size.get<double>() * static_cast<double>(keys))));
}

/// The keys that a row may sample, and the pilot's size.
struct Residual {
  std::vector<int64_t> keys;
  int64_t pilot = 0;
};

Residual residual_of(const HubCase& golden, int64_t row, std::span<const float> prior) {
  const int64_t end = golden.visible_end(row);
  Residual residual;
  residual.pilot = std::max<int64_t>(2, size_of(golden.parameter(method, "base_rate_sampling"), end));
  const int64_t last = end - size_of(golden.parameter(method, "local_offset"), end);
  for (int64_t key = size_of(golden.parameter(method, "init_offset"), end); key < last; ++key) {
    if (prior[static_cast<size_t>(key)] == 0) residual.keys.push_back(key);
  }
  return residual;
}

/// Steps 2 and 3 of spec/maskers.md, by definition. The pilot is part of what is known exactly.
double needed_draws(const HubCase& golden, std::span<const double> logits, const std::vector<int64_t>& known,
                    const std::vector<int64_t>& pilot, double rest, double epsilon, double delta) {
  const auto n = static_cast<double>(pilot.size());
  double deterministic = 0, mean = 0, squares = 0;
  for (int64_t key : known) deterministic += std::exp(logits[static_cast<size_t>(key)]);
  for (int64_t key : pilot) mean += std::exp(logits[static_cast<size_t>(key)]) / n;
  deterministic += n * mean;
  for (int64_t key : pilot) squares += std::pow(std::exp(logits[static_cast<size_t>(key)]) - mean, 2);
  const double deviation = std::sqrt(squares / chi_square_quantile(0.2, n - 1));
  const double tau = epsilon * (deterministic + rest * mean);
  const double m0 = std::pow(normal_quantile(1 - delta / 2) * rest * deviation / tau, 2);
  EXPECT_GT(tau, 0) << golden.name();
  return m0 / (1 + m0 / rest);
}

/// Keys with p = 1 in `mask`, without those of `prior`.
std::vector<int64_t> added(std::span<const float> mask, std::span<const float> prior) {
  std::vector<int64_t> keys;
  for (size_t key = 0; key < mask.size(); ++key) {
    if (mask[key] == 1 && prior[key] == 0) keys.push_back(static_cast<int64_t>(key));
  }
  return keys;
}

std::vector<int64_t> active(std::span<const float> mask) {
  std::vector<int64_t> keys;
  for (size_t key = 0; key < mask.size(); ++key) {
    if (mask[key] == 1) keys.push_back(static_cast<int64_t>(key));
  }
  return keys;
}

/// The row is the prior, a pilot with p = 1 and a sample whose size follows from the pilot.
void expect_pilot_and_sample(const HubCase& golden, int64_t row, std::span<const float> mask,
                             std::span<const float> prior) {
  const Residual residual = residual_of(golden, row, prior);
  const auto total = static_cast<int64_t>(residual.keys.size());
  std::vector<int64_t> sampled;
  for (size_t key = 0; key < mask.size(); ++key) {
    if (prior[key] == 1) {
      EXPECT_EQ(mask[key], 1) << "row " << row << ", key " << key;
    }
    if (mask[key] > 0 && prior[key] == 0) {
      EXPECT_TRUE(std::binary_search(residual.keys.begin(), residual.keys.end(), static_cast<int64_t>(key)))
          << "row " << row << ", key " << key << " may not be sampled";
    }
    if (mask[key] > 0 && mask[key] < 1) sampled.push_back(static_cast<int64_t>(key));
  }
  const std::vector<int64_t> pilot = added(mask, prior);
  if (total <= residual.pilot || sampled.empty()) {
    EXPECT_EQ(pilot, residual.keys) << "row " << row << " takes all that there is";
    return;
  }
  EXPECT_EQ(static_cast<int64_t>(pilot.size()), residual.pilot) << "row " << row;
  const auto rest = static_cast<double>(total - residual.pilot);
  const auto m = static_cast<double>(sampled.size());
  const double needed = needed_draws(golden, golden.logits(row), active(prior), pilot, rest,
                                     golden.parameter(method, "epsilon").get<double>(),
                                     golden.parameter(method, "delta").get<double>());
  EXPECT_GE(m, std::max(2.0, std::ceil(needed * (1 - 1e-4)))) << "row " << row;
  EXPECT_LE(m, std::max(2.0, std::ceil(needed * (1 + 1e-4)))) << "row " << row;
  for (int64_t key : sampled)
    EXPECT_NEAR(double{mask[static_cast<size_t>(key)]}, m / rest, 1e-6 * m / rest) << "row " << row;
}

/// The case's pipeline and the same without its last stage.
Product with_prior(const HubCase& golden) {
  io::Json before = golden.stages();
  before.erase(before.size() - 1);
  if (before.empty()) return Product(golden, {{"case", golden.stages()}});
  return Product(golden, {{"case", golden.stages()}, {"prior", before}});
}

Plane prior_mask(const std::map<std::string, Outcome>& outcomes) {
  const auto found = outcomes.find("prior");
  if (found != outcomes.end()) return found->second.mask;
  const Plane& like = outcomes.at("case").mask;
  return Plane(like.rows(), like.columns, 0);
}

}  // namespace

void pilot_and_sample(const TableRow& row) {
  const HubCase golden(row.name);
  const auto outcomes = with_prior(golden).run();
  const Outcome& ours = outcomes.at("case");
  EXPECT_TRUE(lawful(golden, ours));
  const Plane prior = prior_mask(outcomes), reference = golden.mask();
  const auto& manifest = golden.manifest();
  for (int64_t r = 0; r < ours.mask.rows(); ++r) {
    expect_pilot_and_sample(golden, r, ours.mask.row(r), prior.row(r));
    // What the reference had before it sampled, and where it drew from.
    for (int64_t key = 0; key < golden.visible_end(r); ++key) {
      const float p = reference.row(r)[static_cast<size_t>(key)];
      const bool known = prior.row(r)[static_cast<size_t>(key)] == 1;
      if (known) {
        EXPECT_EQ(p, 1) << "row " << r << ", key " << key;
      }
      if (known || p == 0) continue;
      EXPECT_GE(key, manifest["sampling_start"].get<int64_t>()) << "row " << r;
      EXPECT_LT(key, manifest["sampling_end"].get<int64_t>()) << "row " << r;
    }
    if (golden.shape().queries > 1) continue;
    const auto residual = residual_of(golden, r, Plane(1, prior.columns, 0).row(0));
    EXPECT_EQ(residual.keys.front(), manifest["sampling_start"].get<int64_t>());
    EXPECT_EQ(residual.keys.back() + 1, manifest["sampling_end"].get<int64_t>());
  }
}

void residual_where_reference_is_full(const TableRow& row) {
  const HubCase golden(row.name);
  EXPECT_TRUE(golden.manifest()["is_full"].get<bool>());
  const auto outcomes = with_prior(golden).run();
  const Plane prior = prior_mask(outcomes);
  for (int64_t r = 0; r < prior.rows(); ++r) {
    const auto mask = outcomes.at("case").mask.row(r);
    const auto keys = residual_of(golden, r, prior.row(r)).keys;
    EXPECT_EQ(keys.size(), 1u);
    EXPECT_EQ(added(mask, prior.row(r)), keys) << "row " << r;
    EXPECT_EQ(std::ranges::count_if(mask, [](float p) { return p > 0; }),
              std::ranges::count(prior.row(r), 1.0f) + 1);
  }
}

void unbiased_and_covered(const TableRow& row) {
  const HubCase golden(row.name);
  const auto seeds = golden.manifest()["n_seeds"].get<int64_t>();
  // The reference's own setting, and the one where it puts no row within epsilon.
  for (const double level : {0.25, 0.05}) {
    SCOPED_TRACE(level);
    io::Json stages = golden.stages();
    stages.back()["epsilon"] = level;
    stages.back()["delta"] = level;
    Product product(golden, {{"case", stages}});
    std::vector<double> ratios;
    int64_t hits = 0;
    for (int64_t seed = 0; seed < seeds; ++seed) {
      const Outcome ours = product.run(seed).at("case");
      ASSERT_TRUE(lawful(golden, ours)) << "seed " << seed;
      double mean = 0;
      for (int64_t r = 0; r < ours.mask.rows(); ++r) {
        const auto logits = golden.logits(r);
        double exact = 0, estimate = 0;
        for (size_t key = 0; key < logits.size(); ++key) {
          const double p = double{ours.mask.row(r)[key]};
          exact += std::exp(logits[key]);
          if (p > 0) estimate += std::exp(logits[key]) / p;
        }
        mean += estimate / exact / static_cast<double>(ours.mask.rows());
        hits += std::abs(estimate / exact - 1) <= level ? 1 : 0;
      }
      ratios.push_back(mean);
    }
    const measure::SeedMean ratio = measure::mean_over_seeds(ratios);
    EXPECT_LE(std::abs(ratio.z(1, 0)), 3) << "ours: mean ratio " << ratio.mean;
    EXPECT_GE(measure::wilson_interval(hits, seeds * golden.shape().rows(), 2).high, 1 - level) << hits;
    if (level < 0.25) continue;
    const auto reference = golden.manifest()["mean_denominator_ratio"].get<double>();
    EXPECT_GT(std::abs(reference - 1), 3 * ratio.standard_error) << "the reference is biased";
  }
}

}  // namespace attnlab::golden
