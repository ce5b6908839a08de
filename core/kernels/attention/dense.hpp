// Dense attention of a whole problem, on all threads.
#pragma once

#include <cstdint>

#include "core/kernels/attention/arguments.hpp"
#include "core/kernels/head_rows.hpp"
#include "core/kernels/table.hpp"

namespace attnlab::kernels {

/// softmax(scale q k^T + bias) v (equation 1 of arXiv:1706.03762) for query [B, Hq, Sq, D], key [B, Hkv, Sk,
/// D] and value [B, Hkv, Sk, Dv]; query head h belongs to KV head h / (Hq / Hkv). Query i of a sequence
/// stands at position i + valid - Sq; causal rows see the keys up to their own position, all rows only the
/// first `valid` keys. A row that sees nothing gives 0 and lse -inf (or what the sink logit gives).
template <class Element>
struct DenseArgumentsOf {
  int64_t batch = 1;
  int64_t query_heads = 1;
  int64_t kv_heads = 1;
  int64_t queries = 0;
  int64_t keys = 0;
  int64_t head_dim = 0;
  int64_t value_dim = 0;
  float scale = 1;
  bool causal = true;
  HeadRows<const float> query;
  HeadRows<const Element> key, value;
  const int64_t* valid = nullptr;  ///< [batch] keys that exist; null: all
  /// [B, Hq, Sq, Sk], strides of 0 where it is shared; data null: 0. -inf hides a key.
  HeadRows<const float> bias;
  const float* sink_logit = nullptr;  ///< [query_heads] or null
  HeadRows<float> out;                ///< [B, Hq, Sq, Dv]
  float* lse = nullptr;               ///< [B, Hq, Sq], contiguous
};

using DenseArguments = DenseArgumentsOf<float>;

/// Rows of a KV head from which on packing pays: a packed block serves so many.
inline constexpr int64_t kPackingRows = 24;

/// From kPackingRows on, keys and values are packed once for each KV head, whose query heads share them;
/// before, they are streamed once for each group of heads, split over the threads at every kSplitEntries
/// keys. Which of the two, and every sum, depends on the shape alone, so the bits do not depend on the
/// threads. Many rows with bfloat16 keys and values and without bias go by AMX tiles where the table has
/// them, and all numbers are finite, and then queries and weights are rounded to bfloat16 as well
/// (dense_amx.hpp); otherwise the storage of keys and values changes no bit of what the same numbers give in
/// float32. Memory: packed copies of the KV heads in work (all of them up to 256 MiB), kept by the calling
/// thread for the next call. [any thread; TBB]
template <class Element>
void dense_attention(const KernelTable& kernels, const DenseArgumentsOf<Element>& arguments);

/// Entries of a long row's parts.
inline constexpr int64_t kSplitEntries = 4096;

/// AttendArgumentsOf for a long list: entries [0, kSplitEntries), [kSplitEntries, ...) ... are attended to
/// one by one on all threads and merged in their order. The same as `attend` where there is one part.
template <class Element>
void split_attend(const KernelTable& kernels, const AttendArgumentsOf<Element>& arguments);

/// Merges partial results over disjoint entries: out_r = sum_i exp(lse_i - lse) out_i, lse = log sum_i
/// exp(lse_i), in the order of i. part_out [parts, rows, value_dim] and part_lse [parts, rows] contiguous.
void merge_parts(const float* part_out, const float* part_lse, int64_t parts, int64_t rows, int64_t value_dim,
                 float* out, int64_t out_stride, float* lse);

}  // namespace attnlab::kernels
