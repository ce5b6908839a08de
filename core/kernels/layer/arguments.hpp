// Plain argument structs of a layer's operations other than products, the same for the kernels and for the
// double-precision reference. Rows are contiguous and `stride` floats apart.
#pragma once

#include <cstdint>

namespace attnlab::kernels {

/// layer: (x - mean) / sqrt(variance + eps), arXiv:1607.06450. rms: x / sqrt(mean of x^2 + eps),
/// arXiv:1910.07467.
enum class NormKind : uint8_t { layer, rms };

/// out = (x - mean) inverse weight + bias, row by row, without mean for rms. `out` may be x.
struct NormArguments {
  NormKind kind = NormKind::layer;
  int64_t rows = 0;
  int64_t width = 0;
  const float* x = nullptr;
  int64_t x_stride = 0;
  const float* weight = nullptr;  ///< [width], or null for ones
  const float* bias = nullptr;    ///< [width], or null for zeros
  float eps = 1e-5F;
  float* out = nullptr;
  int64_t out_stride = 0;
  float* mean = nullptr;     ///< [rows] or null; written for NormKind::layer only
  float* inverse = nullptr;  ///< [rows] or null: 1 / sqrt(... + eps), which the gradient needs
};

/// Gradients of a norm; all outputs are overwritten. d_x may be x or d_out.
struct NormGradientArguments {
  NormKind kind = NormKind::layer;
  int64_t rows = 0;
  int64_t width = 0;
  const float* x = nullptr;
  int64_t x_stride = 0;
  const float* weight = nullptr;   ///< [width], or null for ones
  const float* mean = nullptr;     ///< [rows], of the forward call; not read for NormKind::rms
  const float* inverse = nullptr;  ///< [rows], of the forward call
  const float* d_out = nullptr;
  int64_t d_out_stride = 0;
  float* d_x = nullptr;  ///< or null
  int64_t d_x_stride = 0;
  float* d_weight = nullptr;  ///< [width] or null
  float* d_bias = nullptr;    ///< [width] or null
};

/// loss[i] = lse[i] - logits[i][target[i]], lse[i] = log of the sum over classes of exp(logits[i]). Rows that
/// hold NaN or +inf, or nothing but -inf, give NaN.
struct CrossEntropyArguments {
  int64_t rows = 0;
  int64_t classes = 0;
  const float* logits = nullptr;
  int64_t logits_stride = 0;
  const int64_t* targets = nullptr;  ///< [rows], below `classes`; negative: the row is ignored, its loss is 0
  float* loss = nullptr;             ///< [rows] or null
  float* lse = nullptr;              ///< [rows] or null; written for ignored rows too
};

/// d_logits = (exp(logits - lse) - one_hot(target)) row_scale, 0 in ignored rows. d_logits may be logits. The
/// probabilities carry the rounding of lse: a relative error of |lse| 2^-24.
struct CrossEntropyGradientArguments {
  int64_t rows = 0;
  int64_t classes = 0;
  const float* logits = nullptr;
  int64_t logits_stride = 0;
  const int64_t* targets = nullptr;
  const float* lse = nullptr;  ///< [rows], of the forward call
  float row_scale = 1;         ///< of the gradient; 1 / rows that count, for a mean
  float* d_logits = nullptr;
  int64_t d_logits_stride = 0;
};

/// out = softmax(x), row by row; out may be x.
struct SoftmaxArguments {
  int64_t rows = 0;
  int64_t width = 0;
  const float* x = nullptr;
  int64_t x_stride = 0;
  float* out = nullptr;
  int64_t out_stride = 0;
};

/// d_x = out (d_out - sum of d_out out), row by row; d_x may be d_out or out.
struct SoftmaxGradientArguments {
  int64_t rows = 0;
  int64_t width = 0;
  const float* out = nullptr;  ///< of the forward call
  int64_t out_stride = 0;
  const float* d_out = nullptr;
  int64_t d_out_stride = 0;
  float* d_x = nullptr;
  int64_t d_x_stride = 0;
};

/// relu, silu and the two gelu are those of `Activation`.
enum class UnaryFunction : uint8_t { exp, sigmoid, tanh, relu, silu, gelu_erf, gelu_tanh };

/// out[i] = f(x[i]); out may be x.
struct UnaryArguments {
  UnaryFunction function = UnaryFunction::exp;
  int64_t count = 0;
  const float* x = nullptr;
  float* out = nullptr;
};

/// out[i] = keep(i) ? x[i] / (1 - p) : 0; out may be x. The gradient is the same call on d_out. keep(i) says
/// whether word j % 4 of draw j / 4 of Philox(key), j = first + i, is at least p 2^32: the same for every
/// SIMD target.
struct DropoutArguments {
  int64_t count = 0;
  const float* x = nullptr;
  float p = 0;        ///< probability of 0, in [0, 1]
  uint64_t key = 0;   ///< of Philox
  int64_t first = 0;  ///< number of x[0] in the stream, a multiple of 4
  float* out = nullptr;
};

/// One step of AdamW (arXiv:1711.05101) in place: g = gradient_scale gradient, m = beta1 m + (1 - beta1) g,
/// v = beta2 v + (1 - beta2) g^2, p = p (1 - learning_rate weight_decay) - learning_rate (m / correction1) /
/// (sqrt(v / correction2) + eps).
struct AdamWArguments {
  int64_t count = 0;
  float* parameter = nullptr;
  float* first_moment = nullptr;   ///< m
  float* second_moment = nullptr;  ///< v
  const float* gradient = nullptr;
  double learning_rate = 0;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0;
  double correction1 = 1;    ///< 1 - beta1^step
  double correction2 = 1;    ///< 1 - beta2^step
  float gradient_scale = 1;  ///< below 1 where the gradient's norm is clipped
};

/// Squares and their sum are in double: nothing overflows, rounding errors are below 1e-12 of the sum.
struct SumOfSquaresArguments {
  int64_t count = 0;
  const float* x = nullptr;
};

}  // namespace attnlab::kernels
