// Runs that are killed or find the disk full: nothing that was saved is lost, and a resumed run ends with the
// bytes of an unbroken one.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace attnlab::cli_test {
namespace {

namespace fs = std::filesystem;

constexpr const char* kConfig = R"({
  "model": {"layers": 2, "embed_dim": 32, "query_heads": 2, "block": 32, "dropout": 0.1},
  "attention": {"scheme": "mha"},
  "task": {"generated": "recall", "evaluation_windows": 16},
  "train": {"steps": 400, "batch": 8, "warmup": 5, "checkpoint_every": 7, "evaluate_every": 100}
})";

std::string bytes_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}
int64_t lines_of(const fs::path& path) {
  const std::string text = bytes_of(path);
  return std::count(text.begin(), text.end(), '\n');
}

class TrainKill : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "attnlab_train_XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    root = name;
    std::ofstream(root / "train.json") << kConfig;
  }
  void TearDown() override { fs::remove_all(root); }

  /// Starts attnlab train; `file_limit`: no file may grow beyond so many bytes, as on a full disk.
  pid_t start(const std::string& out, bool resume, rlim_t file_limit = RLIM_INFINITY) const {
    std::vector<std::string> words = {
        ATTNLAB_PROGRAM, "train", (root / "train.json").string(), "--out", (root / out).string(), "--quiet"};
    if (resume) words.push_back("--resume");
    const pid_t child = ::fork();
    if (child != 0) return child;
    std::freopen((root / "stdout").c_str(), "w", stdout);
    std::freopen((root / "stderr").c_str(), "w", stderr);
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{file_limit, file_limit};
    ::setrlimit(RLIMIT_FSIZE, &limit);
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
  /// Waits until the run wrote so many lines of metrics.
  void wait_for_lines(const std::string& out, int64_t lines) const {
    for (int i = 0; i < 6000 && lines_of(root / out / "metrics.jsonl") < lines; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    ASSERT_GE(lines_of(root / out / "metrics.jsonl"), lines);
  }

  fs::path root;
};

TEST_F(TrainKill, ResumedAfterKillEndsWithTheSameBytes) {
  ASSERT_EQ(wait_for(start("whole", false)), 0) << bytes_of(root / "stderr");
  std::mt19937 random(std::random_device{}());
  int64_t lines = 0;
  bool resume = false;
  for (int kill = 0; kill < 3; ++kill) {
    lines += 10 + static_cast<int64_t>(random() % 60);
    SCOPED_TRACE("killed after " + std::to_string(lines) + " lines");
    const pid_t child = start("broken", resume);
    wait_for_lines("broken", lines);
    ::kill(child, SIGKILL);
    wait_for(child);
    resume = true;
  }
  ASSERT_EQ(wait_for(start("broken", true)), 0) << bytes_of(root / "stderr");
  for (const char* file : {"checkpoint.safetensors", "metrics.jsonl"})
    EXPECT_TRUE(bytes_of(root / "whole" / file) == bytes_of(root / "broken" / file)) << file;
}

TEST_F(TrainKill, InterruptSavesAndResumes) {
  const pid_t child = start("run", false);
  wait_for_lines("run", 20);
  ::kill(child, SIGINT);
  EXPECT_EQ(wait_for(child), 130);
  EXPECT_NE(bytes_of(root / "stderr").find("--resume goes on"), std::string::npos);
  EXPECT_EQ(wait_for(start("run", true)), 0) << bytes_of(root / "stderr");
}

TEST_F(TrainKill, AFullDiskLeavesTheOlderCheckpoint) {
  const pid_t child = start("run", false);
  wait_for_lines("run", 20);
  ::kill(child, SIGINT);
  ASSERT_EQ(wait_for(child), 130);
  const fs::path checkpoint = root / "run" / "checkpoint.safetensors";
  const std::string before = bytes_of(checkpoint);
  EXPECT_EQ(wait_for(start("run", true, before.size() / 2)), 1);
  EXPECT_NE(bytes_of(root / "stderr").find("checkpoint.safetensors"), std::string::npos)
      << bytes_of(root / "stderr");
  EXPECT_TRUE(bytes_of(checkpoint) == before);
  EXPECT_EQ(wait_for(start("run", true)), 0) << bytes_of(root / "stderr");
}

}  // namespace
}  // namespace attnlab::cli_test
