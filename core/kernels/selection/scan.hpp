// Passes over scores from which selection is built, one thread.
#pragma once

#include <cstdint>
#include <span>

#include "core/kernels/range.hpp"
#include "core/kernels/simd/target.hpp"

namespace attnlab::kernels {

/// Passes write whole vectors: their outputs need this many elements more than they get.
inline constexpr int64_t kScanPadding = 16;

struct Kept {
  int64_t count = 0;
  float smallest = 0, largest = 0;  ///< of the kept; undefined when there are none
};

/// One SIMD target's passes over scores. All targets give the same results, bit for bit: sums are made by 16
/// lanes in double, without fused operations. They allocate nothing. NaN is never kept nor summed. `scores`
/// is indexed by key; runs are ascending and disjoint.
struct ScanKernels {
  /// The keys in `runs` with score >= floor, ascending, to `keys`; their scores to `values` unless null.
  Kept (*at_least)(const float* scores, std::span<const Range> runs, float floor, int32_t* keys,
                   float* values) = nullptr;
  int64_t (*count_at_least)(const float* values, int64_t count, float floor) = nullptr;
  /// Those of the values that are >= pivot (`upper`) or < pivot, in order, to `out`, which may be `values`.
  Kept (*part)(const float* values, int64_t count, float pivot, bool upper, float* out) = nullptr;
  /// The keys whose value is > boundary and the first `ties` of those whose value equals it, to `out`.
  /// Returns how many.
  int64_t (*take)(const int32_t* keys, const float* values, int64_t count, float boundary, int64_t ties,
                  int32_t* out) = nullptr;
  /// The largest score, -inf when there is none.
  float (*largest)(const float* scores, std::span<const Range> runs) = nullptr;
  /// Sum of exp(score - shift) over the scores >= floor; each within 2 ulp of double, 0 below exp(-708).
  double (*mass_at_least)(const float* scores, std::span<const Range> runs, float floor,
                          double shift) = nullptr;
};

const ScanKernels& scan_kernels(SimdTarget target);

}  // namespace attnlab::kernels
