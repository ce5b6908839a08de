// Softmax of rows, cross entropy and their gradients, compiled once per SIMD target.
#if defined(ATTNLAB_KERNELS_LAYER_SOFTMAX_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTNLAB_KERNELS_LAYER_SOFTMAX_INL
#undef ATTNLAB_KERNELS_LAYER_SOFTMAX_INL
#else
#define ATTNLAB_KERNELS_LAYER_SOFTMAX_INL
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "core/kernels/layer/arguments.hpp"
#include "core/kernels/layer/sweep-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace attnlab::kernels::HWY_NAMESPACE {

/// Of a row: all exp(x - maximum) lie in [0, 1]. Both are NaN-safe: a NaN in x makes `sum` NaN.
struct ExponentialSum {
  float maximum = 0;
  double sum = 0;
};

HWY_INLINE ExponentialSum exponential_sum(const float* x, int64_t count) {
  const float maximum = maximum_of(x, count);
  const Vector shift = hn::Set(Floats(), maximum);
  const auto sum = sums_of<1>(count, [x, &shift](int64_t j, int64_t lanes, Vector* to) HWY_ATTR {
    *to = exp_nonpositive(hn::Sub(load_first(x + j, lanes), shift));
  });
  return {maximum, sum[0]};
}

void cross_entropy_rows(const CrossEntropyArguments& a) {
  for (int64_t r = 0; r < a.rows; ++r) {
    const int64_t target = a.targets[r];
    if (target < 0 && a.loss != nullptr) a.loss[r] = 0;
    if (target < 0 && a.lse == nullptr) continue;
    const float* logits = a.logits + r * a.logits_stride;
    const ExponentialSum row = exponential_sum(logits, a.classes);
    const double log_sum = std::log(row.sum);
    if (a.lse != nullptr) a.lse[r] = static_cast<float>(row.maximum + log_sum);
    // Not from lse: the difference of large logits is exact, lse is rounded.
    if (target >= 0 && a.loss != nullptr) {
      a.loss[r] = static_cast<float>(double{row.maximum} - double{logits[target]} + log_sum);
    }
  }
}

void cross_entropy_gradient_rows(const CrossEntropyGradientArguments& a) {
  const Floats d;
  const Vector scale = hn::Set(d, a.row_scale);
  for (int64_t r = 0; r < a.rows; ++r) {
    const float* logits = a.logits + r * a.logits_stride;
    float* d_logits = a.d_logits + r * a.d_logits_stride;
    const int64_t target = a.targets[r];
    if (target < 0) {
      std::fill_n(d_logits, a.classes, 0.0F);
      continue;
    }
    const Vector lse = hn::Set(d, a.lse[r]);
    for_each_vector(a.classes, [&](int64_t j, int64_t lanes) HWY_ATTR {
      // lse, the nearest float to a number that no logit exceeds, is not below any of them.
      const Vector probability = exp_nonpositive(hn::Sub(load_first(logits + j, lanes), lse));
      store_first(hn::Mul(probability, scale), d_logits + j, lanes);
    });
    d_logits[target] -= a.row_scale;
  }
}

void softmax_rows(const SoftmaxArguments& a) {
  const Floats d;
  for (int64_t r = 0; r < a.rows; ++r) {
    const float* x = a.x + r * a.x_stride;
    float* out = a.out + r * a.out_stride;
    const Vector shift = hn::Set(d, maximum_of(x, a.width));
    const auto sum = sums_of<1>(a.width, [&](int64_t j, int64_t lanes, Vector* to) HWY_ATTR {
      *to = exp_nonpositive(hn::Sub(load_first(x + j, lanes), shift));
      store_first(*to, out + j, lanes);
    });
    const Vector factor = hn::Set(d, static_cast<float>(1 / sum[0]));
    for_each_vector(a.width, [&](int64_t j, int64_t lanes) HWY_ATTR {
      store_first(hn::Mul(load_first(out + j, lanes), factor), out + j, lanes);
    });
  }
}

void softmax_gradient_rows(const SoftmaxGradientArguments& a) {
  for (int64_t r = 0; r < a.rows; ++r) {
    const float* out = a.out + r * a.out_stride;
    const float* d_out = a.d_out + r * a.d_out_stride;
    float* d_x = a.d_x + r * a.d_x_stride;
    const auto sum = sums_of<1>(a.width, [&](int64_t j, int64_t lanes, Vector* to) HWY_ATTR {
      *to = hn::Mul(load_first(d_out + j, lanes), load_first(out + j, lanes));
    });
    const Vector mean = hn::Set(Floats(), static_cast<float>(sum[0]));
    for_each_vector(a.width, [&](int64_t j, int64_t lanes) HWY_ATTR {
      const Vector centred = hn::Sub(load_first(d_out + j, lanes), mean);
      store_first(hn::Mul(load_first(out + j, lanes), centred), d_x + j, lanes);
    });
  }
}

}  // namespace attnlab::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // target toggle
