// A scheme of a plugin: a RAII handle over its table. There is no class hierarchy behind it.
#pragma once

#include <string>
#include <vector>

#include "core/graph/graph.hpp"
#include "core/plugin/instance.hpp"

namespace attnlab::plugin {

/// Extents that a layer gives its scheme.
struct SchemeGeometry {
  int32_t layer = 0;
  int64_t embed_dim = 0;
  int64_t query_heads = 1, kv_heads = 1;
  int64_t head_dim = 0, value_dim = 0;
  bool causal = true;
  double scale = 0;  ///< of an operator's logits
};

/// A learned tensor that a scheme declared.
struct SchemeParameter {
  std::string name;
  graph::Extents shape;
  std::string init;  ///< "normal", "zeros", "ones", "constant", "fan_in"
  double init_scale = 1;
  bool residual = false;  ///< writes to the residual stream
};

struct SchemeDeclaration {
  /// "q", "k", "v": an operator. "x": a layer; "x", "key", "value": a layer that may attend to another
  /// sequence, the last two left out in self-attention.
  std::vector<std::string> inputs;
  std::vector<SchemeParameter> parameters;
  bool is_operator() const { return inputs.front() == "q"; }
};

/// One call: positions, randomness and whether anything is trained.
struct SchemeCall {
  int64_t batch = 0;
  int64_t tokens = 0;  ///< new positions
  int64_t past = 0;    ///< positions before them
  bool training = false;
  uint64_t rng_key = 0;
};

/// An instance of a scheme with its parameters. Const calls are safe from any thread. Errors as of Instance.
class Scheme final {
 public:
  /// [main thread]
  Scheme(const Catalog& catalog, const CatalogEntry& entry, const std::vector<Value>& values,
         const Usage& usage);

  const Descriptor& descriptor() const { return instance_.descriptor(); }
  const Instance& instance() const { return instance_; }
  bool has_step() const { return table_->step != nullptr; }

  /// What it needs in a layer of these extents. [main thread]
  SchemeDeclaration declare(const SchemeGeometry& geometry) const;
  /// `graph` finds the parameters and takes the reports of this layer. Empty inputs are those left out. The
  /// result has the extents that the declaration promises: [B, T, embed_dim] of a layer, [B, Hq, T,
  /// value_dim] of an operator.
  Var forward(const graph::Graph& graph, const SchemeGeometry& geometry, const SchemeCall& call,
              std::span<const Var> inputs) const;
  /// The same for `call.tokens` positions after `call.past` on `state`. Only if has_step().
  Var step(const graph::Graph& graph, const SchemeGeometry& geometry, const SchemeCall& call,
           const attnlab_scheme_state& state, std::span<const Var> inputs) const;

 private:
  template <class Body>
  Var run(const char* slot, const graph::Graph& graph, const SchemeGeometry& geometry, const SchemeCall& call,
          std::span<const Var> inputs, const Body& body) const;

  Instance instance_;
  const attnlab_scheme_table* table_;
};

}  // namespace attnlab::plugin
