// One operator of a config in graphs of its own: q, k, v to its output, without projections of the host.
#pragma once

#include <memory>

#include "core/config/operators_plan.hpp"
#include "core/model/layer.hpp"

namespace attnlab::measure {

class BoundOperator {
 public:
  /// Throws UserError at the operator's place in the config for a layer scheme and for what the scheme
  /// refuses. Its parameters are drawn from `seed`. [main thread]
  BoundOperator(const config::OperatorPlan& plan, const plugin::SchemeGeometry& geometry,
                const plugin::Catalog& catalog, const config::Document& document, graph::Element precision,
                uint64_t seed);

  const plugin::Scheme& scheme() const { return *scheme_; }
  int64_t parameter_count() const { return parameters_.count(); }
  /// All parameters anew: a pure function of the draw and the key.
  void draw(const config::ParameterDraw& draw, uint64_t key);
  bool has_step() const { return scheme_->has_step(); }

  /// q, k, v [1, heads, tokens, channels] to [1, heads, tokens, value_dim].
  graph::Array forward(const graph::Array& q, const graph::Array& k, const graph::Array& v) const;
  /// The same of new positions on `state`, which advances.
  graph::Array step(model::LayerState& state, const graph::Array& q, const graph::Array& k,
                    const graph::Array& v) const;

 private:
  template <class Body>
  graph::Array run(const char* what, const graph::Array& q, const graph::Array& k, const graph::Array& v,
                   int64_t past, const Body& body) const;

  std::shared_ptr<const plugin::Scheme> scheme_;
  std::unique_ptr<model::AttentionLayer> layer_;
  model::ParameterSet parameters_;
  base::Mistake where_;
  uint64_t seed_;
};

/// One head of `tokens` values, so that v = I gives the weights.
plugin::SchemeGeometry spectrum_geometry(const config::SpectrumPlan& plan, int64_t tokens);
plugin::SchemeGeometry scaling_geometry(const config::ScalingPlan& plan);

/// Standard normal elements in a precision, the same for the same key.
graph::Array normal_array(const graph::Extents& shape, uint64_t key, graph::Element precision);

}  // namespace attnlab::measure
