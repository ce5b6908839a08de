// Linear attention, on the chunkwise kernel of core/kernels/linear.
#include <attnlab/feature_map.hpp>

#include <algorithm>

#include "core/graph/graph.hpp"
#include "core/graph/ops/attend.hpp"
#include "core/graph/runs.hpp"
#include "core/kernels/linear/linear_attention.hpp"
#include "core/kernels/table.hpp"

namespace attnlab::graph {
namespace {

/// Extents and options of q [B, Hq, T, d], k [B, Hkv, T, d], v [B, Hkv, T, dv].
struct LinearProblem {
  int64_t batch, query_heads, kv_heads, tokens, head_dim, value_dim;
  bool causal, normalise;
  double scale;
  FeatureMap map;

  LinearProblem(const Extents& q, const Extents& k, const Extents& v, const Attributes& a) {
    if (q.size() != 4 || k.size() != 4 || v.size() != 4)
      throw OperandError("q, k and v must be [batch, head, token, channel]");
    batch = q[0], query_heads = q[1], tokens = q[2], head_dim = q[3];
    kv_heads = k[1], value_dim = v[3];
    const bool fits = k == Extents{batch, kv_heads, tokens, head_dim} &&
                      v == Extents{batch, kv_heads, tokens, value_dim} && kv_heads > 0 &&
                      query_heads % kv_heads == 0;
    if (!fits) throw OperandError("q " + to_string(q) + ", k " + to_string(k) + ", v " + to_string(v));
    causal = a.integer("causal", 1) != 0;
    normalise = a.integer("normalise", 1) != 0;
    scale = a.real("scale", 1);
    const std::string name = a.text("feature_map", "identity");
    const auto at = std::find(kFeatureMapNames.begin(), kFeatureMapNames.end(), name);
    map = static_cast<FeatureMap>(at - kFeatureMapNames.begin());
    if (at == kFeatureMapNames.end() || map == FeatureMap::clamped_exponential)
      throw OperandError("a feature map \"" + name + "\"");
  }

  int64_t group() const { return query_heads / kv_heads; }
  Extents state_shape() const { return {batch, kv_heads, head_dim, value_dim}; }
  Extents key_sum_shape() const { return {batch, kv_heads, head_dim}; }
};

kernels::FeatureMap kernel_map(FeatureMap map) {
  switch (map) {
    case FeatureMap::relu:
      return kernels::FeatureMap::relu;
    case FeatureMap::elu_plus_one:
      return kernels::FeatureMap::elu_plus_one;
    case FeatureMap::exponential:
      return kernels::FeatureMap::exponential;
    default:
      return kernels::FeatureMap::identity;
  }
}

void check_state(const Array& x, const Extents& shape, const char* name) {
  if (!x.empty() && x.shape() != shape)
    throw OperandError(std::string(name) + " " + to_string(x.shape()) + " instead of " + to_string(shape));
}

struct LinearOperands {
  Array q, k, v, state, key_sum;

