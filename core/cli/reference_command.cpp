// attnlab reference-page: the generated parts of the pages in docs/reference.
#include <fmt/core.h>

#include <algorithm>
#include <iostream>
#include <regex>
#include <sstream>

#include "core/cli/command.hpp"
#include "core/config/layer_plan.hpp"
#include "core/config/schema.hpp"
#include "core/config/train_plan.hpp"
#include "core/io/atomic_file.hpp"
#include "core/sweep/config.hpp"

namespace attnlab::cli {
namespace {

using plugin::Parameter;

/// A text inside a Markdown table.
std::string cell(const std::string& text) {
  std::string result;
  for (char c : text) result += c == '|' ? "\\|" : std::string(1, c);
  return result;
}

std::string allowed_cell(const Parameter& parameter) {
  if (parameter.type == plugin::ParameterType::count_or_fraction) return "[size](config.md#sizes)";
  if (parameter.type == plugin::ParameterType::offset) return "[size](config.md#sizes) or 0";
  return cell(parameter.allowed());
}

/// `required`: what stands for the default of a required key.
std::string row(const Parameter& parameter, const std::string& required = "required",
                const std::string& condition = "") {
  std::string preset = parameter.required ? required : "";
  if (parameter.default_value.is_set()) preset = "`" + to_text(parameter.default_value) + "`";
  return fmt::format("| `{}` | {} | {} | {}{} |\n", parameter.key, allowed_cell(parameter), preset, condition,
                     cell(parameter.doc));
}

std::string table(const std::vector<Parameter>& parameters) {
  std::string text = "| key | value | default | meaning |\n|---|---|---|---|\n";
  for (const auto& parameter : parameters) text += row(parameter);
  return text;
}

/// Keys that all kinds have, then those of some kinds.
std::string workload_table() {
  const auto common = config::workload_parameters("");
  std::string text = table(common);
  std::vector<std::pair<Parameter, std::vector<std::string>>> own;
  for (const auto& kind : config::workload_kinds()) {
    const auto parameters = config::workload_parameters(kind);
    for (size_t i = common.size(); i < parameters.size(); ++i) {
      const auto same = [&](const auto& known) { return known.first.key == parameters[i].key; };
      auto found = std::find_if(own.begin(), own.end(), same);
      if (found == own.end()) found = own.insert(own.end(), {parameters[i], {}});
      found->second.push_back("`" + kind + "`");
    }
  }
  for (const auto& [parameter, kinds] : own) text += row(parameter, "required", base::join(kinds) + ": ");
  return text;
}

std::string selector_table() {
  auto common = config::selector_parameters("", "");
  // "select": its default is the method's, as its description says.
  common[0].default_value = {};
  std::string text = table(common);
  for (const auto& selector : config::selector_names()) {
    const auto parameters = config::selector_parameters(selector, "");
    for (size_t i = common.size(); i < parameters.size(); ++i) {
      const bool required = parameters[i].required;
      text +=
          row(parameters[i], "required with `" + selector + "`", required ? "" : "With `" + selector + "`: ");
    }
  }
  return text;
}

std::string method_sections(const plugin::Catalog& catalog) {
  std::string text;
  for (const auto& [id, entry] : catalog.entries()) {
    const plugin::Descriptor& method = entry.descriptor;
    // Told with its method.
    if (method.is_preset()) continue;
    if (!text.empty()) text += "\n";
    text += fmt::format("## {}\n\n{} A {}", id, method.summary, plugin::name_of(method.facet));
    if (method.facet == plugin::Facet::scorer) text += ", selects by `" + method.selector + "` unless told";
    if (method.flags != 0) text += "; " + plugin::flag_names(method.flags);
    text += method.paper.empty() ? ".\n" : "; " + method.paper + ".\n";
    text +=
        method.parameters.empty() ? "\nIt has no parameters of its own.\n" : "\n" + table(method.parameters);
    for (const auto& parameter : method.parameters) {
      if (parameter.sweep.empty()) continue;
      std::vector<std::string> values;
      for (const auto& value : parameter.sweep) values.push_back("`" + to_text(value) + "`");
      text += fmt::format("\nWorth trying for `{}`: {}.\n", parameter.key, base::join(values));
    }
    for (const auto& preset : method.presets) {
      std::vector<std::string> values;
      for (const auto& [key, value] : preset.fixed) values.push_back("`" + key + "` " + to_text(value));
      text += fmt::format("\nPreset `{}`: {} It fixes {}.\n", preset.id, preset.summary, base::join(values));
    }
  }
  return text;
}

/// Keys of any sampler, with the samplers that have them where not all do.
std::string sampler_table() {
  using Kind = sweep::SamplerPlan::Kind;
  const std::vector<Kind> kinds = {Kind::grid,   Kind::random, Kind::sobol,
                                   Kind::halton, Kind::tpe,    Kind::successive_halving};
  std::vector<std::pair<Parameter, std::vector<std::string>>> keys;
  for (const Kind kind : kinds) {
    for (const auto& parameter : sampler_parameters(kind)) {
      auto found = std::find_if(keys.begin(), keys.end(),
                                [&](const auto& known) { return known.first.key == parameter.key; });
      if (found == keys.end()) found = keys.insert(keys.end(), {parameter, {}});
      found->second.push_back("`" + name_of(kind) + "`");
    }
  }
  std::string text = "| key | value | default | meaning |\n|---|---|---|---|\n";
  for (const auto& [parameter, samplers] : keys) {
    const std::string whose = base::join(samplers) + ": ";
    text += row(parameter, "required", samplers.size() == kinds.size() ? "" : whose);
  }
  return text;
}

/// Each metric of a trial and what it is the mean of.
std::string metric_table() {
  static const std::vector<std::pair<std::string, std::string>> meanings = {
      {"density", "Share of the visible keys that a row attends to."},
      {"mass_recall", "Share of the exact softmax mass that these keys hold."},
      {"output_error", "Distance of the output from the exact one, relative to that."},
      {"denominator_error", "Relative error of the softmax denominator."},
      {"entropy", "Entropy of the pipeline's own weights, in nats."},
      {"search_bytes", "Bytes that a query and KV head read to choose keys."},
      {"attended_bytes", "Bytes of the keys and values that a query and KV head attend to."},
      {"empty_rows", "Rows without any key, as a count."},
  };
  std::string text = "| metric | meaning |\n|---|---|\n";
  for (const auto& name : sweep::metric_names()) {
    const auto found = std::find_if(meanings.begin(), meanings.end(),
                                    [&](const auto& known) { return known.first == name; });
    if (found == meanings.end()) throw base::UserError("a metric has no meaning here", {.found = name});
    text += fmt::format("| `{}` | {} |\n", name, found->second);
  }
  return text;
}

std::string hub_table() {
  constexpr double example = 0.1;
  return fmt::format(
      "| objective | minimises |\n|---|---|\n| `{{\"preset\": \"hub\"}}` | `{}` |\n"
      "| `{{\"preset\": \"hub\", \"target_density\": {}}}` | `{}` |\n",
      sweep::hub_objective(std::nullopt).expression.text(), example,
      sweep::hub_objective(example).expression.text());
}

/// What stands between "<!-- generated: NAME -->" and "<!-- end -->".
std::string generated(const std::string& name, const plugin::Catalog& catalog) {
  if (name == "run") return table(config::run_parameters());
  if (name == "attention") return table(config::attention_parameters());
  if (name == "stage") return table(config::stage_parameters());
  if (name == "selector") return selector_table();
  if (name == "file input") return table(config::file_input_parameters());
  if (name == "workload") return workload_table();
  if (name == "model") return table(config::model_parameters());
  if (name == "text task") return table(config::text_parameters());
  if (name == "recall task") return table(config::recall_parameters());
  if (name == "train") return table(config::optimiser_parameters());
  if (name == "layer") return table(config::layer_parameters());
  if (name == "lift") return table(config::lift_parameters());
  if (name == "sweep") return table(sweep::sweep_parameters());
  if (name == "sampler") return sampler_table();
  if (name == "metrics") return metric_table();
  if (name == "hub objective") return hub_table();
  if (name == "limits") return table(sweep::limit_parameters());
  if (name == "executor") return table(sweep::executor_parameters());
  if (name == "methods") return method_sections(catalog);
  throw base::UserError("no such generated part", {.found = name});
}

/// The page with its generated parts, and its quotes of `attnlab help`, written anew.
std::string rewritten(const std::string& page, const plugin::Catalog& catalog) {
  static const std::regex part("<!-- generated: ([a-z ]+) -->"), help("`attnlab help([a-z -]*)` prints:");
  std::istringstream lines(page);
  std::string text, line;
  auto skip_to = [&](const std::string& end) {
    while (std::getline(lines, line)) {
      if (line == end) return;
    }
    throw base::UserError("the page ends in a generated part", {.allowed = end});
  };
  while (std::getline(lines, line)) {
    text += line + "\n";
    std::smatch found;
    if (line.size() > 200) continue;
    if (std::regex_match(line, found, part)) {
      text += "\n" + generated(found[1], catalog) + "\n<!-- end -->\n";
      skip_to("<!-- end -->");
    } else if (std::regex_match(line, found, help)) {
      std::istringstream words(found[1].str());
      std::vector<std::string> command;
      for (std::string word; words >> word;) command.push_back(word);
      text += "\n```\n" + help_text(command) + "```\n";
      skip_to("```");
      skip_to("```");
    }
  }
  return text;
}

}  // namespace

Command reference_page_command() {
  return {
      .name = "reference-page",
      .arguments = "FILE",
      .summary = "Print a page of docs/reference with its generated parts written anew (used by ./dev docs).",
      .details = {},
      .options = add_plugin_options,
      .run =
          [](const po::variables_map& values) {
            const std::string page = io::read_text(positional(values)[0], size_t{1} << 20);
            std::cout << rewritten(page, load_catalog(values, {}));
            return 0;
          },
      .min_arguments = 1,
      .max_arguments = 1,
      .hidden = true};
}

}  // namespace attnlab::cli
