#include "core/graph/node.hpp"

namespace attnlab::graph {

Node::Node(Array value, History history)
    : value_(std::move(value)), watched_(true), history_(std::make_unique<History>(std::move(history))) {}

Node::~Node() = default;

uint64_t Node::next_serial() {
  static std::atomic<uint64_t> last{0};
  return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

void intrusive_ptr_release(Node* node) {
  if (node->references_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  // A node that dies inside the destruction of another waits its turn: recursion would be as deep as the
  // graph.
  thread_local std::vector<Node*> waiting;
  thread_local bool busy = false;
  waiting.push_back(node);
  if (busy) return;
  busy = true;
  while (!waiting.empty()) {
    Node* next = waiting.back();
    waiting.pop_back();
    delete next;
  }
  busy = false;
}

}  // namespace attnlab::graph
