#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "core/base/hash.hpp"
#include "core/measure/identity.hpp"
#include "tests/unit/plugin_test_support.hpp"
#include "tests/unit/sweep_test_support.hpp"

namespace attnlab::sweep {
namespace {

constexpr const char* two_axes = R"({"space": {"/pipelines/main/2/heavy_size": ["5%", "10%", 0.1],
    "/input/keys": [64, 128]}})";

TEST(SweepPlan, ATrialIsARunOfTheMeasuredPipeline) {
  const SweepConfig sweep = sweep_of(two_axes);
  Search search(sweep, test::catalog());
  const Preview plan = preview(search);
  ASSERT_EQ(plan.trials.size(), 4u);  // "10%" and 0.1 are the same
  EXPECT_EQ(plan.most_trials, 6);
  EXPECT_EQ(plan.work, 2 * 4 * 8 * (64 + 128));
  EXPECT_EQ(plan.trials[plan.cheapest].config["input"]["keys"], 64);
  EXPECT_DOUBLE_EQ(estimate_seconds(plan.work, 4 * 8 * 64, 0.5, 2), 6 * 0.5 / 2);
  const Trial& trial = plan.trials[1];
  EXPECT_EQ(trial.config["compare"], io::Json({"main"}));
  EXPECT_EQ(trial.config["pipelines"].size(), 1u);
  EXPECT_EQ(trial.config["pipelines"]["main"][2]["heavy_size"], "5%");
  EXPECT_TRUE(trial.config["attention"].contains("scale"));
}

TEST(SweepPlan, TheIdIsTheRunIdOfItsConfig) {
  const SweepConfig sweep = sweep_of(two_axes);
  Planner planner(sweep, test::catalog());
  const Trial trial = planner.trial({{"/seed", 3}}, 0);
  const config::Document document = test::document_of(trial.config);
  const config::RunPlan plan = config::resolve(document, test::catalog());
  const auto source = data::open_source(plan.input);
  EXPECT_EQ(trial.id,
            measure::run_id(plan, test::catalog(), measure::complete_config(plan, test::catalog(), *source),
                            measure::input_files(plan, test::catalog(), *source), base::hash_file));
  EXPECT_NE(trial.id, planner.trial({{"/seed", 4}}, 0).id);
  // A title has no part in it, the order of axes neither.
  EXPECT_EQ(trial.id, planner.trial({{"/title", "x"}, {"/seed", 3}}, 0).id);
  EXPECT_EQ(planner.trial({{"/seed", 3}, {"/queries", 4}}, 0).id,
            planner.trial({{"/queries", 4}, {"/seed", 3}}, 0).id);
}

TEST(SweepPlan, EveryPointIsValidatedBeforeTheFirstTrial) {
  auto refusal = [](const std::string& members) {
    return io::refusal([&] {
      const SweepConfig sweep = sweep_of(members);
      Search search(sweep, test::catalog());
    });
  };
  const std::string last = refusal(R"({"space": {"/pipelines/main/2/heavy_size": ["5%", "10%", "110%"]}})");
  EXPECT_NE(last.find("above 1"), std::string::npos) << last;
  EXPECT_NE(last.find("test.json"), std::string::npos) << last;
  EXPECT_NE(last.find("/space/~1pipelines~1main~12~1heavy_size"), std::string::npos) << last;
  EXPECT_NE(last.find("110%"), std::string::npos) << last;
  const std::string unknown = refusal(R"({"space": {"/pipelines/main/2/heavy_sise": [1]}})");
  EXPECT_NE(unknown.find("did you mean \"heavy_size\""), std::string::npos) << unknown;
  const std::string nowhere = refusal(R"({"space": {"/pipelines/mian/2/heavy_size": [1]}})");
  EXPECT_NE(nowhere.find("did you mean \"main\""), std::string::npos) << nowhere;
  const std::string rung = refusal(R"({"space": {"/seed": [1, 2]}, "sampler": {"kind": "successive_halving",
      "first": "grid", "rungs": [{}, {"/input/keys": 4}]}})");
  EXPECT_NE(rung.find("more queries than keys"), std::string::npos) << rung;
  const std::string inside =
      refusal(R"({"space": {"/seed": [1]}, "base": {"pipelines": {"a": [{"masker": "sonk"}]},
      "input": {"workload": "gaussian"}}})");
  EXPECT_NE(inside.find("/base/pipelines/a/0/masker"), std::string::npos) << inside;
  // Beyond the first batch of a sampler that learns: an end of an axis.
  const std::string end = refusal(R"({"space": {"/pipelines/main/2/heavy_size": {"range": [0.5, 1.0001]}},
      "sampler": {"kind": "tpe", "trials": 20, "startup": 2}})");
  EXPECT_NE(end.find("above 1"), std::string::npos) << end;
  const std::string heads = refusal(R"({"space": {"/heads": [[0], [9]]}})");
  EXPECT_NE(heads.find("no such query head"), std::string::npos) << heads;
}

