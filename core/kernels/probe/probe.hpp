// What this CPU can do at most: the yardsticks beside which kernels are measured.
#pragma once

#include <cstdint>

#include "core/kernels/simd/target.hpp"

namespace attnlab::kernels {

/// One SIMD target's probes. They run on the calling thread and allocate nothing.
struct ProbeKernels {
  /// `steps` rounds of independent multiply-adds between registers. Returns the floating-point operations
  /// done, two for each multiply-add and lane. `seed` is the start of the sums and receives a value that
  /// depends on all of them.
  double (*multiply_adds)(int64_t steps, float& seed) = nullptr;
  /// Reads [from, from + count) once, in order. Returns the sum.
  float (*read)(const float* from, int64_t count) = nullptr;
};

const ProbeKernels& probe_kernels(SimdTarget target);

}  // namespace attnlab::kernels
