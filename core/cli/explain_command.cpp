// attnlab config explain.
#include <fmt/core.h>

#include <algorithm>
#include <iostream>

#include "core/cli/command.hpp"
#include "core/config/explain.hpp"

namespace attnlab::cli {
namespace {

using config::ConfigValue;
using io::Json;

/// "config.json:12:5", "default of sink".
std::string origin_text(const ConfigValue& value) {
  if (!value.statements.empty()) return config::place_of(value.statements.back());
  return value.value.is_null() ? "not set" : value.preset;
}

std::string value_text(const ConfigValue& value) {
  return value.value.is_null() ? "-" : io::line_text(value.value);
}

void print_one(const ConfigValue& value) {
  fmt::print("{} = {}\n", value.pointer, value_text(value));
  fmt::print("  from:    {}\n", origin_text(value));
  for (size_t i = value.statements.size(); i-- > 1;) {
    const config::Statement& weaker = value.statements[i - 1];
    const std::string verb = value.statements[i].pointer == value.pointer ? "overrides" : "changes";
    fmt::print("  {:<8} {} of {}\n", verb + ":", io::line_text(weaker.value), config::place_of(weaker));
  }
  fmt::print("  allowed: {}{}\n", value.parameter.allowed(), value.parameter.required ? "; required" : "");
  if (value.parameter.default_value.is_set()) {
    fmt::print("  default: {}\n", io::line_text(to_json(value.parameter.default_value)));
  }
  if (!value.parameter.doc.empty()) fmt::print("  {}\n", value.parameter.doc);
}

void print_list(const std::vector<ConfigValue>& values) {
  size_t pointer_width = 0, value_width = 0;
  for (const auto& value : values) {
    pointer_width = std::max(pointer_width, value.pointer.size());
    value_width = std::min<size_t>(std::max(value_width, value_text(value).size()), 40);
  }
  for (const auto& value : values) {
    fmt::print("{:<{}}  {:<{}}  {}\n", value.pointer, pointer_width, value_text(value), value_width,
               origin_text(value));
  }
}

Json json_of(const ConfigValue& value) {
  Json json = {{"pointer", value.pointer}, {"value", value.value}};
  json["from"] = origin_text(value);
  json["said"] = Json::array();
  for (const auto& statement : value.statements) {
    Json said = {{"pointer", statement.pointer}, {"value", statement.value}, {"by", statement.origin.label}};
    if (statement.place.line > 0) {
      said["line"] = statement.place.line;
      said["column"] = statement.place.column;
    }
    json["said"].push_back(said);
  }
  json["type"] = plugin::name_of(value.parameter.type);
  json["allowed"] = value.parameter.allowed();
  json["required"] = value.parameter.required;
  json["default"] = to_json(value.parameter.default_value);
  json["unit"] = value.parameter.unit;
  json["doc"] = value.parameter.doc;
  return json;
}

int explain(const po::variables_map& values) {
  const config::Document document = load_document(values);
  const plugin::Catalog catalog = load_catalog(values, config::plugin_folders(document));
  const auto all = config::explain(document, config::resolve(document, catalog), catalog);
  const auto arguments = positional(values);
  const std::string pointer = arguments.size() > 1 && arguments[1] != "/" ? arguments[1] : "";
  const auto found = config::at_pointer(all, pointer);
  if (values.count("json") != 0) {
    Json list = Json::array();
    for (const auto& value : found) list.push_back(json_of(value));
    std::cout << io::pretty_text(list);
  } else if (found.size() == 1 && (found[0].pointer == pointer || found[0].named_pointer == pointer)) {
    print_one(found[0]);
  } else {
    print_list(found);
  }
  return 0;
}

}  // namespace

Command config_explain_command() {
  return {.name = "config explain",
          .arguments = "CONFIG [PTR]",
          .summary = "Say where a value of the config came from, what it overrides and what it may be.",
          .details =
              "PTR is a JSON pointer such as /input/keys or /pipelines/main/sink/sink_size: a stage is\n"
              "addressed by its name or its index. Without PTR, or at an object, all values are listed.",
          .options =
              [](po::options_description& table) {
                add_config_options(table);
                add_plugin_options(table);
                table.add_options()("json", "print JSON");
              },
          .run = explain,
          .min_arguments = 1,
          .max_arguments = 2};
}

}  // namespace attnlab::cli
