// A scheme as a config names it: {"scheme": "mla", "latent_dim": 32}.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/config/document.hpp"
#include "core/config/run_plan.hpp"
#include "core/plugin/catalog.hpp"

namespace attnlab::config {

struct SchemePlan {
  std::string scheme;                 ///< method id
  std::vector<plugin::Value> values;  ///< in the order of the method's parameter table
  std::string pointer;                ///< where the config defines it
  /// Of the parameters that are pipelines, by their place in the table.
  std::map<size_t, PipelinePlan> pipelines;
};

/// Reads and validates the object at `pointer`. Throws UserError; an unknown scheme is Exit::plugin_missing.
SchemePlan resolve_scheme(const Document& document, const std::string& pointer,
                          const plugin::Catalog& catalog);

/// The object with every key written out.
io::Json to_json(const SchemePlan& plan, const plugin::Descriptor& method);

}  // namespace attnlab::config
