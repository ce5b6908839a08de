#include "core/measure/operators_bound.hpp"

#include <attnlab/philox.hpp>

#include "core/data/normals.hpp"

namespace attnlab::measure {

using base::UserError;
using graph::Array;

BoundOperator::BoundOperator(const config::OperatorPlan& plan, const plugin::SchemeGeometry& geometry,
                             const plugin::Catalog& catalog, const config::Document& document,
                             graph::Element precision, uint64_t seed)
    : parameters_(precision), where_(document.where(plan.scheme.pointer)), seed_(seed) {
  scheme_ = std::make_shared<plugin::Scheme>(catalog, *catalog.find(plan.scheme.scheme), plan.scheme.values,
                                             plugin::Usage{"", plan.name, where_});
  // The host's projections, which the layer declares, stay outside: only the scheme's own are there.
  model::ParameterSet lifted(precision);
  layer_ = std::make_unique<model::AttentionLayer>(scheme_, geometry, model::Lift{}, "", lifted);
  if (!layer_->declaration().is_operator()) {
    base::Mistake mistake = where_;
    mistake.found = plan.scheme.scheme + ", whose inputs are " + base::join(layer_->declaration().inputs);
    mistake.allowed = "an operator: a scheme whose inputs are q, k, v";
    throw UserError("\"" + base::escape_unprintable(plan.name) + "\" is a layer of its own, not an operator",
                    mistake);
  }
  for (const plugin::SchemeParameter& p : layer_->declaration().parameters) parameters_.add("", p);
  parameters_.initialise(seed, 1);
}

void BoundOperator::draw(const config::ParameterDraw& draw, uint64_t key) {
  uint64_t stream = 0;
  for (model::Parameter& p : parameters_.all()) {
    tensor::Tensor values =
        tensor::Tensor::zeros(tensor::DType::f32, {p.value.shape().begin(), p.value.shape().end()});
    Philox random(key, stream);
    if (draw.kind == config::ParameterDraw::Kind::normal) data::fill_normals(mix_key(key, stream), values);
    for (float& x : values.mutable_values<float>()) {
      x = draw.kind == config::ParameterDraw::Kind::normal
              ? static_cast<float>(draw.scale * x)
              : static_cast<float>(draw.low + (draw.high - draw.low) * random.uniform());
    }
    parameters_.assign(p.name, values, "draw");
    ++stream;
  }
}

template <class Body>
Array BoundOperator::run(const char* what, const Array& q, const Array& k, const Array& v, int64_t past,
                         const Body& body) const {
  std::vector<model::Report> reports;
  const model::Bound bound(parameters_, false);
  const model::LayerGraph layer_graph(parameters_.precision(), *layer_, bound, reports);
  const graph::Graph& graph = layer_graph.graph();
  const plugin::SchemeCall call{
      .batch = 1, .tokens = q.extent(-2), .past = past, .training = false, .rng_key = seed_};
  try {
    const Var inputs[] = {graph.constant(q), graph.constant(k), graph.constant(v)};
    return graph::value_of(body(graph, call, inputs));
  } catch (const UserError&) {
    throw;
  } catch (const std::runtime_error& e) {
    throw UserError(scheme_->descriptor().id + ": " + what + ": " + e.what(), where_);
  }
}

Array BoundOperator::forward(const Array& q, const Array& k, const Array& v) const {
  return run("forward", q, k, v, 0, [&](const auto& graph, const auto& call, const auto& inputs) {
    return layer_->forward(graph, call, inputs);
  });
}

Array BoundOperator::step(model::LayerState& state, const Array& q, const Array& k, const Array& v) const {
  return run("step", q, k, v, state.length(), [&](const auto& graph, const auto& call, const auto& inputs) {
    const attnlab_scheme_state table = state.table(graph);
    Var output = scheme_->step(graph, layer_->geometry(), call, table, inputs);
    state.advance(call.tokens);
    return output;
  });
}

plugin::SchemeGeometry spectrum_geometry(const config::SpectrumPlan& plan, int64_t tokens) {
  plugin::SchemeGeometry g;
  g.embed_dim = g.value_dim = tokens;
  g.head_dim = plan.head_dim;
  g.causal = plan.causal;
  return g;
}

plugin::SchemeGeometry scaling_geometry(const config::ScalingPlan& plan) {
  plugin::SchemeGeometry g;
  g.query_heads = g.kv_heads = plan.heads;
  g.head_dim = g.value_dim = plan.head_dim;
  g.embed_dim = plan.heads * plan.head_dim;
  g.causal = plan.causal;
  return g;
}

Array normal_array(const graph::Extents& shape, uint64_t key, graph::Element precision) {
  tensor::Tensor values = tensor::Tensor::zeros(tensor::DType::f32, {shape.begin(), shape.end()});
  data::fill_normals(key, values);
  return Array::from(values, precision);
}

}  // namespace attnlab::measure
