// attnlab plugin schema | config schema.
#include <iostream>

#include "core/cli/command.hpp"
#include "core/cli/config_schemas.hpp"
#include "core/config/json_schema.hpp"

namespace attnlab::cli {
namespace {

using io::Json;

int stage_schema(const po::variables_map& values) {
  const plugin::Catalog catalog = load_catalog(values, {});
  const std::string id = positional(values)[0];
  const plugin::CatalogEntry& entry = find_method(catalog, id);
  if (entry.descriptor.facet == plugin::Facet::scheme) {
    throw base::UserError("a scheme cannot be a stage of a pipeline", {.found = id});
  }
  std::cout << io::pretty_text(config::stage_json_schema(entry.descriptor));
  return 0;
}

int config_schema(const po::variables_map& values) {
  using Schema = Json (ConfigSchemas::*)() const;
  constexpr Schema schemas[] = {&ConfigSchemas::run,     &ConfigSchemas::sweep,     &ConfigSchemas::train,
                                &ConfigSchemas::compare, &ConfigSchemas::operators, &ConfigSchemas::layer};
  const size_t kind =
      choice_option(values, "kind", {"run", "sweep", "train", "compare", "operators", "forward"});
  const plugin::Catalog catalog = load_catalog(values, {});
  std::cout << io::pretty_text((ConfigSchemas(catalog).*schemas[kind])());
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
          .options =
              [](po::options_description& options) {
                options.add_options()("kind", po::value<std::string>()->value_name("K")->default_value("run"),
                                      "whose config: run | sweep | train | compare | operators | forward");
                add_plugin_options(options);
              },
          .run = config_schema};
}

}  // namespace attnlab::cli
