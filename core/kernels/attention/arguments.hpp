// Plain argument structs, the same for every SIMD target and for the double-precision reference. `Element` is
// the type in which keys and values are stored: float, BFloat16 or Float16. Queries, outputs and all
// arithmetic are float.
#pragma once

#include <cstdint>

#include "core/kernels/element.hpp"
#include "core/kernels/range.hpp"

namespace attnlab::kernels {

/// logits[r][j] = scale * q_r . k_j + bias_r[j] for keys j in [key_begin, key_end) (equation 1 of
/// arXiv:1706.03762 before the softmax). The sum over channels has one fixed order: a logit has the same bits
/// in whatever tile it is computed.
template <class Element>
struct LogitsArgumentsOf {
  const float* query = nullptr;  ///< [rows, head_dim], rows `query_stride` apart
  int64_t query_stride = 0;
  int64_t rows = 0;
  int64_t head_dim = 0;
  const Element* key = nullptr;  ///< key 0 of the sequence; keys `key_stride` apart
  int64_t key_stride = 0;
  int64_t key_begin = 0;
  int64_t key_end = 0;
  float scale = 1;
  const float* const* bias = nullptr;  ///< [rows] pointers indexed by key; the array or an entry may be null
  float* logits = nullptr;             ///< [rows, ...] indexed by key, rows `logits_stride` apart
  int64_t logits_stride = 0;
};

/// Gathered logits of one row: out[i] = scale * q . k_ids[i] + bias[ids[i]], bit for bit
/// what LogitsArgumentsOf gives.
template <class Element>
struct GatherLogitsArgumentsOf {
  const float* query = nullptr;  ///< [head_dim]
  int64_t head_dim = 0;
  const Element* key = nullptr;
  int64_t key_stride = 0;
  const int32_t* ids = nullptr;
  int64_t count = 0;
  float scale = 1;
  const float* bias = nullptr;  ///< indexed by key, or null
  float* out = nullptr;
};

/// Keys that a span of rows attends to: either runs or ids, with an optional logit bias -log p per id.
template <class Element>
struct SegmentOf {
  const Element* key = nullptr;  ///< key 0; `runs` and `ids` index from here
  int64_t key_stride = 0;
  const Element* value = nullptr;
  int64_t value_stride = 0;
  const Range* runs = nullptr;
  int64_t run_count = 0;
  const int32_t* ids = nullptr;
  int64_t id_count = 0;
  const float* log_weight = nullptr;  ///< [id_count], added to the logits of `ids`; null means 0
  /// 0: the rows share log_weight. Otherwise it is [rows, id_count], rows this far apart, and -inf says that
  /// the row does not attend to the id: its key is ignored, its value is multiplied by 0.
  int64_t log_weight_stride = 0;
};

/// out_r = sum_e exp(l_e - m) v_e / sum_e exp(l_e - m), l_e = scale q_r.k_e + bias_r[e] + log_weight_e, with
/// m the maximum over the active entries only; lse_r = m + log of the denominator (natural logarithm). The
/// rows of one call share the segments; a segment may have log weights for each row. A learned sink logit
/// joins maximum and denominator but has no value. Without entries out_r = 0 and lse_r is -inf (or the sink
/// logit).
template <class Element>
struct AttendArgumentsOf {
  const float* query = nullptr;  ///< [rows, head_dim]
  int64_t query_stride = 0;
  int64_t rows = 0;
  int64_t head_dim = 0;
  int64_t value_dim = 0;
  float scale = 1;
  const SegmentOf<Element>* segments = nullptr;
  int64_t segment_count = 0;
  const float* const* bias = nullptr;  ///< as in LogitsArgumentsOf
  const float* sink_logit = nullptr;   ///< [rows] or null
  float* out = nullptr;                ///< [rows, value_dim], rows `out_stride` apart
  int64_t out_stride = 0;
  float* lse = nullptr;  ///< [rows]
};

/// Dense attention from logits that exist already: row r attends to keys [0, key_end[r]) and never reads
/// values beyond. Otherwise as AttendArgumentsOf, with the bits that the run [0, key_end[r]) gives there.
template <class Element>
struct AttendLogitsArgumentsOf {
  const float* logits = nullptr;  ///< [rows, ...] indexed by key
  int64_t logits_stride = 0;
  int64_t rows = 0;
  const int64_t* key_end = nullptr;  ///< [rows]
  const Element* value = nullptr;
  int64_t value_stride = 0;
  int64_t value_dim = 0;
  const float* sink_logit = nullptr;
  float* out = nullptr;
  int64_t out_stride = 0;
  float* lse = nullptr;
};

using LogitsArguments = LogitsArgumentsOf<float>;
using GatherLogitsArguments = GatherLogitsArgumentsOf<float>;
using Segment = SegmentOf<float>;
using AttendArguments = AttendArgumentsOf<float>;
using AttendLogitsArguments = AttendLogitsArgumentsOf<float>;

}  // namespace attnlab::kernels
