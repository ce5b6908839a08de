// What the attention ops share.
#pragma once

#include <cmath>

#include "core/graph/key_selector.hpp"
#include "core/graph/op.hpp"
#include "core/graph/runs.hpp"
#include "core/kernels/head_rows.hpp"

namespace attnlab::graph {

/// Extents and options of q [B, Hq, Sq, d], k [B, Hkv, Sk, d], v [B, Hkv, Sk, dv].
struct AttendProblem {
  int64_t batch, query_heads, kv_heads, queries, keys, head_dim, value_dim;
  double scale, dropout;
  uint64_t dropout_key;
  bool causal;
  int64_t window, prefix;
  const KeySelector* selector;  ///< null: every row attends to all keys that it sees
  int layer;                    ///< for the selector, as the two below
  uint64_t selector_key;
  bool dense_when_empty;

  AttendProblem(const Extents& q, const Extents& k, const Extents& v, const Attributes& a) {
    if (q.size() != 4 || k.size() != 4 || v.size() != 4)
      throw OperandError("q, k and v must be [batch, head, token, channel]");
    batch = q[0], query_heads = q[1], queries = q[2], head_dim = q[3];
    kv_heads = k[1], keys = k[2], value_dim = v[3];
    const bool fits = k[0] == batch && v[0] == batch && v[1] == kv_heads && v[2] == keys && k[3] == head_dim;
    if (!fits || kv_heads < 1 || query_heads % kv_heads != 0)
      throw OperandError("q " + to_string(q) + ", k " + to_string(k) + ", v " + to_string(v));
    causal = a.integer("causal", 1) != 0;
    scale = a.real("scale", 0);
    if (scale == 0) scale = 1 / std::sqrt(static_cast<double>(head_dim));
    dropout = a.real("dropout", 0);
    if (!(dropout >= 0 && dropout < 1))
      throw OperandError("a dropout of " + std::to_string(dropout) + "; allowed: [0, 1)");
    dropout_key = static_cast<uint64_t>(a.integer("dropout_key", 0));
    window = a.integer("window", 0), prefix = a.integer("prefix", 0);
    selector = static_cast<const KeySelector*>(a.handle("selector"));
    layer = static_cast<int>(a.integer("layer", 0));
    selector_key = static_cast<uint64_t>(a.integer("selector_key", 0));
    dense_when_empty = a.integer("dense_when_empty", 0) != 0;
    if (selector != nullptr && (window != 0 || dropout != 0))
      throw OperandError("a selector goes with neither window nor dropout");
  }
};

/// [B, H, T, channels] that lies in memory as [B, T, H, channels]: joining and splitting heads are then
/// views.
inline Array by_token(int64_t batch, int64_t heads, int64_t tokens, int64_t channels) {
  return Array(Element::f32, {batch, tokens, heads, channels}).permuted({0, 2, 1, 3});
}

/// Itself, or a copy whose channels are adjacent, as the kernels want them.
inline Array adjacent(const Array& x) {
  return x.empty() || x.stride().back() == 1 || x.extent(-1) == 1 ? x : x.packed();
}

/// A view whose channels are adjacent, as the kernels want them.
template <class T>
kernels::HeadRows<T> rows_of(T* data, const Array& x) {
  return {data, x.stride()[0], x.stride()[1], x.stride()[2]};
}
inline kernels::HeadRows<const float> rows_of(const Array& x) {
  return rows_of(x.data<float>(), x);
}

/// Attention with dropout of its weights, one sequence at a time so that the planes [Hq, Sq, Sk] of its
/// weights stay near the cores. The weights of all sequences are kept for the gradient. Element i of the
/// planes of all sequences, row-major, is dropped as by the op "dropout".
Array attend_with_dropout(Evaluation& e, const AttendProblem& p);
/// dq, dk and dv; `weights` are what attend_with_dropout saved.
std::vector<Array> attend_with_dropout_gradient(const AttendProblem& p, const Array& q, const Array& k,
                                                const Array& v, const Array& weights, const Array& d_out);

/// Attention to the keys of the problem's selector, which computes in float32.
Array attend_selected(Evaluation& e, const AttendProblem& p);
/// dq, dk and dv through the chosen keys; `saved` is what attend_selected saved.
std::vector<Array> attend_selected_gradient(const AttendProblem& p, std::span<const Array> inputs,
                                            const Array& out, const std::vector<Array>& saved,
                                            const Array& gradient);
/// [B, Hq, Sq, Sk]: the log weight of chosen keys, -inf elsewhere.
Array selected_plane(const AttendProblem& p, std::span<const Array> inputs, Element element);

}  // namespace attnlab::graph
