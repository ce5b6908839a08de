#include <algorithm>
#include <unordered_map>

#include "core/graph/graph.hpp"

namespace attnlab::graph {
namespace {

/// The nodes between `output` and the nodes of `by`, the latter included: what a gradient passes through.
class Between {
 public:
  Between(Node* output, const std::vector<Node*>& by) {
    for (Node* node : by) marks_[node] = true;
    // Depth first, inputs before the node: a node lies between when one of its inputs does.
    std::vector<std::pair<Node*, size_t>> path{{output, 0}};
    while (!path.empty()) {
      auto& [node, next] = path.back();
      const History* history = node->history();
      if (history != nullptr && next < history->inputs.size()) {
        Node* input = history->inputs[next++].get();
        if (input != nullptr && input->watched() && !visited_.contains(input)) {
          visited_[input] = true;
          path.emplace_back(input, 0);
        }
        continue;
      }
      if (history != nullptr && !marks_.contains(node)) {
        for (const NodePtr& input : history->inputs) {
          if (input && marks_.contains(input.get())) {
            marks_[node] = true;
            break;
          }
        }
      }
      if (marks_.contains(node)) order_.push_back(node);
      path.pop_back();
    }
    std::sort(order_.begin(), order_.end(), [](Node* a, Node* b) { return a->serial() > b->serial(); });
  }

  bool contains(const Node* node) const { return marks_.contains(const_cast<Node*>(node)); }
  /// Reachable ones, each after everything that was made from it.
  const std::vector<Node*>& order() const { return order_; }

 private:
  std::unordered_map<Node*, bool> marks_, visited_;
  std::vector<Node*> order_;
};

struct Pass {
  const Graph& graph;
  const Between& between;
  bool differentiable;

  /// A node as an operand of gradient formulas.
  Var operand(const NodePtr& node) const {
    if (!node) return {};
    if (differentiable || !node->watched()) return graph.share(node.get());
    return graph.share(NodePtr(new Node(node->value(), false)).get());
  }

  std::vector<Var> custom(Node* node, const History& history, const Var& gradient) const {
    const attnlab_custom_op& table = history.custom->table();
    std::vector<Var> inputs;
    std::vector<attnlab_node*> handles, results(history.inputs.size(), nullptr);
    for (const NodePtr& input : history.inputs) {
      inputs.push_back(operand(input));
      handles.push_back(inputs.back().node());
    }
    const Var output = operand(node);
    detail::checked([&](attnlab_error* error) {
      return table.gradient(table.context, handles.data(), handles.size(), output.node(), gradient.node(),
                            results.data(), error);
    });
    std::vector<Var> gradients;
    for (attnlab_node* result : results) gradients.push_back(Var::adopt(graph.table(), result));
    return gradients;
  }

  /// Gradients by the inputs of `node`; empty where none is wanted or none flows.
  std::vector<Var> through(Node* node, const Var& gradient) const {
    const History& history = *node->history();
    if (history.op == nullptr) return custom(node, history, gradient);
    const Op& op = *history.op;
    if (differentiable && op.decompose != nullptr) {
      std::vector<Var> inputs, wanted;
      for (const NodePtr& input : history.inputs) inputs.push_back(graph.share(input.get()));
      for (size_t i = 0; i < inputs.size(); ++i) {
        if (inputs[i] && between.contains(history.inputs[i].get())) wanted.push_back(inputs[i]);
      }
      const Var again = op.decompose(inputs, history.attributes);
      std::vector<Var> found = gradients(graph, again, gradient, wanted, true), results(inputs.size());
      for (size_t i = 0, next = 0; i < inputs.size(); ++i) {
        if (inputs[i] && between.contains(history.inputs[i].get())) results[i] = found[next++];
      }
      return results;
    }
    GradientCall call{{}, operand(node), gradient, {}, history.attributes, history.saved};
    for (const NodePtr& input : history.inputs) {
      call.inputs.push_back(operand(input));
      call.needed.push_back(input && between.contains(input.get()));
    }
    return op.gradient(call);
  }
};

}  // namespace

std::vector<Var> gradients(const Graph& graph, const Var& output, const Var& seed, std::span<const Var> by,
                           bool differentiable) {
  Node* root = from_handle(output.node());
  std::vector<Node*> targets;
  for (const Var& variable : by) targets.push_back(from_handle(variable.node()));
  const Between between(root, targets);
  if (seed && value_of(seed).shape() != root->value().shape()) {
    throw OperandError("the seed of a gradient has the shape " + to_string(value_of(seed).shape()) +
                       ", the output " + to_string(root->value().shape()));
  }
  std::unordered_map<Node*, Var> sums;
  sums[root] = seed ? seed : graph.constant(Array::full(graph.precision(), root->value().shape(), 1));
  const Pass pass{graph, between, differentiable};
  for (Node* node : between.order()) {
    if (node->history() == nullptr) continue;
    const auto found = sums.find(node);
    if (found == sums.end()) continue;
    const Var gradient = found->second;
    if (std::find(targets.begin(), targets.end(), node) == targets.end()) sums.erase(found);
    const std::vector<Var> parts = pass.through(node, gradient);
    const auto& inputs = node->history()->inputs;
    for (size_t i = 0; i < parts.size(); ++i) {
      if (!parts[i] || !inputs[i] || !between.contains(inputs[i].get())) continue;
      Var& sum = sums[inputs[i].get()];
      sum = sum ? sum + parts[i] : parts[i];
    }
  }
  std::vector<Var> results;
  for (size_t i = 0; i < targets.size(); ++i) {
    const auto found = sums.find(targets[i]);
    const bool reached = found != sums.end() && between.contains(targets[i]);
    results.push_back(reached
                          ? found->second
                          : graph.constant(Array::full(graph.precision(), targets[i]->value().shape(), 0)));
  }
  return results;
}

}  // namespace attnlab::graph
