// AdamW and the norm of gradients, compiled once per SIMD target.
#if defined(ATTNLAB_KERNELS_LAYER_OPTIMISER_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTNLAB_KERNELS_LAYER_OPTIMISER_INL
#undef ATTNLAB_KERNELS_LAYER_OPTIMISER_INL
#else
#define ATTNLAB_KERNELS_LAYER_OPTIMISER_INL
#endif

#include <hwy/highway.h>

#include <cstdint>

#include "core/kernels/layer/arguments.hpp"
#include "core/kernels/layer/sweep-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace attnlab::kernels::HWY_NAMESPACE {

HWY_INLINE Vector rounded(double value) {
  return hn::Set(Floats(), static_cast<float>(value));
}

void adamw_elements(const AdamWArguments& a) {
  // 1 - beta in double: beta rounded to float first would lose it 4 of its digits.
  const Vector beta1 = rounded(a.beta1), rest1 = rounded(1 - a.beta1);
  const Vector beta2 = rounded(a.beta2), rest2 = rounded(1 - a.beta2);
  const Vector step = rounded(a.learning_rate / a.correction1);
  const Vector decay = rounded(1 - a.learning_rate * a.weight_decay);
  const Vector variance_scale = rounded(1 / a.correction2);
  const Vector eps = rounded(a.eps);
  const Vector gradient_scale = rounded(a.gradient_scale);
  for_each_vector(a.count, [&](int64_t i, int64_t lanes) HWY_ATTR {
    const Vector g = hn::Mul(gradient_scale, load_first(a.gradient + i, lanes));
    const Vector m = hn::MulAdd(beta1, load_first(a.first_moment + i, lanes), hn::Mul(rest1, g));
    const Vector v = hn::MulAdd(beta2, load_first(a.second_moment + i, lanes), hn::Mul(rest2, hn::Mul(g, g)));
    const Vector scale = hn::Add(hn::Sqrt(hn::Mul(v, variance_scale)), eps);
    const Vector p = hn::Mul(decay, load_first(a.parameter + i, lanes));
    store_first(hn::Sub(p, hn::Div(hn::Mul(step, m), scale)), a.parameter + i, lanes);
    store_first(m, a.first_moment + i, lanes);
    store_first(v, a.second_moment + i, lanes);
  });
}

double sum_squares_of(const SumOfSquaresArguments& a) {
  const hn::ScalableTag<double> d;
  const hn::Rebind<float, decltype(d)> narrow;
  constexpr auto lanes = static_cast<int64_t>(hn::MaxLanes(hn::ScalableTag<double>()));
  auto even = hn::Zero(d), odd = hn::Zero(d);
  int64_t i = 0;
  for (; i + 2 * lanes <= a.count; i += 2 * lanes) {
    const auto x = hn::PromoteTo(d, hn::LoadU(narrow, a.x + i));
    const auto y = hn::PromoteTo(d, hn::LoadU(narrow, a.x + i + lanes));
    even = hn::MulAdd(x, x, even);
    odd = hn::MulAdd(y, y, odd);
  }
  double sum = hn::GetLane(hn::SumOfLanes(d, hn::Add(even, odd)));
  for (; i < a.count; ++i) sum += double{a.x[i]} * double{a.x[i]};
  return sum;
}

}  // namespace attnlab::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // target toggle
