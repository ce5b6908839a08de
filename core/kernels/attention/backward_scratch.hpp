// What the drivers of the backward share; internal.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <memory>
#include <new>
#include <vector>

#include "core/base/parallel.hpp"

namespace attnlab::kernels {

inline constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// One 64-byte aligned buffer per worker slot, allocated when a worker first needs it.
class WorkerScratch {
 public:
  explicit WorkerScratch(int64_t floats)
      : floats_(floats), slots_(static_cast<size_t>(base::worker_slots())) {}

  float* of(int worker) {
    auto& slot = slots_[static_cast<size_t>(worker)];
    if (slot == nullptr) {
      const size_t bytes = (static_cast<size_t>(floats_) * sizeof(float) + 63) / 64 * 64;
      slot.reset(static_cast<float*>(std::aligned_alloc(64, bytes)));
      if (slot == nullptr) throw std::bad_alloc();
    }
    return slot.get();
  }

 private:
  struct Free {
    void operator()(float* memory) const { std::free(memory); }
  };
  int64_t floats_;
  std::vector<std::unique_ptr<float, Free>> slots_;
};

/// The lse that makes every weight of a row without keys 0.
inline float usable_lse(float lse) {
  return lse == -kInfinity ? kInfinity : lse;
}

inline float sink_gradient(float sink_logit, float lse, float delta) {
  return lse == kInfinity ? 0.0F : -std::exp(sink_logit - lse) * delta;
}

}  // namespace attnlab::kernels
