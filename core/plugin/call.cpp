#include "core/plugin/call.hpp"

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <memory>
#include <mutex>
#include <vector>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace attnlab::plugin {
namespace {

/// Large enough for the register state of AVX-512 and AMX, which the kernel saves on it.
constexpr size_t signal_stack_bytes = 64 << 10;

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

/// A thread's entry in the table of threads.
struct Thread {
  std::mutex mutex;
  const Call* call = nullptr;
  uint64_t serial = 0;
};

/// Threads may end after static objects are destroyed, so the table is never freed.
struct Threads {
  std::mutex mutex;
  std::vector<Thread*> list;
};
Threads& threads() {
  static auto* table = new Threads;
  return *table;
}

std::atomic<uint64_t> next_serial{0};

class Registration {
 public:
  Registration() {
    std::lock_guard lock(threads().mutex);
    threads().list.push_back(&thread);
  }
  ~Registration() {
    std::lock_guard lock(threads().mutex);
    std::erase(threads().list, &thread);
  }
  Thread thread;

 private:
  SignalStack stack_;
};

/// Apart from Registration, whose first use constructs it: a signal handler only reads this.
thread_local const Call* current_call = nullptr;

Thread& this_thread() {
  thread_local Registration registration;
  return registration.thread;
}

/// snprintf at the end of a text that never overflows.
class Writer {
 public:
  Writer(char* text, size_t size) : text_(text), size_(size) {}
  [[gnu::format(printf, 2, 3)]] void add(const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    const int added = std::vsnprintf(text_ + length_, size_ - length_, format, arguments);
    va_end(arguments);
    length_ = std::min(length_ + static_cast<size_t>(std::max(added, 0)), size_ - 1);
  }
  size_t length() const { return length_; }

 private:
  char* text_;
  size_t size_, length_ = 0;
};

}  // namespace

Place place_of(const attnlab_tile& tile) {
  return {tile.layer, tile.batch, tile.kv_head, tile.position[0], tile.position[tile.row_count - 1], 0, -1};
}

Place place_of(const attnlab_key_block& block) {
  return {block.layer, block.batch, block.kv_head, 0, -1, block.begin, block.end - 1};
}

size_t write_call(char* text, size_t size, const Callee& callee, const char* slot, const Place& place,
                  const char* event) {
  Writer out(text, size);
  out.add("plugin %s %s in %s (", callee.method.c_str(), event, slot);
  if (!callee.pipeline.empty()) out.add("pipeline \"%s\", ", callee.pipeline.c_str());
  out.add("stage \"%s\"", callee.stage.c_str());
  const auto number = [](int64_t value) { return static_cast<long long>(value); };
  if (place.layer >= 0) out.add("; layer %lld", number(place.layer));
  if (place.batch >= 0) out.add(", batch %lld", number(place.batch));
  if (place.kv_head >= 0) out.add(", KV head %lld", number(place.kv_head));
  if (place.first_position <= place.last_position) {
    out.add(", positions %lld to %lld", number(place.first_position), number(place.last_position));
  }
  if (place.first_key <= place.last_key) {
    out.add(", keys %lld to %lld", number(place.first_key), number(place.last_key));
  }
  out.add(")");
  return out.length();
}

Call::Call(const Callee& callee, const char* slot, const Place& place)
    : callee_(callee), slot_(slot), place_(place), outer_(current_call) {
  Thread& thread = this_thread();
  std::lock_guard lock(thread.mutex);
  if (outer_ == nullptr) thread.serial = ++next_serial;
  thread.call = current_call = this;
}

Call::~Call() {
  Thread& thread = this_thread();
  std::lock_guard lock(thread.mutex);
  thread.call = current_call = outer_;
}

const Call* Call::current() {
  return current_call;
}

void each_call(void (*visit)(const Call& call, uint64_t serial, void* context), void* context) {
  std::lock_guard lock(threads().mutex);
  for (Thread* thread : threads().list) {
    std::lock_guard hold(thread->mutex);
    if (thread->call != nullptr) visit(*thread->call, thread->serial, context);
  }
}

#if defined(__x86_64__)

FpuMode::FpuMode() : control_(_mm_getcsr()) {}

bool FpuMode::restore() {
  constexpr unsigned sticky_flags = 0x3f;  // set by ordinary arithmetic
  const unsigned found = _mm_getcsr();
  if (((found ^ control_) & ~sticky_flags) == 0) return false;
  _mm_setcsr(control_);
  return true;
}

#elif defined(__aarch64__)

FpuMode::FpuMode() {
  uint64_t control;
  asm volatile("mrs %0, fpcr" : "=r"(control));
  control_ = static_cast<unsigned>(control);
}

bool FpuMode::restore() {
  if (FpuMode().control_ == control_) return false;
  asm volatile("msr fpcr, %0" : : "r"(uint64_t{control_}));
  return true;
}

#endif

}  // namespace attnlab::plugin
