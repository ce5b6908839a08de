// A differentiable graph as schemes see it: the table "attnlab.graph/1" over nodes.
#pragma once

#include <attnlab/var.hpp>

#include <functional>
#include <string_view>
#include <vector>

#include "core/graph/key_selector.hpp"
#include "core/graph/node.hpp"
#include "core/graph/op.hpp"

namespace attnlab::graph {

/// Where ops are applied: it knows the precision, and for schemes the parameters of the layer that runs and
/// where reports go. Nodes belong to no graph: results of one may be operands of another of the same
/// precision, and live as long as somebody holds them. A Var that outlives the graph that it names can be
/// read, copied and released; ops applied to it are refused, or belong to a later graph.
/// Thread-safe once its hooks are set.
class Graph {
 public:
  /// `precision`: f32 for work, f64 for checks.
  explicit Graph(Element precision = Element::f32);
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  Element precision() const { return precision_; }
  const attnlab_graph* table() const { return table_; }

  /// A value that no gradient reaches; floating elements are converted to the precision.
  Var constant(const Array& value) const;
  Var constant(double value) const { return constant(Array::full(precision_, {}, value)); }
  /// A leaf whose gradient can be asked for.
  Var watched(const Array& value) const;
  Var share(Node* node) const { return Var::share(table_, to_handle(node)); }

  /// The parameter of this name, or null: asked for by schemes.
  std::function<NodePtr(std::string_view name)> parameter;
  /// Not null: chooses the keys of every op "attend" that names no selector, as those of layer `layer`.
  const KeySelector* selector = nullptr;
  int layer = 0;
  /// Takes what schemes report; `kind` is ATTNLAB_REPORT_....
  std::function<void(int32_t kind, std::string_view name, NodePtr node)> report;

 private:
  Element precision_;
  attnlab_graph* table_;
};

/// The array of a value of the host's graph.
const Array& value_of(const Var& var);

/// `array` as it is, beside `like`: an unwatched leaf of the same graph.
Var leaf(const Var& like, const Array& array);

/// Applies an op: evaluates it, and remembers how when an input is watched. Throws OperandError.
NodePtr apply_op(const Graph& graph, const Op& op, std::vector<NodePtr> inputs, Attributes attributes);

/// Gradients of sum(output * seed) by each of `by`; an empty seed means ones. Zeros where the output does not
/// depend on a node. `differentiable`: the gradients can be differentiated again, at the cost of keeping
/// their history and of taking fused ops apart. The order of every sum is that of the graph's making.
/// Throws OperandError for an output that depends on `by` through an op that cannot be differentiated.
std::vector<Var> gradients(const Graph& graph, const Var& output, const Var& seed, std::span<const Var> by,
                           bool differentiable);

}  // namespace attnlab::graph
