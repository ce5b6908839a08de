#include "core/cli/isolate.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <sstream>

#include "core/io/atomic_file.hpp"
#include "core/plugin/crash.hpp"
#include "core/plugin/probe.hpp"

extern char** environ;

namespace attnlab::cli {
namespace {

namespace fs = std::filesystem;
using base::Exit;
using base::UserError;

/// A folder that is gone with everything in it at the end.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (fs::temp_directory_path() / "attnlab-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) {
      throw UserError(std::string("cannot make a temporary folder: ") + std::strerror(errno), {.file = name},
                      Exit::failed);
    }
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  std::string operator/(const char* name) const { return (path_ / name).string(); }

 private:
  fs::path path_;
};

volatile std::sig_atomic_t stop_signal = 0;
volatile pid_t running_child = 0;

/// Ctrl-C reaches the child too, which ends in an orderly way; SIGTERM is passed on. The parent waits for the
/// child's end and starts no other.
void note_stop(int signal) {
  stop_signal = signal;
  if (signal == SIGTERM && running_child > 0) ::kill(running_child, SIGTERM);
}

void append_failure(const std::string& path, const std::string& pipeline, const std::string& reason) {
  io::OutputFile file(path, io::OutputFile::Mode::append, path);
  file.write(pipeline + "\t" + reason + "\t" + reason + "\n");
}

/// `attnlab run A B --isolate` -> `attnlab run-child --typed TEXT --failures F A B`.
std::vector<std::string> child_command(const std::string& failures, const std::string& scratch) {
  const std::vector<std::string>& typed = command_line();
  std::vector<std::string> words{plugin::probe_program(), "run-child",  "--typed",
                                 shell_text(typed),       "--failures", failures};
  if (!scratch.empty()) words.insert(words.end(), {"--scratch", scratch});
  for (size_t i = 2; i < typed.size(); ++i) {
    if (typed[i] != "--isolate") words.push_back(typed[i]);
  }
  return words;
}

/// How a child ended: its exit code, or the name of the signal.
struct Ending {
  int code = -1;
  std::string signal;
  std::string text() const {
    return signal.empty() ? fmt::format("it ended the process with exit code {} and without a word", code)
                          : "the process was killed: " + signal;
  }
};

Ending run_child_process(const std::vector<std::string>& words, bool silent) {
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  if (silent) {
    ::posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    ::posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  }
  std::vector<char*> arguments;
  for (const auto& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  pid_t pid = 0;
  const int failure = ::posix_spawn(&pid, words[0].c_str(), &actions, nullptr, arguments.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (failure != 0) {
    throw UserError(std::string("cannot start a process: ") + std::strerror(failure), {.file = words[0]},
                    Exit::failed);
  }
  running_child = pid;
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  running_child = 0;
  if (WIFSIGNALED(status)) return {-1, ::strsignal(WTERMSIG(status))};
  return {WEXITSTATUS(status), ""};
}

/// A child that vanished left no word about the culprit: each pipeline that is left runs alone. Appends what
/// became of those that vanish again to `file`; false when there is none.
bool find_culprits(const std::vector<std::string>& pipelines, const std::string& file,
                   const TemporaryFolder& folder) {
  const ChildFailures known = ChildFailures::read(file);
  bool found = false;
  for (const auto& suspect : pipelines) {
    if (known.of.contains(suspect)) continue;
    const std::string alone = folder / "alone";
    io::write_file_atomically(alone, "");
    for (const auto& other : pipelines) {
      if (other != suspect) append_failure(alone, other, "left out");
    }
    const Ending ending = run_child_process(child_command(alone, folder / "scratch"), true);
    if (stop_signal != 0) return false;
    const ChildFailures after = ChildFailures::read(alone);
    const auto told = after.of.find(suspect);
    if (told == after.of.end() && after.done) continue;
    const std::string reason = told == after.of.end() ? ending.text() : told->second.reason;
    std::cerr << "error: pipeline \"" << suspect << "\": " << reason << "\n";
    append_failure(file, suspect, reason);
    found = true;
  }
  return found;
}

}  // namespace

ChildFailures ChildFailures::read(const std::string& path) {
  ChildFailures failures;
  std::istringstream lines(io::read_text(path, size_t{1} << 24));
  for (std::string line; std::getline(lines, line);) {
    const size_t first = line.find('\t');
    const size_t second = line.find('\t', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string pipeline = line.substr(0, first), reason = line.substr(first + 1, second - first - 1);
    if (pipeline.empty()) {
      failures.done = failures.done || reason == "done";
      failures.folder = failures.folder || reason == "folder";
      continue;
    }
    // Several threads may fail at once: one of them stands for all, whichever was first.
    const Failure failure{reason, line.substr(second + 1)};
    const auto [place, added] = failures.of.emplace(pipeline, failure);
    if (!added && reason < place->second.reason) place->second = failure;
  }
  return failures;
}

std::string shell_text(const std::vector<std::string>& words) {
  std::string text;
  for (const auto& word : words) {
    const bool plain = !word.empty() && word.find_first_not_of(
                                            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                            "0123456789_-./=,:+%@") == std::string::npos;
    std::string quoted = "'";
    for (char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
    quoted += "'";
    text += (text.empty() ? "" : " ") + (plain ? word : quoted);
  }
  return text;
}

void add_child_options(po::options_description& options) {
  options.add_options()("typed", po::value<std::string>(), "the parent's command line")(
      "failures", po::value<std::string>(), "the file shared with the parent")(
      "scratch", po::value<std::string>(), "result folder of a trial");
}

int run_as_child(const std::string& failures, const std::function<int()>& body) {
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  plugin::record_failures_in(failures);
  int code = 0;
  try {
    code = body();
  } catch (const UserError& error) {
    if (error.exit() != Exit::plugin_broken) plugin::record_failure("", "done", "");
    throw;
  }
  plugin::record_failure("", "done", "");
  return code;
}

int run_isolated(const po::variables_map& values) {
  const config::Document document = load_document(values);
  std::vector<std::string> pipelines;
  if (const auto found = document.root().find("pipelines");
      found != document.root().end() && found->is_object()) {
    for (const auto& item : found->items()) pipelines.push_back(item.key());
  }
  const TemporaryFolder folder;
  const std::string file = folder / "failures";
  io::write_file_atomically(file, "");
  std::signal(SIGINT, note_stop);
  std::signal(SIGTERM, note_stop);
  while (true) {
    const ChildFailures before = ChildFailures::read(file);
    const Ending ending = run_child_process(child_command(file, ""), false);
    const ChildFailures after = ChildFailures::read(file);
    const bool told = after.of.size() > before.of.size();
    if (stop_signal != 0 && !after.done) return 128 + stop_signal;
    if (ending.code == static_cast<int>(Exit::interrupted)) return ending.code;
    if (after.done && ending.signal.empty()) return ending.code;
    if (after.done) {
      std::cerr << "error: after the end of the run " << ending.text() << "\n";
      return static_cast<int>(Exit::plugin_broken);
    }
    if (!told && !find_culprits(pipelines, file, folder)) {
      if (stop_signal != 0) return 128 + stop_signal;
      std::cerr << "error: " << ending.text() << "; no pipeline alone does that\n";
      return static_cast<int>(Exit::plugin_broken);
    }
    for (const auto& [pipeline, failure] : ChildFailures::read(file).of) {
      if (!before.of.contains(pipeline)) std::cerr << "once more without pipeline \"" << pipeline << "\"\n";
    }
  }
}

}  // namespace attnlab::cli
