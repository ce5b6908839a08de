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
  if (mode == "decode") document.set("/queries", 256, origin);
  document.set("/attention", {{"on_empty_row", "zeros"}}, origin);
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

TEST(MeasureWorkloads, ConeFailsMagicPigWithoutCentring) {
  const RunRecord record = run(R"({
    "centred": [{"masker": "magic_pig", "lsh_k": 10, "lsh_l": 150}],
    "raw": [{"masker": "magic_pig", "lsh_k": 10, "lsh_l": 150, "center": false}]})",
                               R"({"workload": "cone", "queries": 16})");
  const Quality &centred = record.pipelines[0].quality, &raw = record.pipelines[1].quality;
  RecordProperty("centred_density", fmt::format("{:.4f}", centred.density.mean));
  RecordProperty("centred_mass_recall", fmt::format("{:.4f}", centred.mass_recall.mean));
  RecordProperty("raw_density", fmt::format("{:.6f}", raw.density.mean));
  EXPECT_LT(raw.density.mean, 1e-3);
  EXPECT_LT(raw.mass_recall.mean, 1e-3);
  EXPECT_GT(centred.density.mean, 5e-3);
  EXPECT_GT(centred.mass_recall.mean, 0.08);
}

/// A codebook that is fitted to the prompt against hash tables, whose planes know no keys, and exact scores.
TEST(MeasureWorkloads, DriftFailsACodebookOfThePrompt) {
  const auto recalls = [](double begin) {
    const RunRecord record = run(
        R"({
          "oracle": [{"masker": "oracle_top_k", "heavy_size": "5%"}],
          "codebook": [{"masker": "pq_cache", "heavy_size": "5%"}],
          "tables": [{"masker": "magic_pig"}]})",
        fmt::format(
            R"({{"workload": "drift", "drift_begin": {}, "query_heads": 2, "kv_heads": 1, "queries": 256,
          "keys": 1024}})",
            begin),
        "decode");
    std::vector<double> result;
    for (const auto& pipeline : record.pipelines) result.push_back(pipeline.quality.mass_recall.mean);
    return result;
  };
  const std::vector<double> still = recalls(1), drift = recalls(0.75);
  for (size_t p = 0; p < 3; ++p) {
    const char* names[] = {"oracle", "codebook", "tables"};
    RecordProperty(names[p], fmt::format("{:.3f} without drift, {:.3f} with it", still[p], drift[p]));
  }
  EXPECT_LT(drift[1] / still[1], 0.65);
  EXPECT_GT(drift[0] / still[0], 0.8);
  EXPECT_GT(drift[2] / still[2], 0.7);
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
