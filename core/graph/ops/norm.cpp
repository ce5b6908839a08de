// Layer and root-mean-square normalisation over the last axis.
#include "core/graph/graph.hpp"
#include "core/graph/op.hpp"
#include "core/kernels/layer/layer.hpp"
#include "core/kernels/table.hpp"

namespace attnlab::graph {
namespace {

kernels::NormKind kind_of(const Attributes& attributes) {
  const std::string kind = attributes.text("kind", "layer");
  if (kind == "layer") return kernels::NormKind::layer;
  if (kind == "rms") return kernels::NormKind::rms;
  throw OperandError("kind \"" + kind + "\"; allowed: layer, rms");
}

Var norm_parts(const std::vector<Var>& inputs, const Attributes& attributes) {
  Var x = inputs[0];
  const auto width = static_cast<double>(x.size(-1));
  if (kind_of(attributes) == kernels::NormKind::layer) x = x - sum(x, -1) * (1 / width);
  Var y = x * rsqrt(sum(x * x, -1) * (1 / width) + attributes.real("epsilon", 1e-5));
  if (inputs.size() > 1 && inputs[1]) y = y * inputs[1];
  if (inputs.size() > 2 && inputs[2]) y = y + inputs[2];
  return y;
}

/// A vector over the last axis, or empty.
Array vector_of(std::span<const Array> inputs, size_t i, int64_t width) {
  if (i >= inputs.size() || inputs[i].empty()) return {};
  if (inputs[i].shape() != Extents{width})
    throw OperandError("a weight or bias of " + to_string(inputs[i].shape()) + " for " +
                       std::to_string(width) + " channels");
  return inputs[i].packed();
}

Array norm(Evaluation& e) {
  if (e.input(0).rank() == 0 || e.input(0).size() == 0)
    throw OperandError("needs channels, found " + to_string(e.input(0).shape()));
  const Array x = e.input(0).packed();
  kernels::NormArguments a;
  a.kind = kind_of(e.attributes);
  a.width = x.extent(-1), a.rows = x.size() / a.width;
  const Array weight = vector_of(e.inputs, 1, a.width), bias = vector_of(e.inputs, 2, a.width);
  a.x = x.data<float>(), a.x_stride = a.width;
  a.weight = weight.data<float>(), a.bias = bias.data<float>();
  a.eps = static_cast<float>(e.attributes.real("epsilon", 1e-5));
  Array y(Element::f32, x.shape());
  a.out = y.mutable_data<float>(), a.out_stride = a.width;
  if (e.watched) {
    Array mean(Element::f32, {a.rows}), inverse(Element::f32, {a.rows});
    a.mean = mean.mutable_data<float>(), a.inverse = inverse.mutable_data<float>();
    e.saved = {mean, inverse};
  }
  kernels::norm(kernels::active_table(), a);
  return y;
}

std::vector<Var> norm_gradient(const GradientCall& g) {
  const Array x = value_of(g.inputs[0]).packed(), d_out = value_of(g.gradient).packed();
  kernels::NormGradientArguments a;
  a.kind = kind_of(g.attributes);
  a.width = x.extent(-1), a.rows = x.size() / a.width;
  a.x = x.data<float>(), a.x_stride = a.width;
  const bool has_weight = g.inputs.size() > 1 && g.inputs[1], has_bias = g.inputs.size() > 2 && g.inputs[2];
  const Array weight = has_weight ? value_of(g.inputs[1]).packed() : Array();
  a.weight = weight.data<float>();
  a.mean = g.saved[0].data<float>(), a.inverse = g.saved[1].data<float>();
  a.d_out = d_out.data<float>(), a.d_out_stride = a.width;
  Array d_x(Element::f32, x.shape()), d_weight(Element::f32, {a.width}), d_bias(Element::f32, {a.width});
  if (g.needed[0]) a.d_x = d_x.mutable_data<float>(), a.d_x_stride = a.width;
  if (has_weight && g.needed[1]) a.d_weight = d_weight.mutable_data<float>();
  if (has_bias && g.needed[2]) a.d_bias = d_bias.mutable_data<float>();
  kernels::norm_gradient(kernels::active_table(), a);
  std::vector<Var> results(g.inputs.size());
  if (a.d_x != nullptr) results[0] = leaf(g.gradient, d_x);
  if (a.d_weight != nullptr) results[1] = leaf(g.gradient, d_weight);
  if (a.d_bias != nullptr) results[2] = leaf(g.gradient, d_bias);
  return results;
}

}  // namespace

std::vector<Op> norm_ops() {
  return {{.name = "norm",
           .most_inputs = 3,
           .attributes = {"kind", "epsilon"},
           .evaluate = norm,
           .gradient = norm_gradient,
           .decompose = norm_parts}};
}

}  // namespace attnlab::graph
