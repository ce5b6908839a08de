// Plain argument structs of matrix products, the same for the kernels and for the double-precision reference.
#pragma once

#include <cstdint>

namespace attnlab::kernels {

class PackedMatrix;

/// Pointwise functions of layers. silu(x) = x / (1 + exp(-x)); gelu_erf(x) = x Phi(x) (arXiv:1606.08415);
/// gelu_tanh is the approximation of its section 2, x / (1 + exp(-2 u)), u = sqrt(2 / pi) (x + 0.044715 x^3),
/// that GPT-2 uses.
enum class Activation : uint8_t { none, relu, gelu_tanh, gelu_erf, silu };

/// What happens to a sum of products on its way to C: act(sum + bias) + residual.
struct GemmEpilogue {
  const float* bias = nullptr;  ///< [columns], or null
  Activation activation = Activation::none;
  float* pre_activation =
      nullptr;  ///< [rows, columns] or null: receives sum + bias, which the gradient needs
  int64_t pre_activation_stride = 0;
  const float* residual = nullptr;  ///< [rows, columns] or null; may be C itself
  int64_t residual_stride = 0;
};

/// C = act(alpha A B + bias) + residual, or with `accumulate` C = act(C + alpha A B + bias) + residual.
/// Element (i, k) of A is a[i * a_row_stride + k * a_column_stride], and likewise for B: a transposed operand
/// is a matter of strides. C must not overlap A or B.
struct GemmArguments {
  int64_t rows = 0;     ///< of A and C
  int64_t columns = 0;  ///< of B and C
  int64_t depth = 0;    ///< columns of A, rows of B; 0 makes A B zero
  const float* a = nullptr;
  int64_t a_row_stride = 0;
  int64_t a_column_stride = 1;
  const float* b = nullptr;
  int64_t b_row_stride = 0;
  int64_t b_column_stride = 1;
  const PackedMatrix* packed_b = nullptr;  ///< in place of `b`, or null; of the same kernels
  float* c = nullptr;                      ///< rows `c_stride` apart
  int64_t c_stride = 0;
  float alpha = 1;
  bool accumulate = false;
  GemmEpilogue epilogue = {};
};

/// d_in = d_out act'(pre_activation), element by element; d_in may be d_out.
struct ActivationGradientArguments {
  int64_t rows = 0;
  int64_t columns = 0;
  Activation activation = Activation::none;
  const float* pre_activation = nullptr;
  int64_t pre_activation_stride = 0;
  const float* d_out = nullptr;
  int64_t d_out_stride = 0;
  float* d_in = nullptr;
  int64_t d_in_stride = 0;
};

/// sums[j] = sum over rows of values[i][j], added to sums[j] with `accumulate`: the gradient of a bias. Rows
/// are summed in blocks of 64 and the blocks one after the other.
struct ColumnSumArguments {
  int64_t rows = 0;
  int64_t columns = 0;
  const float* values = nullptr;
  int64_t stride = 0;
  float* sums = nullptr;
  bool accumulate = false;
};

}  // namespace attnlab::kernels
