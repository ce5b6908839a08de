// Parallel loops. The only room that includes TBB.
#pragma once

#include <cstdint>

namespace attnlab::base {

/// Limits the threads of all loops until it is destroyed; 0 means all cores. One at a time. [main thread]
class ThreadLimit {
 public:
  explicit ThreadLimit(int threads);
  ~ThreadLimit();
  ThreadLimit(const ThreadLimit&) = delete;
  ThreadLimit& operator=(const ThreadLimit&) = delete;

 private:
  struct Impl;
  Impl* impl_;
};

/// Threads that a loop started now may use.
int thread_count();

/// Body of a loop, of any type, called through a pointer: a loop allocates nothing for it.
struct LoopBody {
  const void* body;
  void (*call)(const void* body, int64_t index, int worker);
};
void parallel_for(int64_t count, LoopBody body);

/// Calls `body(index, worker)` for each index in [0, count), in any order; `worker` < worker_slots() names
/// the calling thread's slot, so that scratch memory can be kept per worker. The first exception is rethrown
/// here. Nested calls run on the same pool; a body sees its own worker slot.
template <class Body>
void parallel_for(int64_t count, const Body& body) {
  parallel_for(count, LoopBody{&body, [](const void* self, int64_t index, int worker) {
                                 (*static_cast<const Body*>(self))(index, worker);
                               }});
}

/// Upper bound of `worker` in parallel_for.
int worker_slots();

}  // namespace attnlab::base
