// Memory of drivers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

namespace attnlab::kernels {

/// Uninitialised memory for numbers in whole lines of 64 bytes, which only grows. Pages that nobody touches
/// cost nothing. Throws std::bad_alloc.
template <class Number>
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(int64_t count) { take(count); }

  /// At least `count` numbers; what was there is lost when the buffer grows.
  Number* take(int64_t count) {
    if (count > size_) {
      const size_t bytes = (static_cast<size_t>(count) * sizeof(Number) + 63) / 64 * 64;
      memory_.reset(static_cast<Number*>(std::aligned_alloc(64, bytes)));
      size_ = memory_ == nullptr ? 0 : static_cast<int64_t>(bytes / sizeof(Number));
      if (memory_ == nullptr) throw std::bad_alloc();
    }
    return memory_.get();
  }

  Number* data() const { return memory_.get(); }
  uint64_t bytes() const { return static_cast<uint64_t>(size_) * sizeof(Number); }

 private:
  struct Free {
    void operator()(Number* memory) const { std::free(memory); }
  };
  std::unique_ptr<Number, Free> memory_;
  int64_t size_ = 0;
};

/// `floats` uninitialised floats of the calling thread, aligned to 64 bytes; valid until its next call.
/// Repeated work allocates nothing.
float* thread_scratch(int64_t floats);

}  // namespace attnlab::kernels
