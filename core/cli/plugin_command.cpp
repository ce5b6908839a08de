// attnlab plugin list | info | probe.
#include <fmt/core.h>

#include <iostream>

#include "core/cli/command.hpp"
#include "core/config/schema.hpp"
#include "core/plugin/probe.hpp"

namespace attnlab::cli {
namespace {

using io::Json;
using plugin::CatalogEntry;
using plugin::Descriptor;
using plugin::Facet;
using plugin::Parameter;

/// "masker", or "preset of magic_pig".
std::string kind_of(const Descriptor& method) {
  return method.is_preset() ? "preset of " + method.method : plugin::name_of(method.facet);
}

void print_info(const CatalogEntry& entry) {
  const Descriptor& method = entry.descriptor;
  fmt::print("{} {} ({})\n  {}\n", method.id, method.version, kind_of(method), method.summary);
  if (!method.paper.empty()) fmt::print("  paper: {}\n", method.paper);
  if (method.facet == Facet::scorer) fmt::print("  default selector: {}\n", method.selector);
  if (const auto flags = plugin::flag_names(method.flags); !flags.empty())
    fmt::print("  properties: {}\n", flags);
  fmt::print("  file: {}\n  built with: {} (SDK {})\n\nparameters:\n", entry.file, entry.note.compiler,
             entry.note.sdk_version);
  for (const auto& p : config::stage_table(method, method.selector)) {
    std::string preset = p.required                 ? "required"
                         : p.default_value.is_set() ? "default " + to_text(p.default_value)
                                                    : "optional";
    fmt::print("  {:<16} {}; {}\n", p.key, p.allowed(), preset);
    if (!p.doc.empty()) fmt::print("  {:<16} {}\n", "", p.doc);
    if (p.sweep.empty()) continue;
    std::vector<std::string> values;
    for (const auto& value : p.sweep) values.push_back(to_text(value));
    fmt::print("  {:<16} worth trying: {}\n", "", base::join(values));
  }
  for (const auto& p : method.parameters) {
    if (p.fixed)
      fmt::print("  {:<16} fixed at {}\n  {:<16} {}\n", p.key, to_text(p.default_value), "", p.doc);
  }
  if (!method.presets.empty()) fmt::print("\npresets:\n");
  for (const auto& preset : method.presets) {
    fmt::print("  {}: {}\n", preset.id, preset.summary);
    for (const auto& [key, value] : preset.fixed) fmt::print("  {:<16} {} {}\n", "", key, to_text(value));
  }
}

Json entry_json(const CatalogEntry& entry) {
  Json json = to_json(entry.descriptor);
  // The probe's JSON carries codes; people and scripts get names.
  json["facet"] = plugin::name_of(entry.descriptor.facet);
  json["flags"] = plugin::flag_names(entry.descriptor.flags);
  for (size_t i = 0; i < entry.descriptor.parameters.size(); ++i) {
    const Parameter& parameter = entry.descriptor.parameters[i];
    json["parameters"][i]["type"] = plugin::name_of(parameter.type);
    if (parameter.type == plugin::ParameterType::list) {
      json["parameters"][i]["item_type"] = plugin::name_of(parameter.item_type);
    }
    if (parameter.fixed) json["parameters"][i]["fixed"] = true;
  }
  if (entry.descriptor.is_preset()) json["preset_of"] = entry.descriptor.method;
  json["file"] = entry.file;
  json["sdk_version"] = entry.note.sdk_version;
  json["compiler"] = entry.note.compiler;
  return json;
}

int list(const po::variables_map& values) {
  const plugin::Catalog catalog = load_catalog(values, {});
  if (values.count("json") != 0) {
    Json all = Json::array();
    for (const auto& [id, entry] : catalog.entries()) all.push_back(entry_json(entry));
    std::cout << io::pretty_text(all);
    return 0;
  }
  for (const auto& [id, entry] : catalog.entries()) {
    const Descriptor& method = entry.descriptor;
    fmt::print("{:<18} {:<7} {}\n", id, method.is_preset() ? "preset" : plugin::name_of(method.facet),
               method.summary);
  }
  for (const auto& file : catalog.refused()) fmt::print(stderr, "refused: {}: {}\n", file.path, file.refused);
  return 0;
}

int info(const po::variables_map& values) {
  const plugin::Catalog catalog = load_catalog(values, {});
  const CatalogEntry& entry = find_method(catalog, positional(values)[0]);
  if (values.count("json") != 0) {
    std::cout << io::pretty_text(entry_json(entry));
  } else {
    print_info(entry);
  }
  return 0;
}

void json_option(po::options_description& options) {
  add_plugin_options(options);
  options.add_options()("json", "print JSON");
}

}  // namespace

Command plugin_list_command() {
  return {.name = "plugin list",
          .arguments = "",
          .summary = "List the methods that pipelines can name, and why files were refused.",
          .details = {},
          .options = json_option,
          .run = list};
}

Command plugin_info_command() {
  return {.name = "plugin info",
          .arguments = "ID",
          .summary = "Show what a method does and its parameters.",
          .details = {},
          .options = json_option,
          .run = info,
          .min_arguments = 1,
          .max_arguments = 1};
}

Command plugin_probe_command() {
  return {.name = "plugin-probe",
          .arguments = "FILE",
          .summary =
              "Load a plugin file and print its descriptors as JSON (used by the host, in a child process).",
          .details = {},
          .options = {},
          .run =
              [](const po::variables_map& values) {
                std::cout << plugin::describe_file(positional(values)[0]).dump() << "\n";
                return 0;
              },
          .min_arguments = 1,
          .max_arguments = 1,
          .hidden = true};
}

}  // namespace attnlab::cli
