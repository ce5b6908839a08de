// Activations of layers and their derivatives, compiled once per SIMD target.
#if defined(ATTNLAB_KERNELS_GEMM_ACTIVATION_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTNLAB_KERNELS_GEMM_ACTIVATION_INL
#undef ATTNLAB_KERNELS_GEMM_ACTIVATION_INL
#else
#define ATTNLAB_KERNELS_GEMM_ACTIVATION_INL
#endif

#include <hwy/highway.h>

#include "core/kernels/gemm/arguments.hpp"
#include "core/kernels/simd/vector_math-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace attnlab::kernels::HWY_NAMESPACE {

struct Logistic {
  Vector value;  ///< 1 / (1 + exp(-x)) within 4 ulp, and 0 where that is below 1.2e-38
  Vector slope;  ///< its derivative
};

HWY_INLINE Logistic logistic(Vector x) {
  const Floats d;
  const Vector one = hn::Set(d, 1.0F);
  const Vector e = exp_nonpositive(hn::Neg(hn::Abs(x)));
  const Vector larger = hn::Div(one, hn::Add(one, e));
  const Vector smaller = hn::Mul(e, larger);
  return {hn::IfThenElse(hn::Lt(x, hn::Zero(d)), smaller, larger), hn::Mul(smaller, larger)};
}

/// 2 u of gelu_tanh: x (1.59576912 + 0.0713548163 x^2).
HWY_INLINE Vector gelu_exponent(Vector x) {
  const Floats d;
  return hn::Mul(x, hn::MulAdd(hn::Mul(x, x), hn::Set(d, 0.0713548163F), hn::Set(d, 1.59576912F)));
}

/// exp(-x^2 / 2).
HWY_INLINE Vector gauss(Vector x) {
  return exp_nonpositive(hn::Mul(hn::Mul(x, x), hn::Set(Floats(), -0.5F)));
}

/// Phi(x), the distribution function of the normal, within 2e-7 (formula 7.1.26 of Abramowitz and
/// Stegun: 1.5e-7 in erf, halved here, and roundings); `bell` is gauss(x).
HWY_INLINE Vector normal_distribution(Vector x, Vector bell) {
  const Floats d;
  const Vector one = hn::Set(d, 1.0F);
  const Vector t = hn::Div(one, hn::MulAdd(hn::Abs(x), hn::Set(d, 0.231641888F), one));
  Vector p = hn::Set(d, 1.061405429F);
  p = hn::MulAdd(p, t, hn::Set(d, -1.453152027F));
  p = hn::MulAdd(p, t, hn::Set(d, 1.421413741F));
  p = hn::MulAdd(p, t, hn::Set(d, -0.284496736F));
  p = hn::MulAdd(p, t, hn::Set(d, 0.254829592F));
  const Vector tail = hn::Mul(hn::Mul(hn::Mul(p, t), bell), hn::Set(d, 0.5F));
  return hn::IfThenElse(hn::Lt(x, hn::Zero(d)), tail, hn::Sub(one, tail));
}

template <Activation kActivation>
HWY_INLINE Vector activate(Vector x) {
  if constexpr (kActivation == Activation::relu) {
    // Max(x, 0) would drop NaN on some targets.
    return hn::IfThenElse(hn::Lt(x, hn::Zero(Floats())), hn::Zero(Floats()), x);
  } else if constexpr (kActivation == Activation::gelu_tanh) {
    return hn::Mul(x, logistic(gelu_exponent(x)).value);
  } else if constexpr (kActivation == Activation::gelu_erf) {
    return hn::Mul(x, normal_distribution(x, gauss(x)));
  } else if constexpr (kActivation == Activation::silu) {
    return hn::Mul(x, logistic(x).value);
  } else {
    return x;
  }
}

/// The derivative of `activate`; relu's is 0 at 0 and for NaN.
template <Activation kActivation>
HWY_INLINE Vector activation_slope(Vector x) {
  const Floats d;
  if constexpr (kActivation == Activation::relu) {
    return hn::IfThenElse(hn::Gt(x, hn::Zero(d)), hn::Set(d, 1.0F), hn::Zero(d));
  } else if constexpr (kActivation == Activation::gelu_tanh) {
    const Vector exponent_slope =
        hn::MulAdd(hn::Mul(x, x), hn::Set(d, 0.214064449F), hn::Set(d, 1.59576912F));
    // Far out the square overflows, and is multiplied by 0.
    const Vector factor =
        hn::IfThenZeroElse(hn::Gt(hn::Abs(x), hn::Set(d, 30.0F)), hn::Mul(x, exponent_slope));
    const Logistic s = logistic(gelu_exponent(x));
    return hn::MulAdd(factor, s.slope, s.value);
  } else if constexpr (kActivation == Activation::gelu_erf) {
    const Vector bell = gauss(x);
    return hn::MulAdd(hn::Mul(x, hn::Set(d, 0.398942280F)), bell, normal_distribution(x, bell));
  } else if constexpr (kActivation == Activation::silu) {
    const Logistic s = logistic(x);
    return hn::MulAdd(x, s.slope, s.value);
  } else {
    return hn::Set(d, 1.0F);
  }
}

}  // namespace attnlab::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // target toggle
