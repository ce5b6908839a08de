#include "core/base/parallel.hpp"

#include <tbb/blocked_range.h>
#include <tbb/global_control.h>
#include <tbb/info.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include <memory>

namespace attnlab::base {
namespace {

std::unique_ptr<tbb::task_arena>& arena() {
  static std::unique_ptr<tbb::task_arena> instance;
  return instance;
}

tbb::task_arena& current_arena() {
  if (!arena()) arena() = std::make_unique<tbb::task_arena>(tbb::info::default_concurrency());
  return *arena();
}

}  // namespace

struct ThreadLimit::Impl {
  explicit Impl(size_t threads) : control(tbb::global_control::max_allowed_parallelism, threads) {}
  tbb::global_control control;
};

ThreadLimit::ThreadLimit(int threads)
    : impl_(new Impl(static_cast<size_t>(threads > 0 ? threads : tbb::info::default_concurrency()))) {
  arena() = std::make_unique<tbb::task_arena>(threads > 0 ? threads : tbb::info::default_concurrency());
}

ThreadLimit::~ThreadLimit() {
  arena().reset();
  delete impl_;
}

int thread_count() {
  return current_arena().max_concurrency();
}

int worker_slots() {
  return current_arena().max_concurrency();
}

void parallel_for(int64_t count, LoopBody body) {
  if (count <= 0) return;
  current_arena().execute([&] {
    // Isolated: a thread that waits for an inner loop must not pick up another outer index, or two bodies
    // would share one worker's scratch memory.
    tbb::this_task_arena::isolate([&] {
      // Grain 1: a unit of work is a tile, far heavier than a task.
      tbb::parallel_for(
          tbb::blocked_range<int64_t>(0, count, 1),
          [&](const tbb::blocked_range<int64_t>& range) {
            int worker = tbb::this_task_arena::current_thread_index();
            for (int64_t i = range.begin(); i != range.end(); ++i) body.call(body.body, i, worker);
          },
          tbb::simple_partitioner());
    });
  });
}

}  // namespace attnlab::base
