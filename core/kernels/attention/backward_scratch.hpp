// What the drivers of the backward share; internal.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <memory>
#include <new>

#include "core/base/parallel.hpp"

namespace attnlab::kernels {

inline constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// A 64-byte aligned buffer for each worker slot. All are allocated at once: a task that others wait for must
/// not fail. Memory that no worker touches costs nothing.
class WorkerScratch {
 public:
  explicit WorkerScratch(int64_t floats)
      : stride_((floats + 15) / 16 * 16),
        memory_(static_cast<float*>(
            std::aligned_alloc(64, static_cast<size_t>(stride_ * base::worker_slots()) * sizeof(float)))) {
    if (memory_ == nullptr && stride_ > 0) throw std::bad_alloc();
  }

  float* of(int worker) const { return memory_.get() + worker * stride_; }

 private:
  struct Free {
    void operator()(float* memory) const { std::free(memory); }
  };
  int64_t stride_;
  std::unique_ptr<float, Free> memory_;
};

/// The lse that makes every weight of a row without keys 0.
inline float usable_lse(float lse) {
  return lse == -kInfinity ? kInfinity : lse;
}

inline float sink_gradient(float sink_logit, float lse, float delta) {
  return lse == kInfinity ? 0.0F : -std::exp(sink_logit - lse) * delta;
}

}  // namespace attnlab::kernels
