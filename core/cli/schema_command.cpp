// attnlab plugin schema | config schema.
#include <iostream>

#include "core/cli/command.hpp"
#include "core/config/json_schema.hpp"

namespace attnlab::cli {
namespace {

int stage_schema(const po::variables_map& values) {
  const plugin::Catalog catalog = load_catalog(values, {});
  const std::string id = positional(values)[0];
  const plugin::CatalogEntry& entry = find_method(catalog, id);
  if (entry.descriptor.facet == plugin::Facet::scheme) {
    throw base::UserError("a scheme cannot be a stage of a pipeline", {.found = id});
  }
  std::cout << config::stage_json_schema(entry.descriptor).dump(2) << "\n";
  return 0;
}

int config_schema(const po::variables_map& values) {
  std::cout << config::config_json_schema(load_catalog(values, {})).dump(2) << "\n";
  return 0;
}

}  // namespace

Command plugin_schema_command() {
  return {.name = "plugin schema",
          .arguments = "ID",
          .summary = "Print the JSON Schema (draft 2020-12) of a stage of this method.",
          .details = {},
          .options = add_plugin_options,
          .run = stage_schema,
          .min_arguments = 1,
          .max_arguments = 1};
}

Command config_schema_command() {
  return {.name = "config schema",
          .arguments = "",
          .summary = "Print the JSON Schema (draft 2020-12) of configs, for editors.",
          .details =
              "It knows the methods that are found now. Name it in a config as \"$schema\", which\n"
              "attnlab itself does not read.",
          .options = add_plugin_options,
          .run = config_schema};
}

}  // namespace attnlab::cli
