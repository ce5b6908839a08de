// Ranks as workers of a sweep: outcomes as from local workers, refusals that name the rank, a nursery's
// death.
#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "core/base/error.hpp"
#include "core/kernels/table.hpp"
#include "core/sweep/executor.hpp"
#include "core/sweep/rank_workers.hpp"
#include "core/sweep/trial_run.hpp"
#include "tests/support/catalog.hpp"
#include "tests/support/sanitizers.hpp"
#include "tests/support/thread_ranks.hpp"

namespace attnlab::sweep {
namespace {

using io::Json;

plugin::SearchPath search() {
  return {.files = {}, .folders = {{ATTNLAB_PLUGINS, "built in"}}};
}

NurseryTask task() {
  return {.search = search(),
          .required = {"output_error"},
          .methods = {"local"},
          // A sanitizer's shadow alone is more than any sensible limit.
          .limits = {.seconds = 20, .memory_bytes = test::sanitized ? 0 : uint64_t{1} << 30},
          .simd = kernels::active_table().target,
          .plugins = plugin_hashes(test::catalog())};
}

/// Windows of 1 to `count` keys, as resolved configs.
std::vector<Trial> windows(int count) {
  std::vector<Trial> trials;
  for (int i = 1; i <= count; ++i) {
    Trial trial;
    trial.id = std::to_string(i);
    trial.config = Json::parse(R"({"pipelines": {"main": [{"masker": "local"}]},
      "input": {"workload": "gaussian", "query_heads": 2, "kv_heads": 1, "queries": 4, "keys": 64,
                "head_dim": 8, "value_dim": 8}})");
    trial.config["pipelines"]["main"][0]["window_size"] = i;
    trials.push_back(trial);
  }
  return trials;
}

std::map<std::string, Outcome> run_all(Executor& executor, const std::vector<Trial>& trials) {
  std::map<std::string, Outcome> outcomes;
  EXPECT_TRUE(executor.run(trials, {.on_finished =
                                        [&](const std::vector<Finished>& finished) {
                                          for (const auto& one : finished)
                                            EXPECT_TRUE(outcomes.emplace(one.trial->id, one.outcome).second);
                                        },
                                    .stop = {},
                                    .on_tick = {}}));
  return outcomes;
}

class SweepRanks : public testing::Test {
 protected:
  void SetUp() override {
    ::setenv("ATTNLAB_PROBE", ATTNLAB_PROGRAM, 1);
    // Before there are threads.
    for (int rank = 0; rank < 3; ++rank) nurseries.push_back(std::make_unique<Nursery>());
  }
  /// Rank 0 does `lead` with its ranks; the others serve.
  void run(const std::function<void(base::Ranks&)>& lead) {
    test::run_ranks(3, [&](base::Ranks& ranks) {
      Nursery& nursery = *nurseries[static_cast<size_t>(ranks.rank())];
      ranks.rank() == 0 ? lead(ranks) : serve_trials(ranks, nursery);
    });
  }
  std::vector<std::unique_ptr<Nursery>> nurseries;
};

TEST_F(SweepRanks, RunWhatLocalWorkersRun) {
  const std::vector<Trial> trials = windows(40);
  std::map<std::string, Outcome> local;
  {
    Executor executor(local_workers(
        1, {.limits = task().limits,
            .work =
                [](const Trial& trial) { return run_trial(trial.config, test::catalog(), {"output_error"}); },
            .prepare = {}}));
    local = run_all(executor, trials);
  }
  run([&](base::Ranks& ranks) {
    Executor executor(rank_workers(ranks, *nurseries[0], task()));
    EXPECT_EQ(executor.workers(), 3);
    const auto outcomes = run_all(executor, trials);
    ASSERT_EQ(outcomes.size(), trials.size());
    std::set<double> errors;
    for (const auto& [id, outcome] : outcomes) {
      EXPECT_TRUE(outcome.done()) << outcome.reason;
      EXPECT_EQ(outcome.metrics, local.at(id).metrics) << id;
      errors.insert(outcome.metrics.at("output_error"));
    }
    EXPECT_EQ(errors.size(), trials.size());
    // Batch after batch.
    EXPECT_EQ(run_all(executor, {trials[0], trials[1]}).size(), 2u);
  });
}

TEST_F(SweepRanks, RefuseOtherCode) {
  for (const char* what : {"plugin", "missing", "simd"}) {
    SCOPED_TRACE(what);
    if (nurseries.empty()) SetUp();
    run([&](base::Ranks& ranks) {
      NurseryTask other = task();
      if (what == std::string("plugin")) other.plugins["local"] = "0123";
      if (what == std::string("missing")) other.plugins["loca"] = "0123";
      if (what == std::string("simd")) other.simd = "ABACUS";
      try {
        rank_workers(ranks, *nurseries[0], other);
        ADD_FAILURE() << "accepted";
      } catch (const base::UserError& error) {
        EXPECT_NE(std::string(error.what()).find("rank 0 cannot run trials"), std::string::npos)
            << error.what();
      }
    });
    nurseries.clear();
  }
}

TEST_F(SweepRanks, ADeadNurseryCostsATrialAndOthersGoOn) {
  run([&](base::Ranks& ranks) {
    Executor executor(rank_workers(ranks, *nurseries[0], task()));
    const std::vector<Trial> trials = windows(60);
    ::kill(nurseries[1]->process(), SIGKILL);
    const auto outcomes = run_all(executor, trials);
    ASSERT_EQ(outcomes.size(), trials.size());
    int failed = 0;
    for (const auto& [id, outcome] : outcomes) failed += outcome.done() ? 0 : 1;
    EXPECT_EQ(failed, 1);
    ::kill(nurseries[0]->process(), SIGKILL);
    ::kill(nurseries[2]->process(), SIGKILL);
    EXPECT_THROW(run_all(executor, windows(60)), base::UserError);
  });
}

}  // namespace
}  // namespace attnlab::sweep
