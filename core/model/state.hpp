// What a layer keeps of a sequence between steps of decoding, owned by the host.
#pragma once

#include <attnlab/abi.h>

#include <cstdint>
#include <map>
#include <string>

#include "core/graph/graph.hpp"

namespace attnlab::model {

/// Named values of one layer. What a scheme appends grows with the tokens and can be cut anywhere; what it
/// sets belongs to the position of its last step. Not thread-safe.
class LayerState {
 public:
  LayerState() = default;
  /// A copy that shares nothing that either will write.
  LayerState fork() const;

  /// The table for one step that adds `tokens` positions; `graph` and this object must outlive its use.
  attnlab_scheme_state table(const graph::Graph& graph);
  /// Called after a step: the positions that it added.
  void advance(int64_t tokens) { length_ += tokens; }

  /// Positions kept.
  int64_t length() const { return length_; }
  /// Forgets positions from `length` on. False, and nothing changes, when a value that was set belongs to a
  /// later position: the caller then starts from a fork or from the beginning.
  bool truncate(int64_t length);
  /// Bytes of the values: what must stay in memory to go on. Room for growth is not counted.
  uint64_t bytes() const;
  /// Bytes allocated, room for growth included.
  uint64_t allocated_bytes() const;
  /// Extents of the values by name, for accounting.
  std::map<std::string, graph::Extents> shapes() const;

 private:
  struct Value {
    graph::Array whole;     ///< the value
    graph::Array capacity;  ///< of what was appended: memory that `whole` is a part of
    bool appended = false;
  };
  Var append(const graph::Graph& graph, const std::string& name, const graph::Array& tokens);

  std::map<std::string, Value> values_;
  int64_t length_ = 0;
  const graph::Graph* graph_ = nullptr;
};

}  // namespace attnlab::model
