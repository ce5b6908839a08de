#include "core/sweep/runner.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstring>
#include <new>

#include "core/base/error.hpp"
#include "core/base/stopwatch.hpp"
#include "core/plugin/crash.hpp"
#include "core/sweep/child.hpp"

namespace attnlab::sweep {
namespace {

using Clock = std::chrono::steady_clock;
using io::Json;

constexpr size_t tail_bytes = 2048;
/// A runner that answers more than this is not to be trusted.
constexpr size_t answer_bytes = size_t{1} << 20;

/// Where a runner answers: a line of JSON, {"metrics": ...}, {"reason": ...} or {"memory": true}. The crash
/// handler writes here too, "pipeline\treason\tmessage".
int answer_pipe = -1;
constexpr char memory_answer[] = "{\"memory\":true}\n";

[[noreturn]] void leave_without_memory() {
  plugin::write_all(answer_pipe, memory_answer, sizeof memory_answer - 1);
  plugin::leave_process(static_cast<int>(base::Exit::failed));
}

/// What a plugin's own bad_alloc says on its way through the plugin interface, and the host's.
bool tells_of_memory(const std::string& text) {
  return text.find("bad_alloc") != std::string::npos || text.find("out of memory") != std::string::npos;
}

void apply_limits(const Limits& limits) {
  if (limits.memory_bytes == 0) return;
  const rlimit memory{limits.memory_bytes, limits.memory_bytes};
  ::setrlimit(RLIMIT_DATA, &memory);
}

std::string answer_to(const std::string& id, const std::string& config, const Work& work) {
  Json answer;
  std::string text;
  try {
    Trial trial;
    trial.id = id;
    trial.config = Json::parse(config);
    answer["metrics"] = work(trial);
  } catch (const std::bad_alloc&) {
    return memory_answer;
  } catch (const base::UserError& error) {
    text = error.what();
    answer["reason"] = error.summary();
  } catch (const std::exception& error) {
    text = error.what();
    answer["reason"] = text;
  }
  if (tells_of_memory(text)) return memory_answer;
  if (!text.empty()) {
    text = "error: " + text + "\n";
    plugin::write_all(STDERR_FILENO, text.data(), text.size());
  }
  return io::line_text(answer) + "\n";
}

[[noreturn]] void be_runner(const std::string& id, const std::string& config, const ZygoteOptions& options,
                            pid_t zygote, int answers, int errors) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != zygote) plugin::leave_process(1);
  ::setpgid(0, 0);
  ::dup2(errors, STDERR_FILENO);
  answer_pipe = answers;
  plugin::record_failures_in(fmt::format("/proc/self/fd/{}", answers));
  apply_limits(options.limits);
  if (options.limits.memory_bytes != 0) std::set_new_handler(leave_without_memory);
  const std::string answer = answer_to(id, config, options.work);
  plugin::write_all(answers, answer.data(), answer.size());
  plugin::leave_process(0);
}

/// Both ends close on exec; the end that is read does not wait.
struct Pipe {
  int read_end = -1, write_end = -1;
  Pipe() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return;
    read_end = ends[0];
    write_end = ends[1];
    ::fcntl(read_end, F_SETFL, O_NONBLOCK);
  }
  ~Pipe() {
    close_end(read_end);
    close_end(write_end);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  static void close_end(int& end) {
    if (end >= 0) ::close(end);
    end = -1;
  }
  bool open() const { return read_end >= 0; }
};

/// Takes what is there; closes the pipe at its end.
void drain(Pipe& pipe, std::string& text) {
  std::array<char, 16384> buffer;
  while (pipe.open()) {
    const ssize_t count = ::read(pipe.read_end, buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) return;
    if (count <= 0) return Pipe::close_end(pipe.read_end);
    text.append(buffer.data(), static_cast<size_t>(count));
  }
}

void keep_tail(std::string& text) {
  if (text.size() > 4 * tail_bytes) text.erase(0, text.size() - 2 * tail_bytes);
}

/// The last lines, whole ones where there is one.
std::string tail_of(const std::string& text) {
  if (text.size() <= tail_bytes) return base::escape_unprintable(text);
  std::string tail = text.substr(text.size() - tail_bytes);
  if (const size_t line = tail.find('\n'); line + 1 < tail.size()) tail.erase(0, line + 1);
  return base::escape_unprintable(tail);
}

/// A runner at work, and how it ended.
struct Runner {
  pid_t process = -1;
  Pipe answers, errors;
  std::string answer, error_text;
  int status = 0;
  rusage usage{};
  bool timed_out = false;

  /// The line of JSON, or "". The crash handler's lines hold tabs, which JSON escapes.
  std::string answered() const {
    for (size_t begin = 0, end = 0; (end = answer.find('\n', begin)) != std::string::npos; begin = end + 1) {
      std::string line = answer.substr(begin, end - begin);
      if (line.find('\t') == std::string::npos) return line;
    }
    return "";
  }
  void kill() const {
    ::kill(-process, SIGKILL);
    ::kill(process, SIGKILL);
  }
  /// Waits for its end, after SIGKILL when it is not ending by itself.
  void reap() {
    kill();
    while (::wait4(process, &status, 0, &usage) < 0 && errno == EINTR) {
    }
  }
  /// Leaves it to be reaped: until then its number, and that of its group, is no other process's.
  bool has_ended() const {
    siginfo_t end{};
    if (::waitid(P_PID, static_cast<id_t>(process), &end, WEXITED | WNOHANG | WNOWAIT) != 0)
      return errno != EINTR;
    return end.si_pid == process;
  }
};

