// Dense attention to bfloat16 keys and values on AMX tiles, on all threads.
#pragma once

#include "core/kernels/amx/block.hpp"
#include "core/kernels/attention/dense.hpp"

namespace attnlab::kernels {

/// Whether AMX computes these arguments: head dimensions up to 256 and no bias.
bool amx_takes(const DenseArgumentsOf<BFloat16>& arguments);

/// dense_attention where amx_takes it. Queries and the weights of the softmax are rounded to bfloat16, sums
/// are float32: within 2^-8 of the largest value. The bits depend on the arguments alone. False, with outputs
/// undefined, where a query, key or value is not finite: tiles multiply it with the zeros of keys that a row
/// does not see. Memory: keys and values of all KV heads once more, kept by the calling thread.
/// [any thread; TBB]
bool dense_attention_amx(const AmxKernels& kernels, const DenseArgumentsOf<BFloat16>& arguments);

}  // namespace attnlab::kernels
