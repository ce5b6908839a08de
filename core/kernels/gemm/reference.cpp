#include "core/kernels/gemm/reference.hpp"

#include <cmath>
#include <numbers>

namespace attnlab::kernels::reference {
namespace {

double logistic(double x) {
  return 1 / (1 + std::exp(-x));
}

double normal_distribution(double x) {
  return std::erfc(-x / std::numbers::sqrt2) / 2;
}

/// 2 u of gelu_tanh.
double gelu_exponent(double x) {
  return 2 * std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x);
}

double gelu_exponent_slope(double x) {
  return 2 * std::sqrt(2 / std::numbers::pi) * (1 + 3 * 0.044715 * x * x);
}

}  // namespace

double activate(Activation activation, double x) {
  switch (activation) {
    case Activation::none:
      return x;
    case Activation::relu:
      return x < 0 ? 0 : x;
    case Activation::gelu_tanh:
      return x * logistic(gelu_exponent(x));
    case Activation::gelu_erf:
      return x * normal_distribution(x);
    case Activation::silu:
      return x * logistic(x);
  }
  return x;
}

double activation_slope(Activation activation, double x) {
  switch (activation) {
    case Activation::none:
      return 1;
    case Activation::relu:
      return x > 0 ? 1 : 0;
    case Activation::gelu_tanh: {
      const double s = logistic(gelu_exponent(x));
      return s + x * s * (1 - s) * gelu_exponent_slope(x);
    }
    case Activation::gelu_erf:
      return normal_distribution(x) + x * std::exp(-x * x / 2) / std::sqrt(2 * std::numbers::pi);
    case Activation::silu: {
      const double s = logistic(x);
      return s + x * s * (1 - s);
    }
  }
  return 1;
}

void gemm(const GemmArguments& g, double* c, double* pre_activation) {
  const GemmEpilogue& e = g.epilogue;
  for (int64_t i = 0; i < g.rows; ++i) {
    for (int64_t j = 0; j < g.columns; ++j) {
      double sum = 0;
      for (int64_t k = 0; k < g.depth; ++k) {
        sum += double{g.a[i * g.a_row_stride + k * g.a_column_stride]} *
               g.b[k * g.b_row_stride + j * g.b_column_stride];
      }
      double x = g.alpha * sum;
      if (g.accumulate) x += g.c[i * g.c_stride + j];
      if (e.bias != nullptr) x += e.bias[j];
      if (pre_activation != nullptr) pre_activation[i * e.pre_activation_stride + j] = x;
      x = activate(e.activation, x);
      if (e.residual != nullptr) x += e.residual[i * e.residual_stride + j];
      c[i * g.c_stride + j] = x;
    }
  }
}

void activation_gradient(const ActivationGradientArguments& a, double* d_in) {
  for (int64_t i = 0; i < a.rows; ++i) {
    for (int64_t j = 0; j < a.columns; ++j) {
      const double slope = activation_slope(a.activation, a.pre_activation[i * a.pre_activation_stride + j]);
      d_in[i * a.d_in_stride + j] = a.d_out[i * a.d_out_stride + j] * slope;
    }
  }
}

void column_sums(const ColumnSumArguments& a, double* sums) {
  for (int64_t j = 0; j < a.columns; ++j) {
    sums[j] = a.accumulate ? a.sums[j] : 0;
    for (int64_t i = 0; i < a.rows; ++i) sums[j] += a.values[i * a.stride + j];
  }
}

}  // namespace attnlab::kernels::reference
