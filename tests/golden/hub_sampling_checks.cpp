// Sampling cases against theory: the reference draws with replacement and weights by 1 / (n / S), which is
// biased.
#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/golden/hub_checks.hpp"
#include "tests/golden/hub_compare.hpp"

namespace attnlab::golden {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

/// A uniform sample without replacement: n of S candidates.
struct SampleSize {
  int64_t drawn, candidates;
  double probability() const { return static_cast<double>(drawn) / static_cast<double>(candidates); }
};

SampleSize sample_size(const HubCase& golden, int64_t candidates) {
  const auto rate = golden.parameter("random_sampling", "sampling_rate").get<double>();
  const auto share = static_cast<int64_t>(std::floor(rate * static_cast<double>(candidates)));
  return {std::max<int64_t>(1, share), candidates};
}

/// The row is 1 at `deterministic` keys and holds one sample of the other visible ones.
void expect_sample(const HubCase& golden, int64_t row, std::span<const float> mask,
                   const std::vector<int64_t>& deterministic) {
  const int64_t end = golden.visible_end(row);
  const SampleSize size = sample_size(golden, end - static_cast<int64_t>(deterministic.size()));
  int64_t drawn = 0;
  for (int64_t key = 0; key < end; ++key) {
    const float p = mask[static_cast<size_t>(key)];
    if (std::binary_search(deterministic.begin(), deterministic.end(), key)) {
      EXPECT_EQ(p, 1) << "row " << row << ", key " << key;
    } else if (p != 0) {
      ++drawn;
      EXPECT_NEAR(double{p}, size.probability(), 1e-6 * size.probability())
          << "row " << row << ", key " << key;
    }
  }
  EXPECT_EQ(drawn, size.drawn) << "row " << row << " of " << size.candidates << " candidates";
}

/// The keys of a leading sink and window.
std::vector<int64_t> fixed_keys(const HubCase& golden, int64_t row) {
  const int64_t end = golden.visible_end(row);
  int64_t sink = 0, window = 0;
  for (const auto& stage : golden.stages()) {
    if (stage["masker"] == "sink") sink = stage["sink_size"].get<int64_t>();
    if (stage["masker"] == "local") window = stage["window_size"].get<int64_t>();
  }
  std::vector<int64_t> keys;
  for (int64_t key = 0; key < end; ++key) {
    if (key < sink || key >= end - window) keys.push_back(key);
  }
  return keys;
}

/// What the deterministic last stage of the case chooses by these logits.
std::vector<int64_t> choice(const HubCase& golden, int64_t row, std::span<const double> logits) {
  const int64_t end = golden.visible_end(row);
  const auto stage = golden.stages().back();
  if (stage["masker"] == "oracle_top_k") return largest(logits, end, stage["heavy_size"].get<int64_t>());
  if (stage["masker"] == "oracle_top_p") return heaviest(logits, end, stage["top_p"].get<double>());
  return fixed_keys(golden, row);
}

std::vector<int64_t> deterministic_keys(std::span<const float> mask) {
  std::vector<int64_t> keys;
  for (size_t key = 0; key < mask.size(); ++key) {
    if (mask[key] == 1) keys.push_back(static_cast<int64_t>(key));
  }
  return keys;
}

/// Mean with its standard error.
class Estimate {
 public:
  void add(double value) {
    ++count_;
    sum_ += value;
    sum_of_squares_ += value * value;
  }
  double mean() const { return sum_ / count_; }
  double standard_error() const {
    return std::sqrt((sum_of_squares_ / count_ - mean() * mean()) / (count_ - 1));
  }

 private:
  double count_ = 0, sum_ = 0, sum_of_squares_ = 0;
};

/// The softmax denominator that the sample estimates over the exact one.
double denominator_ratio(std::span<const double> logits, std::span<const float> mask) {
  const double peak = *std::max_element(logits.begin(), logits.end());
  double exact = 0, estimate = 0;
  for (size_t key = 0; key < logits.size(); ++key) {
    const double mass = std::exp(logits[key] - peak);
    exact += mass;
    if (mask[key] > 0) estimate += mass / double{mask[key]};
  }
  return estimate / exact;
}

}  // namespace

