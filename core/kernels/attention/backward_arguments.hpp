// Plain arguments of the backward of softmax attention, the same for the kernels and the double-precision
// reference.
#pragma once

#include <cstdint>

#include "core/kernels/attention/arguments.hpp"
#include "core/kernels/head_rows.hpp"

namespace attnlab::kernels {

/// Gradients of dense softmax attention, o = softmax(scale q k^T + bias) v, recomputed from lse (section 3.1
/// of arXiv:2307.08691; no [queries, keys] plane exists):
///   p = exp(logit - lse), ds = p (do . v - do . o + dlse),
///   dq = scale ds k, dk = scale ds^T q, dv = p^T do, dsink = sum of exp(sink - lse) (dlse - do . o).
/// Query row i is at position i + valid - queries. With `causal` it sees the keys [0, position + 1), else [0,
/// valid). Keys beyond valid are not read, those before are finite. dk and dv of a KV head sum over the
/// query_heads / kv_heads query heads of its group.
struct DenseBackwardArguments {
  int64_t batches = 0;
  int64_t query_heads = 0;  ///< a multiple of kv_heads
  int64_t kv_heads = 0;
  int64_t queries = 0;
  int64_t keys = 0;
  int64_t head_dim = 0;
  int64_t value_dim = 0;
  float scale = 1;
  bool causal = false;
  const int64_t* valid = nullptr;     ///< [batches], each in [0, keys]; null means `keys`
  HeadRows<const float> query;        ///< [batches, query_heads, queries, head_dim]
  HeadRows<const float> key;          ///< [batches, kv_heads, keys, head_dim]
  HeadRows<const float> value;        ///< [batches, kv_heads, keys, value_dim]
  HeadRows<const float> bias;         ///< [batches, query_heads, queries, keys]; null data means 0
  const float* sink_logit = nullptr;  ///< [query_heads] or null
  HeadRows<const float> out;          ///< the forward's result, [batches, query_heads, queries, value_dim]
  const float* lse = nullptr;         ///< the forward's, [batches, query_heads, queries], contiguous
  HeadRows<const float> grad_out;     ///< gradient at `out`
  const float* grad_lse = nullptr;    ///< gradient at `lse`, same layout; null means 0
  HeadRows<float> grad_query;         ///< overwritten, as the others
  HeadRows<float> grad_key;
  HeadRows<float> grad_value;
  float* grad_sink_logit = nullptr;  ///< [query_heads] or null
};

/// Where the gradients of one segment's keys and values are added, indexed as the segment indexes its keys.
struct SegmentGradient {
  float* key = nullptr;
  int64_t key_stride = 0;
  float* value = nullptr;
  int64_t value_stride = 0;
  float* log_weight = nullptr;  ///< [id_count], added to; or null
};

/// The gradients of one AttendArguments, by the formulas above. Its log weights are shared by the rows
/// (log_weight_stride 0).
struct AttendBackwardArguments {
  AttendArguments forward;          ///< `out` and `lse` hold the forward's results and are only read
  const float* grad_out = nullptr;  ///< [rows, value_dim], rows `grad_out_stride` apart
  int64_t grad_out_stride = 0;
  const float* grad_lse = nullptr;  ///< [rows]; null means 0
  float* grad_query = nullptr;      ///< [rows, head_dim], overwritten
  int64_t grad_query_stride = 0;
  const SegmentGradient* segments = nullptr;  ///< [forward.segment_count]
  float* grad_sink_logit = nullptr;           ///< [rows], overwritten; or null
};

}  // namespace attnlab::kernels
