// attnlab config show | validate.
#include <fmt/core.h>

#include <iostream>

#include "core/attention/pipeline.hpp"
#include "core/cli/command.hpp"
#include "core/data/problem.hpp"
#include "core/measure/experiment.hpp"

namespace attnlab::cli {
namespace {

void options(po::options_description& table) {
  add_config_options(table);
  add_plugin_options(table);
}

int show(const po::variables_map& values) {
  const config::Document document = load_document(values);
  const plugin::Catalog catalog = load_catalog(values, config::plugin_folders(document));
  std::cout << io::pretty_text(to_json(config::resolve(document, catalog), catalog));
  return 0;
}

int validate(const po::variables_map& values) {
  const config::Document document = load_document(values);
  const plugin::Catalog catalog = load_catalog(values, config::plugin_folders(document));
  const config::RunPlan plan = config::resolve(document, catalog);
  std::vector<attention::Pipeline> pipelines;
  for (const auto& pipeline : plan.pipelines) pipelines.emplace_back(pipeline, catalog, document);
  const auto source = data::open_input(plan.input, document);
  measure::check_plan(plan, *source, document, {});
  for (const auto& pipeline : pipelines) {
    pipeline.check_geometry(measure::wanted_layers(plan, *source), source->geometry());
  }
  fmt::print("{}: valid; {} pipelines on {}\n", document.path(), plan.pipelines.size(),
             source->description());
  return 0;
}

}  // namespace

Command config_show_command() {
  return {.name = "config show",
          .arguments = "CONFIG",
          .summary = "Print the resolved config: extends and overrides applied, every default written out.",
          .details = {},
          .options = options,
          .run = show,
          .min_arguments = 1,
          .max_arguments = 1};
}

Command config_validate_command() {
  return {.name = "config validate",
          .arguments = "CONFIG",
          .summary = "Check a config, its plugins and its input without running anything.",
          .details = {},
          .options = options,
          .run = validate,
          .min_arguments = 1,
          .max_arguments = 1};
}

}  // namespace attnlab::cli
