// Sweeps whose trials crash, hang and take all memory, and sweeps that are killed: every other trial is done,
// nothing that was recorded is lost or run again.
#include <chrono>
#include <random>
#include <thread>

#include "tests/cli/sweep_program.hpp"

namespace attnlab::cli_test {
namespace {

class SweepKill : public SweepProgram {};

TEST_F(SweepKill, TrialsThatEndBadlyCostNoOther) {
  const int trials = full_size() ? 2000 : 200;
  write_sweep(trials, bad_trials());
  ASSERT_EQ(wait_for(start_run("one", "1")), 5) << bytes_of(root / "stderr");
  ASSERT_EQ(wait_for(start_run("two", "2")), 5) << bytes_of(root / "stderr");
  const std::string lines = exported("one");
  EXPECT_TRUE(lines == exported("two"));
  check_bad_trials(lines, trials);
}

TEST_F(SweepKill, AKilledSweepLosesNothingAndRunsNothingTwice) {
  const int trials = full_size() ? 3000 : 600;
  write_sweep(trials, {{"microseconds", 1000}});
  std::mt19937 random(std::random_device{}());
  std::map<std::string, int> before;
  int kills = 0;
  pid_t child = start_run("out", "2");
  for (; kills < 10; ++kills) {
    const auto pause = std::chrono::milliseconds(20 + random() % (full_size() ? 800 : 300));
    SCOPED_TRACE("killed after " + std::to_string(pause.count()) + " ms");
    std::this_thread::sleep_for(pause);
    ::kill(child, SIGKILL);
    const bool ended = wait_for(child) == 0;
    const auto after = recorded("out");
    for (const auto& [id, count] : before) ASSERT_TRUE(after.contains(id)) << id;
    for (const auto& [id, count] : after) ASSERT_EQ(count, 1) << id;
    before = after;
    if (ended) break;
    // The first kill may have come before there was a folder.
    child = fs::exists(root / "out" / "sweep.json") ? start({"sweep", "resume", "out", "--workers", "2"})
                                                    : start_run("out", "2");
  }
  if (kills == 10) {
    ASSERT_EQ(wait_for(child), 0) << bytes_of(root / "stderr");
  }
  EXPECT_GE(kills, 3);
  const auto all = recorded("out");
  EXPECT_EQ(all.size(), static_cast<size_t>(trials));
  for (const auto& [id, count] : all) EXPECT_EQ(count, 1) << id;
}

TEST_F(SweepKill, CtrlCFinishesWhatRunsAndTwiceStops) {
  write_sweep(400, {{"microseconds", 20000}});
  pid_t child = start_run("out", "2");
  for (int i = 0; i < 1000 && recorded("out").size() < 4; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  ::kill(child, SIGINT);
  EXPECT_EQ(wait_for(child), 130);
  EXPECT_NE(bytes_of(root / "stderr").find("attnlab sweep resume out"), std::string::npos)
      << bytes_of(root / "stderr");
  const size_t first = recorded("out").size();
  EXPECT_GE(first, 4u);
  EXPECT_LT(first, 400u);

  write_sweep(400, {{"hang_every", 3}});
  child = start_run("hanging", "2");
  for (int i = 0; i < 1000 && recorded("hanging").empty(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  const auto begin = std::chrono::steady_clock::now();
  ::kill(child, SIGINT);
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  ::kill(child, SIGINT);
  EXPECT_EQ(wait_for(child), 130);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(2));
}

TEST_F(SweepKill, ASecondWriterIsToldOfTheFirst) {
  write_sweep(400, {{"microseconds", 20000}});
  const pid_t first = start_run("out", "1");
  for (int i = 0; i < 1000 && recorded("out").empty(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_EQ(wait_for(start({"sweep", "resume", "out"})), 1);
  EXPECT_NE(bytes_of(root / "stderr").find("process " + std::to_string(first)), std::string::npos)
      << bytes_of(root / "stderr");
  ::kill(first, SIGKILL);
  wait_for(first);
}

/// What launchers may leave behind: children that nobody can wait for, closed standard streams.
TEST_F(SweepKill, AnOddParentChangesNothing) {
  write_sweep(50, {{"abort_every", 10}});
  int number = 0;
  for (const std::string oddity : {"trap '' CHLD; exec", "exec <&- >&-;", "exec <&- >&- 2>&-;"}) {
    SCOPED_TRACE(oddity);
    const std::string out = "out" + std::to_string(number++);
    std::string words = oddity + " " ATTNLAB_PROGRAM;
    for (const std::string& word : run_words(out)) words += " " + word;
    ASSERT_EQ(wait_for(start_program({"/bin/sh", "-c", words + " --workers 2"})), 5);
    const std::string lines = exported(out);
    EXPECT_EQ(lines, exported("out0"));
    std::istringstream each(lines);
    int aborted = 0;
    for (std::string line; std::getline(each, line);)
      aborted += Json::parse(line).value("reason", "") == "signal SIGABRT in select" ? 1 : 0;
    EXPECT_EQ(aborted, 5);
    EXPECT_EQ(recorded(out).size(), 50u);
    EXPECT_LT(bytes_of(root / out / "lock").size(), 200u);
  }
}

TEST_F(SweepKill, ShardsThatWentOnAreMergedAgain) {
  write_sweep(20, Json::object());
  std::vector<std::string> words = run_words("unused");
  words.resize(words.size() - 2);  // --out
  words.insert(words.end(), {"--emit-slurm", "slurm", "--shards", "2"});
  ASSERT_EQ(wait_for(start(words)), 0) << bytes_of(root / "stderr");
  const auto shell = [&](const std::string& text) {
    return wait_for(start_program({"/bin/bash", "-c", text}));
  };
  ASSERT_EQ(shell("SLURM_ARRAY_TASK_ID=1 bash slurm/shards.sbatch && SLURM_ARRAY_TASK_ID=2 bash "
                  "slurm/shards.sbatch && bash slurm/merge.sh"),
            0)
      << bytes_of(root / "stderr");
  EXPECT_EQ(bytes_of(root / "stderr").find("warning"), std::string::npos) << bytes_of(root / "stderr");
  const std::string whole = exported("slurm/merged");
  // As if its time had been up: of the second shard three trials are left.
  ASSERT_EQ(shell("head -n 3 slurm/shard-2/trials.jsonl >cut && cp cut slurm/shard-2/trials.jsonl && "
                  "bash slurm/merge.sh"),
            0)
      << bytes_of(root / "stderr");
  EXPECT_NE(bytes_of(root / "stderr").find("13 of 20 trials are on record"), std::string::npos)
      << bytes_of(root / "stderr");
  ASSERT_EQ(shell("SLURM_ARRAY_TASK_ID=2 bash slurm/shards.sbatch && bash slurm/merge.sh"), 0)
      << bytes_of(root / "stderr");
  EXPECT_EQ(exported("slurm/merged"), whole);
  // A merge that cannot be made leaves the last one.
  ASSERT_NE(shell("mv slurm/shard-1 gone && bash slurm/merge.sh"), 0);
  EXPECT_EQ(exported("slurm/merged"), whole);
}

}  // namespace
}  // namespace attnlab::cli_test
