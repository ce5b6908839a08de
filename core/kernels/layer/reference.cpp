#include "core/kernels/layer/reference.hpp"

#include <attnlab/philox.hpp>

#include <algorithm>
#include <cmath>

#include "core/kernels/gemm/reference.hpp"

namespace attnlab::kernels::reference {
namespace {

double log_sum_exp(const float* x, int64_t count) {
  const double maximum = *std::max_element(x, x + count);
  double sum = 0;
  for (int64_t j = 0; j < count; ++j) sum += std::exp(x[j] - maximum);
  return maximum + std::log(sum);
}

}  // namespace

double unary_value(UnaryFunction function, double x) {
  switch (function) {
    case UnaryFunction::exp:
      return std::exp(x);
    case UnaryFunction::sigmoid:
      return 1 / (1 + std::exp(-x));
    case UnaryFunction::tanh:
      return std::tanh(x);
    case UnaryFunction::relu:
      return activate(Activation::relu, x);
    case UnaryFunction::silu:
      return activate(Activation::silu, x);
    case UnaryFunction::gelu_erf:
      return activate(Activation::gelu_erf, x);
    case UnaryFunction::gelu_tanh:
      return activate(Activation::gelu_tanh, x);
  }
  return x;
}

void norm(const NormArguments& a, double* out, double* mean, double* inverse) {
  for (int64_t r = 0; r < a.rows; ++r) {
    const float* x = a.x + r * a.x_stride;
    double centre = 0;
    for (int64_t j = 0; a.kind == NormKind::layer && j < a.width; ++j) {
      centre += double{x[j]} / static_cast<double>(a.width);
    }
    double square = 0;
    for (int64_t j = 0; j < a.width; ++j) {
      square += (x[j] - centre) * (x[j] - centre) / static_cast<double>(a.width);
    }
    const double scale = 1 / std::sqrt(square + a.eps);
    for (int64_t j = 0; j < a.width; ++j) {
      out[r * a.out_stride + j] = (x[j] - centre) * scale * (a.weight == nullptr ? 1.0 : a.weight[j]) +
                                  (a.bias == nullptr ? 0.0 : a.bias[j]);
    }
    if (mean != nullptr && a.kind == NormKind::layer) mean[r] = centre;
    if (inverse != nullptr) inverse[r] = scale;
  }
}

void norm_gradient(const NormGradientArguments& a, double* d_x, double* d_weight, double* d_bias) {
  if (d_weight != nullptr) std::fill_n(d_weight, a.width, 0.0);
  if (d_bias != nullptr) std::fill_n(d_bias, a.width, 0.0);
  for (int64_t r = 0; r < a.rows; ++r) {
    const bool layer = a.kind == NormKind::layer;
    const auto normalised = [&](int64_t j) {
      return (double{a.x[r * a.x_stride + j]} - (layer ? a.mean[r] : 0.0F)) * a.inverse[r];
    };
    const auto weighted = [&](int64_t j) {
      return double{a.d_out[r * a.d_out_stride + j]} * (a.weight == nullptr ? 1.0 : a.weight[j]);
    };
    double mean_g = 0, mean_gn = 0;
    for (int64_t j = 0; j < a.width; ++j) {
      if (layer) mean_g += weighted(j) / static_cast<double>(a.width);
      mean_gn += weighted(j) * normalised(j) / static_cast<double>(a.width);
    }
    for (int64_t j = 0; j < a.width; ++j) {
      if (d_x != nullptr) {
        d_x[r * a.d_x_stride + j] = a.inverse[r] * (weighted(j) - mean_g - normalised(j) * mean_gn);
      }
      if (d_weight != nullptr) d_weight[j] += a.d_out[r * a.d_out_stride + j] * normalised(j);
      if (d_bias != nullptr) d_bias[j] += a.d_out[r * a.d_out_stride + j];
    }
  }
}

void cross_entropy(const CrossEntropyArguments& a, double* loss, double* lse) {
  for (int64_t r = 0; r < a.rows; ++r) {
    const float* logits = a.logits + r * a.logits_stride;
    const double sum = log_sum_exp(logits, a.classes);
    if (lse != nullptr) lse[r] = sum;
    if (loss != nullptr) loss[r] = a.targets[r] < 0 ? 0 : sum - logits[a.targets[r]];
  }
}

void cross_entropy_gradient(const CrossEntropyGradientArguments& a, double* d_logits) {
  for (int64_t r = 0; r < a.rows; ++r) {
    const float* logits = a.logits + r * a.logits_stride;
    const double sum = log_sum_exp(logits, a.classes);
    for (int64_t j = 0; j < a.classes; ++j) {
      const double difference = std::exp(logits[j] - sum) - (j == a.targets[r] ? 1 : 0);
      d_logits[r * a.d_logits_stride + j] = a.targets[r] < 0 ? 0 : difference * a.row_scale;
    }
  }
}

void softmax(const SoftmaxArguments& a, double* out) {
  for (int64_t r = 0; r < a.rows; ++r) {
    const float* x = a.x + r * a.x_stride;
    const double sum = log_sum_exp(x, a.width);
    for (int64_t j = 0; j < a.width; ++j) out[r * a.out_stride + j] = std::exp(x[j] - sum);
  }
}

void softmax_gradient(const SoftmaxGradientArguments& a, double* d_x) {
  for (int64_t r = 0; r < a.rows; ++r) {
    const float* out = a.out + r * a.out_stride;
    const float* d_out = a.d_out + r * a.d_out_stride;
    double sum = 0;
    for (int64_t j = 0; j < a.width; ++j) sum += double{d_out[j]} * out[j];
    for (int64_t j = 0; j < a.width; ++j) d_x[r * a.d_x_stride + j] = out[j] * (d_out[j] - sum);
  }
}

void unary(const UnaryArguments& a, double* out) {
  for (int64_t i = 0; i < a.count; ++i) out[i] = unary_value(a.function, a.x[i]);
}

void dropout(const DropoutArguments& a, double* out) {
  const Philox random(a.key);
  for (int64_t i = 0; i < a.count; ++i) {
    const auto number = static_cast<uint64_t>(a.first + i);
    const bool keep = random.at(number / 4)[number % 4] >= std::floor(double{a.p} * 0x1p32);
    out[i] = keep ? a.x[i] / (1 - double{a.p}) : 0;
  }
}

void adamw(const AdamWArguments& a, double* parameter, double* first_moment, double* second_moment) {
  for (int64_t i = 0; i < a.count; ++i) {
    const double g = double{a.gradient_scale} * a.gradient[i];
    const double m = a.beta1 * a.first_moment[i] + (1 - a.beta1) * g;
    const double v = a.beta2 * a.second_moment[i] + (1 - a.beta2) * g * g;
    parameter[i] = a.parameter[i] * (1 - a.learning_rate * a.weight_decay) -
                   a.learning_rate * (m / a.correction1) / (std::sqrt(v / a.correction2) + a.eps);
    first_moment[i] = m;
    second_moment[i] = v;
  }
}

double sum_of_squares(const SumOfSquaresArguments& a) {
  double sum = 0;
  for (int64_t i = 0; i < a.count; ++i) sum += double{a.x[i]} * a.x[i];
  return sum;
}

}  // namespace attnlab::kernels::reference
