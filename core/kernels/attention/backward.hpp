// Gradients of softmax attention.
#pragma once

#include <cstdint>
#include <span>

#include "core/kernels/attention/backward_arguments.hpp"
#include "core/kernels/simd/target.hpp"

namespace attnlab::kernels {

/// Most keys and most query rows that one call of the kernels below handles.
inline constexpr int64_t kBackwardKeys = 192;
inline constexpr int64_t kBackwardRows = 96;
/// Up to so many rows, backward_few is faster.
inline constexpr int64_t kBackwardFewRows = 16;

/// Up to kBackwardKeys keys, wherever they lie.
struct BackwardKeys {
  const float* const* key = nullptr;    ///< [count] -> [head_dim]
  const float* const* value = nullptr;  ///< [count] -> [value_dim]
  int64_t count = 0;
  int64_t head_dim = 0;
  int64_t value_dim = 0;
  float scale = 1;
};

/// Up to kBackwardRows query rows of one head.
struct BackwardRows {
  const float* query = nullptr;
  int64_t query_stride = 0;
  const float* grad_out = nullptr;
  int64_t grad_out_stride = 0;
  int64_t rows = 0;
  const float* lse = nullptr;     ///< [rows]; +inf for a row without keys
  const float* delta = nullptr;   ///< [rows], do . o - dlse
  const int64_t* seen = nullptr;  ///< [rows], never falling: row r sees the first seen[r] keys
  const float* bias = nullptr;    ///< [rows, count], added to the logits; or null
  int64_t bias_stride = 0;
  float* grad_query = nullptr;  ///< added to
  int64_t grad_query_stride = 0;
  float* grad_logit_sum = nullptr;  ///< [count], the rows' sum of ds is added; or null
};

/// One SIMD target's kernels. They run on the calling thread and allocate nothing; `scratch` is 64-byte
/// aligned and belongs to one block of keys from begin to end.
struct BackwardKernels {
  /// Floats of scratch.
  int64_t (*backward_scratch)(int64_t head_dim, int64_t value_dim) = nullptr;
  /// Packs the keys; their gradients become 0.
  void (*backward_begin)(const BackwardKeys&, float* scratch) = nullptr;
  /// Adds what these rows contribute to all gradients. 10 rows count head_dim flops when value_dim =
  /// head_dim.
  void (*backward_rows)(const BackwardKeys&, const BackwardRows&, float* scratch) = nullptr;
  /// Adds the gradients to grad_key[i] and grad_value[i], i ascending.
  void (*backward_end)(const BackwardKeys&, const float* scratch, float* const* grad_key,
                       float* const* grad_value) = nullptr;
  /// All of this for up to kBackwardFewRows rows, without scratch; a row sees all keys and `seen` is not
  /// read.
  void (*backward_few)(const BackwardKeys&, const BackwardRows&, float* const* grad_key,
                       float* const* grad_value) = nullptr;
  float (*backward_dot)(const float* a, const float* b, int64_t size) = nullptr;
};

const BackwardKernels& backward_kernels(SimdTarget target);

/// All gradients of a dense problem. Threads share out (key block, batch, KV head); a result's bits do not
/// depend on their number. Memory: about 1 MiB a thread at 128 channels, and two floats a query row.
void dense_backward(const BackwardKernels& kernels, const DenseBackwardArguments& arguments);

/// The gradients of sparse attention. `heads[h]` are calls that may add to the same keys: they run in order
/// on one thread, so that sums have one order. Different heads run at the same time and must not share
/// gradients.
void sparse_backward(const BackwardKernels& kernels,
                     std::span<const std::span<const AttendBackwardArguments>> heads);

}  // namespace attnlab::kernels
