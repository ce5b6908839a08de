// What the drivers of the backward share; internal.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "core/base/parallel.hpp"
#include "core/kernels/scratch.hpp"

namespace attnlab::kernels {

inline constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// An aligned buffer for each worker slot. All are allocated at once: a task that others wait for must not
/// fail.
class WorkerScratch {
 public:
  explicit WorkerScratch(int64_t floats)
      : stride_((floats + 15) / 16 * 16), memory_(stride_ * base::worker_slots()) {}

  float* of(int worker) const { return memory_.data() + worker * stride_; }

 private:
  int64_t stride_;
  AlignedBuffer<float> memory_;
};

/// The lse that makes every weight of a row without keys 0.
inline float usable_lse(float lse) {
  return lse == -kInfinity ? kInfinity : lse;
}

inline float sink_gradient(float sink_logit, float lse, float delta) {
  return lse == kInfinity ? 0.0F : -std::exp(sink_logit - lse) * delta;
}

}  // namespace attnlab::kernels
