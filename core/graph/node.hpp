// Nodes of the differentiable graph: values that may remember how they were made.
#pragma once

#include <attnlab/abi.h>

#include <boost/smart_ptr/intrusive_ptr.hpp>

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/graph/array.hpp"
#include "core/graph/attributes.hpp"

namespace attnlab::graph {

class Node;
struct Op;
using NodePtr = boost::intrusive_ptr<Node>;

/// An op that a plugin defined; calls its `destroy` when the last node lets go.
class CustomOp {
 public:
  explicit CustomOp(const attnlab_custom_op& op) : op_(op) {}
  ~CustomOp() {
    if (op_.destroy != nullptr) op_.destroy(op_.context);
  }
  CustomOp(const CustomOp&) = delete;
  CustomOp& operator=(const CustomOp&) = delete;
  const attnlab_custom_op& table() const { return op_; }

 private:
  attnlab_custom_op op_;
};

/// How a watched node was made.
struct History {
  const Op* op = nullptr;  ///< null for a custom op
  Attributes attributes;
  std::vector<NodePtr> inputs;  ///< null: an optional operand that was left out
  std::vector<Array> saved;     ///< what a fused forward keeps for its gradient
  std::shared_ptr<const CustomOp> custom;
};

/// A value, immutable once made. Only watched nodes keep their history, so a forward in which nobody watches
/// holds nothing. Reference-counted; counts are atomic, so nodes may be shared by threads.
class Node {
 public:
  /// A leaf. `watched`: its gradient can be asked for.
  Node(Array value, bool watched) : value_(std::move(value)), watched_(watched) {}
  /// A result that depends on a watched node.
  Node(Array value, History history);
  /// Chains of any length are released without recursion.
  ~Node();
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  const Array& value() const { return value_; }
  bool watched() const { return watched_; }
  /// Null for leaves and for what nobody watches.
  const History* history() const { return history_.get(); }
  /// Larger than that of every node that this one was made from.
  uint64_t serial() const { return serial_; }

  friend void intrusive_ptr_add_ref(Node* node) { node->references_.fetch_add(1, std::memory_order_relaxed); }
  friend void intrusive_ptr_release(Node* node);

 private:
  std::atomic<uint32_t> references_{0};
  Array value_;
  bool watched_;
  uint64_t serial_ = next_serial();
  std::unique_ptr<History> history_;

  static uint64_t next_serial();
};

/// Nodes as the C tables and attnlab::Var name them.
inline attnlab_node* to_handle(Node* node) {
  return reinterpret_cast<attnlab_node*>(node);
}
inline Node* from_handle(attnlab_node* node) {
  return reinterpret_cast<Node*>(node);
}

}  // namespace attnlab::graph
