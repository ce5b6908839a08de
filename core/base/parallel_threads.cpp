// parallel.hpp for the thread sanitizer, in place of parallel.cpp: it sees no synchronisation inside the TBB
// of a distribution, which is not instrumented, and would take every loop for a race.
#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "core/base/parallel.hpp"

namespace attnlab::base {
namespace {

int threads_of_loops = 0;  // 0: no ThreadLimit
thread_local int current_worker = -1;

/// What the threads of one loop share.
struct Loop {
  int64_t count;
  LoopBody body;
  std::atomic<int64_t> next{0};
  std::mutex mutex;
  std::exception_ptr error;

  void work(int worker) {
    current_worker = worker;
    try {
      for (int64_t i = next++; i < count; i = next++) body.call(body.body, i, worker);
    } catch (...) {
      next = count;
      const std::lock_guard lock(mutex);
      if (!error) error = std::current_exception();
    }
    current_worker = -1;
  }
};

int all_cores() {
  return static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
}

}  // namespace

struct ThreadLimit::Impl {};

ThreadLimit::ThreadLimit(int threads) : impl_(nullptr) {
  threads_of_loops = threads > 0 ? threads : all_cores();
}

ThreadLimit::~ThreadLimit() {
  threads_of_loops = 0;
  delete impl_;
}

int thread_count() {
  return threads_of_loops > 0 ? threads_of_loops : all_cores();
}

int worker_slots() {
  return thread_count();
}

void parallel_for(int64_t count, LoopBody body) {
  if (current_worker >= 0) {
    // An inner loop: its thread runs it alone.
    for (int64_t i = 0; i < count; ++i) body.call(body.body, i, current_worker);
    return;
  }
  Loop loop{count, body, {}, {}, {}};
  std::vector<std::thread> others;
  for (int worker = 1; worker < std::min<int64_t>(thread_count(), count); ++worker)
    others.emplace_back([&loop, worker] { loop.work(worker); });
  loop.work(0);
  for (auto& thread : others) thread.join();
  if (loop.error) std::rethrow_exception(loop.error);
}

}  // namespace attnlab::base
