#include "core/measure/verify_sampling.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "core/base/parallel.hpp"
#include "tests/support/catalog.hpp"

namespace attnlab::measure {
namespace {

using io::Json;

struct Setting {
  Json pipelines, input;
  int64_t seeds = 100;
  std::vector<double> epsilons = {};
  Json attention = Json::object();
  int64_t queries = 4, tile_bytes = int64_t{4} << 20;
};

VerificationRecord verify(const Setting& setting) {
  config::Document document = test::document_with(setting.pipelines.dump());
  const config::Origin origin{"test", "."};
  document.set("/input", setting.input, origin);
  document.set("/queries", setting.queries, origin);
  document.set("/attention", setting.attention, origin);
  const config::RunPlan plan = config::resolve(document, test::catalog());
  const auto source = data::open_source(plan.input);
  VerifyOptions options;
  options.execution.kernels = &kernels::best_table();
  options.execution.tile_bytes = setting.tile_bytes;
  options.seeds = setting.seeds;
  options.epsilons = setting.epsilons;
  return verify_sampling(plan, test::catalog(), document, *source, options);
}

Json workload(const std::string& name, int64_t keys, double alpha = 1) {
  Json input = {{"workload", name}, {"query_heads", 4}, {"kv_heads", 2},  {"queries", 4},
                {"keys", keys},     {"head_dim", 16},   {"value_dim", 8}, {"seed", 3}};
  if (name == "power_law") input["alpha"] = alpha;
  return input;
}

Json adaptive(double epsilon, double delta, const std::string& bound = "clt",
              const std::string& target = "denominator") {
  return {{"masker", "adaptive_sampling"},
          {"base_rate_sampling", "5%"},
          {"epsilon", epsilon},
          {"delta", delta},
          {"bound", bound},
          {"target", target}};
}

/// maskers.md: sink 16, local 64, oracle_top_k 5 %, adaptive base 5 %.
Json verified(double epsilon, double delta) {
  return Json::array({{{"masker", "sink"}, {"sink_size", 16}},
                      {{"masker", "local"}, {"window_size", 64}},
                      {{"masker", "oracle_top_k"}, {"heavy_size", "5%"}},
                      adaptive(epsilon, delta)});
}

const Json promises = {{"5", verified(0.05, 0.05)}, {"10", verified(0.1, 0.1)}, {"25", verified(0.25, 0.25)}};

void expect_promises_kept(const VerificationRecord& record) {
  for (const auto& pipeline : record.pipelines) {
    ASSERT_TRUE(pipeline.coverage);
    EXPECT_LE(std::abs(pipeline.denominator_ratio.z(1, pipeline.rounding)), 3) << pipeline.pipeline;
    EXPECT_FALSE(pipeline.coverage->missed()) << pipeline.pipeline << ": " << pipeline.coverage->share()
                                              << ", promised " << 1 - pipeline.coverage->delta;
    EXPECT_LT(pipeline.density, 0.4) << pipeline.pipeline;
  }
}

TEST(WilsonInterval, AgreesWithAHandComputation) {
  const Interval interval = wilson_interval(8, 10, 1.96);
  EXPECT_NEAR(interval.low, 0.49016, 1e-5);
  EXPECT_NEAR(interval.high, 0.94332, 1e-5);
  EXPECT_EQ(wilson_interval(10, 10, 3).high, 1);
  EXPECT_EQ(wilson_interval(0, 10, 3).low, 0);
}

TEST(SeedMean, CountsStandardErrorsBeyondRounding) {
  const SeedMean mean = mean_over_seeds({1, 2, 3, 6});
  EXPECT_EQ(mean.mean, 3);
  EXPECT_NEAR(mean.standard_error, std::sqrt(14.0 / 3 / 4), 1e-12);
  EXPECT_NEAR(mean.z(1, 0.1), 2 / mean.standard_error, 1e-12);
  EXPECT_EQ(mean_over_seeds({1 + 1e-7, 1 + 1e-7}).z(1, 1e-6), 0);
  EXPECT_TRUE(std::isnan(mean_over_seeds({1, NAN}).z(1, 1e-6)));
}

TEST(VerifySampling, FindsUniformSamplingUnbiasedWithTheVarianceOfTheory) {
  const auto record =
      verify({.pipelines = {{"bare", {{{"masker", "random_sampling"}, {"sampling_rate", 0.1}}}},
                            {"after",
                             {{{"masker", "oracle_top_k"}, {"heavy_size", "5%"}},
                              {{"masker", "random_sampling"}, {"sampling_rate", 0.2}}}}},
              .input = workload("gaussian", 512),
              .seeds = 200});
  EXPECT_EQ(record.rows, 16);
  ASSERT_EQ(record.pipelines.size(), 2u);
  for (const auto& pipeline : record.pipelines) {
    EXPECT_LE(std::abs(pipeline.denominator_ratio.z(1, pipeline.rounding)), 3) << pipeline.pipeline;
    EXPECT_LE(std::abs(pipeline.numerator_projection.z(1, pipeline.rounding)), 3) << pipeline.pipeline;
    EXPECT_EQ(pipeline.theory, "uniform draws without replacement");
    EXPECT_NEAR(pipeline.denominator_variance / pipeline.theoretical_variance, 1, 0.1) << pipeline.pipeline;
    EXPECT_NEAR(pipeline.numerator_mean_error / pipeline.numerator_noise, 1, 0.1) << pipeline.pipeline;
    EXPECT_FALSE(pipeline.coverage);
    EXPECT_TRUE(pipeline.holds());
  }
  EXPECT_NEAR(record.pipelines[0].added, 50.6, 0.5);
  EXPECT_NEAR(record.pipelines[1].added, 96.6, 0.6);
}

TEST(VerifySampling, TakesUnequalProbabilitiesForIndependentDraws) {
  const auto record = verify(
      {.pipelines = {{"pps", {{{"masker", "oracle_top_k"}, {"select", "importance"}, {"sample_size", 40}}}}},
       .input = workload("power_law", 512)});
  const SamplingRecord& pps = record.pipelines.at(0);
  EXPECT_EQ(pps.theory, "independent draws (Poisson)");
  EXPECT_FALSE(pps.biased()) << pps.denominator_ratio.mean;
  EXPECT_LT(pps.denominator_variance, pps.theoretical_variance) << "systematic draws vary less";
}

TEST(VerifySampling, FindsThePromisesKeptAfterATopKStage) {
  for (const auto& [name, alpha] : {std::pair("gaussian", 0.0), std::pair("power_law", 0.5),
                                    std::pair("power_law", 1.0), std::pair("power_law", 1.5)}) {
    SCOPED_TRACE(std::string(name) + " " + std::to_string(alpha));
    expect_promises_kept(verify({.pipelines = promises, .input = workload(name, 2048, alpha)}));
  }
}

TEST(VerifySampling, FindsThePromisesKeptOnARealTrace) {
  const char* shared = std::getenv("ATTNLAB_SHARED");
  const std::string trace = std::filesystem::absolute(
      std::string(shared != nullptr ? shared : ATTNLAB_SHARED_DIR) + "/data/traces/stories260K-long1769");
  if (!std::filesystem::exists(trace)) GTEST_SKIP() << "the stories260K trace is missing: " << trace;
  expect_promises_kept(verify({.pipelines = promises, .input = {{"trace", trace}}, .seeds = 40}));
}

TEST(VerifySampling, FindsThatANormalLimitMissesRareHeavyKeysAndAnInequalityDoesNot) {
  const auto record = verify({.pipelines = {{"clt", {adaptive(0.05, 0.05)}},
                                            {"hoeffding", {adaptive(0.05, 0.05, "hoeffding")}},
                                            {"bernstein", {adaptive(0.05, 0.05, "bernstein")}}},
                              .input = workload("power_law", 1024, 1.5)});
  EXPECT_TRUE(record.pipelines[0].coverage->missed()) << record.pipelines[0].coverage->share();
  EXPECT_FALSE(record.pipelines[0].holds());
  for (size_t p : {1u, 2u})
    EXPECT_EQ(record.pipelines[p].coverage->hits, record.pipelines[p].coverage->trials);
}

TEST(VerifySampling, FindsInequalitiesKeptWhereTheyLeaveKeysOut) {
  Json pipelines;
  for (const char* bound : {"hoeffding", "bernstein"}) {
    for (const char* target : {"denominator", "numerator", "output"})
      pipelines[std::string(bound) + "_" + target] = Json::array({adaptive(0.3, 0.3, bound, target)});
  }
  const auto record = verify({.pipelines = pipelines,
                              .input = workload("gaussian", 4096),
                              .seeds = 30,
                              .attention = {{"scale", 0.02}}});
  for (const auto& pipeline : record.pipelines) {
    SCOPED_TRACE(pipeline.pipeline);
    EXPECT_FALSE(pipeline.biased());
    EXPECT_EQ(pipeline.coverage->share(), 1);
    if (pipeline.target == "denominator") {
      EXPECT_LT(pipeline.density, 0.5);
    }
  }
}

TEST(VerifySampling, DrawsEpsilonAgainstTheErrorSeen) {
  const auto record =
      verify({.pipelines = {{"main", verified(0.1, 0.1)},
                            {"random", {{{"masker", "random_sampling"}, {"sampling_rate", 0.1}}}}},
              .input = workload("power_law", 1024),
              .seeds = 40,
              .epsilons = {0.05, 0.2}});
  ASSERT_EQ(record.pipelines.size(), 2u);
  const auto& points = record.pipelines[0].epsilons;
  ASSERT_EQ(points.size(), 2u);
  EXPECT_EQ(points[0].epsilon, 0.05);
  EXPECT_LT(points[0].mean_error, points[1].mean_error);
  EXPECT_GT(points[0].density, points[1].density);
  for (const auto& point : points) {
    EXPECT_LT(point.mean_error, point.quantile_error);
    EXPECT_LE(point.quantile_error, 1.1 * point.epsilon) << "640 errors put the quantile within some 4 %";
  }
  EXPECT_TRUE(record.pipelines[1].epsilons.empty());
}

TEST(VerifySampling, DependsOnNeitherThreadsNorTiles) {
  Setting setting{
      .pipelines = {{"main", verified(0.1, 0.1)}}, .input = workload("gaussian", 512), .seeds = 10};
  std::vector<std::string> results;
  for (const auto& [threads, tile_bytes] : {std::pair(1, int64_t{1} << 22), std::pair(4, int64_t{1} << 12)}) {
    const base::ThreadLimit limit(threads);
    setting.tile_bytes = tile_bytes;
    results.push_back(verification_json(verify(setting)).dump());
  }
  EXPECT_EQ(results[0], results[1]);
}

}  // namespace
}  // namespace attnlab::measure