void sample(const TableRow& row) {
  const HubCase golden(row.name);
  const Outcome ours = run_case(golden);
  EXPECT_TRUE(lawful(golden, ours));
  for (int64_t r = 0; r < ours.mask.rows(); ++r) {
    expect_sample(golden, r, ours.mask.row(r), fixed_keys(golden, r));
  }
}

void sampled_keys_stay_candidates(const TableRow& row) {
  const HubCase golden(row.name);
  const io::Json stages = golden.stages();
  const auto outcomes = Product(golden, {{"case", stages}, {"sample", io::Json::array({stages[0]})}}).run();
  const Outcome &ours = outcomes.at("case"), &sampled = outcomes.at("sample");
  EXPECT_TRUE(lawful(golden, ours));
  const Plane reference = golden.mask();
  for (int64_t r = 0; r < ours.mask.rows(); ++r) {
    expect_sample(golden, r, sampled.mask.row(r), {});
    auto logits = golden.logits(r);
    const auto chosen = choice(golden, r, logits);
    std::vector<float> expected(sampled.mask.row(r).begin(), sampled.mask.row(r).end());
    for (int64_t key : chosen) expected[static_cast<size_t>(key)] = 1;
    EXPECT_TRUE(std::ranges::equal(expected, ours.mask.row(r))) << "row " << r;

    if (stages.back()["masker"] == "local") {
      EXPECT_EQ(deterministic_keys(reference.row(r)), chosen) << "row " << r;
      continue;
    }
    for (size_t key = 0; key < logits.size(); ++key) {
      const float p = reference.row(r)[key];
      if (p > 0 && p < 1) logits[key] = -infinity;
    }
    EXPECT_EQ(deterministic_keys(reference.row(r)), choice(golden, r, logits))
        << "row " << r << ": the reference does not choose among the keys that were not sampled";
  }
}

void unbiased_denominator(const TableRow& row) {
  const HubCase golden(row.name);
  const auto& manifest = golden.manifest();
  const auto seeds = manifest["n_seeds"].get<int64_t>();
  Product product(golden, {{"case", golden.stages()}});
  std::vector<std::vector<double>> logits;
  for (int64_t r = 0; r < golden.shape().rows(); ++r) logits.push_back(golden.logits(r));
  Plane times_active(golden.shape().rows(), golden.shape().keys, 0);
  Estimate ratio;
  for (int64_t seed = 0; seed < seeds; ++seed) {
    const Outcome ours = product.run(seed).at("case");
    ASSERT_TRUE(lawful(golden, ours)) << "seed " << seed;
    for (int64_t r = 0; r < ours.mask.rows(); ++r) {
      expect_sample(golden, r, ours.mask.row(r), fixed_keys(golden, r));
      ratio.add(denominator_ratio(logits[static_cast<size_t>(r)], ours.mask.row(r)));
    }
    for (size_t i = 0; i < ours.mask.values.size(); ++i)
      times_active.values[i] += ours.mask.values[i] > 0 ? 1.0f : 0.0f;
  }

  EXPECT_LE(std::abs(ratio.mean() - 1), 3 * ratio.standard_error()) << "ours: mean ratio " << ratio.mean();
  const auto reference = manifest["mean_denominator_ratio"].get<double>();
  const double reference_error = manifest["std_denominator_ratio"].get<double>() /
                                 std::sqrt(static_cast<double>(seeds * golden.shape().rows()));
  EXPECT_GT(std::abs(reference - 1), 3 * reference_error);
  EXPECT_GT(std::abs(reference - 1), 3 * ratio.standard_error());

  // Each candidate alone: drawn with probability n / S in every seed. 5 standard deviations over some 2000
  // candidates.
  for (int64_t r = 0; r < times_active.rows(); ++r) {
    const auto fixed = fixed_keys(golden, r);
    const double p =
        sample_size(golden, golden.visible_end(r) - static_cast<int64_t>(fixed.size())).probability();
    const double deviation = std::sqrt(static_cast<double>(seeds) * p * (1 - p));
    for (int64_t key = 0; key < golden.visible_end(r); ++key) {
      if (std::binary_search(fixed.begin(), fixed.end(), key)) continue;
      const double times = double{times_active.row(r)[static_cast<size_t>(key)]};
      EXPECT_NEAR(times, static_cast<double>(seeds) * p, 5 * deviation) << "row " << r << ", key " << key;
    }
  }
}

}  // namespace attnlab::golden
