// The gradients in double precision, written to be obviously right. For tests.
#pragma once

#include <vector>

#include "core/kernels/attention/backward_arguments.hpp"

namespace attnlab::kernels::reference {

/// Contiguous, in the order of the arguments' shapes.
struct DenseGradients {
  std::vector<double> query, key, value, sink_logit;
};

/// Computes the forward anew from query, key and value: `out` and `lse` are not read.
DenseGradients dense_backward(const DenseBackwardArguments& arguments);

}  // namespace attnlab::kernels::reference
