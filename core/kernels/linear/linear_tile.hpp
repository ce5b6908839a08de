// Linear attention of one head, one thread.
#pragma once

#include "core/kernels/linear/arguments.hpp"
#include "core/kernels/simd/target.hpp"

namespace attnlab::kernels {

/// One SIMD target's kernels, each for one head of one batch entry. They run on the calling thread and
/// allocate nothing; `workspace`, aligned to 64 bytes, holds as many floats as the function before says and
/// need not be initialised. Arguments are not checked.
struct LinearKernels {
  int64_t (*linear_forward_workspace)(int64_t head_dim, int64_t value_dim) = nullptr;
  void (*linear_forward)(const LinearAttentionArguments&, int64_t batch, int64_t head,
                         float* workspace) = nullptr;
  int64_t (*linear_backward_workspace)(int64_t head_dim, int64_t value_dim) = nullptr;
  void (*linear_backward)(const LinearGradientArguments&, int64_t batch, int64_t head,
                          float* workspace) = nullptr;
};

const LinearKernels& linear_kernels(SimdTarget target);

}  // namespace attnlab::kernels
