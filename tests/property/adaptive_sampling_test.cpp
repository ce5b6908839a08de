// Adaptive sampling where numbers are at their limits, and its budget against a search.
#include <gtest/gtest.h>

#include <cmath>

#include "plugins/maskers/adaptive_sampling/budget.hpp"
#include "tests/support/catalog.hpp"
#include "tests/support/small_problem.hpp"

namespace attnlab {
namespace {

using io::Json;

/// Every bound and target, with these parameters besides.
std::vector<attention::Pipeline> pipelines_with(const Json& parameters, bool after_top_k) {
  Json pipelines;
  for (const char* bound : {"clt", "hoeffding", "bernstein"}) {
    for (const char* target : {"denominator", "numerator", "output"}) {
      Json stage = {{"masker", "adaptive_sampling"}, {"bound", bound}, {"target", target}};
      for (const auto& [key, value] : parameters.items()) stage[key] = value;
      Json stages = Json::array({stage});
      if (after_top_k) stages.insert(stages.begin(), Json{{"masker", "oracle_top_k"}, {"heavy_size", 2}});
      pipelines[std::string(bound) + "_" + target] = stages;
    }
  }
  return test::bind(test::document_with(pipelines.dump()));
}

/// Probabilities in (0, 1], outputs finite, and each row's sample of one p.
void expect_lawful(const test::SmallProblem& problem, const std::vector<attention::Pipeline>& pipelines,
                   bool causal = true) {
  attention::AttentionOptions options;
  options.causal = causal;
  const auto planes = test::run_pipelines(pipelines, problem, options);
  const auto by_one =
      test::run_pipelines(pipelines, problem, options, {.tile_bytes = 1, .one_by_one = causal});
  const auto keys = static_cast<size_t>(problem.geometry.keys);
  for (size_t p = 0; p < planes.size(); ++p) {
    SCOPED_TRACE(pipelines[p].name());
    EXPECT_EQ(planes[p], by_one[p]) << "prefill and decode, tiles";
    for (float x : planes[p].output) EXPECT_TRUE(std::isfinite(x));
    for (size_t row = 0; row * keys < planes[p].probability.size(); ++row) {
      float common = 0;
      for (size_t key = 0; key < keys; ++key) {
        const float probability = planes[p].probability[row * keys + key];
        EXPECT_TRUE(probability >= 0 && probability <= 1) << probability;
        if (probability == 0 || probability == 1) continue;
        if (common == 0) common = probability;
        EXPECT_EQ(probability, common) << "row " << row;
      }
    }
  }
}

TEST(AdaptiveSampling, SurvivesLogitsOfTenThousand) {
  for (const float size : {1e2f, 1e4f, 1e18f}) {
    auto problem = test::make_problem({.query_heads = 2, .queries = 3, .keys = 90, .head_dim = 2}, 1);
    for (float& x : problem.layer.storage[0].mutable_values<float>()) x *= size;
    problem.layer.query = tensor::view_bhsd(problem.layer.storage[0]);
    for (const bool after_top_k : {false, true})
      expect_lawful(problem, pipelines_with({{"base_rate_sampling", 4}}, after_top_k));
  }
}

TEST(AdaptiveSampling, SurvivesEqualAndZeroKeysAndValues) {
  for (const size_t which : {size_t{0}, size_t{1}, size_t{2}}) {
    auto problem = test::make_problem({.queries = 2, .keys = 50}, 2);
    for (float& x : problem.layer.storage[which].mutable_values<float>()) x = 0;
    problem.layer.query = tensor::view_bhsd(problem.layer.storage[0]);
    problem.layer.key = tensor::view_bhsd(problem.layer.storage[1]);
    problem.layer.value = tensor::view_bhsd(problem.layer.storage[2]);
    expect_lawful(problem, pipelines_with({{"base_rate_sampling", 4}}, false));
  }
}

TEST(AdaptiveSampling, HoldsOnOddShapes) {
  using Bias = test::Shape::Bias;
  for (const test::Shape& shape :
       {test::Shape{.keys = 1, .head_dim = 1, .value_dim = 1},
        test::Shape{.queries = 5, .keys = 5, .head_dim = 1},
        test::Shape{.batch = 3,
        .query_heads = 4,
        .kv_heads = 2,
        .queries = 40,
        .keys = 70,
        .shorter_sequences = true},
        test::Shape{.query_heads = 2, .queries = 30, .keys = 64, .bias = Bias::additive, .sinks = true},
        test::Shape{.query_heads = 2, .queries = 30, .keys = 64, .bias = Bias::holes},
        test::Shape{
            .query_heads = 2, .queries = 9, .keys = 64, .causal = false, .bias = Bias::per_head_holes}}) {
    const auto problem = test::make_problem(shape, 3);
    expect_lawful(problem, pipelines_with({{"base_rate_sampling", 3}}, true), shape.causal);
    expect_lawful(problem, pipelines_with({{"base_rate_sampling", "100%"}}, false), shape.causal);
    expect_lawful(problem,
                  pipelines_with({{"base_rate_sampling", "10%"},
                                  {"init_offset", "50%"},
                                  {"local_offset", 3},
                                  {"epsilon", 0.9},
                                  {"delta", 0.99}},
                                 false),
                  shape.causal);
    expect_lawful(problem,
                  pipelines_with({{"epsilon", 1e-9}, {"delta", 1e-300}, {"init_offset", "100%"}}, false),
                  shape.causal);
  }
}

TEST(AdaptiveSampling, RefusesProbabilitiesOutsideTheOpenInterval) {
  for (const char* key : {"epsilon", "delta"}) {
    for (const double value : {0.0, 1.0, -0.1}) {
      try {
        pipelines_with({{key, value}}, false);
        ADD_FAILURE() << key << " = " << value;
      } catch (const base::UserError& error) {
        EXPECT_NE(std::string(error.what()).find("(0, 1)"), std::string::npos) << error.what();
      }
    }
  }
}

TEST(AdaptiveSampling, FindsTheFewestDrawsOfABound) {
  Philox random(7);
  for (int round = 0; round < 2000; ++round) {
    const double rest = 1 + static_cast<double>(random.below(300)), tau = std::exp(3 * random.normal());
    const adaptive_sampling::Tail tail{std::exp(4 * random.normal()),
                                       round % 2 == 0 ? 0 : std::exp(2 * random.normal())};
    const double draws = std::ceil(tail.draws(rest, tau) - 1e-9);
    ASSERT_LE(draws, rest);
    const auto enough = [&](double m) {
      return m >= rest || tail.deviation(m, rest) <= tau * m / rest * (1 + 1e-9);
    };
    EXPECT_TRUE(enough(draws)) << draws << " of " << rest;
    if (draws > 1) {
      EXPECT_FALSE(enough(draws - 1)) << draws << " of " << rest;
    }
  }
}

}  // namespace
}  // namespace attnlab
