// The config of one attention layer: a scheme, its extents and what the host puts around it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/config/document.hpp"
#include "core/config/scheme_plan.hpp"
#include "core/plugin/scheme.hpp"

namespace attnlab::config {

/// "lift": projections of the host around an operator.
struct LiftPlan {
  bool bias = false;
  bool rope = false;
  double rope_theta = 10000;
};

/// What a config says of a layer. Extents that it leaves open follow from the input: see layer_geometry.
struct LayerPlan {
  std::string title;
  std::vector<std::string> plugin_path;  ///< absolute
  SchemePlan attention;
  std::optional<int64_t> query_heads, kv_heads, head_dim, value_dim, embed_dim;
  bool causal = true;
  std::optional<double> scale;   ///< of an operator's logits; default 1/sqrt(head_dim)
  std::optional<LiftPlan> lift;  ///< absent: the config says nothing of it
  uint64_t seed = 0;             ///< of first parameters and everything random in the scheme
};

/// Reads and validates the whole document. A null where a number may stand means the default. Throws
/// UserError; an unknown scheme is Exit::plugin_missing.
LayerPlan resolve_layer(const Document& document, const plugin::Catalog& catalog);

/// Extents that an input fixes; 0: it does not.
struct InputExtents {
  int64_t channels = 0;  ///< of x
  int64_t query_heads = 0, kv_heads = 0, head_dim = 0, value_dim = 0;
};

/// All extents: those of the config, else those of the input, else head_dim = embed_dim / query_heads and
/// value_dim = head_dim. Throws UserError where config and input disagree or heads do not form groups.
plugin::SchemeGeometry layer_geometry(const LayerPlan& plan, const Document& document,
                                      const InputExtents& input);

/// Throws UserError when the config has a key of operators and the scheme is a layer of its own.
void check_operator_keys(const LayerPlan& plan, const Document& document, bool is_operator);

/// The config with every default and these extents written out; it resolves to the same layer.
io::Json to_json(const LayerPlan& plan, const plugin::SchemeGeometry& geometry,
                 const plugin::Catalog& catalog);

/// Top-level keys beside "attention", "lift" and "plugin_path".
const std::vector<plugin::Parameter>& layer_parameters();
/// "lift".
const std::vector<plugin::Parameter>& lift_parameters();

}  // namespace attnlab::config
