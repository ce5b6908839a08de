// What the workloads are for: methods that they are meant to tell apart, at equal density.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include "core/data/problem.hpp"
#include "core/measure/experiment.hpp"
#include "tests/support/catalog.hpp"

namespace attnlab::measure {
namespace {

RunRecord run(const std::string& pipelines, const std::string& input, const std::string& mode = "prefill") {
  config::Document document;
  const config::Origin origin{"test", "."};
  document.set("/pipelines", io::Json::parse(pipelines), origin);
  document.set("/input", io::Json::parse(input), origin);
  document.set("/mode", mode, origin);
  const config::RunPlan plan = config::resolve(document, test::catalog());
  const std::vector<attention::Pipeline> bound = test::bind(document);
  ExperimentOptions options;
  options.execution = {&kernels::best_table()};
  return run_experiment(plan, bound, *data::open_source(plan.input), options);
}

TEST(MeasureWorkloads, AggregationFailsTopKAndPassesSampling) {
  const RunRecord record = run(R"({
    "top_5": [{"masker": "oracle_top_k", "heavy_size": 0.05}],
    "top_25": [{"masker": "oracle_top_k", "heavy_size": 0.25}],
    "sample_5": [{"masker": "random_sampling", "sampling_rate": 0.05}],
    "sample_25": [{"masker": "random_sampling", "sampling_rate": 0.25}]})",
                               R"({"workload": "aggregation", "queries": 16, "keys": 2048})");
  for (const PipelineRecord& pipeline : record.pipelines) {
    RecordProperty(pipeline.name, fmt::format("{:.3f}", pipeline.quality.output_error.mean));
  }
  const auto error = [&](size_t p) { return record.pipelines[p].quality.output_error.mean; };
  EXPECT_GT(error(0), 0.9);
  EXPECT_GT(error(1), 0.9) << "all relevant keys, and still twice too long";
  EXPECT_LT(error(2), 0.35);
  EXPECT_LT(error(3), 0.15);
  EXPECT_NEAR(record.pipelines[0].quality.density.mean, record.pipelines[2].quality.density.mean, 0.001);
}

/// A cache that is frozen when the prompt ends, against one of the same size that moves on.
TEST(MeasureWorkloads, DriftFailsWhatIsFrozenAtTheEndOfThePrompt) {
  const char* pipelines = R"({
    "frozen": [{"masker": "sink", "sink_size": 768}],
    "moving": [{"masker": "local", "window_size": 768}]})";
  const auto input = [](double begin) {
    return fmt::format(
        R"({{"workload": "drift", "drift_begin": {}, "clusters": 8, "queries": 256, "keys": 1024}})", begin);
  };
  const RunRecord still = run(pipelines, input(1), "decode"), drift = run(pipelines, input(0.75), "decode");
  const auto recall = [](const RunRecord& record, size_t p) {
    return record.pipelines[p].quality.mass_recall.mean;
  };
  RecordProperty("frozen_without_drift", fmt::format("{:.3f}", recall(still, 0)));
  RecordProperty("frozen_with_drift", fmt::format("{:.3f}", recall(drift, 0)));
  RecordProperty("moving_without_drift", fmt::format("{:.3f}", recall(still, 1)));
  RecordProperty("moving_with_drift", fmt::format("{:.3f}", recall(drift, 1)));
  EXPECT_GT(recall(still, 0), 0.7);
  EXPECT_LT(recall(drift, 0), 0.35);
  EXPECT_GT(recall(drift, 1), 0.9);
}

}  // namespace
}  // namespace attnlab::measure
