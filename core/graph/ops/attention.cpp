// Softmax attention, on the kernels of core/kernels/attention, and linear attention.
#include <cmath>
#include <limits>

#include "core/graph/graph.hpp"
#include "core/graph/op.hpp"
#include "core/graph/runs.hpp"
#include "core/kernels/attention/backward.hpp"
#include "core/kernels/attention/dense.hpp"
#include "core/kernels/table.hpp"

namespace attnlab::graph {
namespace {

/// Extents and options of q [B, Hq, Sq, d], k [B, Hkv, Sk, d], v [B, Hkv, Sk, dv].
struct Problem {
  int64_t batch, query_heads, kv_heads, queries, keys, head_dim, value_dim;
  double scale;
  bool causal;
  int64_t window, prefix;

  Problem(const Extents& q, const Extents& k, const Extents& v, const Attributes& a) {
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
    window = a.integer("window", 0), prefix = a.integer("prefix", 0);
    if (a.handle("selector") != nullptr) throw OperandError("selectors are not supported yet");
  }
};

/// A view whose channels are adjacent, as the kernels want them.
template <class T>
kernels::HeadRows<T> rows_of(T* data, const Array& x) {
  return {data, x.stride()[0], x.stride()[1], x.stride()[2]};
}
Array adjacent(const Array& x) {
  return x.empty() || x.stride().back() == 1 || x.extent(-1) == 1 ? x : x.packed();
}
kernels::HeadRows<const float> rows_of(const Array& x) {
  return rows_of(x.data<float>(), x);
}

bool fuses(std::span<const Array> inputs, const std::vector<bool>& watched, const Attributes& attributes) {
  // The backward kernel has no gradient for a bias.
  const bool bias_watched = watched.size() > 3 && watched[3];
  return inputs[0].element() == Element::f32 && attributes.integer("window", 0) == 0 && !bias_watched;
}

/// [B, H, T, channels] that lies in memory as [B, T, H, channels]: joining and splitting heads are then
/// views.
Array by_token(int64_t batch, int64_t heads, int64_t tokens, int64_t channels) {
  return Array(Element::f32, {batch, tokens, heads, channels}).permuted({0, 2, 1, 3});
}

struct Operands {
  Array q, k, v, bias, sink;

