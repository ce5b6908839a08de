#include "core/config/explain.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "core/config/schema.hpp"

namespace attnlab::config {
namespace {

using io::Json;
using plugin::Parameter;
using plugin::ParameterType;

/// Collects values of one config.
class Collector {
 public:
  Collector(const Document& document, const Json& resolved) : document_(document), resolved_(resolved) {}

  void add(const std::string& place, const std::string& named_place, const Parameter& parameter,
           const std::string& preset) {
    const std::string key = "/" + escape(parameter.key);
    const Json::json_pointer at(place + key);
    values.push_back({place + key, named_place + key, resolved_.contains(at) ? resolved_.at(at) : Json(),
                      parameter, preset, document_.statements(place + key)});
  }
  void add(const std::string& place, const std::vector<Parameter>& parameters) {
    for (const auto& parameter : parameters) add(place, place, parameter, "attnlab's default");
  }

  std::vector<ConfigValue> values;

 private:
  const Document& document_;
  const Json& resolved_;
};

Parameter required(const std::string& key, ParameterType type, const std::string& doc) {
  Parameter parameter;
  parameter.key = key;
  parameter.type = type;
  parameter.required = true;
  parameter.doc = doc;
  return parameter;
}

void add_stage(Collector& collector, const std::string& pipeline, size_t index, const StagePlan& stage,
               const plugin::Catalog& catalog) {
  const std::string place = pipeline + "/" + std::to_string(index);
  const std::string named_place = pipeline + "/" + escape(stage.name);
  Parameter masker =
      required("masker", ParameterType::enumeration, "Id of the method (attnlab plugin list).");
  masker.enum_names = catalog.ids();
  collector.add(place, named_place, masker, "");
  const plugin::Descriptor& method = catalog.find(stage.masker)->descriptor;
  const std::string selector = stage.selector ? name_of(stage.selector->kind) : "";
  for (const auto& parameter : stage_table(method, selector)) {
    auto same = [&](const auto& own) { return own.key == parameter.key; };
    const bool own = std::any_of(method.parameters.begin(), method.parameters.end(), same);
    const bool of_method = own || parameter.key == "name" || parameter.key == "select";
    collector.add(place, named_place, parameter, of_method ? "default of " + method.id : "attnlab's default");
  }
}

/// A policy: the pipelines it names, and the stages it holds.
void add_policy(Collector& collector, const std::string& place, const PipelinePlan& pipeline,
                const RunPlan& plan, const plugin::Catalog& catalog) {
  const PolicyPlan& policy = *pipeline.policy;
  std::vector<std::string> names = {"dense"};
  for (const auto* pipelines : {&plan.pipelines, &plan.helpers}) {
    for (const auto& other : *pipelines) {
      if (!other.policy && other.name != "dense") names.push_back(other.name);
    }
  }
  auto add = [&](const std::string& object, const IndexList& key, size_t index) {
    const VariantPlan& variant = policy.variants[index];
    if (variant.begin == variant.end || variant.is_named) {
      Parameter name =
          required(key.text, variant.is_named ? ParameterType::enumeration : ParameterType::pipeline,
                   "The pipeline that these layers or heads use.");
      name.enum_names = names;
      collector.add(object, object, name, "");
      return;
    }
    for (size_t s = variant.begin; s < variant.end; ++s) {
      add_stage(collector, object + "/" + escape(key.text), s - variant.begin, pipeline.stages[s], catalog);
    }
  };
  for (const auto& rule : policy.layers) {
    if (rule.variant) add(place + "/layers", rule.layers, *rule.variant);
    for (const auto& head : rule.heads)
      add(place + "/layers/" + escape(rule.layers.text), head.heads, head.variant);
  }
  for (const auto& head : policy.heads) add(place + "/heads", head.heads, head.variant);
}

void add_input(Collector& collector, const InputSpec& input) {
  if (input.kind == InputSpec::Kind::workload) {
    Parameter kind = required("workload", ParameterType::enumeration, "Kind of generated input.");
    kind.enum_names = workload_kinds();
    collector.add("/input", {kind});
    collector.add("/input", workload_parameters(input.workload.kind));
    return;
  }
  for (const auto& parameter : file_input_parameters()) {
    if (parameter.key == input_key(input)) collector.add("/input", {parameter});
  }
}

/// Members of the object at `place`, by index and by name.
std::vector<std::string> keys_at(const std::vector<ConfigValue>& values, const std::string& place) {
  std::vector<std::string> keys;
  for (const auto& value : values) {
    for (const auto& pointer : {value.pointer, value.named_pointer}) {
      if (!pointer.starts_with(place + "/")) continue;
      const std::string key = split_pointer(pointer.substr(place.size())).at(0);
      if (std::find(keys.begin(), keys.end(), key) == keys.end()) keys.push_back(key);
    }
  }
  return keys;
}

bool at_or_below(const std::string& pointer, const std::string& place) {
  return (pointer + "/").starts_with(place + "/");
}

}  // namespace

std::vector<ConfigValue> explain(const Document& document, const RunPlan& plan,
                                 const plugin::Catalog& catalog) {
  const Json resolved = to_json(plan, catalog);
  Collector collector(document, resolved);
  collector.add("", run_parameters());
  collector.add("/attention", attention_parameters());
  add_input(collector, plan.input);
  for (const auto* pipelines : {&plan.pipelines, &plan.helpers}) {
    for (const auto& pipeline : *pipelines) {
      const std::string place = "/pipelines/" + escape(pipeline.name);
      if (pipeline.policy) {
        add_policy(collector, place, pipeline, plan, catalog);
        continue;
      }
      for (size_t i = 0; i < pipeline.stages.size(); ++i) {
        add_stage(collector, place, i, pipeline.stages[i], catalog);
      }
      if (!pipeline.stages.empty()) continue;
      const Parameter dense = required(pipeline.name, ParameterType::pipeline, "No stage: dense attention.");
      collector.add("/pipelines", {dense});
    }
  }
  collector.add("", {plugin_path_parameter()});
  return std::move(collector.values);
}

std::vector<ConfigValue> at_pointer(const std::vector<ConfigValue>& values, const std::string& pointer) {
  if (!pointer.empty() && pointer[0] != '/') {
    throw base::UserError("a pointer begins with /", {.found = pointer, .allowed = "such as /input/keys"});
  }
  std::vector<ConfigValue> found;
  for (const auto& value : values) {
    if (at_or_below(value.pointer, pointer) || at_or_below(value.named_pointer, pointer)) {
      found.push_back(value);
    }
  }
  if (!found.empty()) return found;
  // The first key on the way that does not exist.
  std::string place;
  const std::vector<std::string> tokens = split_pointer(pointer);
  std::vector<std::string> keys = keys_at(values, place);
  size_t known = 0;
  while (known + 1 < tokens.size() && std::find(keys.begin(), keys.end(), tokens[known]) != keys.end()) {
    place += "/" + escape(tokens[known++]);
    keys = keys_at(values, place);
  }
  throw base::UserError(
      keys.empty() ? "the value at " + place + " has no members" : "the config has no such value",
      {.pointer = place + "/" + escape(tokens[known]),
       .allowed = base::join(keys),
       .suggestion = base::did_you_mean(tokens[known], keys)});
}

std::string place_of(const Statement& statement) {
  if (statement.place.line == 0) return statement.origin.label;
  return fmt::format("{}:{}:{}", statement.origin.label, statement.place.line, statement.place.column);
}

}  // namespace attnlab::config