/// Waits until the runner answers, ends, or passes its limit. Afterwards it is no more.
void watch(Runner& runner, const Limits& limits, int socket) {
  const base::Stopwatch stopwatch;
  Clock::time_point closed{};
  while (true) {
    double wait = limits.seconds > 0 ? limits.seconds - stopwatch.seconds() : 1;
    if (limits.seconds > 0 && wait <= 0) {
      runner.timed_out = true;
      return runner.reap();
    }
    // A runner closes its pipe an instant before it can be waited for. One that closed it and lives on,
    // against all custom, runs into its limit.
    if (!runner.answers.open()) {
      if (closed == Clock::time_point{}) closed = Clock::now();
      wait = Clock::now() - closed < std::chrono::milliseconds(20) ? 0 : std::min(wait, 0.005);
      if (wait == 0) ::sched_yield();
    }
    const int milliseconds = static_cast<int>(std::ceil(std::min(wait, 0.1) * 1000));
    pollfd watched[] = {
        {runner.answers.read_end, POLLIN, 0}, {runner.errors.read_end, POLLIN, 0}, {socket, POLLRDHUP, 0}};
    ::poll(watched, 3, milliseconds);
    if ((watched[2].revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0) {
      runner.reap();
      plugin::leave_process(0);
    }
    drain(runner.answers, runner.answer);
    drain(runner.errors, runner.error_text);
    keep_tail(runner.error_text);
    if (!runner.answered().empty() || runner.answer.size() > answer_bytes) break;
    if (runner.has_ended()) {
      drain(runner.answers, runner.answer);
      break;
    }
  }
  // With all that it forked.
  runner.reap();
  drain(runner.errors, runner.error_text);
}

/// The signal behind "crashed in select: Aborted", or 0; `slot` becomes "select".
int signal_of(const std::string& recorded, std::string& slot) {
  constexpr std::string_view prefix = "crashed in ";
  const size_t colon = recorded.find(": ");
  if (!recorded.starts_with(prefix) || colon == std::string::npos) return 0;
  slot = recorded.substr(prefix.size(), colon - prefix.size());
  for (const int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT}) {
    if (recorded.substr(colon + 2) == ::sigdescr_np(signal)) return signal;
  }
  return 0;
}

/// A runner that ended without an answer.
void tell_end(const Runner& runner, const Limits& limits, Outcome& outcome) {
  const size_t first = runner.answer.find('\t'), second = runner.answer.find('\t', first + 1);
  if (second != std::string::npos) {
    std::string slot;
    outcome.reason = runner.answer.substr(first + 1, second - first - 1);
    outcome.signal = signal_of(outcome.reason, slot);
    if (outcome.signal != 0)
      outcome.reason = fmt::format("signal SIG{} in {}", ::sigabbrev_np(outcome.signal), slot);
  } else if (WIFSIGNALED(runner.status)) {
    outcome.signal = WTERMSIG(runner.status);
    outcome.reason = fmt::format("signal SIG{}", ::sigabbrev_np(outcome.signal));
    if (outcome.signal == SIGKILL) outcome.reason += ", perhaps for want of memory";
  } else {
    outcome.reason = fmt::format("exit code {} without a result", WEXITSTATUS(runner.status));
  }
  // C code that goes on with the null of malloc, and the kernel's own remedy for want of memory.
  const auto most = static_cast<uint64_t>(runner.usage.ru_maxrss) << 10;
  if (limits.memory_bytes != 0 && outcome.signal != 0 && most > limits.memory_bytes / 10 * 8)
    outcome.reason = "memory above " + bytes_text(limits.memory_bytes);
}

void tell_answer(const std::string& text, const Limits& limits, Outcome& outcome) {
  const Json answer = Json::parse(text, nullptr, false);
  if (answer.is_object() && answer.contains("metrics") && answer["metrics"].is_object()) {
    outcome.status = Outcome::Status::done;
    for (const auto& metric : answer["metrics"].items()) {
      if (metric.value().is_number()) outcome.metrics[metric.key()] = metric.value().get<double>();
    }
  } else if (answer.is_object() && answer.contains("reason") && answer["reason"].is_string()) {
    outcome.reason = answer["reason"].get<std::string>();
  } else if (answer.is_object() && answer.contains("memory")) {
    outcome.reason =
        limits.memory_bytes == 0 ? "out of memory" : "memory above " + bytes_text(limits.memory_bytes);
  } else {
    outcome.reason = "the trial's process answered nonsense";
  }
}

}  // namespace

Outcome run_in_process(const std::string& id, const std::string& config, const ZygoteOptions& options,
                       int socket) {
  Outcome outcome;
  outcome.id = id;
  const base::Stopwatch stopwatch;
  const pid_t self = ::getpid();
  Runner runner;
  if (runner.answers.open() && runner.errors.open()) runner.process = fork_patiently();
  if (runner.process == 0)
    be_runner(id, config, options, self, runner.answers.write_end, runner.errors.write_end);
  if (runner.process < 0) {
    outcome.reason = std::string("no process could be started: ") + std::strerror(errno);
    return outcome;
  }
  ::setpgid(runner.process, runner.process);
  Pipe::close_end(runner.answers.write_end);
  Pipe::close_end(runner.errors.write_end);
  watch(runner, options.limits, socket);
  outcome.seconds = stopwatch.seconds();
  if (runner.timed_out) {
    outcome.signal = SIGKILL;
    outcome.reason = fmt::format("ran past {:g} s", options.limits.seconds);
  } else if (const std::string answer = runner.answered(); !answer.empty()) {
    tell_answer(answer, options.limits, outcome);
  } else {
    tell_end(runner, options.limits, outcome);
  }
  if (!outcome.done()) outcome.stderr_tail = tail_of(runner.error_text);
  return outcome;
}

}  // namespace attnlab::sweep
