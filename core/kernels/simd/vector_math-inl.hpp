// Vector helpers of the tile kernels, compiled once per SIMD target.
#if defined(ATTNLAB_KERNELS_SIMD_VECTOR_MATH_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTNLAB_KERNELS_SIMD_VECTOR_MATH_INL
#undef ATTNLAB_KERNELS_SIMD_VECTOR_MATH_INL
#else
#define ATTNLAB_KERNELS_SIMD_VECTOR_MATH_INL
#endif

#include <hwy/highway.h>

#include <cstdint>
#include <cstring>

HWY_BEFORE_NAMESPACE();
namespace attnlab::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::ScalableTag<float>;
using Vector = hn::Vec<Floats>;

inline constexpr int64_t kLanes = static_cast<int64_t>(hn::MaxLanes(Floats()));

/// The first `count` <= kLanes floats at `from`, 0 elsewhere; reads nothing beyond them.
HWY_INLINE Vector load_first(const float* from, int64_t count) {
  const Floats d;
  if (count == kLanes) return hn::LoadU(d, from);
#if HWY_MEM_OPS_MIGHT_FAULT
  HWY_ALIGN float lanes[kLanes] = {};
  std::memcpy(lanes, from, static_cast<size_t>(count) * sizeof(float));
  return hn::Load(d, lanes);
#else
  return hn::MaskedLoad(hn::FirstN(d, static_cast<size_t>(count)), d, from);
#endif
}

/// Writes the first `count` <= kLanes floats and nothing beyond them.
HWY_INLINE void store_first(Vector values, float* to, int64_t count) {
  const Floats d;
  if (count == kLanes) {
    hn::StoreU(values, d, to);
    return;
  }
  HWY_ALIGN float lanes[kLanes];
  hn::Store(values, d, lanes);
  std::memcpy(to, lanes, static_cast<size_t>(count) * sizeof(float));
}

/// exp(x) for x <= 0 within 2 ulp; 0 below -87.3, where the result would soon be subnormal; NaN for NaN.
HWY_INLINE Vector exp_nonpositive(Vector x) {
  const Floats d;
  const hn::RebindToSigned<Floats> di;
  const auto underflow = hn::Lt(x, hn::Set(d, -87.3F));
  const Vector clamped = hn::IfThenElse(underflow, hn::Set(d, -87.3F), x);
  // x = n ln 2 + r, |r| <= ln 2 / 2. The high part of ln 2 has few bits: n times it is exact without FMA.
  const auto n = hn::NearestInt(hn::Mul(clamped, hn::Set(d, 1.44269504F)));
  const Vector n_float = hn::ConvertTo(d, n);
  Vector r = hn::NegMulAdd(n_float, hn::Set(d, 0.693359375F), clamped);
  r = hn::NegMulAdd(n_float, hn::Set(d, -2.12194440e-4F), r);
  // exp(r) = 1 + r + r^2 g(r); g is the minimax polynomial of degree 4 (relative error of exp(r): 3.3e-9).
  Vector g = hn::Set(d, 1.3813144760e-3F);
  g = hn::MulAdd(g, r, hn::Set(d, 8.3694187926e-3F));
  g = hn::MulAdd(g, r, hn::Set(d, 4.1668456047e-2F));
  g = hn::MulAdd(g, r, hn::Set(d, 1.6666515171e-1F));
  g = hn::MulAdd(g, r, hn::Set(d, 4.9999994040e-1F));
  const Vector exp_r = hn::Add(hn::MulAdd(hn::Mul(r, r), g, r), hn::Set(d, 1.0F));
  const Vector power = hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(n, hn::Set(di, 127))));
  return hn::IfThenZeroElse(underflow, hn::Mul(exp_r, power));
}

}  // namespace attnlab::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // target toggle
