// For tests/schema/schema_test.py: the parameter tables, and what the validator says of many configs.
//
//   judge TABLES PLUGIN...   prints a JSON list of {"kind", "place", "config", "parameters"}: a table, a
//   valid
//                            config of this kind and where in it the table's keys go
//   judge KIND PLUGIN...     reads configs of this kind (run, sweep, train, compare, operators, forward) from
//                            standard input, one a line, and prints "ok" or the error of each on a line of
//                            its own
#include <algorithm>
#include <fstream>
#include <iostream>
#include <string>

#include "core/config/compare_plan.hpp"
#include "core/config/layer_plan.hpp"
#include "core/config/operators_plan.hpp"
#include "core/config/run_plan.hpp"
#include "core/config/schema.hpp"
#include "core/config/train_plan.hpp"
#include "core/io/atomic_file.hpp"
#include "core/sweep/plan.hpp"

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
                const std::vector<plugin::Parameter>& parameters, const std::string& kind = "run") {
  Json json = {{"kind", kind}, {"place", place}, {"config", config}, {"parameters", Json::array()}};
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

void add_sweep_tables(Json& all) {
  using Kind = sweep::SamplerPlan::Kind;
  const Json base = config_with(Json::array(), {{"workload", "gaussian"}});
  const Json sweep = {{"base", base},
                      {"space", {{"/seed", {1, 2}}}},
                      {"limits", Json::object()},
                      {"executor", Json::object()}};
  all.push_back(table_json("", sweep, sweep::sweep_parameters(), "sweep"));
  all.push_back(table_json("/limits", sweep, sweep::limit_parameters(), "sweep"));
  all.push_back(table_json("/executor", sweep, sweep::executor_parameters(), "sweep"));
  for (const Kind kind :
       {Kind::grid, Kind::random, Kind::sobol, Kind::halton, Kind::tpe, Kind::successive_halving}) {
    Json with_sampler = sweep;
    with_sampler["sampler"] = {{"kind", name_of(kind)}};
    if (kind != Kind::grid) with_sampler["sampler"]["trials"] = 4;
    if (kind == Kind::successive_halving)
      with_sampler["sampler"]["rungs"] = {{{"/input/keys", 64}}, {{"/input/keys", 128}}};
    all.push_back(table_json("/sampler", with_sampler, sweep::sampler_parameters(kind), "sweep"));
  }
}

void add_model_tables(Json& all, const plugin::Catalog& catalog) {
  const Json training = {{"model", Json::object()},
                         {"attention", {{"scheme", "mha"}}},
                         {"task", {{"generated", "recall"}}},
                         {"train", Json::object()}};
  Json comparison = training, text = training;
  text["task"] = {{"text", "x"}};
  comparison["subjects"] = {{"a", Json::object()}};
  comparison["decode"] = Json::object();
  for (const std::string kind : {"train", "compare"}) {
    const Json& config = kind == "train" ? training : comparison;
    all.push_back(table_json("/model", config, config::model_parameters(), kind));
    all.push_back(table_json("/train", config, config::optimiser_parameters(), kind));
    all.push_back(table_json("/task", config, config::recall_parameters(), kind));
  }
  all.push_back(table_json("/task", text, config::text_parameters(), "train"));
  all.push_back(table_json("", comparison, config::comparison_parameters(), "compare"));
  all.push_back(table_json("/decode", comparison, config::decode_parameters(), "compare"));
  const Json operators = {{"operators", {{"a", {{"scheme", "softmax"}}}}},
                          {"spectrum", Json::object()},
                          {"scaling", Json::object()}};
  all.push_back(table_json("/spectrum", operators, config::spectrum_parameters(), "operators"));
  all.push_back(table_json("/scaling", operators, config::scaling_parameters(), "operators"));
  const Json layer = {{"attention", {{"scheme", "mha"}}}, {"lift", Json::object()}};
  all.push_back(table_json("", layer, config::layer_parameters(), "forward"));
  all.push_back(table_json("/lift", layer, config::lift_parameters(), "forward"));
  for (const auto& [id, entry] : catalog.entries()) {
    if (entry.descriptor.facet != plugin::Facet::scheme) continue;
    Json scheme = {{"scheme", id}};
    std::vector<plugin::Parameter> free;
    for (const auto& parameter : entry.descriptor.parameters) {
      if (!parameter.fixed) free.push_back(parameter);
      if (!parameter.required) continue;
      scheme[parameter.key] = 1;
      if (parameter.type == plugin::ParameterType::pipeline) scheme[parameter.key] = Json::array();
      if (!parameter.sweep.empty()) scheme[parameter.key] = to_json(parameter.sweep[0]);
    }
    all.push_back(table_json("/attention", {{"attention", scheme}}, free, "forward"));
  }
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
  add_sweep_tables(all);
  add_model_tables(all, catalog);
  return all;
}

/// A sweep with the config of one of its points, on each workload.
void resolve_sweep(const config::Document& document, const plugin::Catalog& catalog) {
  const sweep::SweepConfig sweep = sweep::resolve_sweep(document, catalog);
  sweep::Planner planner(sweep, catalog);
  const auto points = choose_points(sweep, sweep::SamplerPlan::Kind::random, 1);
  const size_t rungs = std::max<size_t>(1, sweep.sampler.rungs.size());
  for (size_t rung = 0; rung < rungs; ++rung) planner.trial(points.at(0), static_cast<int>(rung));
}

void resolve(const std::string& kind, const config::Document& document, const plugin::Catalog& catalog) {
  if (kind == "run") config::resolve(document, catalog);
  if (kind == "sweep") resolve_sweep(document, catalog);
  if (kind == "train") config::resolve_training(document, catalog);
  if (kind == "compare") config::resolve_comparison(document, catalog);
  if (kind == "operators") config::resolve_operators(document, catalog);
  if (kind == "forward") config::resolve_layer(document, catalog);
}

std::string judged(const std::string& kind, const std::string& line, const plugin::Catalog& catalog) {
  const std::string file = "config.json";
  std::ofstream(file) << line;
  try {
    resolve(kind, config::Document::load(file), catalog);
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
  for (std::string line; std::getline(std::cin, line);) std::cout << judged(argv[1], line, catalog) << "\n";
  return 0;
}
