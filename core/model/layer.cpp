#include "core/model/layer.hpp"

#include "core/base/error.hpp"

namespace attnlab::model {
namespace {

using plugin::SchemeCall;
using plugin::SchemeParameter;

/// Projections of a lifted operator.
std::vector<SchemeParameter> projections(const plugin::SchemeGeometry& g, const Lift& lift) {
  std::vector<SchemeParameter> result;
  auto add = [&](const std::string& name, int64_t out, int64_t in, bool residual) {
    result.push_back({name + ".weight", {out, in}, "normal", 0.02, residual});
    if (lift.bias) result.push_back({name + ".bias", {out}, "zeros", 0, false});
  };
  add("q_proj", g.query_heads * g.head_dim, g.embed_dim, false);
  add("k_proj", g.kv_heads * g.head_dim, g.embed_dim, false);
  add("v_proj", g.kv_heads * g.value_dim, g.embed_dim, false);
  add("c_proj", g.embed_dim, g.query_heads * g.value_dim, true);
  return result;
}

Var parameter(const graph::Graph& graph, const std::string& name) {
  const graph::NodePtr node = graph.parameter(name);
  return node ? graph.share(node.get()) : Var();
}

}  // namespace

AttentionLayer::AttentionLayer(std::shared_ptr<const plugin::Scheme> scheme,
                               const plugin::SchemeGeometry& geometry, const Lift& lift,
                               const std::string& prefix, ParameterSet& parameters)
    : scheme_(std::move(scheme)),
      geometry_(geometry),
      lift_(lift),
      prefix_(prefix),
      declaration_(scheme_->declare(geometry)) {
  for (const SchemeParameter& p : declaration_.parameters) parameters.add(prefix_, p);
  if (!declaration_.is_operator()) return;
  for (const SchemeParameter& p : projections(geometry, lift)) {
    if (parameters.find(prefix_ + p.name) != nullptr)
      scheme_->instance().fail("it declares \"" + p.name + "\", a projection that the host adds to operators",
                               "declare");
    parameters.add(prefix_, p);
  }
}

Var AttentionLayer::lifted(const graph::Graph& graph, const Var& x, const SchemeCall& call,
                           const std::function<Var(std::span<const Var>)>& body) const {
  auto project = [&](const std::string& name, const Var& input) {
    return linear(input, parameter(graph, name + ".weight"), parameter(graph, name + ".bias"));
  };
  Var q = split_heads(project("q_proj", x), geometry_.query_heads);
  Var k = split_heads(project("k_proj", x), geometry_.kv_heads);
  if (lift_.rope) {
    const Rope options{.position = call.past, .theta = lift_.rope_theta};
    q = rope(q, options), k = rope(k, options);
  }
  const Var inputs[] = {q, k, split_heads(project("v_proj", x), geometry_.kv_heads)};
  return project("c_proj", merge_heads(body(inputs)));
}

Var AttentionLayer::forward(const graph::Graph& graph, const SchemeCall& call,
                            std::span<const Var> inputs) const {
  auto run = [&](std::span<const Var> given) { return scheme_->forward(graph, geometry_, call, given); };
  if (declaration_.is_operator() && inputs.size() == 1) return lifted(graph, inputs[0], call, run);
  std::vector<Var> all(inputs.begin(), inputs.end());
  all.resize(declaration_.inputs.size());
  return run(all);
}

Var AttentionLayer::step(const graph::Graph& graph, const SchemeCall& call, LayerState& state,
                         const Var& x) const {
  attnlab_scheme_state table = state.table(graph);
  Var result;
  if (scheme_->has_step()) {
    auto run = [&](std::span<const Var> given) {
      std::vector<Var> all(given.begin(), given.end());
      all.resize(declaration_.inputs.size());
      return scheme_->step(graph, geometry_, call, table, all);
    };
    result = declaration_.is_operator() ? lifted(graph, x, call, run) : run({&x, 1});
  } else {
    // Without a step the whole sequence is computed again and its end taken.
    attnlab_node* whole = nullptr;
    detail::checked([&](attnlab_error* error) {
      return table.append(table.context, to_abi("x"), x.node(), &whole, error);
    });
    SchemeCall all = call;
    all.tokens = call.past + call.tokens, all.past = 0;
    const Var sequence = Var::adopt(graph.table(), whole);
    result = slice(forward(graph, all, {&sequence, 1}), 1, call.past, all.tokens);
  }
  state.advance(call.tokens);
  return result;
}

LayerGraph::LayerGraph(graph::Element precision, const AttentionLayer& layer, const Bound& parameters,
                       std::vector<Report>& reports)
    : graph_(precision) {
  graph_.parameter = [&parameters, prefix = layer.prefix()](std::string_view name) {
    return parameters.find(prefix + std::string(name));
  };
  graph_.selector = layer.selector();
  graph_.layer = layer.geometry().layer;
  graph_.report = [this, &reports, index = layer.geometry().layer](int32_t kind, std::string_view name,
                                                                   const graph::NodePtr& node) {
    reports.push_back({kind, index, std::string(name), graph_.share(node.get())});
  };
}

}  // namespace attnlab::model
