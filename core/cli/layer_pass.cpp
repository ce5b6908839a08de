#include "core/cli/layer_pass.hpp"

#include <algorithm>
#include <cmath>
#include <set>

#include "core/model/pipeline_selector.hpp"

namespace attnlab::cli {
namespace {

using base::UserError;
using graph::Array;
using graph::value_of;

/// Names that were not there yet.
class Names {
 public:
  std::string fresh(const std::string& name) {
    std::string result = name;
    for (int i = 2; !taken_.insert(result).second; ++i) result = name + "." + std::to_string(i);
    return result;
  }

 private:
  std::set<std::string> taken_;
};

double largest(const Array& a, const Array* minus) {
  const Array x = a.as(graph::Element::f64).packed();
  const Array y = minus != nullptr ? minus->as(graph::Element::f64).packed() : Array();
  double most = 0;
  for (int64_t i = 0; i < x.size(); ++i) {
    const double value = std::abs(x.data<double>()[i] - (y.empty() ? 0 : y.data<double>()[i]));
    if (!(value <= most)) most = value;  // NaN stays
    if (std::isnan(most)) return most;
  }
  return most;
}

}  // namespace

/// The nodes of one pass. What the scheme reported must go before the graph does.
class LayerPass::Session {
 public:
  Session(const LayerPass& pass, bool watched)
      : bound_(pass.parameters_, watched),
        layer_graph_(pass.parameters_.precision(), *pass.layer_, bound_, reports_) {}
  ~Session() { reports_.clear(); }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  const graph::Graph& graph() const { return layer_graph_.graph(); }
  const std::vector<model::Report>& reports() const { return reports_; }
  std::vector<Var> parameters() const {
    std::vector<Var> nodes;
    for (const graph::NodePtr& node : bound_.nodes()) nodes.push_back(graph().share(node.get()));
    return nodes;
  }

 private:
  model::Bound bound_;
  std::vector<model::Report> reports_;
  model::LayerGraph layer_graph_;
};

LayerPass::LayerPass(const config::LayerPlan& plan, const plugin::SchemeGeometry& geometry,
                     const plugin::Catalog& catalog, const config::Document& document, bool heads,
                     graph::Element precision)
    : parameters_(precision), where_(document.where("/attention")), seed_(plan.seed), heads_(heads) {
  scheme_ = model::make_scheme(plan.attention, catalog, document, "attention", warnings_);
  const config::LiftPlan lift = plan.lift.value_or(config::LiftPlan{});
  // Without the host's projections only the scheme's own parameters are there.
  model::ParameterSet lifted(precision);
  layer_ = std::make_unique<model::AttentionLayer>(scheme_, geometry,
                                                   model::Lift{lift.bias, lift.rope, lift.rope_theta}, "",
                                                   heads ? lifted : parameters_);
  if (!heads) return;
  for (const plugin::SchemeParameter& p : declaration().parameters) parameters_.add("", p);
}

/// Runs the host's own part of a pass, whose refusals have no place yet.
template <class Body>
auto LayerPass::located(const char* what, const Body& body) const {
  try {
    return body();
  } catch (const UserError&) {
    throw;
  } catch (const std::runtime_error& e) {
    throw UserError(scheme_->descriptor().id + ": " + what + ": " + e.what(), where_);
  }
}

plugin::SchemeCall LayerPass::call_of(const Array& input, int64_t past) const {
  return {.batch = input.extent(0), .tokens = input.extent(-2), .past = past, .rng_key = seed_};
}

LayerOutput LayerPass::forward(std::span<const Array> inputs, bool gradients) const {
  const Session session(*this, gradients);
  std::vector<Var> nodes;
  for (const Array& input : inputs)
    nodes.push_back(gradients ? session.graph().watched(input) : session.graph().constant(input));
  const Var y =
      located("forward", [&] { return layer_->forward(session.graph(), call_of(inputs[0], 0), nodes); });
  LayerOutput result;
  result.output = value_of(y);
  Names intermediates, metrics, losses;
  for (const model::Report& report : session.reports()) {
    const Array& value = value_of(report.value);
    if (report.kind == ATTNLAB_REPORT_INTERMEDIATE) {
      result.intermediates.push_back({intermediates.fresh(report.name), value});
      continue;
    }
    const bool loss = report.kind == ATTNLAB_REPORT_LOSS;
    if (value.size() != 1)
      scheme_->instance().fail("it reports " + report.name + " of shape " + graph::to_string(value.shape()) +
                                   " where one number belongs",
                               "forward");
    (loss ? result.losses : result.metrics)
        .emplace_back((loss ? losses : metrics).fresh(report.name), value.scalar());
  }
  if (!gradients) return result;
  std::vector<Var> by = nodes;
  for (const Var& parameter : session.parameters()) by.push_back(parameter);
  const std::vector<Var> found =
      located("gradient", [&] { return graph::gradients(session.graph(), sum(y * y), {}, by, false); });
  for (size_t i = 0; i < found.size(); ++i) {
    if (i < inputs.size()) {
      result.input_gradients.push_back(value_of(found[i]));
    } else {
      result.parameter_gradients.push_back({parameters_.all()[i - inputs.size()].name, value_of(found[i])});
    }
  }
  return result;
}

Var LayerPass::step(const Session& session, model::LayerState& state, std::span<const Var> inputs,
                    const plugin::SchemeCall& call) const {
  if (!heads_) return layer_->step(session.graph(), call, state, inputs[0]);
  const attnlab_scheme_state table = state.table(session.graph());
  Var result = scheme_->step(session.graph(), layer_->geometry(), call, table, inputs);
  state.advance(call.tokens);
  return result;
}

DecodedOutput LayerPass::decode(std::span<const Array> inputs, const Array& forward) const {
  if (heads_ && !scheme_->has_step())
    throw UserError(scheme_->descriptor().id + " has no step; over x the host computes the sequence anew",
                    where_);
  DecodedOutput result;
  result.output = Array(forward.element(), forward.shape());
  model::LayerState state;
  const int64_t tokens = inputs[0].extent(-2);
  for (int64_t position = 0; position < tokens; ++position) {
    const Session session(*this, false);
    std::vector<Var> nodes;
    for (const Array& input : inputs)
      nodes.push_back(session.graph().constant(input.sliced(-2, position, position + 1)));
    plugin::SchemeCall call = call_of(inputs[0], position);
    call.tokens = 1;
    const Var y = located("step", [&] { return step(session, state, nodes, call); });
    Array row = result.output.sliced(-2, position, position + 1);
    graph::copy_elements(value_of(y), row);
  }
  result.state_bytes = state.bytes();
  result.allocated_bytes = state.allocated_bytes();
  result.state = state.shapes();
  const double scale = largest(forward, nullptr), difference = largest(result.output, &forward);
  result.difference = difference == 0 ? 0 : difference / scale;
  return result;
}

}  // namespace attnlab::cli
