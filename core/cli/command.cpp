#include "core/cli/command.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <filesystem>

#include "core/kernels/table.hpp"
#include "core/plugin/crash.hpp"
#include "core/plugin/probe.hpp"

namespace attnlab::cli {
namespace {

namespace fs = std::filesystem;
using base::UserError;
using config::Origin;
using io::Json;

int64_t parse_index(const std::string& option, const std::string& text) {
  const bool digits = !text.empty() && text.size() <= 7 &&
                      std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (!digits) throw UserError(option + " needs indices", {.found = text, .allowed = "such as 0,2-4"});
  return std::stoll(text);
}

std::vector<std::string> strings(const po::variables_map& values, const char* key) {
  return values.count(key) == 0 ? std::vector<std::string>{} : values[key].as<std::vector<std::string>>();
}

}  // namespace

Json input_of(const std::string& path, const std::string& what) {
  const std::string absolute = fs::absolute(path).lexically_normal().string();
  if (fs::is_directory(path)) return {{"trace", absolute}};
  if (!fs::exists(path)) throw UserError(what + ": there is no such file or folder", {.file = path});
  if (path.ends_with(".npz")) return {{"npz", absolute}};
  if (path.ends_with(".safetensors")) return {{"safetensors", absolute}};
  throw UserError(what + ": unknown kind of file",
                  {.file = path, .allowed = "a trace folder, *.npz or *.safetensors"});
}

void add_plugin_options(po::options_description& options) {
  options.add_options()("plugin", po::value<std::vector<std::string>>()->value_name("FILE")->composing(),
                        "plugin file; wins over all folders (repeatable)")(
      "plugin-path", po::value<std::vector<std::string>>()->value_name("DIR")->composing(),
      "folder of plugins, before $ATTNLAB_PLUGIN_PATH and the config's plugin_path (repeatable)");
}

void add_config_options(po::options_description& options) {
  options.add_options()("set", po::value<std::vector<std::string>>()->value_name("/PTR=VALUE")->composing(),
                        "override a config value; VALUE is JSON, else a string (repeatable)")(
      "input", po::value<std::string>()->value_name("PATH"),
      "trace folder, .npz or .safetensors instead of the config's input")(
      "mode", po::value<std::string>()->value_name("MODE"), "prefill | decode | question")(
      "queries", po::value<int64_t>()->value_name("N"), "only the last N queries")(
      "layers", po::value<std::string>()->value_name("LIST"), "layers to run, such as 0,2-4")(
      "heads", po::value<std::string>()->value_name("LIST"), "query heads to measure, such as 0,2-4")(
      "seed", po::value<int64_t>()->value_name("N"), "seed of everything random in the pipelines");
}

Json parse_index_list(const std::string& option, const std::string& text) {
  Json list = Json::array();
  size_t start = 0;
  while (start <= text.size()) {
    const size_t end = std::min(text.find(',', start), text.size());
    const std::string item = text.substr(start, end - start);
    const size_t dash = item.find('-');
    const int64_t first = parse_index(option, item.substr(0, dash));
    const int64_t last = dash == std::string::npos ? first : parse_index(option, item.substr(dash + 1));
    if (last < first || last - first > 65536) {
      throw UserError(option + " has an illegal range", {.found = item, .allowed = "such as 2-4"});
    }
    for (int64_t i = first; i <= last; ++i) list.push_back(i);
    start = end + 1;
  }
  return list;
}

std::vector<std::string> positional(const po::variables_map& values) {
  return strings(values, "arguments");
}

config::Document load_document(const po::variables_map& values) {
  config::Document document = config::Document::load(positional(values).at(0));
  for (const auto& assignment : strings(values, "set")) document.set(assignment);
  const std::string here = fs::current_path().string();
  auto override_with = [&](const char* option, const char* pointer, Json value) {
    document.set(pointer, std::move(value), Origin{std::string("--") + option, here});
  };
  if (values.count("input") != 0)
    override_with("input", "/input", input_of(values["input"].as<std::string>(), "--input"));
  if (values.count("mode") != 0) override_with("mode", "/mode", values["mode"].as<std::string>());
  if (values.count("queries") != 0) override_with("queries", "/queries", values["queries"].as<int64_t>());
  if (values.count("seed") != 0) override_with("seed", "/seed", values["seed"].as<int64_t>());
  for (const char* list : {"layers", "heads"}) {
    if (values.count(list) == 0) continue;
    override_with(list, (std::string("/") + list).c_str(),
                  parse_index_list(std::string("--") + list, values[list].as<std::string>()));
  }
  return document;
}

plugin::SearchPath plugin_search(const po::variables_map& values,
                                 const std::vector<std::string>& config_folders) {
  return plugin::search_path(strings(values, "plugin"), strings(values, "plugin-path"), config_folders,
                             plugin::probe_program());
}

plugin::Catalog load_catalog(const po::variables_map& values,
                             const std::vector<std::string>& config_folders) {
  // The environment and shared configs may name folders that are not everywhere; who types one means it.
  for (const auto& folder : strings(values, "plugin-path")) {
    if (!fs::is_directory(folder))
      throw UserError("--plugin-path: there is no such folder", {.file = folder});
  }
  plugin::report_crashes();
  plugin::Catalog catalog =
      plugin::Catalog::scan(plugin_search(values, config_folders), plugin::probe_program());
  for (const auto& entry : catalog.shadowed()) {
    const std::string& id = entry.descriptor.id;
    fmt::print(stderr, "shadowed: {} in {}, by {}\n", id, entry.file, catalog.find(id)->file);
  }
  return catalog;
}

const plugin::CatalogEntry& find_method(const plugin::Catalog& catalog, const std::string& id) {
  if (const plugin::CatalogEntry* entry = catalog.find(id); entry != nullptr) return *entry;
  throw UserError("no plugin provides \"" + id + "\"",
                  {.allowed = base::join(catalog.ids()), .suggestion = catalog.why_missing(id)},
                  base::Exit::plugin_missing);
}

std::vector<int> layers_option(const po::variables_map& values, const data::Source& source) {
  if (values.count("layers") == 0) return source.layers();
  std::vector<int> chosen;
  for (const Json& layer : parse_index_list("--layers", values["layers"].as<std::string>())) {
    const auto& layers = source.layers();
    if (std::find(layers.begin(), layers.end(), layer.get<int>()) == layers.end()) {
      std::vector<std::string> names;
      for (int index : layers) names.push_back(std::to_string(index));
      throw UserError("--layers: the input has no such layer",
                      {.found = layer.dump(), .allowed = base::join(names)});
    }
    chosen.push_back(layer.get<int>());
  }
  std::sort(chosen.begin(), chosen.end());
  chosen.erase(std::unique(chosen.begin(), chosen.end()), chosen.end());
  return chosen;
}

size_t choice_option(const po::variables_map& values, const std::string& option,
                     const std::vector<std::string>& choices) {
  const auto text = values[option].as<std::string>();
  const auto found = std::find(choices.begin(), choices.end(), text);
  if (found != choices.end()) return static_cast<size_t>(found - choices.begin());
  throw UserError("--" + option + ": unknown value", {.found = text,
                                                      .allowed = base::join(choices, " | "),
                                                      .suggestion = base::did_you_mean(text, choices)});
}

int thread_option(const po::variables_map& values) {
  const int threads = values["threads"].as<int>();
  if (threads < 0 || threads > 4096) {
    throw UserError("--threads is out of range",
                    {.found = std::to_string(threads), .allowed = "0 (all cores) to 4096"});
  }
  return threads;
}

void add_simd_option(po::options_description& options) {
  options.add_options()(
      "simd", po::value<std::string>()->value_name("TARGET"),
      "instructions of the kernels, such as avx3, avx2, sse4 or scalar; default: this CPU's best");
}

void simd_option(const po::variables_map& values) {
  if (values.count("simd") == 0) return;
  const std::string name = values["simd"].as<std::string>();
  const kernels::KernelTable* table = kernels::find_table(name);
  if (table == nullptr) {
    const auto names = kernels::table_names();
    throw UserError(
        "--simd: this CPU or program has no such instructions",
        {.found = name, .allowed = base::join(names), .suggestion = base::did_you_mean(name, names)});
  }
  kernels::set_active_table(*table);
}

config::Document input_document(const std::string& path) {
  if (path.ends_with(".json")) return config::Document::load(path);
  config::Document document;
  document.set("/input", input_of(path, "the input"), {path, fs::current_path().string()});
  return document;
}

const std::vector<Command>& commands() {
  static const std::vector<Command> all = {run_command(),
                                           bench_command(),
                                           train_command(),
                                           compare_command(),
                                           sweep_plan_command(),
                                           sweep_run_command(),
                                           sweep_resume_command(),
                                           sweep_status_command(),
                                           sweep_best_command(),
                                           sweep_report_command(),
                                           sweep_merge_command(),
                                           sweep_export_command(),
                                           sample_command(),
                                           eval_command(),
                                           routing_command(),
                                           operators_command(),
                                           forward_command(),
                                           train_hash_command(),
                                           calibrate_command(),
                                           verify_sampling_command(),
                                           doctor_command(),
                                           plugin_list_command(),
                                           plugin_info_command(),
                                           plugin_schema_command(),
                                           plugin_doctor_command(),
                                           config_show_command(),
                                           config_validate_command(),
                                           config_explain_command(),
                                           config_schema_command(),
                                           completion_bash_command(),
                                           complete_command(),
                                           reference_page_command(),
                                           plugin_probe_command(),
                                           run_child_command()};
  return all;
}

}  // namespace attnlab::cli