  LinearOperands(std::span<const Array> inputs, const LinearProblem& p)
      : q(adjacent(inputs[0])), k(adjacent(inputs[1])), v(adjacent(inputs[2])) {
    if (inputs.size() > 3 && !inputs[3].empty()) state = inputs[3].packed();
    if (inputs.size() > 4 && !inputs[4].empty() && p.normalise) key_sum = inputs[4].packed();
    check_state(state, p.state_shape(), "state");
    check_state(key_sum, p.key_sum_shape(), "key_sum");
  }
};

/// Query heads g, g + group ... of x [B, Hq, T, channels], one for each KV head.
template <class T>
kernels::HeadRows<T> member_rows(T* data, const Array& x, int64_t g, int64_t group) {
  return {data + g * x.stride()[1], x.stride()[0], group * x.stride()[1], x.stride()[2]};
}

/// The call for member g of every group: the kernel knows no groups, so a shared head's sums are formed once
/// for each of its query heads.
kernels::LinearAttentionArguments member_call(const LinearProblem& p, const LinearOperands& o, int64_t g) {
  kernels::LinearAttentionArguments a;
  a.batch = p.batch, a.heads = p.kv_heads, a.tokens = p.tokens;
  a.head_dim = p.head_dim, a.value_dim = p.value_dim;
  a.feature_map = kernel_map(p.map), a.causal = p.causal, a.normalise = p.normalise;
  a.scale = static_cast<float>(p.scale);
  a.query = member_rows(o.q.data<float>(), o.q, g, p.group());
  a.key = rows_of(o.k), a.value = rows_of(o.v);
  if (!o.state.empty()) a.initial_state = o.state.data<float>();
  if (!o.key_sum.empty()) a.initial_key_sum = o.key_sum.data<float>();
  return a;
}

Array linear_attend_floats(Evaluation& e) {
  const LinearProblem p(e.input(0).shape(), e.input(1).shape(), e.input(2).shape(), e.attributes);
  const LinearOperands o(e.inputs, p);
  Array out = by_token(p.batch, p.query_heads, p.tokens, p.value_dim);
  const bool keeps = e.watched && p.normalise;
  const int64_t rows = p.batch * p.kv_heads * p.tokens;
  Array denominator(Element::f32, {keeps ? p.group() : 0, rows});
  for (int64_t g = 0; g < p.group() && out.size() > 0; ++g) {
    kernels::LinearAttentionArguments a = member_call(p, o, g);
    a.out = member_rows(out.mutable_data<float>(), out, g, p.group());
    if (keeps) a.denominator = denominator.mutable_data<float>() + g * rows;
    kernels::linear_attention(kernels::active_table(), a);
  }
  if (e.watched) e.saved = {denominator};
  return out;
}

std::vector<Var> linear_attend_gradient(const GradientCall& g) {
  std::vector<Array> inputs;
  for (const Var& input : g.inputs) inputs.push_back(input ? value_of(input) : Array());
  const LinearProblem p(inputs[0].shape(), inputs[1].shape(), inputs[2].shape(), g.attributes);
  const LinearOperands o(inputs, p);
  Array out = value_of(g.output), denominator = g.saved[0];
  const Array d_out = adjacent(value_of(g.gradient));
  const int64_t group = p.group(), rows = p.batch * p.kv_heads * p.tokens;
  Array dq = by_token(p.batch, p.query_heads, p.tokens, p.head_dim);
  // One gradient for each member of a group, then their sum.
  Array dk(Element::f32, {group, p.batch, p.kv_heads, p.tokens, p.head_dim});
  Array dv(Element::f32, {group, p.batch, p.kv_heads, p.tokens, p.value_dim});
  Array d_state(Element::f32, {group, p.batch, p.kv_heads, p.head_dim, p.value_dim});
  Array d_key_sum = Array::zeros(Element::f32, {group, p.batch, p.kv_heads, p.head_dim});
  auto member = [&](Array& x, int64_t i) { return x.mutable_data<float>() + i * x.stride()[0]; };
  auto rows_at = [&](Array& x, int64_t i) {
    return kernels::HeadRows<float>{member(x, i), x.stride()[1], x.stride()[2], x.stride()[3]};
  };
  for (int64_t i = 0; i < group; ++i) {
    kernels::LinearGradientArguments a;
    a.forward = member_call(p, o, i);
    a.forward.out = member_rows(out.mutable_data<float>(), out, i, group);
    if (p.normalise) a.forward.denominator = denominator.mutable_data<float>() + i * rows;
    a.d_out = member_rows(d_out.data<float>(), d_out, i, group);
    a.d_query = member_rows(dq.mutable_data<float>(), dq, i, group);
    a.d_key = rows_at(dk, i), a.d_value = rows_at(dv, i);
    a.d_initial_state = member(d_state, i);
    a.d_initial_key_sum = p.normalise ? member(d_key_sum, i) : nullptr;
    kernels::linear_attention_gradient(kernels::active_table(), a);
  }
  auto summed = [&](const Array& x) {
    Extents shape(x.shape().begin() + 1, x.shape().end());
    return reshape(sum(leaf(g.gradient, x), 0), {shape.begin(), shape.end()});
  };
  std::vector<Var> results = {leaf(g.gradient, dq), summed(dk), summed(dv)};
  if (g.inputs.size() > 3) results.push_back(o.state.empty() ? Var() : summed(d_state));
  if (g.inputs.size() > 4) results.push_back(o.key_sum.empty() ? Var() : summed(d_key_sum));
  return results;
}

/// 1 where token i sees token j.
Array causal_plane(int64_t tokens, Element element) {
  Array plane = Array::zeros(element, {tokens, tokens});
  with_type(element, [&](auto type) {
    using T = decltype(type);
    for (int64_t i = 0; i < tokens; ++i) std::fill_n(plane.mutable_data<T>() + i * tokens, i + 1, T(1));
  });
  return plane;
}

Var linear_attend_parts(const std::vector<Var>& inputs, const Attributes& attributes) {
  const LinearProblem p(value_of(inputs[0]).shape(), value_of(inputs[1]).shape(), value_of(inputs[2]).shape(),
                        attributes);
  const int64_t rows = p.group() * p.tokens;
  const bool has_state = inputs.size() > 3 && inputs[3];
  const bool has_key_sum = inputs.size() > 4 && inputs[4] && p.normalise;
  if (has_state) check_state(value_of(inputs[3]), p.state_shape(), "state");
  if (has_key_sum) check_state(value_of(inputs[4]), p.key_sum_shape(), "key_sum");
  // The query heads of a group are rows of one product with their keys.
  const Var q = reshape(feature_map(p.map, inputs[0]) * p.scale, {p.batch, p.kv_heads, rows, p.head_dim});
  const Var k = feature_map(p.map, inputs[1]);
  Var weights = reshape(matmul(q, transpose(k)), {p.batch, p.query_heads, p.tokens, p.tokens});
  if (p.causal) weights = weights * leaf(weights, causal_plane(p.tokens, value_of(weights).element()));
  weights = reshape(weights, {p.batch, p.kv_heads, rows, p.tokens});
  Var out = matmul(weights, inputs[2]);
  if (has_state) out = out + matmul(q, inputs[3]);
  if (p.normalise) {
    Var denominator = sum(weights, -1);
    if (has_key_sum)
      denominator = denominator + matmul(q, reshape(inputs[4], {p.batch, p.kv_heads, p.head_dim, 1}));
    const Var zero = apply("equal", {denominator, scalar(denominator, 0)});
    const Var is_zero = broadcast(zero, out.shape());
    out = select(is_zero, scalar(out, 0), out / select(zero, scalar(out, 1), denominator));
  }
  return reshape(out, {p.batch, p.query_heads, p.tokens, p.value_dim});
}

}  // namespace

std::vector<Op> linear_attention_ops() {
  return {{.name = "linear_attend",
           .least_inputs = 3,
           .most_inputs = 5,
           .attributes = {"causal", "normalise", "feature_map", "scale"},
           .evaluate = linear_attend_floats,
           .gradient = linear_attend_gradient,
           .decompose = linear_attend_parts}};
}

}  // namespace attnlab::graph
