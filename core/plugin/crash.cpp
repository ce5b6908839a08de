#include "core/plugin/crash.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <map>

#include "core/base/error.hpp"
#include "core/plugin/call.hpp"

namespace attnlab::plugin {
namespace {

constexpr int fatal_signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
struct sigaction previous[std::size(fatal_signals)];

int failure_file = -1;

/// Lines of a failure are kept short, so that one write appends them whole.
constexpr size_t line_bytes = 4096;

/// Neither allocates nor locks: the heap may be what the plugin broke.
void record_line(const char* pipeline, const char* reason, const char* message) {
  if (failure_file < 0) return;
  char line[line_bytes];
  const int size = std::snprintf(line, sizeof line, "%s\t%.1000s\t%s", pipeline, reason, message);
  const size_t length = std::min(static_cast<size_t>(std::max(size, 0)), sizeof line - 2);
  std::replace(line, line + length, '\n', ' ');
  line[length] = '\n';
  write_all(failure_file, line, length + 1);
}

/// The thread that reports a failure: one does, and ends the process.
std::atomic<pid_t> reporter{0};
static_assert(std::atomic<pid_t>::is_always_lock_free);

/// Ends the process over what happens in `call`. Only formats into a buffer of its own and writes.
[[noreturn]] void blame(const Call& call, const char* event, const char* reason) {
  pid_t earlier = 0;
  if (const pid_t self = ::gettid(); !reporter.compare_exchange_strong(earlier, self)) {
    // Where reporting itself crashes nobody is left to report.
    if (earlier == self) leave_process(static_cast<int>(base::Exit::plugin_broken));
    while (true) ::pause();
  }
  char text[line_bytes];
  const Callee& callee = call.callee();
  int file_length = std::snprintf(text, sizeof text, "%s: ", callee.file.c_str());
  auto length = std::min(static_cast<size_t>(std::max(file_length, 0)), sizeof text / 2);
  length += write_call(text + length, sizeof text - length, callee, call.slot(), call.place(), event);
  std::snprintf(text + length, sizeof text - length, ": %s", reason);
  char short_text[512];
  std::snprintf(short_text, sizeof short_text, "%s in %s: %s", event, call.slot(), reason);
  record_line(callee.pipeline.c_str(), short_text, text);
  write_all(STDERR_FILENO, "error: ", 7);
  write_all(STDERR_FILENO, text, std::strlen(text));
  write_all(STDERR_FILENO, "\n", 1);
  leave_process(static_cast<int>(base::Exit::plugin_broken));
}

void handle(int signal, siginfo_t* info, void*) {
  // Codes above 0 are the kernel's. Others are sent: by this process, as abort does, or by somebody else.
  const bool sent_by_others = info->si_code <= 0 && info->si_pid != ::getpid();
  if (const Call* call = Call::current();
      call != nullptr && !sent_by_others && !base::invariant_is_broken()) {
    blame(*call, "crashed", ::sigdescr_np(signal));
  }
  const auto index =
      std::find(std::begin(fatal_signals), std::end(fatal_signals), signal) - std::begin(fatal_signals);
  ::sigaction(signal, &previous[index], nullptr);
  ::raise(signal);
}

void handle_exit() {
  if (const Call* call = Call::current(); call != nullptr) {
    blame(*call, "ended the process", "it called exit()");
  }
}

}  // namespace

void write_all(int file, const char* text, size_t size) {
  while (size > 0) {
    const ssize_t written = ::write(file, text, size);
    if (written < 0 && errno != EINTR) return;
    text += std::max<ssize_t>(written, 0);
    size -= static_cast<size_t>(std::max<ssize_t>(written, 0));
  }
}

// Not by way of _exit, which leads back to end_process.
void leave_process(int code) {
  while (true) ::syscall(SYS_exit_group, code);
}

void end_process(int code) {
  if (const Call* call = Call::current(); call != nullptr) {
    blame(*call, "ended the process", "it called _exit()");
  }
  leave_process(code);
}

void report_crashes() {
  [[maybe_unused]] static const bool once = [] {
    struct sigaction action {};
    action.sa_sigaction = handle;
    action.sa_flags = SA_ONSTACK | SA_SIGINFO;
    for (size_t i = 0; i < std::size(fatal_signals); ++i)
      ::sigaction(fatal_signals[i], &action, &previous[i]);
    std::atexit(handle_exit);
    std::at_quick_exit(handle_exit);
    return true;
  }();
}

void record_failures_in(const std::string& path) {
  failure_file = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  if (failure_file < 0) throw base::UserError(std::strerror(errno), {.file = path}, base::Exit::failed);
}

void record_failure(const std::string& pipeline, const std::string& reason, const std::string& message) {
  record_line(pipeline.c_str(), reason.c_str(), message.c_str());
}

CallWatch::CallWatch(std::chrono::milliseconds limit) {
  if (limit.count() > 0) thread_ = std::thread([this, limit] { watch(limit); });
}

CallWatch::~CallWatch() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  stop_signal_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void CallWatch::watch(std::chrono::milliseconds limit) {
  using std::chrono::milliseconds;
  // Ticks that a call was seen at, and not a difference of clocks: a process that was suspended does not
  // blame its plugins for the pause.
  const milliseconds tick = std::clamp(limit / 8, milliseconds(1), milliseconds(250));
  struct Look {
    std::map<uint64_t, int64_t> before, now;
    int64_t ticks;
    std::string reason;
  } look{
      {}, {}, limit / tick, fmt::format("no answer for {:g} s", static_cast<double>(limit.count()) / 1000)};
  std::unique_lock lock(mutex_);
  while (!stop_signal_.wait_for(lock, tick, [this] { return stop_; })) {
    look.now.clear();
    each_call(
        [](const Call& call, uint64_t serial, void* context) {
          auto& l = *static_cast<Look*>(context);
          const auto seen = l.before.find(serial);
          const int64_t age = seen == l.before.end() ? 0 : seen->second + 1;
          if (age > l.ticks) blame(call, "hangs", l.reason.c_str());
          l.now[serial] = age;
        },
        &look);
    std::swap(look.before, look.now);
  }
}

}  // namespace attnlab::plugin
