// An attention layer: a scheme, its extents and its parameters; operators get projections of the host's.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/model/parameters.hpp"
#include "core/model/state.hpp"
#include "core/plugin/scheme.hpp"

namespace attnlab::model {

/// What a scheme said in a pass beside its output.
struct Report {
  int32_t kind = 0;  ///< ATTNLAB_REPORT_...
  int32_t layer = 0;
  std::string name;
  Var value;
};

/// How an operator (q, k, v -> o) becomes a layer.
struct Lift {
  bool bias = false;
  bool rope = false;
  double rope_theta = 10000;
};

/// Immutable; thread-safe.
class AttentionLayer {
 public:
  /// `prefix` of its parameters' names, such as "transformer.h.0.attn.". Declares them in `parameters`.
  /// Throws base::UserError for what the scheme refuses. [main thread]
  AttentionLayer(std::shared_ptr<const plugin::Scheme> scheme, const plugin::SchemeGeometry& geometry,
                 const Lift& lift, const std::string& prefix, ParameterSet& parameters);

  const plugin::Scheme& scheme() const { return *scheme_; }
  const plugin::SchemeDeclaration& declaration() const { return declaration_; }
  const plugin::SchemeGeometry& geometry() const { return geometry_; }
  const std::string& prefix() const { return prefix_; }

  /// From now on the keys of the scheme's softmax attention are chosen by `selector`; null: by the scheme.
  /// Not while a pass runs.
  void select_keys(std::shared_ptr<const graph::KeySelector> selector) { selector_ = std::move(selector); }
  const graph::KeySelector* selector() const { return selector_.get(); }

  /// `graph` must find parameters by their names in the scheme: see LayerGraph.
  Var forward(const graph::Graph& graph, const plugin::SchemeCall& call, std::span<const Var> inputs) const;
  /// The scheme's step on `state`, which advances; recomputed from the inputs kept there when it has none.
  Var step(const graph::Graph& graph, const plugin::SchemeCall& call, LayerState& state, const Var& x) const;

 private:
  Var lifted(const graph::Graph& graph, const Var& x, const plugin::SchemeCall& call,
             const std::function<Var(std::span<const Var>)>& body) const;

  std::shared_ptr<const plugin::Scheme> scheme_;
  plugin::SchemeGeometry geometry_;
  Lift lift_;
  std::string prefix_;
  plugin::SchemeDeclaration declaration_;
  std::shared_ptr<const graph::KeySelector> selector_;
};

/// The graph in which one layer runs: it finds the layer's parameters and collects its reports. Outlives the
/// Vars of the pass.
class LayerGraph {
 public:
  LayerGraph(graph::Element precision, const AttentionLayer& layer, const Bound& parameters,
             std::vector<Report>& reports);
  const graph::Graph& graph() const { return graph_; }

 private:
  graph::Graph graph_;
};

}  // namespace attnlab::model
