// The same operations in double precision, written to be obviously right. For tests.
#pragma once

#include <vector>

#include "core/kernels/linear/arguments.hpp"

namespace attnlab::kernels::reference {

/// Contiguous in the order of the arguments' shapes.
struct LinearOutputs {
  std::vector<double> out, denominator, final_state, final_key_sum;
};
struct LinearGradients {
  std::vector<double> query, key, value, initial_state, initial_key_sum;
};

/// As the kernels, but quadratic in tokens, computed and returned in double. The struct's outputs are
/// ignored.
LinearOutputs linear_attention(const LinearAttentionArguments& arguments);
/// `forward.out` and `forward.denominator` are ignored.
LinearGradients linear_attention_gradient(const LinearGradientArguments& arguments);

}  // namespace attnlab::kernels::reference
