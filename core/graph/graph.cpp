#include "core/graph/graph.hpp"

#include <algorithm>
#include <deque>
#include <mutex>

#include "core/graph/flops.hpp"

namespace attnlab::graph {
namespace {

Graph& self(void* context) {
  if (context == nullptr) throw OperandError("the graph of this value has ended");
  return *static_cast<Graph*>(context);
}

/// Tables of graphs, used again and never freed: values of plugins may outlive the graph that they name.
class Tables {
 public:
  attnlab_graph* take() {
    std::lock_guard lock(mutex_);
    if (free_.empty()) return &all_.emplace_back();
    attnlab_graph* table = free_.back();
    free_.pop_back();
    return table;
  }
  void give(attnlab_graph* table) {
    std::lock_guard lock(mutex_);
    table->context = nullptr;
    free_.push_back(table);
  }

 private:
  std::mutex mutex_;
  std::deque<attnlab_graph> all_;
  std::vector<attnlab_graph*> free_;
};
Tables& tables() {
  static Tables& forever = *new Tables;
  return forever;
}

std::vector<NodePtr> nodes_of(attnlab_node* const* handles, uint64_t count) {
  std::vector<NodePtr> nodes;
  for (uint64_t i = 0; i < count; ++i) nodes.emplace_back(from_handle(handles[i]));
  return nodes;
}

attnlab_node* give(const NodePtr& node) {
  intrusive_ptr_add_ref(node.get());
  return to_handle(node.get());
}

void describe(const Array& array, attnlab_tensor* tensor) {
  tensor->dtype = array.element() == Element::f32   ? ATTNLAB_F32
                  : array.element() == Element::f64 ? ATTNLAB_F64
                                                    : ATTNLAB_I64;
  tensor->rank = static_cast<int32_t>(array.rank());
  tensor->data = array.data<std::byte>();
  std::copy(array.shape().begin(), array.shape().end(), tensor->shape);
  std::copy(array.stride().begin(), array.stride().end(), tensor->stride);
}

template <class T>
Array read(const attnlab_tensor& tensor, const Extents& shape, Element element) {
  Array result(element, shape);
  const Extents packed = packed_strides(shape);
  for (int64_t i = 0; i < result.size(); ++i) {
    int64_t offset = 0;
    for (size_t axis = 0; axis < shape.size(); ++axis)
      offset += i / packed[axis] % shape[axis] * tensor.stride[axis];
    const T x = static_cast<const T*>(tensor.data)[offset];
    if (element == Element::f32) result.mutable_data<float>()[i] = static_cast<float>(x);
    if (element == Element::f64) result.mutable_data<double>()[i] = static_cast<double>(x);
    if (element == Element::i64) result.mutable_data<int64_t>()[i] = static_cast<int64_t>(x);
  }
  return result;
}

/// A copy of a tensor that a plugin described, floating elements in `precision`.
Array read(const attnlab_tensor& tensor, Element precision) {
  if (tensor.rank < 0 || tensor.rank > static_cast<int32_t>(kMaxRank))
    throw OperandError("a constant of rank " + std::to_string(tensor.rank));
  const Extents shape(tensor.shape, tensor.shape + tensor.rank);
  if (std::any_of(shape.begin(), shape.end(), [](int64_t extent) { return extent < 0; }))
    throw OperandError("a constant with a negative extent: " + to_string(shape));
  switch (tensor.dtype) {
    case ATTNLAB_F32:
      return read<float>(tensor, shape, precision);
    case ATTNLAB_F64:
      return read<double>(tensor, shape, precision);
    case ATTNLAB_I32:
      return read<int32_t>(tensor, shape, Element::i64);
    case ATTNLAB_I64:
      return read<int64_t>(tensor, shape, Element::i64);
    case ATTNLAB_U8:
      return read<uint8_t>(tensor, shape, Element::i64);
    case ATTNLAB_U64:
      return read<uint64_t>(tensor, shape, Element::i64);
    default:
      throw OperandError("a constant of the unknown type " + std::to_string(tensor.dtype));
  }
}

NodePtr apply_custom(const attnlab_custom_op& table, std::vector<NodePtr> inputs, Element precision) {
  auto custom = std::make_shared<CustomOp>(table);
  std::vector<attnlab_tensor> views;
  bool watched = false;
  for (NodePtr& input : inputs) {
    attnlab_tensor view{};
    view.struct_size = sizeof view;
    if (input) describe(input->value(), &view);
    watched = watched || (input && input->watched());
    views.push_back(view);
  }
  attnlab_tensor result{};
  result.struct_size = sizeof result;
  detail::checked([&](attnlab_error* error) {
    return table.shape(table.context, views.data(), views.size(), &result, error);
  });
  if (result.rank < 0 || result.rank > static_cast<int32_t>(kMaxRank))
    throw OperandError("custom op \"" + std::string(from_abi(table.name)) + "\": a result of rank " +
                       std::to_string(result.rank));
  const Extents shape(result.shape, result.shape + result.rank);
  if (std::any_of(shape.begin(), shape.end(), [](int64_t extent) { return extent < 0; }))
    throw OperandError("custom op \"" + std::string(from_abi(table.name)) + "\": a result of shape " +
                       to_string(shape));
  const CountedOp counted(from_abi(table.name));
  Array value(precision, shape);
  describe(value, &result);
  detail::checked([&](attnlab_error* error) {
    return table.forward(table.context, views.data(), views.size(), &result, error);
  });
  if (!watched) return new Node(std::move(value), false);
  History history;
  history.inputs = std::move(inputs);
  history.custom = std::move(custom);
  return new Node(std::move(value), std::move(history));
}

}  // namespace

Graph::~Graph() {
  tables().give(table_);
}

Graph::Graph(Element precision) : precision_(precision), table_(tables().take()) {
  table_->struct_size = sizeof *table_;
  table_->context = this;
  table_->resolve = [](void*, attnlab_text name) -> int32_t { return find_op(from_abi(name)); };
  table_->apply = [](void* context, int32_t op, attnlab_node* const* inputs, uint64_t input_count,
                     const attnlab_attribute* attributes, uint64_t attribute_count, attnlab_node** outputs,
                     uint64_t output_count, attnlab_error* error) -> attnlab_status {
    return detail::guard(error, [&] {
      if (op < 0 || static_cast<size_t>(op) >= ops().size())
        throw OperandError("there is no op " + std::to_string(op));
      if (output_count != 1) throw OperandError("ops have one result, not " + std::to_string(output_count));
      outputs[0] = give(apply_op(self(context), ops()[static_cast<size_t>(op)], nodes_of(inputs, input_count),
                                 Attributes::from(attributes, attribute_count)));
    });
  };
  table_->custom = [](void* context, const attnlab_custom_op* op, attnlab_node* const* inputs,
                      uint64_t input_count, attnlab_node** output, attnlab_error* error) -> attnlab_status {
    return detail::guard(error, [&] {
      *output = give(apply_custom(*op, nodes_of(inputs, input_count), self(context).precision()));
    });
  };
  table_->grad = [](void* context, attnlab_node* output, attnlab_node* seed, attnlab_node* const* by,
                    uint64_t count, attnlab_node** results, attnlab_error* error) -> attnlab_status {
    return detail::guard(error, [&] {
      const Graph& graph = self(context);
      std::vector<Var> variables;
      for (uint64_t i = 0; i < count; ++i) variables.push_back(graph.share(from_handle(by[i])));
      auto found =
          gradients(graph, graph.share(from_handle(output)), graph.share(from_handle(seed)), variables, true);
      for (uint64_t i = 0; i < count; ++i) results[i] = found[i].release();
    });
  };
  table_->constant = [](void* context, const attnlab_tensor* tensor, attnlab_node** node,
                        attnlab_error* error) -> attnlab_status {
    return detail::guard(error,
                         [&] { *node = give(new Node(read(*tensor, self(context).precision()), false)); });
  };
  table_->parameter = [](void* context, attnlab_text name, attnlab_node** node,
                         attnlab_error* error) -> attnlab_status {
    return detail::guard(error, [&] {
      const std::string wanted(from_abi(name));
      NodePtr found = self(context).parameter ? self(context).parameter(wanted) : nullptr;
      if (!found) throw OperandError("no parameter \"" + wanted + "\" was declared");
      *node = give(found);
    });
  };
  table_->view = [](void*, attnlab_node* node, attnlab_tensor* tensor,
                    attnlab_error* error) -> attnlab_status {
    return detail::guard(error, [&] {
      if (node == nullptr) throw OperandError("a view of no value");
      describe(from_handle(node)->value(), tensor);
    });
  };
  table_->retain = [](void*, attnlab_node* node) { intrusive_ptr_add_ref(from_handle(node)); };
  table_->release = [](void*, attnlab_node* node) { intrusive_ptr_release(from_handle(node)); };
  table_->report = [](void* context, int32_t kind, attnlab_text name, attnlab_node* node,
                      attnlab_error* error) -> attnlab_status {
    return detail::guard(error, [&] {
      if (node == nullptr) throw OperandError("a report of no value");
      if (self(context).report) self(context).report(kind, std::string(from_abi(name)), from_handle(node));
    });
  };
}

Var Graph::constant(const Array& value) const {
  return share(NodePtr(new Node(value.floating() ? value.as(precision_) : value, false)).get());
}

Var Graph::watched(const Array& value) const {
  return share(NodePtr(new Node(value.as(precision_), true)).get());
}

const Array& value_of(const Var& var) {
  return from_handle(var.node())->value();
}

Var leaf(const Var& like, const Array& array) {
  return Var::share(like.graph(), to_handle(NodePtr(new Node(array, false)).get()));
}

NodePtr apply_op(const Graph& graph, const Op& op, std::vector<NodePtr> inputs, Attributes attributes) {
  const std::string name(op.name);
  if (inputs.size() < op.least_inputs || inputs.size() > op.most_inputs)
    throw OperandError(name + ": " + std::to_string(inputs.size()) + " operands");
  std::vector<Array> arrays;
  std::vector<bool> watched;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!inputs[i] && i < op.least_inputs)
      throw OperandError(name + ": operand " + std::to_string(i) + " is left out");
    arrays.push_back(inputs[i] ? inputs[i]->value() : Array());
    watched.push_back(inputs[i] && inputs[i]->watched());
  }
  for (const auto& [key, value] : attributes.values()) {
    if (std::find(op.attributes.begin(), op.attributes.end(), key) == op.attributes.end())
      throw OperandError(name + ": unknown attribute \"" + key + "\"");
  }
  if (graph.selector != nullptr && op.name == "attend" && attributes.handle("selector") == nullptr) {
    // Whoever looks at a handle only reads it.
    attributes = attributes.with("selector", const_cast<void*>(static_cast<const void*>(graph.selector)))
                     .with("layer", int64_t{graph.layer});
  }
  const bool any = op.watches || (op.gradient != nullptr &&
                                  std::find(watched.begin(), watched.end(), true) != watched.end());
  try {
    const CountedOp counted(op.name, arrays, attributes);
    if (op.decompose != nullptr) {
      const bool fused =
          op.evaluate != nullptr &&
          (op.fuses != nullptr ? op.fuses(arrays, watched, attributes) : arrays[0].element() == Element::f32);
      if (!fused) {
        std::vector<Var> variables;
        for (const NodePtr& input : inputs) variables.push_back(graph.share(input.get()));
        Var result = op.decompose(variables, attributes);
        return NodePtr(from_handle(result.node()));
      }
    }
    Evaluation evaluation{arrays, attributes, any};
    Array value = op.evaluate(evaluation);
    if (!any) return new Node(std::move(value), false);
    History history;
    history.op = &op;
    history.attributes = std::move(attributes);
    history.inputs = std::move(inputs);
    history.saved = std::move(evaluation.saved);
    return new Node(std::move(value), std::move(history));
  } catch (const OperandError& e) {
    throw OperandError(name + ": " + e.what());
  }
}

}  // namespace attnlab::graph
