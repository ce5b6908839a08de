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

/// Ctrl-C goes to the child too, which ends in an orderly way; the parent waits for that.
class IgnoreInterrupt {
 public:
  IgnoreInterrupt() : old_(std::signal(SIGINT, SIG_IGN)) {}
  ~IgnoreInterrupt() { std::signal(SIGINT, old_); }
  IgnoreInterrupt(const IgnoreInterrupt&) = delete;
  IgnoreInterrupt& operator=(const IgnoreInterrupt&) = delete;

 private:
  void (*old_)(int);
};

void write_failures(const std::string& path, const std::map<std::string, std::string>& message_of) {
  std::string text;
  for (const auto& [pipeline, message] : message_of) text += pipeline + "\t" + message + "\n";
  io::write_file_atomically(path, text);
}

/// `attnlab run A B --isolate` -> `attnlab run-child --failures F A B`.
std::vector<std::string> child_command(const std::string& failures, const std::string& scratch) {
  std::vector<std::string> words = typed_command();
  std::erase(words, "--isolate");
  words[0] = plugin::probe_program();
  words[1] = "run-child";
  std::vector<std::string> own{"--failures", failures};
  if (!scratch.empty()) own.insert(own.end(), {"--scratch", scratch});
  words.insert(words.begin() + 2, own.begin(), own.end());
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
  // The child must not inherit that the parent ignores Ctrl-C.
  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  sigset_t defaults;
  sigemptyset(&defaults);
  sigaddset(&defaults, SIGINT);
  ::posix_spawnattr_setsigdefault(&attributes, &defaults);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
  std::vector<char*> arguments;
  for (const auto& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  pid_t pid = 0;
  const int failure = ::posix_spawn(&pid, words[0].c_str(), &actions, &attributes, arguments.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  ::posix_spawnattr_destroy(&attributes);
  if (failure != 0) {
    throw UserError(std::string("cannot start a process: ") + std::strerror(failure), {.file = words[0]},
                    Exit::failed);
  }
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFSIGNALED(status)) return {-1, ::strsignal(WTERMSIG(status))};
  return {WEXITSTATUS(status), ""};
}

/// A child that vanished left no word about the culprit: each pipeline that is left runs alone. Returns what
/// became of those that vanish again.
std::map<std::string, std::string> find_culprits(const std::vector<std::string>& pipelines,
                                                 const ChildFailures& known, const TemporaryFolder& folder) {
  std::map<std::string, std::string> culprits;
  for (const auto& suspect : pipelines) {
    if (known.message_of.contains(suspect)) continue;
    std::map<std::string, std::string> others;
    for (const auto& other : pipelines) {
      if (other != suspect) others[other] = "left out";
    }
    const std::string file = folder / "alone";
    write_failures(file, others);
    const Ending ending = run_child_process(child_command(file, folder / "scratch"), true);
    const ChildFailures after = ChildFailures::read(file);
    if (const auto told = after.message_of.find(suspect); told != after.message_of.end()) {
      culprits[suspect] = told->second;
    } else if (!after.done) {
      culprits[suspect] = ending.text();
    }
  }
  return culprits;
}

}  // namespace

ChildFailures ChildFailures::read(const std::string& path) {
  ChildFailures failures;
  std::istringstream lines(io::read_text(path, size_t{1} << 24));
  for (std::string line; std::getline(lines, line);) {
    const size_t tab = line.find('\t');
    if (tab == std::string::npos) continue;
    if (tab == 0) {
      failures.done = true;
    } else {
      failures.message_of[line.substr(0, tab)] = line.substr(tab + 1);
    }
  }
  return failures;
}

std::vector<std::string> typed_command() {
  const std::string raw = io::read_text("/proc/self/cmdline", size_t{1} << 20);
  std::vector<std::string> words;
  for (size_t start = 0; start < raw.size(); start += words.back().size() + 1) {
    words.push_back(raw.substr(start, raw.find('\0', start) - start));
  }
  if (words.size() > 3 && words[1] == "run-child") {
    words.erase(words.begin() + 2, words.begin() + (words.size() > 5 && words[4] == "--scratch" ? 6 : 4));
    words[0] = "attnlab";
    words[1] = "run";
    words.insert(words.begin() + 2, "--isolate");
  }
  return words;
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
  options.add_options()("failures", po::value<std::string>(), "the file shared with the parent")(
      "scratch", po::value<std::string>(), "result folder of a trial");
}

int run_as_child(const std::string& failures, const std::function<int()>& body) {
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  plugin::record_failures_in(failures);
  int code = 0;
  try {
    code = body();
  } catch (const UserError& error) {
    if (error.exit() != Exit::plugin_broken) plugin::record_failure("", "done");
    throw;
  }
  plugin::record_failure("", "done");
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
  const IgnoreInterrupt wait_for_child;
  while (true) {
    const ChildFailures before = ChildFailures::read(file);
    const Ending ending = run_child_process(child_command(file, ""), false);
    ChildFailures after = ChildFailures::read(file);
    if (after.done || ending.code == static_cast<int>(Exit::interrupted)) return ending.code;
    if (after.message_of.size() == before.message_of.size()) {
      const auto culprits = find_culprits(pipelines, before, folder);
      if (culprits.empty()) {
        std::cerr << "error: " << ending.text() << "; no pipeline alone does that\n";
        return static_cast<int>(Exit::plugin_broken);
      }
      for (const auto& [pipeline, message] : culprits) {
        std::cerr << "error: pipeline \"" << pipeline << "\": " << message << "\n";
      }
      after.message_of.insert(culprits.begin(), culprits.end());
      write_failures(file, after.message_of);
    }
    for (const auto& [pipeline, message] : after.message_of) {
      if (!before.message_of.contains(pipeline)) {
        std::cerr << "once more without pipeline \"" << pipeline << "\"\n";
      }
    }
  }
}

}  // namespace attnlab::cli
