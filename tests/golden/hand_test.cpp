// Figures worked out by hand, so that the suite means something without ../shared.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/catalog.hpp"
#include "tests/support/small_problem.hpp"

namespace attnlab::test {
namespace {

/// One head, one query q = 1, keys with logits log 1, log 2, log 3, log 4 and values 10, 20, 30, 40: the
/// softmax weights are 1/10, 2/10, 3/10, 4/10.
SmallProblem four_keys() {
  SmallProblem p;
  p.geometry = {1, 1, 1, 1, 4, 1, 1};
  auto q = tensor::Tensor::zeros(tensor::DType::f32, {1, 1, 1, 1});
  auto k = tensor::Tensor::zeros(tensor::DType::f32, {1, 1, 4, 1});
  auto v = tensor::Tensor::zeros(tensor::DType::f32, {1, 1, 4, 1});
  q.mutable_values<float>()[0] = 1;
  for (int j = 0; j < 4; ++j) {
    k.mutable_values<float>()[static_cast<size_t>(j)] = std::log(static_cast<float>(j + 1));
    v.mutable_values<float>()[static_cast<size_t>(j)] = 10.0f * static_cast<float>(j + 1);
  }
  p.layer.query = tensor::view_bhsd(q);
  p.layer.key = tensor::view_bhsd(k);
  p.layer.value = tensor::view_bhsd(v);
  p.layer.storage = {q, k, v};
  p.layer.valid = {4};
  return p;
}

Planes run(const std::string& stages, const SmallProblem& problem, attention::AttentionOptions options = {}) {
  const auto document = document_with("{\"main\": " + stages + "}");
  return run_pipelines(bind(document), problem, options)[0];
}

using P = std::vector<float>;

TEST(Hand, DenseIsTheWeightedMean) {
  const Planes planes = run("[]", four_keys());
  EXPECT_NEAR(planes.output[0], (1 * 10 + 2 * 20 + 3 * 30 + 4 * 40) / 10.0, 1e-5);
  EXPECT_NEAR(planes.lse[0], std::log(10.0), 1e-6);
  EXPECT_EQ(planes.probability, (P{1, 1, 1, 1}));
}

TEST(Hand, SinkAndLocalRenormalise) {
  const Planes planes =
      run(R"([{"masker": "sink", "sink_size": 1}, {"masker": "local", "window_size": 1}])", four_keys());
  EXPECT_EQ(planes.probability, (P{1, 0, 0, 1}));
  EXPECT_NEAR(planes.output[0], (1 * 10 + 4 * 40) / 5.0, 1e-5);
  EXPECT_NEAR(planes.lse[0], std::log(5.0), 1e-6);
}

TEST(Hand, TopKIsInAdditionToThePrior) {
  const Planes planes = run(
      R"([{"masker": "local", "window_size": 1}, {"masker": "oracle_top_k", "heavy_size": 1}])", four_keys());
  EXPECT_EQ(planes.probability, (P{0, 0, 1, 1}));
}

TEST(Hand, TopPCountsTheShareOfTheRemainingMass) {
  // Local takes key 3 (mass 4); of the remaining 6, key 2 holds exactly half.
  EXPECT_EQ(run(R"([{"masker": "local", "window_size": 1}, {"masker": "oracle_top_p", "top_p": 0.49}])",
                four_keys())
                .probability,
            (P{0, 0, 1, 1}));
  EXPECT_EQ(
      run(R"([{"masker": "local", "window_size": 1}, {"masker": "oracle_top_p", "top_p": 0.6}])", four_keys())
          .probability,
      (P{0, 1, 1, 1}));
  // Of the total mass 10, keys 2 and 1 reach 0.5 together.
  EXPECT_EQ(
      run(R"([{"masker": "local", "window_size": 1}, {"masker": "oracle_top_p", "top_p": 0.4, "of": "total"}])",
          four_keys())
          .probability,
      (P{0, 1, 1, 1}));
}

TEST(Hand, FractionsAreFlooredAndAtLeastOne) {
  EXPECT_EQ(run(R"([{"masker": "sink", "sink_size": 0.1}])", four_keys()).probability, (P{1, 0, 0, 0}));
  EXPECT_EQ(run(R"([{"masker": "sink", "sink_size": "74%"}])", four_keys()).probability, (P{1, 1, 0, 0}));
  EXPECT_EQ(run(R"([{"masker": "sink", "sink_size": 1.0}])", four_keys()).probability, (P{1, 1, 1, 1}));
}

TEST(Hand, SampledKeysWeighOneOverP) {
  // Two of four keys at p = 1/2: numerator and denominator double, the output is their weighted mean, the LSE
  // the log of twice their mass.
  const Planes planes = run(R"([{"masker": "random_sampling", "sampling_rate": 0.5}])", four_keys());
  double mass = 0, moment = 0;
  int drawn = 0;
  for (size_t j = 0; j < 4; ++j) {
    if (planes.probability[j] == 0) continue;
    EXPECT_NEAR(planes.probability[j], 0.5, 1e-7);
    ++drawn;
    const double weight = static_cast<double>(j) + 1;
    mass += weight;
    moment += weight * weight * 10;
  }
  EXPECT_EQ(drawn, 2);
  EXPECT_NEAR(planes.output[0], moment / mass, 1e-5);
  EXPECT_NEAR(planes.lse[0], std::log(2 * mass), 1e-6);
}

TEST(Hand, ALearnedSinkLogitOnlyAddsToTheDenominator) {
  SmallProblem problem = four_keys();
  problem.layer.sink_logit = {std::log(10.0f)};
  const Planes planes = run("[]", problem);
  EXPECT_NEAR(planes.output[0], 300.0 / 20.0, 1e-5);
  EXPECT_NEAR(planes.lse[0], std::log(20.0), 1e-6);
}

TEST(Hand, TheMaximumIsTakenOverActiveKeys) {
  // Key 3 towers 200 above the others; the active keys must not underflow (the reference gives 0/0 here).
  SmallProblem problem = four_keys();
  problem.layer.storage[1].mutable_values<float>()[3] = 200;
  const Planes planes = run(R"([{"masker": "sink", "sink_size": 2}])", problem);
  EXPECT_NEAR(planes.output[0], (1 * 10 + 2 * 20) / 3.0, 1e-5);
}

TEST(Hand, EmptyRowsFollowThePolicy) {
  const std::string nothing = R"([{"masker": "oracle_top_k", "select": "threshold", "threshold": 1000}])";
  EXPECT_EQ(run(nothing, four_keys(), {.on_empty_row = config::EmptyRow::zeros}).output[0], 0);
  EXPECT_NEAR(run(nothing, four_keys(), {.on_empty_row = config::EmptyRow::dense}).output[0], 30, 1e-5);
}

TEST(Sampling, DenominatorAndNumeratorAreUnbiased) {
  // 4000 seeds: the mean of D_sampled / D must lie within 3 standard errors of 1, and so must a numerator's
  // channel.
  const Shape shape{.query_heads = 2, .kv_heads = 1, .keys = 64, .head_dim = 8, .value_dim = 1};
  const SmallProblem problem = make_problem(shape, 8);
  const auto document = document_with(
      R"({"dense": [], "main": [{"masker": "sink", "sink_size": 2}, {"masker": "random_sampling", "sampling_rate": 0.2}]})");
  const auto pipelines = bind(document);
  constexpr int seeds = 4000;
  double sum[2] = {0, 0}, squares[2] = {0, 0};
  for (int seed = 0; seed < seeds; ++seed) {
    attention::AttentionOptions options{.scale = 0.35f, .seed = static_cast<uint64_t>(seed)};
    const auto planes = run_pipelines(pipelines, problem, options);
    const double denominator = std::exp(double{planes[1].lse[0]} - double{planes[0].lse[0]});
    const double numerator = denominator * double{planes[1].output[0]} / double{planes[0].output[0]};
    const double ratios[2] = {denominator, numerator};
    for (int i = 0; i < 2; ++i) {
      sum[i] += ratios[i];
      squares[i] += ratios[i] * ratios[i];
    }
  }
  for (int i = 0; i < 2; ++i) {
    const double mean = sum[i] / seeds;
    const double error = std::sqrt((squares[i] / seeds - mean * mean) / seeds);
    EXPECT_LT(std::abs(mean - 1), 3 * error)
        << (i == 0 ? "denominator" : "numerator") << " mean " << mean << " +- " << error;
  }
}

}  // namespace
}  // namespace attnlab::test
