#include "core/kernels/linear/linear_attention.hpp"

#include "core/base/error.hpp"
#include "core/base/parallel.hpp"
#include "core/kernels/scratch.hpp"

namespace attnlab::kernels {

void linear_attention(const LinearKernels& kernels, const LinearAttentionArguments& arguments) {
  const int64_t workspace = kernels.linear_forward_workspace(arguments.head_dim, arguments.value_dim);
  base::parallel_for(arguments.batch * arguments.heads, [&](int64_t i, int) {
    kernels.linear_forward(arguments, i / arguments.heads, i % arguments.heads, thread_scratch(workspace));
  });
}

void linear_attention_gradient(const LinearKernels& kernels, const LinearGradientArguments& arguments) {
  const LinearAttentionArguments& forward = arguments.forward;
  ATTNLAB_CHECK(!forward.normalise || forward.denominator != nullptr || forward.tokens == 0,
                "the forward call kept no denominators");
  const int64_t workspace = kernels.linear_backward_workspace(forward.head_dim, forward.value_dim);
  base::parallel_for(forward.batch * forward.heads, [&](int64_t i, int) {
    kernels.linear_backward(arguments, i / forward.heads, i % forward.heads, thread_scratch(workspace));
  });
}

}  // namespace attnlab::kernels
