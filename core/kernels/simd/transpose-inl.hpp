// Transposition of rows into a panel, compiled once per SIMD target.
#if defined(ATTNLAB_KERNELS_SIMD_TRANSPOSE_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTNLAB_KERNELS_SIMD_TRANSPOSE_INL
#undef ATTNLAB_KERNELS_SIMD_TRANSPOSE_INL
#else
#define ATTNLAB_KERNELS_SIMD_TRANSPOSE_INL
#endif

#include <hwy/highway.h>

#include <cstdint>

#include "core/kernels/simd/vector_math-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace attnlab::kernels::HWY_NAMESPACE {

#if HWY_TARGET != HWY_SCALAR
/// Block b of the result, four lanes, holds the four floats at from + b * stride.
template <class D>
HWY_INLINE hn::Vec<D> load_strided_blocks(D d, const float* from, int64_t stride) {
  if constexpr (hn::MaxLanes(D()) <= 4) {
    return hn::LoadU(d, from);
  } else {
    const hn::Half<D> half;
    constexpr int64_t half_blocks = static_cast<int64_t>(hn::MaxLanes(hn::Half<D>())) / 4;
    return hn::Combine(d, load_strided_blocks(half, from + half_blocks * stride, stride),
                       load_strided_blocks(half, from, stride));
  }
}
#endif

/// to[c * to_stride + r] = from[r * from_stride + c] for kLanes rows r and `columns` columns c.
HWY_INLINE void transpose_rows(const float* from, int64_t from_stride, int64_t columns, float* to,
                               int64_t to_stride) {
  int64_t c = 0;
#if HWY_TARGET != HWY_SCALAR
  const Floats d;
  for (; c + 4 <= columns; c += 4) {
    const Vector v0 = load_strided_blocks(d, from + 0 * from_stride + c, 4 * from_stride);
    const Vector v1 = load_strided_blocks(d, from + 1 * from_stride + c, 4 * from_stride);
    const Vector v2 = load_strided_blocks(d, from + 2 * from_stride + c, 4 * from_stride);
    const Vector v3 = load_strided_blocks(d, from + 3 * from_stride + c, 4 * from_stride);
    const Vector low02 = hn::InterleaveLower(d, v0, v2);
    const Vector low13 = hn::InterleaveLower(d, v1, v3);
    const Vector high02 = hn::InterleaveUpper(d, v0, v2);
    const Vector high13 = hn::InterleaveUpper(d, v1, v3);
    hn::StoreU(hn::InterleaveLower(d, low02, low13), d, to + (c + 0) * to_stride);
    hn::StoreU(hn::InterleaveUpper(d, low02, low13), d, to + (c + 1) * to_stride);
    hn::StoreU(hn::InterleaveLower(d, high02, high13), d, to + (c + 2) * to_stride);
    hn::StoreU(hn::InterleaveUpper(d, high02, high13), d, to + (c + 3) * to_stride);
  }
#endif
  for (; c < columns; ++c) {
    for (int64_t r = 0; r < kLanes; ++r) to[c * to_stride + r] = from[r * from_stride + c];
  }
}

}  // namespace attnlab::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // target toggle
