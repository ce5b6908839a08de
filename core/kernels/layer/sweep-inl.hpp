// Passes over the elements of a row, compiled once per SIMD target.
#if defined(ATTNLAB_KERNELS_LAYER_SWEEP_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTNLAB_KERNELS_LAYER_SWEEP_INL
#undef ATTNLAB_KERNELS_LAYER_SWEEP_INL
#else
#define ATTNLAB_KERNELS_LAYER_SWEEP_INL
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>

#include "core/kernels/simd/vector_math-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace attnlab::kernels::HWY_NAMESPACE {

/// body(first, lanes) for whole vectors, then for the rest.
template <class Body>
HWY_INLINE void for_each_vector(int64_t count, const Body& body) {
  int64_t j = 0;
  for (; j + kLanes <= count; j += kLanes) body(j, kLanes);
  if (j < count) body(j, count - j);
}

/// Elements that are summed in float before they are added to a double: rounding errors of long rows stay
/// those of short ones.
inline constexpr int64_t kSummedElements = 1024;
/// Vectors summed side by side: an addition does not wait for the one before it.
inline constexpr int64_t kSideBySide = 4;

/// The sums of kSums terms over [0, count). term(first, lanes, to) sets to[0 .. kSums); what it gives beyond
/// `lanes` is not summed.
template <int64_t kSums, class Term>
HWY_INLINE std::array<double, kSums> sums_of(int64_t count, const Term& term) {
  const Floats d;
  std::array<double, kSums> total{};
  for (int64_t begin = 0; begin < count; begin += kSummedElements) {
    const int64_t end = std::min(begin + kSummedElements, count);
    Vector sum[kSums][kSideBySide];
#pragma GCC unroll 2
    for (int64_t s = 0; s < kSums; ++s) {
#pragma GCC unroll 4
      for (int64_t v = 0; v < kSideBySide; ++v) sum[s][v] = hn::Zero(d);
    }
    int64_t j = begin;
    for (; j + kSideBySide * kLanes <= end; j += kSideBySide * kLanes) {
#pragma GCC unroll 4
      for (int64_t v = 0; v < kSideBySide; ++v) {
        Vector terms[kSums];
        term(j + v * kLanes, kLanes, terms);
#pragma GCC unroll 2
        for (int64_t s = 0; s < kSums; ++s) sum[s][v] = hn::Add(sum[s][v], terms[s]);
      }
    }
    for (; j < end; j += kLanes) {
      const int64_t lanes = std::min(kLanes, end - j);
      const auto inside = hn::FirstN(d, static_cast<size_t>(lanes));
      Vector terms[kSums];
      term(j, lanes, terms);
#pragma GCC unroll 2
      for (int64_t s = 0; s < kSums; ++s)
        sum[s][0] = hn::Add(sum[s][0], hn::IfThenElseZero(inside, terms[s]));
    }
#pragma GCC unroll 2
    for (int64_t s = 0; s < kSums; ++s) {
      const Vector all = hn::Add(hn::Add(sum[s][0], sum[s][1]), hn::Add(sum[s][2], sum[s][3]));
      total[s] += double{hn::GetLane(hn::SumOfLanes(d, all))};
    }
  }
  return total;
}

/// The largest of x[0 .. count), -inf for none. Where there is a NaN, any of them, or NaN.
HWY_INLINE float maximum_of(const float* x, int64_t count) {
  const Floats d;
  const Vector lowest = hn::Set(d, -std::numeric_limits<float>::infinity());
  Vector largest[kSideBySide] = {lowest, lowest, lowest, lowest};
  int64_t j = 0;
  for (; j + kSideBySide * kLanes <= count; j += kSideBySide * kLanes) {
#pragma GCC unroll 4
    for (int64_t v = 0; v < kSideBySide; ++v) {
      largest[v] = hn::Max(largest[v], hn::LoadU(d, x + j + v * kLanes));
    }
  }
  for (; j < count; j += kLanes) {
    const int64_t lanes = std::min(kLanes, count - j);
    const auto inside = hn::FirstN(d, static_cast<size_t>(lanes));
    largest[0] = hn::Max(largest[0], hn::IfThenElse(inside, load_first(x + j, lanes), lowest));
  }
  const Vector all = hn::Max(hn::Max(largest[0], largest[1]), hn::Max(largest[2], largest[3]));
  return hn::GetLane(hn::MaxOfLanes(d, all));
}

}  // namespace attnlab::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // target toggle