/// Runs a whole search; `order` is how the outcomes of a batch arrive. Returns the ids of each batch.
template <class Order>
std::vector<std::vector<std::string>> search_all(const SweepConfig& sweep, const Order& order) {
  Search search(sweep, test::catalog());
  std::vector<std::vector<std::string>> batches;
  for (auto batch = search.next(); !batch.empty(); batch = search.next()) {
    batches.emplace_back();
    for (const Trial& trial : batch) batches.back().push_back(trial.id);
    order(batch);
    for (const Trial& trial : batch) {
      const double sink = trial.config["pipelines"]["main"][0]["sink_size"];
      const double window = trial.config["pipelines"]["main"][1]["window_size"];
      const bool fails = static_cast<int64_t>(sink) % 7 == 0;
      EXPECT_TRUE(search.tell(
          fails ? failed(trial.id, "signal SIGABRT")
                : done(trial.id, {{"output_error", 1 / sink + 1 / window}, {"density", sink + window}})));
      EXPECT_FALSE(search.tell(failed(trial.id, "again")));
    }
  }
  EXPECT_FALSE(search.tell(failed("unknown", "")));
  return batches;
}

TEST(SweepPlan, BatchesDoNotDependOnTheOrderOfArrival) {
  for (
      const char* sampler :
      {R"({"kind": "tpe", "trials": 60, "batch": 12, "startup": 12})",
       R"({"kind": "successive_halving", "trials": 32, "rungs": [{"/input/keys": 64}, {"/input/keys": 96}, {}]})",
       R"({"kind": "halton", "trials": 40})"}) {
    const SweepConfig sweep = sweep_of(R"({"space": {"/pipelines/main/0/sink_size": {"range": [1, 30]},
        "/pipelines/main/1/window_size": {"log_range": [1, 32]}}, "constraints": ["density <= 40"],
        "objective": [{"minimise": "output_error"}, {"minimise": "density"}], "sampler": )" +
                                       std::string(sampler) + "}");
    const auto forward = search_all(sweep, [](std::vector<Trial>&) {});
    const auto backward =
        search_all(sweep, [](std::vector<Trial>& batch) { std::reverse(batch.begin(), batch.end()); });
    EXPECT_EQ(forward, backward) << sampler;
    std::set<std::string> all;
    size_t count = 0;
    for (const auto& batch : forward) {
      all.insert(batch.begin(), batch.end());
      count += batch.size();
    }
    EXPECT_EQ(all.size(), count) << sampler;
  }
}

TEST(SweepPlan, CommittedSweepsAreValid) {
  int sweeps = 0;
  for (const auto& entry : std::filesystem::directory_iterator(ATTNLAB_SOURCE_DIR "/configs/sweeps")) {
    if (entry.path().extension() != ".json") continue;
    const config::Document document = config::Document::load(entry.path().string());
    const SweepConfig sweep = resolve_sweep(document, test::catalog());
    Search search(sweep, test::catalog());
    EXPECT_GE(search.next().size(), 4u) << entry.path();
    ++sweeps;
  }
  EXPECT_GE(sweeps, 10);
}

}  // namespace
}  // namespace attnlab::sweep
