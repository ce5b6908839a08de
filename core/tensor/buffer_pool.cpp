#include "core/tensor/buffer_pool.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdlib>
#include <map>
#include <mutex>
#include <new>
#include <vector>

namespace attnlab::tensor {
namespace {

constexpr size_t kMostWaiting = size_t{1} << 30;

/// The next of 4, 5, 6 or 7 times a power of two: sizes waste at most a quarter.
size_t rounded(size_t bytes) {
  const size_t step = std::max<size_t>(64, std::bit_floor(std::max<size_t>(bytes, 1)) / 4);
  return (bytes + step - 1) / step * step;
}

class Pool {
 public:
  std::byte* take(size_t size) {
    {
      std::lock_guard lock(mutex_);
      if (auto found = waiting_.find(size); found != waiting_.end() && !found->second.empty()) {
        std::byte* memory = found->second.back();
        found->second.pop_back();
        waiting_bytes_ -= size;
        return memory;
      }
    }
    void* memory = std::aligned_alloc(64, size);
    if (memory == nullptr) throw std::bad_alloc();
    return static_cast<std::byte*>(memory);
  }

  void give(std::byte* memory, size_t size) noexcept {
    {
      std::lock_guard lock(mutex_);
      if (waiting_bytes_ + size <= kMostWaiting) {
        try {
          waiting_[size].push_back(memory);
          waiting_bytes_ += size;
          return;
        } catch (const std::bad_alloc&) {
          // No room for the note: the memory itself goes.
        }
      }
    }
    std::free(memory);
  }

 private:
  std::mutex mutex_;
  std::map<size_t, std::vector<std::byte*>> waiting_;
  size_t waiting_bytes_ = 0;
};

std::atomic<uint64_t> in_use{0}, most_in_use{0};

void count_in(size_t size) {
  const uint64_t now = in_use.fetch_add(size, std::memory_order_relaxed) + size;
  uint64_t most = most_in_use.load(std::memory_order_relaxed);
  while (now > most && !most_in_use.compare_exchange_weak(most, now, std::memory_order_relaxed)) {
  }
}

Pool& pool() {
  static Pool& forever = *new Pool;  // buffers of static objects outlive any other order
  return forever;
}

}  // namespace

std::shared_ptr<std::byte> pooled_buffer(size_t bytes) {
  const size_t size = rounded(std::max<size_t>(bytes, 64));
  std::shared_ptr<std::byte> buffer(pool().take(size), [size](std::byte* memory) {
    in_use.fetch_sub(size, std::memory_order_relaxed);
    pool().give(memory, size);
  });
  count_in(size);
  return buffer;
}

PoolUse pool_use() {
  return {in_use.load(std::memory_order_relaxed), most_in_use.load(std::memory_order_relaxed)};
}

void restart_most_in_use() {
  most_in_use.store(in_use.load(std::memory_order_relaxed), std::memory_order_relaxed);
}

}  // namespace attnlab::tensor
