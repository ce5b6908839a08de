// For tests/schema/schema_test.py: the parameter tables, and what the validator says of many configs.
//
//   judge TABLES PLUGIN...      prints a JSON list of {"place", "config", "parameters"}: a table, a valid
//   config
//                               and where in it the table's keys go
//   judge CONFIGS PLUGIN...     reads configs from standard input, one a line, and prints "ok" or the error
//   of
//                               each on a line of its own
#include <fstream>
#include <iostream>
#include <string>

#include "core/config/run_plan.hpp"
#include "core/config/schema.hpp"
#include "core/io/atomic_file.hpp"

namespace attnlab {
namespace {

using io::Json;

plugin::Catalog catalog_of(int argc, char** argv) {
  plugin::SearchPath search;
  for (int i = 2; i < argc; ++i) search.files.emplace_back(argv[i]);
  search.folders.push_back({ATTNLAB_PLUGINS, "the build"});
  return plugin::Catalog::scan(search, ATTNLAB_PROGRAM);
}

Json table_json(const std::string& place, const Json& config,
                const std::vector<plugin::Parameter>& parameters) {
  Json json = {{"place", place}, {"config", config}, {"parameters", Json::array()}};
  for (const auto& parameter : parameters) json["parameters"].push_back(to_json(parameter));
  return json;
}

Json config_with(const Json& stages, const Json& input) {
  return {{"pipelines", {{"main", stages}}}, {"attention", Json::object()}, {"input", input}};
}

/// A stage with what it requires.
Json stage_of(const std::string& masker, const std::vector<plugin::Parameter>& parameters) {
  Json stage = {{"masker", masker}};
  for (const auto& parameter : parameters) {
    if (parameter.required)
      stage[parameter.key] = to_json(parameter.sweep.empty() ? plugin::Value{1.0} : parameter.sweep[0]);
  }
  return stage;
}

Json tables(const plugin::Catalog& catalog) {
  const Json gaussian = {{"workload", "gaussian"}};
  const Json dense = config_with(Json::array(), gaussian);
  Json all = Json::array();
  all.push_back(table_json("", dense, config::run_parameters()));
  all.push_back(table_json("/attention", dense, config::attention_parameters()));
  for (const auto& kind : config::workload_kinds()) {
    all.push_back(table_json("/input", config_with(Json::array(), {{"workload", kind}}),
                             config::workload_parameters(kind)));
  }
  for (const auto& kind : config::file_input_parameters()) {
    all.push_back(table_json("/input", config_with(Json::array(), {{kind.key, "x"}}), {kind}));
  }
  for (const auto& id : catalog.ids()) {
    const plugin::Descriptor& method = catalog.find(id)->descriptor;
    const bool scorer = method.facet == plugin::Facet::scorer;
    for (const auto& selector : scorer ? config::selector_names() : std::vector<std::string>{""}) {
      const auto table = config::stage_table(method, selector);
      Json stage = stage_of(id, table);
      if (scorer && selector != method.selector) stage["select"] = selector;
      all.push_back(table_json("/pipelines/main/0", config_with(Json::array({stage}), gaussian), table));
    }
  }
  return all;
}

std::string judged(const std::string& line, const plugin::Catalog& catalog, const std::string& file) {
  std::ofstream(file) << line;
  try {
    config::resolve(config::Document::load(file), catalog);
    return "ok";
  } catch (const base::UserError& error) {
    std::string text = error.what();
    for (char& c : text) c = c == '\n' ? ' ' : c;
    return text;
  }
}

}  // namespace
}  // namespace attnlab

int main(int argc, char** argv) {
  using namespace attnlab;
  if (argc < 2) return 2;
  const plugin::Catalog catalog = catalog_of(argc, argv);
  if (std::string(argv[1]) == "TABLES") {
    std::cout << tables(catalog).dump() << "\n";
    return 0;
  }
  const std::string file = "config.json";
  for (std::string line; std::getline(std::cin, line);) std::cout << judged(line, catalog, file) << "\n";
  return 0;
}
