// Linear attention over all cores, forward, decode and backward.
#pragma once

#include "core/kernels/linear/arguments.hpp"
#include "core/kernels/linear/linear_tile.hpp"

namespace attnlab::kernels {

/// Writes `out` and, where given, denominators and final state. Heads are spread over threads; bits do not
/// depend on how many there are. Chunks of 64 tokens from the first: O(tokens (head_dim + 64) value_dim) a
/// head, with scratch memory, about 0.3 MiB a thread at 128 channels, that is kept for the next call. A
/// single token is a step of the recurrence, one pass over the state: with the final state of one call as the
/// initial state of the next, decode goes on from any prefix, equal to the whole up to rounding.
void linear_attention(const LinearKernels& kernels, const LinearAttentionArguments& arguments);

/// Writes the gradients; recomputes states, keeps none. About 2.5 times the work of the forward.
void linear_attention_gradient(const LinearKernels& kernels, const LinearGradientArguments& arguments);

}  // namespace attnlab::kernels
