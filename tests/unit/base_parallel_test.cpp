// Parallel loops: every index once, worker slots that never serve two bodies at once, errors.
#include "core/base/parallel.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

namespace attnlab::base {
namespace {

/// Enough work for other threads to join in.
void spin() {
  static std::atomic<int> sink{0};
  for (int i = 0; i < 2000; ++i) sink.fetch_add(1, std::memory_order_relaxed);
}

TEST(BaseParallelFor, VisitsEveryIndexOnceWithWorkersInRange) {
  for (int threads : {1, 2, 3, 8}) {
    ThreadLimit limit(threads);
    EXPECT_EQ(thread_count(), threads);
    EXPECT_EQ(worker_slots(), threads);
    for (int64_t count : {1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> visits(static_cast<size_t>(count));
      std::atomic<bool> in_range{true};
      parallel_for(count, [&](int64_t i, int worker) {
        ++visits[static_cast<size_t>(i)];
        if (worker < 0 || worker >= worker_slots()) in_range = false;
      });
      for (const auto& visit : visits) EXPECT_EQ(visit, 1);
      EXPECT_TRUE(in_range);
    }
  }
}

TEST(BaseParallelFor, NoIndexMeansNoCall) {
  int calls = 0;
  parallel_for(0, [&](int64_t, int) { ++calls; });
  parallel_for(-3, [&](int64_t, int) { ++calls; });
  EXPECT_EQ(calls, 0);
}

TEST(BaseParallelFor, OneThreadRunsEverythingOnTheCaller) {
  ThreadLimit limit(1);
  const auto caller = std::this_thread::get_id();
  int strangers = 0;
  parallel_for(100, [&](int64_t, int) { strangers += std::this_thread::get_id() == caller ? 0 : 1; });
  EXPECT_EQ(strangers, 0);
}

TEST(BaseParallelFor, ZeroMeansAllCores) {
  int all = 0;
  {
    ThreadLimit limit(0);
    all = thread_count();
  }
  EXPECT_GE(all, 1);
  EXPECT_EQ(thread_count(), all) << "the limit ends with its object";
}

TEST(BaseParallelFor, RethrowsABodysException) {
  ThreadLimit limit(4);
  for (int64_t bad : {0, 57, 99}) {
    try {
      parallel_for(100, [&](int64_t i, int) {
        if (i == bad) throw std::runtime_error("body " + std::to_string(i));
      });
      ADD_FAILURE();
    } catch (const std::runtime_error& error) {
      EXPECT_EQ(error.what(), "body " + std::to_string(bad));
    }
  }
  std::atomic<int> calls{0};
  parallel_for(10, [&](int64_t, int) { ++calls; });
  EXPECT_EQ(calls, 10) << "the pool works on after an exception";
}

TEST(BaseParallelFor, ExceptionsOfInnerLoopsReachTheCaller) {
  ThreadLimit limit(4);
  auto inner = [](int64_t i, int) {
    if (i == 3) throw std::runtime_error("inner");
  };
  EXPECT_THROW(parallel_for(8, [&](int64_t, int) { parallel_for(8, inner); }), std::runtime_error);
}

/// While a body waits for its own inner loop, its slot may run that loop's bodies and nothing else: scratch
/// memory of the slot is still in use.
TEST(BaseParallelFor, NestedLoopsKeepWorkerSlotsApart) {
  ThreadLimit limit(4);
  struct Slot {
    std::atomic<int> outer_bodies{0};
    std::atomic<int> inner_bodies{0};
    std::atomic<int64_t> outer_index{-1};
  };
  const auto slots = std::make_unique<Slot[]>(static_cast<size_t>(worker_slots()));
  std::atomic<int> collisions{0};
  std::atomic<int64_t> inner_calls{0};
  for (int repeat = 0; repeat < 10; ++repeat) {
    parallel_for(32, [&](int64_t outer, int outer_worker) {
      Slot& mine = slots[static_cast<size_t>(outer_worker)];
      if (mine.outer_bodies++ != 0 || mine.inner_bodies != 0) ++collisions;
      mine.outer_index = outer;
      parallel_for(16, [&](int64_t, int inner_worker) {
        Slot& slot = slots[static_cast<size_t>(inner_worker)];
        if (slot.inner_bodies++ != 0) ++collisions;
        // A slot that is inside an outer body helps only with that body's loop.
        if (slot.outer_bodies != 0 && slot.outer_index != outer) ++collisions;
        ++inner_calls;
        spin();
        --slot.inner_bodies;
      });
      if (mine.outer_index != outer) ++collisions;
      mine.outer_index = -1;
      --mine.outer_bodies;
    });
  }
  EXPECT_EQ(collisions, 0);
  EXPECT_EQ(inner_calls, 10 * 32 * 16);
}

}  // namespace
}  // namespace attnlab::base
