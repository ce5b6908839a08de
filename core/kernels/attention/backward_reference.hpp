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

/// Of one call; `key` and `value` hold one vector per segment with the rows of the segment's gradient from
/// row 0 on.
struct AttendGradients {
  std::vector<double> query;                    ///< [rows, head_dim]
  std::vector<std::vector<double>> key, value;  ///< [segments] -> [keys, head_dim or value_dim]
  std::vector<std::vector<double>> log_weight;  ///< [segments] -> [id_count]
  std::vector<double> sink_logit;               ///< [rows]
};

/// `keys`: how many keys every segment's cache has. `out` and `lse` of the forward are not read.
AttendGradients attend_backward(const AttendBackwardArguments& arguments, int64_t keys);

}  // namespace attnlab::kernels::reference
