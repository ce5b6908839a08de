// Sweeps under mpirun: the same results as with workers, whatever trials do to their processes and whichever
// process of the job is killed.
#include <algorithm>
#include <chrono>
#include <random>
#include <thread>

#include "tests/cli/mpi_launch.hpp"
#include "tests/cli/sweep_program.hpp"

namespace attnlab::cli_test {
namespace {

using std::chrono::milliseconds;

class SweepMpi : public SweepProgram {
 protected:
  void SetUp() override {
    if (!has_mpi()) GTEST_SKIP() << "attnlab-mpi is not built: CMake found no MPI";
    SweepProgram::SetUp();
  }
  void TearDown() override {
    if (!root.empty()) SweepProgram::TearDown();
  }
  pid_t start_ranks(int ranks, const std::vector<std::string>& words) const {
    return start_program(on_ranks(ranks, words));
  }
  pid_t start_run_on(int ranks, const std::string& out) const { return start_ranks(ranks, run_words(out)); }

  /// All processes below this one, parents first.
  static std::vector<pid_t> descendants(pid_t process) {
    std::vector<pid_t> found;
    const std::string folder = "/proc/" + std::to_string(process) + "/task";
    std::error_code gone;
    for (const auto& thread : fs::directory_iterator(folder, gone)) {
      std::ifstream children(thread.path() / "children");
      for (pid_t child = 0; children >> child;) found.push_back(child);
    }
    for (size_t i = 0, direct = found.size(); i < direct; ++i) {
      const auto below = descendants(found[i]);
      found.insert(found.end(), below.begin(), below.end());
    }
    return found;
  }
  static bool lives(pid_t process) {
    std::ifstream stat("/proc/" + std::to_string(process) + "/stat");
    std::string number, name, state;
    return (stat >> number >> name >> state) && state != "Z";
  }
  static bool end_soon(const std::vector<pid_t>& processes) {
    for (int i = 0; i < 3000; ++i) {
      if (std::none_of(processes.begin(), processes.end(), lives)) return true;
      std::this_thread::sleep_for(milliseconds(10));
    }
    return false;
  }
};

TEST_F(SweepMpi, ThreeRanksRecordWhatOneWorkerDoes) {
  const int trials = full_size() ? 2000 : 100;
  write_sweep(trials, bad_trials());
  ASSERT_EQ(wait_for(start_run("worker", "1")), 5) << bytes_of(root / "stderr");
  wait_for(start_run_on(3, "ranks"));
  const std::string lines = exported("ranks");
  EXPECT_TRUE(lines == exported("worker"));
  check_bad_trials(lines, trials);
}

TEST_F(SweepMpi, OneRankIsEnough) {
  write_sweep(20, Json::object());
  ASSERT_EQ(wait_for(start_run_on(1, "out")), 0) << bytes_of(root / "stderr");
  EXPECT_EQ(recorded("out").size(), 20u);
}

TEST_F(SweepMpi, AMistakeIsToldOnceAndEndsAllRanks) {
  write_sweep(20, {{"keyz", 4}});
  EXPECT_NE(wait_for(start_run_on(3, "out")), 0);
  const std::string said = bytes_of(root / "stderr");
  const size_t first = said.find("keyz");
  ASSERT_NE(first, std::string::npos) << said;
  EXPECT_EQ(said.find("error:", said.find("error:") + 1), std::string::npos) << said;
  EXPECT_FALSE(fs::exists(root / "out"));
}

TEST_F(SweepMpi, ASignalFinishesWhatRuns) {
  write_sweep(400, {{"microseconds", 20000}});
  const pid_t job = start_run_on(3, "out");
  for (int i = 0; i < 2000 && recorded("out").size() < 4; ++i) std::this_thread::sleep_for(milliseconds(10));
  ::kill(job, SIGUSR1);
  EXPECT_NE(wait_for(job), 0);
  const std::string said = bytes_of(root / "stderr");
  EXPECT_NE(said.find("interrupted; to go on: attnlab sweep resume out"), std::string::npos) << said;
  EXPECT_GE(recorded("out").size(), 4u);
  EXPECT_LT(recorded("out").size(), 400u);
}

TEST_F(SweepMpi, AnyProcessOfAJobMayBeKilled) {
  const int trials = full_size() ? 3000 : 400;
  write_sweep(trials, {{"microseconds", 1000}});
  std::mt19937 random(std::random_device{}());
  std::map<std::string, int> before;
  const auto resumed = [&] {
    return fs::exists(root / "out" / "sweep.json") ? start_ranks(3, {"sweep", "resume", "out"})
                                                   : start_run_on(3, "out");
  };
  const int most_kills = full_size() ? 10 : 4;
  pid_t job = resumed();
  bool whole = false;
  for (int kills = 0; kills < most_kills && !whole; ++kills) {
    std::this_thread::sleep_for(milliseconds(300 + random() % (full_size() ? 900 : 500)));
    std::vector<pid_t> all = descendants(job);
    all.insert(all.begin(), job);
    const pid_t victim = all[random() % all.size()];
    SCOPED_TRACE("kill " + std::to_string(kills) + " of process " + std::to_string(victim) + " of " +
                 std::to_string(all.size()));
    ::kill(victim, SIGKILL);
    // Where a runner died the job goes on, and where a rank died mpirun ends it.
    std::this_thread::sleep_for(milliseconds(200));
    ::kill(job, SIGKILL);
    wait_for(job);
    ASSERT_TRUE(end_soon(all));
    const auto after = recorded("out");
    for (const auto& [id, count] : before) ASSERT_TRUE(after.contains(id)) << id;
    for (const auto& [id, count] : after) ASSERT_EQ(count, 1) << id;
    before = after;
    job = resumed();
  }
  wait_for(job);
  // Trials whose own processes were killed are on record as failed; they are run anew, and the last counts.
  ASSERT_EQ(wait_for(start({"sweep", "resume", "out", "--failed"})), 0) << bytes_of(root / "stderr");
  EXPECT_EQ(recorded("out").size(), static_cast<size_t>(trials));
}

}  // namespace
}  // namespace attnlab::cli_test
