// Softmax attention, on the kernels of core/kernels/attention.
#include <limits>

#include "core/graph/graph.hpp"
#include "core/graph/op.hpp"
#include "core/graph/ops/attend.hpp"
#include "core/kernels/attention/backward.hpp"
#include "core/kernels/attention/dense.hpp"
#include "core/kernels/table.hpp"

namespace attnlab::graph {
namespace {

bool fuses(std::span<const Array> inputs, const std::vector<bool>& watched, const Attributes& attributes) {
  // Philox draws of a sequence's planes must start at a draw, four numbers each.
  const bool drops = attributes.real("dropout", 0) != 0;
  const bool plain = (inputs.size() < 4 || inputs[3].empty()) && (inputs.size() < 5 || inputs[4].empty());
  const Extents &q = inputs[0].shape(), &k = inputs[1].shape();
  if (drops && (!plain || q.size() != 4 || k.size() != 4 || q[1] * q[2] * k[2] % 4 != 0)) return false;
  if (attributes.handle("selector") != nullptr) return plain && inputs[0].element() == Element::f32;
  // The backward kernel has no gradient for a bias.
  const bool bias_watched = watched.size() > 3 && watched[3];
  return inputs[0].element() == Element::f32 && attributes.integer("window", 0) == 0 && !bias_watched;
}

struct Operands {
  Array q, k, v, bias, sink;

  Operands(const std::vector<Array>& inputs, const AttendProblem& p)
      : q(adjacent(inputs[0])), k(adjacent(inputs[1])), v(adjacent(inputs[2])) {
    if (inputs.size() > 3 && !inputs[3].empty())
      bias = adjacent(inputs[3].broadcast_to({p.batch, p.query_heads, p.queries, p.keys}));
    if (inputs.size() > 4 && !inputs[4].empty()) sink = inputs[4].broadcast_to({p.query_heads}).packed();
  }
};

Array attend_floats(Evaluation& e) {
  const AttendProblem p(e.input(0).shape(), e.input(1).shape(), e.input(2).shape(), e.attributes);
  if (p.selector != nullptr) return attend_selected(e, p);
  if (p.dropout > 0) return attend_with_dropout(e, p);
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
  const AttendProblem p(inputs[0].shape(), inputs[1].shape(), inputs[2].shape(), g.attributes);
  if (p.selector != nullptr || p.dropout > 0) {
    const Array& gradient = value_of(g.gradient);
    const std::vector<Array> found =
        p.selector != nullptr
            ? attend_selected_gradient(p, inputs, value_of(g.output), g.saved, gradient)
            : attend_with_dropout_gradient(p, inputs[0], inputs[1], inputs[2], g.saved[0], gradient);
    std::vector<Var> results;
    for (const Array& array : found) results.push_back(leaf(g.gradient, array));
    return results;
  }
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
Array visibility(const AttendProblem& p, Element element) {
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
  const AttendProblem p(value_of(q).shape(), value_of(k).shape(), value_of(v).shape(), attributes);
  const int64_t group = p.query_heads / p.kv_heads;
  const bool has_sink = inputs.size() > 4 && inputs[4];
  if (p.selector != nullptr && ((inputs.size() > 3 && inputs[3]) || has_sink))
    throw OperandError("a selector goes with neither bias nor sink logits");
  // The query heads of a group are rows of one product with their keys.
  auto grouped = [&](const Var& x, int64_t width) {
    return reshape(x, {p.batch, p.kv_heads, group * p.queries, width});
  };
  Var logits =
      reshape(matmul(grouped(q, p.head_dim), transpose(k)), {p.batch, p.query_heads, p.queries, p.keys}) *
      p.scale;
  if (inputs.size() > 3 && inputs[3]) logits = logits + inputs[3];
  if (p.selector != nullptr) {
    const Array operands[] = {value_of(q), value_of(k), value_of(v)};
    logits = logits + leaf(q, selected_plane(p, operands, value_of(q).element()));
  } else if (p.causal || p.window > 0) {
    logits = logits + leaf(q, visibility(p, value_of(q).element()));
  }
  Var weights;
  if (has_sink) {
    const Var sink = broadcast(reshape(inputs[4], {1, -1, 1, 1}), {p.batch, p.query_heads, p.queries, 1});
    weights = slice(softmax(concat(logits, sink)), -1, 0, p.keys);
  } else {
    weights = softmax(logits);
  }
  weights = dropout(weights, p.dropout, p.dropout_key);
  return reshape(matmul(grouped(weights, p.keys), v), {p.batch, p.query_heads, p.queries, p.value_dim});
}

}  // namespace

std::vector<Op> attention_ops() {
  return {
      {.name = "attend",
       .least_inputs = 3,
       .most_inputs = 5,
       .attributes = {"causal", "scale", "window", "prefix", "dropout", "dropout_key", "selector", "layer",
                      "selector_key", "dense_when_empty"},
       .evaluate = attend_floats,
       .gradient = attend_gradient,
       .decompose = attend_parts,
       .fuses = fuses},
  };
}

}  // namespace attnlab::graph
