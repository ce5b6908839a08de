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
/// Block b of the result, four lanes, holds the four elements at address(first + b).
template <class D, class Address>
HWY_INLINE hn::Vec<D> load_blocks(D d, const Address& address, int64_t first = 0) {
  if constexpr (hn::MaxLanes(D()) <= 4) {
    return hn::LoadU(d, address(first));
  } else {
    const hn::Half<D> half;
    constexpr int64_t half_blocks = static_cast<int64_t>(hn::MaxLanes(hn::Half<D>())) / 4;
    return hn::Combine(d, load_blocks(half, address, first + half_blocks), load_blocks(half, address, first));
  }
}

/// Transposes four vectors block by block: lane 4 b + j of v_i becomes lane 4 b + i of v_j.
template <class D, class V>
HWY_INLINE void transpose_blocks(D d, V& v0, V& v1, V& v2, V& v3) {
  const V low02 = hn::InterleaveLower(d, v0, v2);
  const V low13 = hn::InterleaveLower(d, v1, v3);
  const V high02 = hn::InterleaveUpper(d, v0, v2);
  const V high13 = hn::InterleaveUpper(d, v1, v3);
  v0 = hn::InterleaveLower(d, low02, low13);
  v1 = hn::InterleaveUpper(d, low02, low13);
  v2 = hn::InterleaveLower(d, high02, high13);
  v3 = hn::InterleaveUpper(d, high02, high13);
}
#endif

/// to[c * to_stride + r] = from[r * from_stride + c] for kLanes rows r and `columns` columns c.
HWY_INLINE void transpose_rows(const float* from, int64_t from_stride, int64_t columns, float* to,
                               int64_t to_stride) {
  int64_t c = 0;
#if HWY_TARGET != HWY_SCALAR
  const Floats d;
  for (; c + 4 <= columns; c += 4) {
    const auto row = [&](int64_t first) {
      return [=](int64_t block) { return from + (first + 4 * block) * from_stride + c; };
    };
    Vector v0 = load_blocks(d, row(0));
    Vector v1 = load_blocks(d, row(1));
    Vector v2 = load_blocks(d, row(2));
    Vector v3 = load_blocks(d, row(3));
    transpose_blocks(d, v0, v1, v2, v3);
    hn::StoreU(v0, d, to + (c + 0) * to_stride);
    hn::StoreU(v1, d, to + (c + 1) * to_stride);
    hn::StoreU(v2, d, to + (c + 2) * to_stride);
    hn::StoreU(v3, d, to + (c + 3) * to_stride);
  }
#endif
  for (; c < columns; ++c) {
    for (int64_t r = 0; r < kLanes; ++r) to[c * to_stride + r] = from[r * from_stride + c];
  }
}

}  // namespace attnlab::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // target toggle
