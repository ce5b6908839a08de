// Learned tensors of a model by name, and their first values.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "core/graph/graph.hpp"
#include "core/plugin/scheme.hpp"

namespace attnlab::model {

/// A learned tensor. Its memory is its own: the optimiser writes it in place between passes.
struct Parameter {
  std::string name;
  graph::Array value;
  std::string init;  ///< as of plugin::SchemeParameter
  double init_scale = 1;
  bool residual = false;
};

/// All tensors of a model, in the order in which they were declared: the order of every sum over them.
class ParameterSet {
 public:
  explicit ParameterSet(graph::Element precision) : precision_(precision) {}

  graph::Element precision() const { return precision_; }
  /// Declares a tensor of zeros; names are unique.
  void add(const std::string& prefix, const plugin::SchemeParameter& parameter);
  /// Draws first values: a pure function of (seed, name). What writes to the residual stream is scaled by
  /// 1 / sqrt(2 layers), as GPT-2 does, so that the stream's variance does not grow with depth.
  void initialise(uint64_t seed, int64_t layers);
  /// Copies in values of the same extents. Throws base::UserError for a name that is not here, other extents
  /// or values that are not finite; `file` is for its message.
  void assign(const std::string& name, const tensor::Tensor& value, const std::string& file);

  const std::vector<Parameter>& all() const { return parameters_; }
  std::vector<Parameter>& all() { return parameters_; }
  const Parameter* find(const std::string& name) const;
  /// Numbers in all tensors.
  int64_t count() const;

 private:
  graph::Element precision_;
  std::vector<Parameter> parameters_;
  std::map<std::string, size_t> index_;
};

/// The parameters as nodes for one pass. `watched`: their gradients will be asked for.
class Bound {
 public:
  Bound(const ParameterSet& parameters, bool watched);
  /// Other values in their place, in the order of the set: for checks.
  Bound(const ParameterSet& parameters, std::span<const Var> values);
  graph::NodePtr find(const std::string& name) const;
  /// In the order of the set.
  const std::vector<graph::NodePtr>& nodes() const { return nodes_; }

 private:
  std::vector<graph::NodePtr> nodes_;
  std::map<std::string, graph::NodePtr> by_name_;
};

}  // namespace attnlab::model
