// Functions of one and of two arrays, element by element, compiled once per SIMD target.
#if defined(ATTNLAB_KERNELS_LAYER_POINTWISE_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTNLAB_KERNELS_LAYER_POINTWISE_INL
#undef ATTNLAB_KERNELS_LAYER_POINTWISE_INL
#else
#define ATTNLAB_KERNELS_LAYER_POINTWISE_INL
#endif

#include <hwy/highway.h>

#include <cstdint>

#include "core/kernels/gemm/activation-inl.hpp"
#include "core/kernels/layer/arguments.hpp"
#include "core/kernels/layer/sweep-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace attnlab::kernels::HWY_NAMESPACE {

/// exp(x) within 5 ulp; 0 below -87.3, infinite from 88.73 on; NaN for NaN.
HWY_INLINE Vector exponential(Vector x) {
  const Floats d;
  // 1 / exp(-x) for positive x; far out 8 is taken away, which is exact there, so that exp(-x) does not
  // underflow where exp(x) is finite.
  const auto far = hn::Gt(x, hn::Set(d, 64.0F));
  const Vector near = hn::IfThenElse(far, hn::Sub(x, hn::Set(d, 8.0F)), x);
  const Vector factor = hn::IfThenElse(far, hn::Set(d, 2980.957987F), hn::Set(d, 1.0F));
  const Vector decayed = exp_nonpositive(hn::Neg(hn::Abs(near)));
  return hn::IfThenElse(hn::Gt(x, hn::Zero(d)), hn::Div(factor, decayed), decayed);
}

/// tanh(x) within 5 ulp.
HWY_INLINE Vector hyperbolic_tangent(Vector x) {
  const Floats d;
  const Vector one = hn::Set(d, 1.0F);
  const Vector size = hn::Abs(x);
  const Vector e = exp_nonpositive(hn::Mul(size, hn::Set(d, -2.0F)));
  const Vector far = hn::Div(hn::Sub(one, e), hn::Add(one, e));
  // Near 0 that difference has few bits. x + x^3 p(x^2), p by least squares, relative error 4.4e-9.
  const Vector square = hn::Mul(x, x);
  Vector p = hn::Set(d, -5.7049903664e-3F);
  p = hn::MulAdd(p, square, hn::Set(d, 2.0639090614e-2F));
  p = hn::MulAdd(p, square, hn::Set(d, -5.3739716264e-2F));
  p = hn::MulAdd(p, square, hn::Set(d, 1.3331442215e-1F));
  p = hn::MulAdd(p, square, hn::Set(d, -3.3333281943e-1F));
  const Vector near = hn::MulAdd(hn::Mul(size, square), p, size);
  return hn::CopySign(hn::IfThenElse(hn::Lt(size, hn::Set(d, 0.625F)), near, far), x);
}

constexpr Activation activation_of(UnaryFunction function) {
  switch (function) {
    case UnaryFunction::relu:
      return Activation::relu;
    case UnaryFunction::silu:
      return Activation::silu;
    case UnaryFunction::gelu_erf:
      return Activation::gelu_erf;
    case UnaryFunction::gelu_tanh:
      return Activation::gelu_tanh;
    default:
      return Activation::none;
  }
}

template <UnaryFunction kFunction>
HWY_INLINE Vector unary_value(Vector x) {
  if constexpr (kFunction == UnaryFunction::exp) {
    return exponential(x);
  } else if constexpr (kFunction == UnaryFunction::sigmoid) {
    return logistic(x).value;
  } else if constexpr (kFunction == UnaryFunction::tanh) {
    return hyperbolic_tangent(x);
  } else {
    return activate<activation_of(kFunction)>(x);
  }
}

template <UnaryFunction kFunction>
struct UnaryRun {
  static void value(const UnaryArguments& a) {
    for_each_vector(a.count, [&a](int64_t i, int64_t lanes) HWY_ATTR {
      store_first(unary_value<kFunction>(load_first(a.x + i, lanes)), a.out + i, lanes);
    });
  }
};

void unary_elements(const UnaryArguments& a) {
  switch (a.function) {
    case UnaryFunction::exp:
      return UnaryRun<UnaryFunction::exp>::value(a);
    case UnaryFunction::sigmoid:
      return UnaryRun<UnaryFunction::sigmoid>::value(a);
    case UnaryFunction::tanh:
      return UnaryRun<UnaryFunction::tanh>::value(a);
    case UnaryFunction::relu:
      return UnaryRun<UnaryFunction::relu>::value(a);
    case UnaryFunction::silu:
      return UnaryRun<UnaryFunction::silu>::value(a);
    case UnaryFunction::gelu_erf:
      return UnaryRun<UnaryFunction::gelu_erf>::value(a);
    case UnaryFunction::gelu_tanh:
      return UnaryRun<UnaryFunction::gelu_tanh>::value(a);
  }
}

}  // namespace attnlab::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // target toggle
