#include "core/cli/opened_checkpoint.hpp"

#include <filesystem>
#include <iostream>

namespace attnlab::cli {

namespace fs = std::filesystem;
using base::UserError;
using io::Json;

std::string checkpoint_file(const po::variables_map& values) {
  const std::string path = positional(values)[0];
  return fs::is_directory(path) ? (fs::path(path) / "checkpoint.safetensors").string() : path;
}

OpenedCheckpoint::OpenedCheckpoint(const po::variables_map& values) : checkpoint(checkpoint_file(values)) {
  const Json& config = checkpoint.info().config;
  if (!config.is_object())
    throw UserError("is a damaged checkpoint: it holds no config", {.file = checkpoint_file(values)});
  const config::Origin origin{checkpoint_file(values), fs::current_path().string()};
  for (const auto& [key, value] : config.items()) document.set("/" + config::escape(key), value, origin);
  if (values.count("set") != 0) {
    for (const auto& assignment : values["set"].as<std::vector<std::string>>()) document.set(assignment);
  }
  catalog = load_catalog(values, config::plugin_folders(document));
  plan = config::resolve_training(document, catalog);
  std::vector<std::string> warnings;
  model = model_of(document, warnings);
  for (const std::string& warning : warnings) std::cerr << "warning: " << warning << "\n";
}

std::unique_ptr<model::Gpt> OpenedCheckpoint::model_of(const config::Document& changed,
                                                       std::vector<std::string>& warnings) const {
  auto made = train::make_model(config::resolve_training(changed, catalog), catalog, changed,
                                checkpoint.info().vocabulary, graph::Element::f32, warnings);
  checkpoint.read_parameters(*made);
  return made;
}

std::unique_ptr<data::TokenSource> OpenedCheckpoint::open_task(const po::variables_map& values) const {
  auto source = train::open_task(plan, checkpoint.info().tokeniser);
  if (source->vocabulary_size() != checkpoint.info().vocabulary) {
    throw UserError("the task has another vocabulary than the checkpoint",
                    {.file = checkpoint_file(values),
                     .found = std::to_string(source->vocabulary_size()),
                     .allowed = std::to_string(checkpoint.info().vocabulary)});
  }
  return source;
}

void add_checkpoint_options(po::options_description& table) {
  table.add_options()("threads", po::value<int>()->value_name("N")->default_value(0, "all cores"),
                      "threads; results do not depend on it");
  add_plugin_options(table);
  add_simd_option(table);
}

void add_evaluation_options(po::options_description& table) {
  table.add_options()("set", po::value<std::vector<std::string>>()->value_name("/PTR=VALUE")->composing(),
                      "override a value of the checkpoint's config, such as /task/text=FILE (repeatable)")(
      "format", po::value<std::string>()->value_name("F")->default_value("table"), "stdout: table | json");
}

bool wants_json(const po::variables_map& values) {
  return choice_option(values, "format", {"table", "json"}) == 1;
}

}  // namespace attnlab::cli
