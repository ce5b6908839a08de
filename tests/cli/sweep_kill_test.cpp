// Sweeps whose trials crash, hang and take all memory, and sweeps that are killed: every other trial is done,
// nothing that was recorded is lost or run again. ATTNLAB_LONG=1 in the environment runs them in full size.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "core/io/json.hpp"

namespace attnlab::cli_test {
namespace {

namespace fs = std::filesystem;
using io::Json;

bool full_size() {
  return std::getenv("ATTNLAB_LONG") != nullptr;
}

std::string bytes_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

class SweepKill : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "attnlab_sweep_XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    root = name;
    ::setenv("XDG_CACHE_HOME", (root / "cache").c_str(), 1);
  }
  void TearDown() override { fs::remove_all(root); }

  /// A sweep of so many trials of the fixture `ends_as_told`.
  void write_sweep(int trials, const Json& stage) const {
    Json first = {{"masker", "ends_as_told"}, {"trial", 0}, {"keys", 4}};
    first.update(stage);
    const Json base = {{"pipelines", {{"main", Json::array({first})}}},
                       {"input",
                        {{"workload", "gaussian"},
                         {"query_heads", 1},
                         {"kv_heads", 1},
                         {"queries", 8},
                         {"keys", 16},
                         {"head_dim", 8},
                         {"value_dim", 8}}}};
    const Json sweep = {{"base", base},
                        {"space", {{"/pipelines/main/0/trial", {{"range", {0, trials - 1}}, {"step", 1}}}}},
                        {"sampler", {{"kind", "grid"}}},
                        {"objective", {{"minimise", "output_error"}}},
                        {"limits", {{"seconds", 2}, {"memory", "160 MiB"}}}};
    std::ofstream(root / "sweep.json") << sweep.dump(2);
  }

  /// Starts attnlab; its output goes to files in `root`.
  pid_t start(std::vector<std::string> words) const {
    words.insert(words.begin(), ATTNLAB_PROGRAM);
    const pid_t child = ::fork();
    if (child != 0) return child;
    fs::current_path(root);
    static_cast<void>(std::freopen("stdout", "w", stdout));
    static_cast<void>(std::freopen("stderr", "w", stderr));
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    ::execv(ATTNLAB_PROGRAM, arguments.data());
    std::_Exit(127);
  }
  static int wait_for(pid_t child) {
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  pid_t start_run(const std::string& out, const std::string& workers) const {
    return start({"sweep", "run", "sweep.json", "--plugin-path", ATTNLAB_FIXTURES, "--out", out, "--workers",
                  workers});
  }
  std::string exported(const std::string& out) const {
    EXPECT_EQ(wait_for(start({"sweep", "export", out, "--format", "jsonl"})), 0) << bytes_of(root / "stderr");
    return bytes_of(root / "stdout");
  }
  /// Lines of trials.jsonl that are whole, by id.
  std::map<std::string, int> recorded(const std::string& out) const {
    std::map<std::string, int> ids;
    std::istringstream lines(bytes_of(root / out / "trials.jsonl"));
    for (std::string line; std::getline(lines, line);) {
      const Json record = Json::parse(line, nullptr, false);
      if (record.is_object()) ++ids[record["id"].get<std::string>()];
    }
    return ids;
  }

  fs::path root;
};

TEST_F(SweepKill, TrialsThatEndBadlyCostNoOther) {
  const int trials = full_size() ? 2000 : 200;
  write_sweep(trials, {{"abort_every", 50}, {"hang_every", 100}, {"exhaust_every", 100}});
  ASSERT_EQ(wait_for(start_run("one", "1")), 5) << bytes_of(root / "stderr");
  ASSERT_EQ(wait_for(start_run("two", "2")), 5) << bytes_of(root / "stderr");
  const std::string lines = exported("one");
  EXPECT_TRUE(lines == exported("two"));
  std::map<std::string, int> reasons;
  std::istringstream each(lines);
  for (std::string line; std::getline(each, line);) {
    const Json record = Json::parse(line);
    const std::string reason = record.value("reason", "done");
    ++reasons[reason];
    if (reason != "signal SIGABRT in select") continue;
    EXPECT_EQ(record["signal"], SIGABRT);
    EXPECT_NE(record["stderr"].get<std::string>().find(
                  "trial " + record["point"]["/pipelines/main/0/trial"].dump() + " aborts"),
              std::string::npos);
  }
  const int hundreds = trials / 100;
  EXPECT_EQ(reasons["done"], trials - 4 * hundreds);
  EXPECT_EQ(reasons["signal SIGABRT in select"], 2 * hundreds);
  EXPECT_EQ(reasons["ran past 2 s"], hundreds);
  EXPECT_EQ(reasons["memory above 160 MiB"], hundreds);
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

}  // namespace
}  // namespace attnlab::cli_test