  Operands(const std::vector<Array>& inputs, const Problem& p)
      : q(adjacent(inputs[0])), k(adjacent(inputs[1])), v(adjacent(inputs[2])) {
    if (inputs.size() > 3 && !inputs[3].empty())
      bias = adjacent(inputs[3].broadcast_to({p.batch, p.query_heads, p.queries, p.keys}));
    if (inputs.size() > 4 && !inputs[4].empty()) sink = inputs[4].broadcast_to({p.query_heads}).packed();
  }
};

Array attend_floats(Evaluation& e) {
  const Problem p(e.input(0).shape(), e.input(1).shape(), e.input(2).shape(), e.attributes);
  const Operands o({e.inputs.begin(), e.inputs.end()}, p);
  Array out = by_token(p.batch, p.query_heads, p.queries, p.value_dim);
  Array lse(Element::f32, {p.batch, p.query_heads, p.queries});
  kernels::DenseArguments a;
  a.batch = p.batch, a.query_heads = p.query_heads, a.kv_heads = p.kv_heads;
  a.queries = p.queries, a.keys = p.keys, a.head_dim = p.head_dim, a.value_dim = p.value_dim;
  a.scale = static_cast<float>(p.scale), a.causal = p.causal;
  a.query = rows_of(o.q), a.key = rows_of(o.k), a.value = rows_of(o.v);
  if (!o.bias.empty()) a.bias = rows_of(o.bias);
  if (!o.sink.empty()) a.sink_logit = o.sink.data<float>();
  a.out = rows_of(out.mutable_data<float>(), out), a.lse = lse.mutable_data<float>();
  if (out.size() > 0) kernels::dense_attention(kernels::active_table(), a);
  if (e.watched) e.saved = {lse};
  return out;
}

std::vector<Var> attend_gradient(const GradientCall& g) {
  std::vector<Array> inputs;
  for (const Var& input : g.inputs) inputs.push_back(input ? value_of(input) : Array());
  const Problem p(inputs[0].shape(), inputs[1].shape(), inputs[2].shape(), g.attributes);
  const Operands o(inputs, p);
  const Array out = value_of(g.output), d_out = adjacent(value_of(g.gradient));
  Array dq = by_token(p.batch, p.query_heads, p.queries, p.head_dim);
  Array dk = by_token(p.batch, p.kv_heads, p.keys, p.head_dim);
  Array dv = by_token(p.batch, p.kv_heads, p.keys, p.value_dim);
  Array dsink(Element::f32, {p.query_heads});
  kernels::DenseBackwardArguments a;
  a.batches = p.batch, a.query_heads = p.query_heads, a.kv_heads = p.kv_heads;
  a.queries = p.queries, a.keys = p.keys, a.head_dim = p.head_dim, a.value_dim = p.value_dim;
  a.scale = static_cast<float>(p.scale), a.causal = p.causal;
  a.query = rows_of(o.q), a.key = rows_of(o.k), a.value = rows_of(o.v);
  if (!o.bias.empty()) a.bias = rows_of(o.bias);
  a.out = rows_of(out), a.lse = g.saved[0].data<float>(), a.grad_out = rows_of(d_out);
  a.grad_query = rows_of(dq.mutable_data<float>(), dq);
  a.grad_key = rows_of(dk.mutable_data<float>(), dk);
  a.grad_value = rows_of(dv.mutable_data<float>(), dv);
  if (!o.sink.empty()) {
    a.sink_logit = o.sink.data<float>();
    a.grad_sink_logit = dsink.mutable_data<float>();
  }
  kernels::dense_backward(kernels::active_table(), a);
  std::vector<Var> results;
  for (const Array& gradient : {dq, dk, dv}) results.push_back(leaf(g.gradient, gradient));
  results.emplace_back();
  if (!o.sink.empty()) results.push_back(sum_to(leaf(g.gradient, dsink), g.inputs[4].shape()));
  return results;
}

/// 0 where query i (at position i + Sk - Sq) sees key j, else -inf.
Array visibility(const Problem& p, Element element) {
  Array mask(element, {p.queries, p.keys});
  with_type(element, [&](auto type) {
    using T = decltype(type);
    T* to = mask.mutable_data<T>();
    for (int64_t i = 0; i < p.queries; ++i) {
      const int64_t position = i + p.keys - p.queries;
      for (int64_t j = 0; j < p.keys; ++j) {
        const bool later = p.causal && j > position;
        const bool outside = p.window > 0 && j >= p.prefix && j <= position - p.window;
        *to++ = later || outside ? -std::numeric_limits<T>::infinity() : T(0);
      }
    }
  });
  return mask;
}

Var attend_parts(const std::vector<Var>& inputs, const Attributes& attributes) {
  const Var &q = inputs[0], &k = inputs[1], &v = inputs[2];
  const Problem p(value_of(q).shape(), value_of(k).shape(), value_of(v).shape(), attributes);
  const int64_t group = p.query_heads / p.kv_heads;
  // The query heads of a group are rows of one product with their keys.
  auto grouped = [&](const Var& x, int64_t width) {
    return reshape(x, {p.batch, p.kv_heads, group * p.queries, width});
  };
  Var logits =
      reshape(matmul(grouped(q, p.head_dim), transpose(k)), {p.batch, p.query_heads, p.queries, p.keys}) *
      p.scale;
  if (inputs.size() > 3 && inputs[3]) logits = logits + inputs[3];
  if (p.causal || p.window > 0) logits = logits + leaf(q, visibility(p, value_of(q).element()));
  Var weights;
  if (inputs.size() > 4 && inputs[4]) {
    const Var sink = broadcast(reshape(inputs[4], {1, -1, 1, 1}), {p.batch, p.query_heads, p.queries, 1});
    weights = slice(softmax(concat(logits, sink)), -1, 0, p.keys);
  } else {
    weights = softmax(logits);
  }
  return reshape(matmul(grouped(weights, p.keys), v), {p.batch, p.query_heads, p.queries, p.value_dim});
}

/// Equation 12 of arXiv:2006.16236: phi(q) S / (phi(q) z), S = sum phi(k) v^T and z = sum phi(k) over the
/// keys that a row sees.
Var linear_attend_parts(const std::vector<Var>& inputs, const Attributes& attributes) {
  const Attributes plain{{"causal", attributes.integer("causal", 1)}};
  const Problem p(value_of(inputs[0]).shape(), value_of(inputs[1]).shape(), value_of(inputs[2]).shape(),
                  plain);
  const int64_t group = p.query_heads / p.kv_heads;
  const Var q = reshape(inputs[0], {p.batch, p.kv_heads, group * p.queries, p.head_dim});
  Var products = reshape(matmul(q, transpose(inputs[1])), {p.batch, p.query_heads, p.queries, p.keys});
  if (p.causal) {
    const Var hidden = leaf(inputs[0], visibility(p, value_of(inputs[0]).element()));
    products = products * exp(hidden);
  }
  const Var weights = products / sum(products, -1);
  return reshape(matmul(reshape(weights, {p.batch, p.kv_heads, group * p.queries, p.keys}), inputs[2]),
                 {p.batch, p.query_heads, p.queries, p.value_dim});
}

}  // namespace

std::vector<Op> attention_ops() {
  return {
      {.name = "attend",
       .least_inputs = 3,
       .most_inputs = 5,
       .attributes = {"causal", "scale", "window", "prefix", "selector"},
       .evaluate = attend_floats,
       .gradient = attend_gradient,
       .decompose = attend_parts,
       .fuses = fuses},
      {.name = "linear_attend",
       .least_inputs = 3,
       .most_inputs = 3,
       .attributes = {"causal"},
       .decompose = linear_attend_parts},
  };
}

}  // namespace attnlab::graph
