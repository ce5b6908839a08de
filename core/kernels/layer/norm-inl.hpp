// Normalisation of rows and its gradients, compiled once per SIMD target.
#if defined(ATTNLAB_KERNELS_LAYER_NORM_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTNLAB_KERNELS_LAYER_NORM_INL
#undef ATTNLAB_KERNELS_LAYER_NORM_INL
#else
#define ATTNLAB_KERNELS_LAYER_NORM_INL
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

#include "core/kernels/layer/arguments.hpp"
#include "core/kernels/layer/sweep-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace attnlab::kernels::HWY_NAMESPACE {

/// What a row is shifted and scaled by.
struct NormStatistics {
  float mean = 0;
  float inverse = 0;
};

/// The variance is summed after the mean is known: with E[x^2] - mean^2 a large mean would swallow it.
HWY_INLINE NormStatistics norm_statistics(NormKind kind, const float* x, int64_t width, float eps) {
  const auto size = static_cast<double>(width);
  NormStatistics result;
  if (kind == NormKind::layer && width > 0) {
    // Relative to one of them: sums of numbers far from 0 would round away how they differ.
    const Vector first = hn::Set(Floats(), x[0]);
    const auto sum = sums_of<1>(width, [x, &first](int64_t j, int64_t lanes, Vector* to)
                                           HWY_ATTR { *to = hn::Sub(load_first(x + j, lanes), first); });
    result.mean = static_cast<float>(double{x[0]} + sum[0] / size);
  }
  const Vector mean = hn::Set(Floats(), result.mean);
  const auto squares = sums_of<1>(width, [x, &mean](int64_t j, int64_t lanes, Vector* to) HWY_ATTR {
    const Vector centred = hn::Sub(load_first(x + j, lanes), mean);
    *to = hn::Mul(centred, centred);
  });
  result.inverse = static_cast<float>(1 / std::sqrt(squares[0] / size + double{eps}));
  return result;
}

void norm_rows(const NormArguments& a) {
  const Floats d;
  for (int64_t r = 0; r < a.rows; ++r) {
    const float* x = a.x + r * a.x_stride;
    float* out = a.out + r * a.out_stride;
    const NormStatistics row = norm_statistics(a.kind, x, a.width, a.eps);
    const Vector mean = hn::Set(d, row.mean);
    const Vector inverse = hn::Set(d, row.inverse);
    for_each_vector(a.width, [&](int64_t j, int64_t lanes) HWY_ATTR {
      Vector y = hn::Mul(hn::Sub(load_first(x + j, lanes), mean), inverse);
      if (a.weight != nullptr) y = hn::Mul(y, load_first(a.weight + j, lanes));
      if (a.bias != nullptr) y = hn::Add(y, load_first(a.bias + j, lanes));
      store_first(y, out + j, lanes);
    });
    if (a.kind == NormKind::layer && a.mean != nullptr) a.mean[r] = row.mean;
    if (a.inverse != nullptr) a.inverse[r] = row.inverse;
  }
}

/// One row's part of the gradients. With n = (x - mean) inverse and g = d_out weight, d_x = inverse (g -
/// mean(g) - n mean(g n)); rms has no mean(g).
class NormRowGradient {
 public:
  HWY_INLINE NormRowGradient(const NormGradientArguments& arguments, int64_t row)
      : a_(arguments),
        x_(a_.x + row * a_.x_stride),
        d_out_(a_.d_out + row * a_.d_out_stride),
        mean_(a_.kind == NormKind::layer ? a_.mean[row] : 0.0F),
        inverse_(a_.inverse[row]) {}

  /// d_x, unless null, may be d_out: sums come first.
  HWY_INLINE void write_and_add(float* d_x) const {
    const Floats d;
    const auto size = static_cast<double>(a_.width);
    const auto sums = d_x != nullptr ? input_sums() : std::array<double, 2>{};
    const bool layer = a_.kind == NormKind::layer;
    const Vector mean_g = hn::Set(d, layer ? static_cast<float>(sums[0] / size) : 0.0F);
    const Vector mean_gn = hn::Set(d, static_cast<float>(sums[1] / size));
    const Vector inverse = hn::Set(d, inverse_);
    for_each_vector(a_.width, [&](int64_t j, int64_t lanes) HWY_ATTR {
      const Vector d_out = load_first(d_out_ + j, lanes);
      const Vector n = normalised(j, lanes);
      if (d_x != nullptr) {
        const Vector g = hn::Sub(weighted(d_out, j, lanes), mean_g);
        store_first(hn::Mul(inverse, hn::NegMulAdd(n, mean_gn, g)), d_x + j, lanes);
      }
      if (a_.d_weight != nullptr) {
        float* to = a_.d_weight + j;
        store_first(hn::MulAdd(d_out, n, load_first(to, lanes)), to, lanes);
      }
      if (a_.d_bias != nullptr) {
        float* to = a_.d_bias + j;
        store_first(hn::Add(d_out, load_first(to, lanes)), to, lanes);
      }
    });
  }

 private:
  HWY_INLINE Vector normalised(int64_t j, int64_t lanes) const {
    const Floats d;
    return hn::Mul(hn::Sub(load_first(x_ + j, lanes), hn::Set(d, mean_)), hn::Set(d, inverse_));
  }

  HWY_INLINE Vector weighted(Vector d_out, int64_t j, int64_t lanes) const {
    return a_.weight != nullptr ? hn::Mul(d_out, load_first(a_.weight + j, lanes)) : d_out;
  }

  /// Of g and of g n.
  HWY_INLINE std::array<double, 2> input_sums() const {
    return sums_of<2>(a_.width, [this](int64_t j, int64_t lanes, Vector* to) HWY_ATTR {
      to[0] = weighted(load_first(d_out_ + j, lanes), j, lanes);
      to[1] = hn::Mul(to[0], normalised(j, lanes));
    });
  }

  const NormGradientArguments& a_;
  const float* x_;
  const float* d_out_;
  float mean_;
  float inverse_;
};

void norm_gradient_rows(const NormGradientArguments& a) {
  if (a.d_weight != nullptr) std::fill_n(a.d_weight, a.width, 0.0F);
  if (a.d_bias != nullptr) std::fill_n(a.d_bias, a.width, 0.0F);
  for (int64_t r = 0; r < a.rows; ++r) {
    NormRowGradient(a, r).write_and_add(a.d_x == nullptr ? nullptr : a.d_x + r * a.d_x_stride);
  }
}

}  // namespace attnlab::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // target toggle
