// A sweep's program in a test: many trials of the fixture `ends_as_told`, in a folder of their own.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "core/io/json.hpp"

namespace attnlab::cli_test {

namespace fs = std::filesystem;
using io::Json;

/// ATTNLAB_LONG=1 in the environment runs these tests in full size.
inline bool full_size() {
  return std::getenv("ATTNLAB_LONG") != nullptr;
}

inline std::string bytes_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

class SweepProgram : public testing::Test {
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

  pid_t start(std::vector<std::string> words) const {
    words.insert(words.begin(), ATTNLAB_PROGRAM);
    return start_program(std::move(words));
  }
  /// The output goes to files in `root`.
  pid_t start_program(std::vector<std::string> words) const {
    const pid_t child = ::fork();
    if (child != 0) return child;
    fs::current_path(root);
    static_cast<void>(std::freopen("stdout", "w", stdout));
    static_cast<void>(std::freopen("stderr", "w", stderr));
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    ::execvp(arguments[0], arguments.data());
    std::_Exit(127);
  }
  static int wait_for(pid_t child) {
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  static std::vector<std::string> run_words(const std::string& out) {
    return {"sweep", "run", "sweep.json", "--plugin", ATTNLAB_FIXTURES "/ends_as_told.so", "--out", out};
  }
  pid_t start_run(const std::string& out, const std::string& workers) const {
    std::vector<std::string> words = run_words(out);
    words.insert(words.end(), {"--workers", workers});
    return start(words);
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

  /// Of every hundred trials two aborted, one hung, one took all memory, and the others are done.
  static void check_bad_trials(const std::string& exported, int trials) {
    std::map<std::string, int> reasons;
    std::istringstream each(exported);
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
  /// As write_sweep takes it.
  static Json bad_trials() { return {{"abort_every", 50}, {"hang_every", 100}, {"exhaust_every", 100}}; }

  fs::path root;
};

}  // namespace attnlab::cli_test
