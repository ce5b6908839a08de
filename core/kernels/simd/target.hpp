// Which SIMD targets are compiled in, and the entry of a dispatch table that belongs to one. Each source file
// of kernels includes this before <hwy/foreach_target.h>.
#pragma once

// Register tiles are arrays of vectors, which sizeless vectors cannot form; SVE machines use NEON. The few
// CPUs that have SSSE3 but not SSE4 are not worth a fifth of the build.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV | HWY_SSSE3)
#include <hwy/targets.h>

#include <cstddef>
#include <cstdint>

namespace attnlab::kernels {

/// Highway's bit of a target, for example HWY_AVX3.
using SimdTarget = int64_t;

/// The function for `target` in the array that HWY_EXPORT defines. Highway's global choice is left alone:
/// other threads read it. `target` must be compiled in.
template <class Function, size_t kSize>
Function for_target(Function const (&table)[kSize], SimdTarget target) {
  if constexpr (kSize == 1) {
    return table[0];
  } else {
    hwy::ChosenTarget chosen;
    chosen.Update(target);
    return table[chosen.GetIndex()];
  }
}

}  // namespace attnlab::kernels
