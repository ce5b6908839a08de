#include <algorithm>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "core/graph/graph.hpp"
#include "core/graph/runs.hpp"

namespace attnlab::graph {
namespace {

/// The nodes between `output` and the nodes of `by`, the latter included: what a gradient passes through.
class Between {
 public:
  Between(Node* output, std::unordered_set<const Node*> by) : marks_(std::move(by)) {
    std::unordered_set<const Node*> visited;
    // Depth first, inputs before the node: a node lies between when one of its inputs does.
    std::vector<std::pair<Node*, size_t>> path{{output, 0}};
    while (!path.empty()) {
      auto& [node, next] = path.back();
      const History* history = node->history();
      if (history != nullptr && next < history->inputs.size()) {
        Node* input = history->inputs[next++].get();
        if (input != nullptr && input->watched() && visited.insert(input).second) path.emplace_back(input, 0);
        continue;
      }
      if (history != nullptr && !marks_.contains(node)) {
        for (const NodePtr& input : history->inputs) {
          if (input && marks_.contains(input.get())) {
            marks_.insert(node);
            break;
          }
        }
      }
      if (marks_.contains(node)) order_.push_back(node);
      path.pop_back();
    }
    std::sort(order_.begin(), order_.end(), [](Node* a, Node* b) { return a->serial() > b->serial(); });
  }

  bool contains(const Node* node) const { return marks_.contains(node); }
  /// Reachable ones, each after everything that was made from it.
  const std::vector<Node*>& order() const { return order_; }

 private:
  std::unordered_set<const Node*> marks_;
  std::vector<Node*> order_;
};

/// to += from, element by element.
template <class T>
void add_elements(const Array& from, Array& to) {
  const T* in = from.data<T>();
  T* out = to.mutable_data<T>();
  for_each_run<2>(from.shape(), {from.stride(), to.stride()}, [&](auto offset, int64_t count, auto step) {
    const T* x = in + offset[0];
    T* y = out + offset[1];
    if (step[0] == 1 && step[1] == 1) {
      for (int64_t i = 0; i < count; ++i) y[i] += x[i];
    } else {
      for (int64_t i = 0; i < count; ++i) y[i * step[1]] += x[i * step[0]];
    }
  });
}

/// What flowed to a node so far. In passes that nobody differentiates again the sum is memory of its own, to
/// which parts are added in place: the parts of slices where they belong, without zeros around them.
class GradientSum {
 public:
  void add(const Var& part, bool in_place) {
    if (empty()) {
      value_ = part;
    } else if (in_place) {
      Array& sum = own();
      add_to(value_of(part), sum);
    } else {
      value_ = value_ + part;
    }
  }
  /// A part of elements [begin, end) of an axis of an array of this shape.
  void add_slice(const Array& part, const Extents& shape, int64_t axis, int64_t begin, int64_t end) {
    const bool first = empty();
    if (first) own_ = Array::zeros(part.element(), shape);
    Array target = own().sliced(axis, begin, end);
    if (first) {
      copy_elements(part, target);
    } else {
      add_to(part, target);
    }
  }
  bool empty() const { return !value_ && own_.empty(); }
  Var take(const Graph& graph) { return own_.empty() ? value_ : graph.constant(own_); }

 private:
  static void add_to(const Array& part, Array& sum) {
    with_type(sum.element(), [&](auto type) { add_elements<decltype(type)>(part, sum); });
  }
  Array& own() {
    if (own_.empty()) {
      own_ = Array(value_of(value_).element(), value_of(value_).shape());
      copy_elements(value_of(value_), own_);
      value_ = Var();
    }
    return own_;
  }

  Var value_;
  Array own_;
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

  struct Slice {
    int64_t axis, begin, end;
  };
  /// The elements that a node took of its input, where its gradient can be added in place.
  std::optional<Slice> slice_of(const Node* node) const {
    const History& history = *node->history();
    if (differentiable || history.op == nullptr || history.op->name != "slice") return std::nullopt;
    const Attributes& a = history.attributes;
    return Slice{a.integer("axis", -1), a.integer("begin", 0), a.integer("end", 0)};
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
  const std::unordered_set<const Node*> wanted(targets.begin(), targets.end());
  const Between between(root, wanted);
  if (seed && value_of(seed).shape() != root->value().shape()) {
    throw OperandError("the seed of a gradient has the shape " + to_string(value_of(seed).shape()) +
                       ", the output " + to_string(root->value().shape()));
  }
  std::unordered_map<Node*, GradientSum> sums;
  sums[root].add(seed ? seed : graph.constant(Array::full(graph.precision(), root->value().shape(), 1)),
                 false);
  std::unordered_map<Node*, Var> found;  // of `by`
  const Pass pass{graph, between, differentiable};
  for (Node* node : between.order()) {
    const auto sum = sums.find(node);
    if (sum == sums.end()) continue;
    const Var gradient = sum->second.take(graph);
    sums.erase(sum);
    if (wanted.contains(node)) found[node] = gradient;
    if (node->history() == nullptr) continue;
    const auto& inputs = node->history()->inputs;
    if (const auto slice = pass.slice_of(node)) {
      if (between.contains(inputs[0].get()))
        sums[inputs[0].get()].add_slice(value_of(gradient), inputs[0]->value().shape(), slice->axis,
                                        slice->begin, slice->end);
      continue;
    }
    const std::vector<Var> parts = pass.through(node, gradient);
    for (size_t i = 0; i < parts.size(); ++i) {
      if (parts[i] && inputs[i] && between.contains(inputs[i].get()))
        sums[inputs[i].get()].add(parts[i], !differentiable);
    }
  }
  std::vector<Var> results;
  for (Node* target : targets) {
    const auto reached = found.find(target);
    results.push_back(reached != found.end()
                          ? reached->second
                          : graph.constant(Array::full(graph.precision(), target->value().shape(), 0)));
  }
  return results;
}

}  // namespace attnlab::graph
