#include "core/plugin/crash.hpp"

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <memory>

#include "core/base/error.hpp"

namespace attnlab::plugin {
namespace {

constexpr int fatal_signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
struct sigaction previous[std::size(fatal_signals)];

// Large enough for the register state of AVX-512 and AMX, which the kernel saves on it.
constexpr size_t signal_stack_bytes = 64 << 10;

thread_local const PluginCall* current = nullptr;

/// A stack for this thread's handler: a plugin that overflows the thread's own leaves no room to run it
/// there. A stack that is set already, such as a sanitizer's, stays: its owner frees whatever it finds set
/// when the thread ends.
class SignalStack {
 public:
  SignalStack() {
    stack_t set{};
    if (::sigaltstack(nullptr, &set) != 0 || (set.ss_flags & SS_DISABLE) == 0) return;
    memory_.reset(new char[signal_stack_bytes]);
    stack_t stack{};
    stack.ss_sp = memory_.get();
    stack.ss_size = signal_stack_bytes;
    ::sigaltstack(&stack, nullptr);
  }
  ~SignalStack() {
    if (memory_ == nullptr) return;
    stack_t off{};
    off.ss_flags = SS_DISABLE;
    ::sigaltstack(&off, nullptr);
  }

 private:
  std::unique_ptr<char[]> memory_;
};

/// Only formats into a buffer of its own and writes: the heap may be what the plugin broke.
void handle(int signal) {
  const PluginCall* call = current;
  if (call == nullptr) {
    const auto index =
        std::find(std::begin(fatal_signals), std::end(fatal_signals), signal) - std::begin(fatal_signals);
    ::sigaction(signal, &previous[index], nullptr);
    ::raise(signal);
    return;
  }
  char text[2048];
  int size = std::snprintf(text, sizeof text, "error: %s: plugin %s crashed in %s (stage \"%s\"): %s\n",
                           call->file, call->method, call->slot, call->stage, ::sigdescr_np(signal));
  size = std::clamp(size, 0, int{sizeof text} - 1);
  if (const attnlab_tile* tile = call->tile; tile != nullptr) {
    const int more = std::snprintf(text + size, sizeof text - static_cast<size_t>(size),
                                   "  layer %ld, batch %ld, KV head %ld, positions %ld to %ld\n",
                                   static_cast<long>(tile->layer), static_cast<long>(tile->batch),
                                   static_cast<long>(tile->kv_head), static_cast<long>(tile->position[0]),
                                   static_cast<long>(tile->position[tile->row_count - 1]));
    size = std::clamp(size + more, 0, int{sizeof text} - 1);
  }
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text, static_cast<size_t>(size));
  ::_exit(static_cast<int>(base::Exit::plugin_broken));
}

}  // namespace

CallMark::CallMark(const PluginCall& call) : call_(call), outer_(current) {
  thread_local const SignalStack stack;
  current = &call_;
}

CallMark::~CallMark() {
  current = outer_;
}

void report_crashes() {
  struct sigaction action {};
  action.sa_handler = handle;
  action.sa_flags = SA_ONSTACK;
  for (size_t i = 0; i < std::size(fatal_signals); ++i) ::sigaction(fatal_signals[i], &action, &previous[i]);
}

}  // namespace attnlab::plugin
