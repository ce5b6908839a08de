// One scheme by itself: its output, what it reports, gradients, and decoding position by position.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/config/layer_plan.hpp"
#include "core/model/layer.hpp"

namespace attnlab::cli {

struct NamedArray {
  std::string name;
  graph::Array value;
};

/// What one pass made. Names that a scheme reports more than once are numbered: "scores", "scores.2".
struct LayerOutput {
  graph::Array output;
  std::vector<NamedArray> intermediates;
  std::vector<std::pair<std::string, double>> metrics, losses;
  /// Of sum(output^2), first by the inputs, then by the parameters. Empty unless asked for.
  std::vector<graph::Array> input_gradients;
  std::vector<NamedArray> parameter_gradients;
};

/// What decoding one position after the other made.
struct DecodedOutput {
  graph::Array output;
  uint64_t state_bytes = 0, allocated_bytes = 0;
  std::map<std::string, graph::Extents> state;  ///< extents of the values kept
  double difference = 0;                        ///< from the forward: largest |a - b| / largest |b|
};

/// A scheme bound to its parameters.
class LayerPass {
 public:
  /// `heads`: the inputs are q, k and v, and an operator runs without projections of the host. Throws
  /// UserError for what the scheme refuses. [main thread]
  LayerPass(const config::LayerPlan& plan, const plugin::SchemeGeometry& geometry,
            const plugin::Catalog& catalog, const config::Document& document, bool heads,
            graph::Element precision);

  const plugin::Scheme& scheme() const { return *scheme_; }
  /// That loading plugins gave.
  const std::vector<std::string>& warnings() const { return warnings_; }
  const plugin::SchemeDeclaration& declaration() const { return layer_->declaration(); }
  model::ParameterSet& parameters() { return parameters_; }
  const model::ParameterSet& parameters() const { return parameters_; }

  /// Inputs have a batch axis. Throws UserError with the place of the scheme in the config.
  LayerOutput forward(std::span<const graph::Array> inputs, bool gradients) const;
  /// The same inputs through the scheme's step, and the distance to `forward`, its output of the whole
  /// sequence. Throws UserError when the scheme refuses a step.
  DecodedOutput decode(std::span<const graph::Array> inputs, const graph::Array& forward) const;

 private:
  class Session;
  template <class Body>
  auto located(const char* what, const Body& body) const;
  plugin::SchemeCall call_of(const graph::Array& input, int64_t past) const;
  Var step(const Session& session, model::LayerState& state, std::span<const Var> inputs,
           const plugin::SchemeCall& call) const;

  std::vector<std::string> warnings_;
  std::shared_ptr<const plugin::Scheme> scheme_;
  std::unique_ptr<model::AttentionLayer> layer_;
  model::ParameterSet parameters_;
  base::Mistake where_;
  uint64_t seed_;
  bool heads_;
};

}  // namespace attnlab::cli
