// A scheme of a plugin in a layer of its own, as tests use it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/config/scheme_plan.hpp"
#include "core/model/layer.hpp"
#include "core/model/pipeline_selector.hpp"
#include "tests/support/catalog.hpp"

namespace attnlab::test {

/// One layer with its parameters and what its last pass reported. The config is an attention object:
/// {"scheme": "mha", ...}.
class TestLayer {
 public:
  TestLayer(const io::Json& attention, const plugin::SchemeGeometry& geometry, graph::Element precision,
            const model::Lift& lift = {}, const plugin::Catalog& from = catalog())
      : parameters(precision) {
    config::Document document;
    document.set("/attention", attention, {});
    const config::SchemePlan plan = config::resolve_scheme(document, "/attention", from);
    std::vector<std::string> warnings;
    scheme = model::make_scheme(plan, from, document, "attention", warnings);
    layer = std::make_unique<model::AttentionLayer>(scheme, geometry, lift, "", parameters);
    parameters.initialise(3, 1);
  }

  /// Starts a pass: parameters become nodes, watched or not.
  void bind(bool watched) {
    reports.clear();  // before the graph that they name
    bound = std::make_unique<model::Bound>(parameters, watched);
    graph = std::make_unique<model::LayerGraph>(parameters.precision(), *layer, *bound, reports);
  }
  const graph::Graph& the_graph() const { return graph->graph(); }
  Var forward(std::span<const Var> inputs, bool training = false) {
    return layer->forward(the_graph(), {inputs[0].size(0), tokens_of(inputs[0]), 0, training, 11}, inputs);
  }
  Var step(model::LayerState& state, const Var& x) {
    return layer->step(the_graph(), {x.size(0), tokens_of(x), state.length(), false, 11}, state, x);
  }
  /// What the last pass reported under this name, or empty.
  Var reported(const std::string& name) const {
    for (const model::Report& report : reports) {
      if (report.name == name) return report.value;
    }
    return {};
  }
  std::vector<Var> parameter_nodes() const {
    std::vector<Var> nodes;
    for (const graph::NodePtr& node : bound->nodes()) nodes.push_back(the_graph().share(node.get()));
    return nodes;
  }

  model::ParameterSet parameters;
  std::shared_ptr<const plugin::Scheme> scheme;
  std::unique_ptr<model::AttentionLayer> layer;
  std::unique_ptr<model::Bound> bound;
  std::unique_ptr<model::LayerGraph> graph;  ///< before the values, which name it as long as they live
  std::vector<model::Report> reports;

 private:
  static int64_t tokens_of(const Var& x) { return x.size(x.shape().size() == 4 ? 2 : 1); }
};

}  // namespace attnlab::test
