// When a plugin crashes, hangs or ends the process: the user is told which plugin, which call, where.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

namespace attnlab::plugin {

/// From now on a fatal signal that a thread causes inside a plugin (see Call), and a call of exit() there,
/// name the plugin on standard error and end the process with Exit::plugin_broken. Elsewhere they do what
/// they did before. [main thread; more than once does no harm]
void report_crashes();

/// Ends the process at once, whatever this thread is inside. Safe in a signal handler.
[[noreturn]] void leave_process(int code);

/// Writes all of it, as far as the file takes it. Safe in a signal handler.
void write_all(int file, const char* text, size_t size);

/// Ends the process at once, as _exit does; inside a plugin it is the plugin that is named. The program puts
/// it in the place of libc's _exit, so that no plugin can end a run with a success of its own.
[[noreturn]] void end_process(int code);

/// From now on every failure of a plugin is also appended to this file, as "pipeline\treason\tmessage\n". The
/// file stays open. Throws UserError when it cannot be opened. [main thread]
void record_failures_in(const std::string& path);

/// Appends a line to the file of record_failures_in, when there is one. `reason` is the same whatever thread
/// or machine failed: no place, no path. Thread-safe.
void record_failure(const std::string& pipeline, const std::string& reason, const std::string& message);

/// Watches all calls as long as it lives: one that lasts longer than `limit` is named on standard error and
/// ends the process with Exit::plugin_broken. A running thread cannot be stopped in any gentler way. Time in
/// which the process is suspended does not count. A limit of 0 watches nothing.
class CallWatch {
 public:
  explicit CallWatch(std::chrono::milliseconds limit);
  ~CallWatch();
  CallWatch(const CallWatch&) = delete;
  CallWatch& operator=(const CallWatch&) = delete;

 private:
  void watch(std::chrono::milliseconds limit);

  std::mutex mutex_;
  std::condition_variable stop_signal_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace attnlab::plugin
