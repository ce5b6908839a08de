#include "core/cli/config_schemas.hpp"

#include "core/config/compare_plan.hpp"
#include "core/config/json_schema.hpp"
#include "core/config/layer_plan.hpp"
#include "core/config/operators_plan.hpp"
#include "core/config/schema.hpp"
#include "core/config/train_plan.hpp"

namespace attnlab::cli {

using io::Json;
using plugin::Parameter;

namespace schema {

Json text(const std::string& description) {
  return {{"description", description}, {"type", "string"}};
}

Json reference(const std::string& name) {
  return {{"$ref", "#/$defs/" + name}};
}

Json object(const std::vector<Parameter>& parameters, bool partial) {
  Json whole = {{"type", "object"}, {"properties", Json::object()}};
  for (const auto& parameter : parameters) {
    whole["properties"][parameter.key] = config::json_schema(parameter);
    if (parameter.required && !partial) whole["required"].push_back(parameter.key);
  }
  whole["additionalProperties"] = false;
  return whole;
}

Json with_member(Json object, const std::string& key, const Json& value, bool required) {
  object["properties"][key] = value;
  if (required) object["required"].push_back(key);
  return object;
}

Json one_or_list(const Json& value, size_t least, size_t most) {
  return {{"anyOf", {value, {{"type", "array"}, {"items", value}, {"minItems", least}, {"maxItems", most}}}}};
}

void add(Json& whole, const std::vector<Parameter>& parameters) {
  const Json members = object(parameters);
  for (const auto& item : members["properties"].items()) whole["properties"][item.key()] = item.value();
}

Json finished(Json whole, const Json& members, const Json& part) {
  Json required = Json::array();
  for (const auto& item : members.items()) {
    whole["properties"][item.key()] = Json::object();
    required.push_back(item.key());
  }
  whole["additionalProperties"] = false;
  whole["if"] = {{"required", {"extends"}}};
  whole["then"] = {{"properties", part}};
  whole["else"] = {{"properties", members}, {"required", required}};
  return whole;
}

}  // namespace schema

namespace {

using namespace schema;

Json seed_schema() {
  return {{"type", "integer"}, {"minimum", 0}, {"maximum", int64_t{9'000'000'000'000'000'000}}};
}

/// Lengths of sequences.
Json tokens_schema(int64_t least, int64_t most) {
  return one_or_list({{"type", "integer"}, {"minimum", least}, {"maximum", most}}, 1, 64);
}

Json scheme_schema(const plugin::Descriptor& method) {
  std::vector<Parameter> free;
  for (const auto& parameter : method.parameters) {
    if (!parameter.fixed) free.push_back(parameter);
  }
  const Json id = {{"const", method.id}, {"description", method.summary}};
  Json scheme = with_member(object(free), "scheme", id, true);
  for (const auto& parameter : free) {
    if (parameter.type != plugin::ParameterType::pipeline) continue;
    Json& stages = scheme["properties"][parameter.key];
    stages = reference("stages");
    stages["description"] = parameter.doc;
  }
  return scheme;
}

/// What a comparison may say of its subjects' training configs: any part.
Json training_parts() {
  std::vector<Parameter> task = config::text_parameters();
  task.insert(task.end(), config::recall_parameters().begin(), config::recall_parameters().end());
  const Json list = {{"type", "array"}, {"items", reference("scheme")}, {"minItems", 1}};
  return {{"model", object(config::model_parameters(), true)},
          {"attention", {{"anyOf", {reference("scheme_part"), list}}}},
          {"task", with_member(object(task, true), "generated", {{"const", "recall"}}, false)},
          {"train", object(config::optimiser_parameters(), true)},
          {"allow_noncausal",
           {{"description", "Train schemes that look into the future all the same."},
            {"type", "boolean"},
            {"default", false}}}};
}

}  // namespace

ConfigSchemas::ConfigSchemas(const plugin::Catalog& catalog)
    : catalog_(catalog), run_(config::config_json_schema(catalog)) {}

Json ConfigSchemas::begun(const std::string& command) const {
  Json whole = {{"$schema", run_["$schema"]}, {"title", "config of attnlab " + command}, {"type", "object"}};
  for (const char* key : {"$schema", "extends"}) whole["properties"][key] = run_["properties"][key];
  return whole;
}

/// "scheme", and "scheme_part" whose kind another file may say.
void ConfigSchemas::add_scheme_definitions(Json& whole) const {
  Json& definitions = whole["$defs"];
  definitions = run_["$defs"];
  Json ids = Json::array(), rules = Json::array();
  for (const auto& [id, entry] : catalog_.entries()) {
    if (entry.descriptor.facet != plugin::Facet::scheme) continue;
    ids.push_back(id);
    const Json is = {{"properties", {{"scheme", {{"const", id}}}}}, {"required", {"scheme"}}};
    rules.push_back({{"if", is}, {"then", reference("scheme." + id)}});
    definitions["scheme." + id] = scheme_schema(entry.descriptor);
  }
  const Json scheme = {{"enum", ids}, {"description", "Id of the scheme (attnlab plugin list)."}};
  Json part = {{"type", "object"}, {"properties", {{"scheme", scheme}}}};
  if (!rules.empty()) part["allOf"] = rules;
  definitions["scheme_part"] = part;
  part["required"] = {"scheme"};
  definitions["scheme"] = part;
}

Json ConfigSchemas::layer() const {
  Json whole = begun("forward");
  add(whole, config::layer_parameters());
  for (const Parameter& parameter : config::layer_parameters()) {
    // As resolved configs have it: the input says.
    Json& type = whole["properties"][parameter.key]["type"];
    if (!parameter.default_value.is_set()) type = {Json(type), "null"};
  }
  add_scheme_definitions(whole);
  whole["properties"]["lift"] = object(config::lift_parameters());
  whole["properties"]["plugin_path"] = run_["properties"]["plugin_path"];
  return finished(whole, {{"attention", reference("scheme")}}, {{"attention", reference("scheme_part")}});
}

Json ConfigSchemas::train() const {
  Json whole = begun("train");
  add_scheme_definitions(whole);
  const Json parts = training_parts();
  Json& properties = whole["properties"];
  properties["title"] = text("Shown in results.");
  for (const char* key : {"model", "train", "allow_noncausal"}) properties[key] = parts[key];
  properties["seed"] = seed_schema();
  properties["seed"]["description"] = "Of first weights, windows and dropout.";
  properties["seed"]["default"] = 1;
  properties["plugin_path"] = run_["properties"]["plugin_path"];
  Json attention = parts["attention"];
  attention["anyOf"][0] = reference("scheme");
  const Json recall =
      with_member(object(config::recall_parameters()), "generated", {{"const", "recall"}}, true);
  const Json task = {{"oneOf", {object(config::text_parameters()), recall}}};
  return finished(whole, {{"attention", attention}, {"task", task}},
                  {{"attention", parts["attention"]}, {"task", parts["task"]}});
}

Json ConfigSchemas::compare() const {
  Json whole = begun("compare");
  add(whole, config::comparison_parameters());
  add_scheme_definitions(whole);
  const Json parts = training_parts();
  Json& properties = whole["properties"];
  properties["base"] = text("A training config that all subjects share.");
  for (const auto& item : parts.items()) properties[item.key()] = item.value();
  Json listed = {{"type", "array"}, {"items", seed_schema()}, {"minItems", 1}, {"maxItems", 1000}};
  listed["uniqueItems"] = true;
  const Json count = {{"type", "integer"}, {"minimum", 1}, {"maximum", 1000}};
  properties["seeds"] = {{"description", "How many, or which."}, {"anyOf", {count, listed}}, {"default", 3}};
  properties["decode"] = object(config::decode_parameters());
  properties["plugin_path"] = run_["properties"]["plugin_path"];
  Json subject = {{"type", "object"}, {"properties", parts}, {"additionalProperties", false}};
  io::erase_member(subject["properties"], "task");
  const Json subjects = {{"description", "What is compared, by name: what is each one's own."},
                         {"type", "object"},
                         {"minProperties", 1},
                         {"maxProperties", 64},
                         {"propertyNames", {{"pattern", config::name_pattern}}},
                         {"additionalProperties", subject}};
  return finished(whole, {{"subjects", subjects}}, {{"subjects", subjects}});
}

Json ConfigSchemas::operators() const {
  Json whole = begun("operators");
  add_scheme_definitions(whole);
  Json& properties = whole["properties"];
  properties["title"] = text("Shown in results.");
  properties["plugin_path"] = run_["properties"]["plugin_path"];
  const Json bound = {{"type", "number"}, {"minimum", -1e6}, {"maximum", 1e6}};
  const Json deviation = {{"type", "number"}, {"exclusiveMinimum", 0}, {"maximum", 1e6}};
  const Json ends = {{"type", "array"}, {"items", bound}, {"minItems", 2}, {"maxItems", 2}};
  const Json draw = {
      {"oneOf",
       {with_member(object({}), "normal", deviation, true), with_member(object({}), "uniform", ends, true)}}};
  Json spectrum = object(config::spectrum_parameters());
  spectrum["properties"]["tokens"] = tokens_schema(2, 8192);
  spectrum["properties"]["draw"] = {
      {"description", "How an operator's learned parameters are drawn, by its name."},
      {"type", "object"},
      {"additionalProperties", draw}};
  Json scaling = object(config::scaling_parameters());
  scaling["properties"]["tokens"] = tokens_schema(1, 1 << 20);
  scaling["properties"]["mode"] = one_or_list({{"enum", {"prefill", "decode"}}}, 1, 64);
  properties["spectrum"] = spectrum;
  properties["scaling"] = scaling;
  Json named = {{"type", "object"}, {"minProperties", 1}, {"maxProperties", 64}};
  Json part = named;
  named["additionalProperties"] = reference("scheme");
  part["additionalProperties"] = reference("scheme_part");
  Json config = finished(whole, {{"operators", named}}, {{"operators", part}});
  config["else"]["anyOf"] = {{{"required", {"spectrum"}}}, {{"required", {"scaling"}}}};
  return config;
}

}  // namespace attnlab::cli
