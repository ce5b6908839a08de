// exp in double, compiled once per SIMD target.
#if defined(ATTNLAB_KERNELS_SELECTION_EXP_DOUBLE_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTNLAB_KERNELS_SELECTION_EXP_DOUBLE_INL
#undef ATTNLAB_KERNELS_SELECTION_EXP_DOUBLE_INL
#else
#define ATTNLAB_KERNELS_SELECTION_EXP_DOUBLE_INL
#endif

#include <hwy/highway.h>

#include <cstdint>
#include <limits>

HWY_BEFORE_NAMESPACE();
namespace attnlab::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Doubles = hn::ScalableTag<double>;

/// exp(x) within 2 ulp; 0 below -708, infinite above 709; NaN for NaN. The same bits on every target: nothing
/// is fused.
HWY_INLINE hn::Vec<Doubles> exp_double(hn::Vec<Doubles> x) {
  const Doubles d;
  const hn::RebindToSigned<Doubles> di;
  // x = n ln 2 + r, |r| <= ln 2 / 2. Adding 1.5 * 2^52 rounds to an integer, which is then in the low bits.
  const auto shift = hn::Set(d, 0x1.8p52);
  const auto shifted = hn::Add(hn::Mul(x, hn::Set(d, 0x1.71547652b82fep0)), shift);
  const auto n = hn::Sub(shifted, shift);
  // The high part of ln 2 ends in 11 zero bits: n times it is exact.
  auto r = hn::Sub(x, hn::Mul(n, hn::Set(d, 0x1.62e42fefa38p-1)));
  r = hn::Sub(r, hn::Mul(n, hn::Set(d, 0x1.ef35793c7673p-45)));
  // exp(r) = 1 + r + r^2 (1/2 + r / 3! + ... + r^11 / 13!); what follows is below 5e-18.
  auto g = hn::Set(d, 1.0 / 6227020800);
  const auto step = [&](double coefficient) HWY_ATTR { g = hn::Add(hn::Mul(g, r), hn::Set(d, coefficient)); };
  step(1.0 / 479001600);
  step(1.0 / 39916800);
  step(1.0 / 3628800);
  step(1.0 / 362880);
  step(1.0 / 40320);
  step(1.0 / 5040);
  step(1.0 / 720);
  step(1.0 / 120);
  step(1.0 / 24);
  step(1.0 / 6);
  step(0.5);
  const auto exp_r = hn::Add(hn::Add(hn::Mul(hn::Mul(r, r), g), r), hn::Set(d, 1.0));
  const auto power =
      hn::BitCast(d, hn::ShiftLeft<52>(hn::Add(hn::BitCast(di, shifted), hn::Set(di, int64_t{1023}))));
  auto result = hn::Mul(exp_r, power);
  result = hn::IfThenElse(hn::Gt(x, hn::Set(d, 709.0)), hn::Set(d, std::numeric_limits<double>::infinity()),
                          result);
  return hn::IfThenElse(hn::Lt(x, hn::Set(d, -708.0)), hn::Zero(d), result);
}

}  // namespace attnlab::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // target toggle
