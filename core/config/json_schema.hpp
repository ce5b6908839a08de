// JSON Schema (draft 2020-12) of configs, made from the parameter tables that also validate them.
#pragma once

#include "core/io/json.hpp"
#include "core/plugin/catalog.hpp"

namespace attnlab::config {

/// What the host accepts for a parameter.
io::Json json_schema(const plugin::Parameter& parameter);

/// A stage of this method, a masker or a scorer, as a schema of its own.
io::Json stage_json_schema(const plugin::Descriptor& method);

/// A whole config file with any of the catalog's methods. A file that extends others may leave out what they
/// say.
io::Json config_json_schema(const plugin::Catalog& catalog);

}  // namespace attnlab::config
