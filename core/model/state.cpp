#include "core/model/state.hpp"

#include <algorithm>

namespace attnlab::model {
namespace {

using graph::Array;
using graph::Extents;

/// Copies `from` to elements [begin, ...) of the token axis of `to`, an array that nobody else reads there.
void write_tokens(const Array& from, Array& to, int64_t begin) {
  Array target = to.sliced(-2, begin, begin + from.extent(-2));
  graph::copy_elements(from, target);
}

Extents with_tokens(Extents shape, int64_t tokens) {
  shape[shape.size() - 2] = tokens;
  return shape;
}

attnlab_node* give(const Var& value) {
  Var copy = value;
  return copy.release();
}

}  // namespace

Var LayerState::append(const graph::Graph& graph, const std::string& name, const Array& tokens) {
  if (tokens.rank() < 2)
    throw graph::OperandError("state \"" + name + "\": tokens need an axis before their channels, found " +
                              graph::to_string(tokens.shape()));
  Value& value = values_[name];
  const int64_t before = value.appended ? value.whole.extent(-2) : 0, after = before + tokens.extent(-2);
  if (value.appended && with_tokens(value.whole.shape(), 0) != with_tokens(tokens.shape(), 0))
    throw graph::OperandError("state \"" + name + "\": " + graph::to_string(tokens.shape()) + " after " +
                              graph::to_string(value.whole.shape()));
  if (value.capacity.empty() || value.capacity.extent(-2) < after) {
    Array larger(tokens.element(), with_tokens(tokens.shape(), std::max(after, before + before / 2 + 16)));
    if (before > 0) write_tokens(value.whole, larger, 0);
    value.capacity = larger;
  }
  write_tokens(tokens, value.capacity, before);
  value.appended = true;
  value.whole = value.capacity.sliced(-2, 0, after);
  return graph.constant(value.whole);
}

attnlab_scheme_state LayerState::table(const graph::Graph& graph) {
  graph_ = &graph;
  attnlab_scheme_state table{};
  table.struct_size = sizeof table;
  table.context = this;
  table.get = [](void* context, attnlab_text name, attnlab_node** node,
                 attnlab_error* error) -> attnlab_status {
    return detail::guard(error, [&] {
      auto& self = *static_cast<LayerState*>(context);
      const auto found = self.values_.find(std::string(from_abi(name)));
      *node = found == self.values_.end() ? nullptr : give(self.graph_->constant(found->second.whole));
    });
  };
  table.set = [](void* context, attnlab_text name, attnlab_node* node,
                 attnlab_error* error) -> attnlab_status {
    return detail::guard(error, [&] {
      if (node == nullptr) throw graph::OperandError("a state was set to no value");
      Value& value = static_cast<LayerState*>(context)->values_[std::string(from_abi(name))];
      if (value.appended) throw graph::OperandError("a state that was appended to cannot be set");
      value.whole = graph::from_handle(node)->value();
    });
  };
  table.append = [](void* context, attnlab_text name, attnlab_node* node, attnlab_node** whole,
                    attnlab_error* error) -> attnlab_status {
    return detail::guard(error, [&] {
      auto& self = *static_cast<LayerState*>(context);
      if (node == nullptr) throw graph::OperandError("no value was appended to a state");
      *whole =
          give(self.append(*self.graph_, std::string(from_abi(name)), graph::from_handle(node)->value()));
    });
  };
  return table;
}

LayerState LayerState::fork() const {
  LayerState copy = *this;
  for (auto& [name, value] : copy.values_) {
    if (!value.appended) continue;
    // The next append would write behind what both see.
    value.capacity = Array(value.whole.element(), value.whole.shape());
    write_tokens(value.whole, value.capacity, 0);
    value.whole = value.capacity;
  }
  return copy;
}

bool LayerState::truncate(int64_t length) {
  if (length >= length_) return true;
  const bool fixed =
      std::any_of(values_.begin(), values_.end(), [](const auto& value) { return !value.second.appended; });
  if (fixed && length > 0) return false;
  if (length == 0) {
    values_.clear();
  } else {
    for (auto& [name, value] : values_)
      value.whole = value.whole.sliced(-2, 0, std::min(length, value.whole.extent(-2)));
  }
  length_ = length;
  return true;
}

uint64_t LayerState::bytes() const {
  uint64_t total = 0;
  for (const auto& [name, value] : values_) total += value.whole.bytes();
  return total;
}

uint64_t LayerState::allocated_bytes() const {
  uint64_t total = 0;
  for (const auto& [name, value] : values_)
    total += value.appended ? value.capacity.bytes() : value.whole.packed().bytes();
  return total;
}

std::map<std::string, Extents> LayerState::shapes() const {
  std::map<std::string, Extents> result;
  for (const auto& [name, value] : values_) result[name] = value.whole.shape();
  return result;
}

}  // namespace attnlab::model
