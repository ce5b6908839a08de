#include "core/data/known_mass.hpp"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <set>

#include "tests/unit/workload_test_support.hpp"

namespace attnlab::data {
namespace {

TEST(Cone, MassIsExactForEveryRow) {
  for (int64_t head_dim : {1, 2, 3, 4, 17, 64, 128}) {
    for (double mean_norm : {0.0, 6.0}) {
      for (int64_t rank : {0, 4, 64}) {
        SCOPED_TRACE(testing::Message()
                     << "head_dim " << head_dim << " norm " << mean_norm << " rank " << rank);
        auto spec = small("cone");
        spec.head_dim = head_dim;
        spec.mean_norm = mean_norm;
        spec.rank = rank;
        spec.layers = 1;
        spec.queries = 4;
        expect_exact_mass(spec);
      }
    }
  }
}

std::vector<double> mean_key(const LayerProblem& problem, int64_t head) {
  std::vector<double> mean(static_cast<size_t>(problem.key.channels));
  for (int64_t t = 0; t < problem.key.tokens; ++t) {
    for (size_t c = 0; c < mean.size(); ++c) {
      mean[c] += double{problem.key.row(0, head, t)[c]} / static_cast<double>(problem.key.tokens);
    }
  }
  return mean;
}

/// A key less the mean of its head.
std::vector<float> centred(const LayerProblem& problem, int64_t head, int64_t t,
                           const std::vector<double>& mean) {
  std::vector<float> key(mean.size());
  for (size_t c = 0; c < key.size(); ++c) {
    key[c] = static_cast<float>(double{problem.key.row(0, head, t)[c]} - mean[c]);
  }
  return key;
}

/// (tr C)^2 / tr C^2 of the centred keys: the number of dimensions when all have the same variance.
double effective_dimensions(const WorkloadSpec& spec) {
  LayerProblem problem = open_workload(spec)->load(0);
  const auto mean = mean_key(problem, 0);
  const auto n = static_cast<size_t>(spec.head_dim);
  std::vector<double> covariance(n * n);
  for (int64_t t = 0; t < spec.keys; ++t) {
    const auto key = centred(problem, 0, t, mean);
    for (size_t a = 0; a < n; ++a) {
      for (size_t b = 0; b < n; ++b) covariance[a * n + b] += double{key[a]} * double{key[b]};
    }
  }
  double trace = 0, square = 0;
  for (size_t a = 0; a < n; ++a) {
    trace += covariance[a * n + a];
    for (size_t b = 0; b < n; ++b) square += covariance[a * n + b] * covariance[a * n + b];
  }
  return trace * trace / square;
}

TEST(Cone, KeysStandOppositeToTheQueriesUntilTheyAreCentred) {
  auto spec = small("cone");
  spec.keys = 4000;
  LayerProblem problem = open_workload(spec)->load(0);
  const auto mean = mean_key(problem, 0);
  const double length = std::sqrt(std::inner_product(mean.begin(), mean.end(), mean.begin(), 0.0));
  EXPECT_NEAR(length, 6 * std::sqrt(64.0), 1);
  const std::span<const float> query(problem.query.row(0, 0, spec.queries - 1), mean.size());
  int64_t forward = 0;
  for (int64_t t = 0; t < spec.keys; ++t) {
    EXPECT_LT(cosine(query, {problem.key.row(0, 0, t), mean.size()}), -0.4);
    if (cosine(query, centred(problem, 0, t, mean)) > 0) ++forward;
  }
  EXPECT_GT(forward, spec.keys / 4);
}

TEST(Cone, RankNarrowsTheNoise) {
  auto spec = small("cone");
  spec.keys = 2000;
  spec.rank = 0;
  EXPECT_GT(effective_dimensions(spec), 25);  // K has 31
  spec.rank = 4;
  EXPECT_NEAR(effective_dimensions(spec), 12, 4);
  spec.rank = 1;
  EXPECT_LT(effective_dimensions(spec), 5);
}

/// Expected share of keys, and of softmax mass, that MagicPIG (arXiv:2410.16179) retrieves for one query: a
/// key whose `bits`-bit SimHash equals the query's in at least two of `tables` tables.
struct Retrieved {
  double keys = 0, mass = 0;
};

Retrieved magic_pig(const LayerProblem& problem, bool centre, int bits, int tables) {
  auto mean = mean_key(problem, 0);
  if (!centre) mean.assign(mean.size(), 0);
  const std::span<const float> query(problem.query.row(0, 0, problem.query.tokens - 1), mean.size());
  auto mass = problem.true_mass.values<float>();
  double total = 0;
  Retrieved result;
  for (int64_t t = 0; t < problem.key.tokens; ++t) {
    const double angle = std::acos(cosine(query, centred(problem, 0, t, mean)));
    const double table = std::pow(1 - angle / M_PI, bits);
    const double none = std::pow(1 - table, tables), one = tables * table * std::pow(1 - table, tables - 1);
    const double probability = 1 - none - one;
    const double weight = double{mass[static_cast<size_t>(t)]};
    result.keys += probability / static_cast<double>(problem.key.tokens);
    result.mass += weight * probability;
    total += weight;
  }
  result.mass /= total;
  return result;
}

TEST(Cone, MagicPigRetrievesNothingWithoutCentring) {
  WorkloadSpec spec;  // as a user gets it: 4096 keys, head_dim 64
  spec.kind = "cone";
  for (uint64_t seed : {0, 1, 2}) {
    spec.seed = seed;
    LayerProblem problem = open_workload(spec)->load(0);
    const Retrieved raw = magic_pig(problem, false, 10, 150), centred = magic_pig(problem, true, 10, 150);
    if (seed == 0) {
      RecordProperty("raw_keys", fmt::format("{:.3g}", raw.keys));
      RecordProperty("raw_mass", fmt::format("{:.3g}", raw.mass));
      RecordProperty("centred_keys", fmt::format("{:.3g}", centred.keys));
      RecordProperty("centred_mass", fmt::format("{:.3g}", centred.mass));
    }
    EXPECT_LT(raw.keys, 1e-3);
    EXPECT_LT(raw.mass, 1e-3);
    EXPECT_GT(centred.keys, 5e-3);
    EXPECT_LT(centred.keys, 0.05);
    EXPECT_GT(centred.mass, 0.1);
  }
}

TEST(Aggregation, MassIsExactForEveryRow) {
  for (int64_t head_dim : {1, 2, 3, 64}) {
    for (double share : {0.001, 0.25, 0.999}) {
      for (double mass : {1e-6, 0.5, 0.999}) {
        SCOPED_TRACE(testing::Message() << "head_dim " << head_dim << " share " << share << " mass " << mass);
        auto spec = small("aggregation");
        spec.head_dim = head_dim;
        spec.relevant_share = share;
        spec.relevant_mass = mass;
        spec.layers = 1;
        spec.queries = 4;
        expect_exact_mass(spec);
      }
    }
  }
}

TEST(Aggregation, RelevantKeysHoldTheirMassAtTheLastQuery) {
  auto spec = small("aggregation");
  spec.relevant_share = 0.1;
  spec.relevant_mass = 0.8;
  auto source = open_workload(spec);
  std::set<std::vector<size_t>> choices;
  for (int layer : source->layers()) {
    LayerProblem problem = source->load(layer);
    for (size_t head = 0; head < 4; ++head) {
      auto relevant = chosen_keys(spec, layer, head);
      std::sort(relevant.begin(), relevant.end());
      choices.insert(relevant);
      ASSERT_EQ(relevant.size(), 30u);
      auto p = dense_row(problem, source->geometry(), static_cast<int64_t>(head / 2),
                         static_cast<int64_t>(head % 2) * 2, spec.queries - 1);
      double held = 0;
      for (size_t key : relevant) held += p[key];
      EXPECT_NEAR(held, 0.8, 1e-5);
    }
  }
  EXPECT_EQ(choices.size(), 8u) << "each layer, sequence and KV head has its own";
}

TEST(Aggregation, TheAnswerIsTheMeanOfManyValues) {
  auto spec = small("aggregation");
  spec.keys = 8000;
  spec.relevant_share = 0.5;
  LayerProblem problem = open_workload(spec)->load(0);
  const auto relevant = chosen_keys(spec, 0, 0);
  std::vector<bool> is_relevant(8000);
  for (size_t key : relevant) is_relevant[key] = true;
  for (int64_t channel = 0; channel < spec.value_dim; ++channel) {
    double answer = 0, square = 0, other = 0;
    for (size_t key = 0; key < 8000; ++key) {
      const double x = problem.value.row(0, 0, static_cast<int64_t>(key))[channel];
      (is_relevant[key] ? answer : other) += x / 4000;
      if (is_relevant[key]) square += x * x / 4000;
    }
    // Standard error 1 / sqrt(4000) = 0.016.
    EXPECT_NEAR(std::abs(answer), 1, 0.07);
    EXPECT_NEAR(square - answer * answer, 1, 0.1);
    EXPECT_NEAR(other, 0, 0.07);
  }
}

}  // namespace
}  // namespace attnlab::data
