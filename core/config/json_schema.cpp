#include "core/config/json_schema.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/config/policy.hpp"
#include "core/config/schema.hpp"

namespace attnlab::config {
namespace {

using io::Json;
using plugin::Descriptor;
using plugin::Parameter;
using plugin::ParameterType;

constexpr const char* dialect = "https://json-schema.org/draft/2020-12/schema";
/// Decimal numbers up to 100 as plugin::parse_value reads them.
constexpr const char* percent = "0*(100(\\.0*)?|[0-9]{1,2}(\\.[0-9]*)?|\\.[0-9]+)%$";

/// A bound as the number a person would write.
Json number(double value) {
  if (value == std::floor(value) && std::abs(value) < 9.2e18) return static_cast<int64_t>(value);
  return value;
}

void put_bounds(Json& schema, const Parameter& p) {
  if (std::isfinite(p.minimum)) schema[p.minimum_open ? "exclusiveMinimum" : "minimum"] = number(p.minimum);
  if (std::isfinite(p.maximum)) schema[p.maximum_open ? "exclusiveMaximum" : "maximum"] = number(p.maximum);
}

/// A count, a fraction or a percentage; `zero`: whether none of them need be positive.
Json size_schema(bool zero) {
  const Json count = {{"type", "integer"}, {"minimum", zero ? 0 : 1}, {"maximum", INT32_MAX}};
  Json fraction = {{"type", "number"}};
  fraction[zero ? "minimum" : "exclusiveMinimum"] = 0;
  fraction["maximum"] = 1;
  const std::string start = zero ? "^" : "^(?=.*[1-9])";
  return {{"anyOf", {count, fraction, {{"type", "string"}, {"pattern", start + percent}}}}};
}

Json value_schema(const Parameter& p) {
  switch (p.type) {
    case ParameterType::boolean:
      return {{"type", "boolean"}};
    case ParameterType::integer: {
      Json schema = {{"type", "integer"}};
      put_bounds(schema, p);
      if (!std::isfinite(p.minimum)) schema["minimum"] = std::numeric_limits<int64_t>::min();
      if (!std::isfinite(p.maximum)) schema["maximum"] = std::numeric_limits<int64_t>::max();
      return schema;
    }
    case ParameterType::real: {
      Json schema = {{"type", "number"}};
      put_bounds(schema, p);
      return schema;
    }
    case ParameterType::string:
    case ParameterType::path:
      return {{"type", "string"}};
    case ParameterType::enumeration:
      return {{"enum", p.enum_names}};
    case ParameterType::list: {
      Parameter item = p;
      item.type = p.item_type;
      return {{"type", "array"}, {"items", value_schema(item)}};
    }
    case ParameterType::count_or_fraction:
      return size_schema(false);
    case ParameterType::offset:
      return size_schema(true);
    case ParameterType::pipeline:
      break;
  }
  // The host accepts no value of a type that it cannot run.
  return {{"not", Json::object()}};
}

/// An object with these keys and no others.
Json object_schema(const std::vector<Parameter>& parameters) {
  Json schema = {{"type", "object"}, {"properties", Json::object()}};
  Json required = Json::array();
  for (const auto& parameter : parameters) {
    schema["properties"][parameter.key] = json_schema(parameter);
    if (parameter.required) required.push_back(parameter.key);
  }
  if (!required.empty()) schema["required"] = required;
  schema["additionalProperties"] = false;
  return schema;
}

/// Holds for objects whose `key` is `value`, or may hold for those without the key.
Json key_is(const std::string& key, const Json& value, bool required) {
  Json schema = {{"properties", {{key, {{"const", value}}}}}};
  if (required) schema["required"] = Json::array({key});
  return schema;
}

/// Which keys a scorer's stage needs and may not have, depending on "select".
void add_selector_rules(Json& schema, const Descriptor& method) {
  std::vector<std::string> common, all;
  for (const auto& p : selector_parameters("", method.selector)) common.push_back(p.key);
  auto is_common = [&](const std::string& key) {
    return std::find(common.begin(), common.end(), key) != common.end();
  };
  for (const auto& selector : selector_names()) {
    for (const auto& p : selector_parameters(selector, method.selector)) {
      if (is_common(p.key)) continue;
      schema["properties"][p.key] = json_schema(p);
      all.push_back(p.key);
    }
  }
  schema["allOf"] = Json::array();
  for (const auto& selector : selector_names()) {
    Json then = {{"properties", Json::object()}, {"required", Json::array()}};
    std::vector<std::string> own;
    for (const auto& p : selector_parameters(selector, method.selector)) {
      own.push_back(p.key);
      if (p.required) then["required"].push_back(p.key);
    }
    for (const auto& key : all) {
      if (std::find(own.begin(), own.end(), key) == own.end()) then["properties"][key] = false;
    }
    schema["allOf"].push_back(
        {{"if", key_is("select", selector, selector != method.selector)}, {"then", then}});
  }
  const auto& names = selector_names();
  if (std::find(names.begin(), names.end(), method.selector) == names.end()) {
    io::erase_member(schema["properties"]["select"], "default");
    schema["required"].push_back("select");
  }
}

Json stage_schema(const Descriptor& method) {
  Json schema = object_schema(stage_table(method, ""));
  Json properties = {{"masker", {{"const", method.id}, {"description", method.summary}}}};
  for (const auto& item : schema["properties"].items()) properties[item.key()] = item.value();
  properties["name"]["pattern"] = name_pattern;
  schema["properties"] = properties;
  Json required = Json::array({"masker"});
  for (const auto& key : schema.value("required", Json::array())) required.push_back(key);
  schema["required"] = required;
  schema["description"] = method.summary;
  if (method.facet == plugin::Facet::scorer) add_selector_rules(schema, method);
  return schema;
}

/// A stage of any method: the method decides which keys there are.
Json any_stage(const plugin::Catalog& catalog) {
  Json rules = Json::array();
  for (const auto& id : catalog.ids()) {
    rules.push_back({{"if", key_is("masker", id, true)}, {"then", {{"$ref", "#/$defs/stage." + id}}}});
  }
  Json masker = {{"enum", catalog.ids()}, {"description", "Id of the method (attnlab plugin list)."}};
  return {
      {"type", "object"}, {"properties", {{"masker", masker}}}, {"required", {"masker"}}, {"allOf", rules}};
}

/// A list of stages, of which one may sample.
Json stages_schema(const plugin::Catalog& catalog) {
  Json samplers = Json::array();
  for (const auto& [id, entry] : catalog.entries()) {
    if (entry.descriptor.has(ATTNLAB_SAMPLES)) samplers.push_back(id);
  }
  Json list = {{"type", "array"}, {"items", {{"$ref", "#/$defs/stage"}}}};
  if (!samplers.empty()) {
    list["contains"] = {{"properties", {{"masker", {{"enum", samplers}}}}}, {"required", {"masker"}}};
    list["minContains"] = 0;
    list["maxContains"] = 1;
  }
  return list;
}

/// An object whose keys list layers or heads.
Json policy_object(const std::string& description, const Json& value) {
  return {{"description", description},
          {"type", "object"},
          {"minProperties", 1},
          {"propertyNames", {{"pattern", index_list_pattern}, {"maxLength", index_list_length}}},
          {"additionalProperties", value}};
}

/// What layers and query heads use.
Json policy_schema() {
  const Json pipeline = {
      {"anyOf",
       {{{"type", "string"}, {"description", "Name of a pipeline."}}, {{"$ref", "#/$defs/stages"}}}}};
  const Json heads = policy_object("Pipelines by query head.", pipeline);
  Json layer = pipeline;
  layer["anyOf"].push_back(heads);
  Json policy = {{"type", "object"}, {"minProperties", 1}, {"additionalProperties", false}};
  policy["properties"]["layers"] = policy_object(
      "Pipelines, or pipelines by query head, by layer: \"0,4-7\", or \"*\" for every other.", layer);
  policy["properties"]["heads"] = heads;
  return policy;
}

Json pipelines_schema() {
  const Json pipeline = {{"if", {{"type", "object"}}},
                         {"then", {{"$ref", "#/$defs/policy"}}},
                         {"else", {{"$ref", "#/$defs/stages"}}}};
  return {{"type", "object"},
          {"description",
           "What is compared, by name: lists of stages, [] is dense attention; or policies that give layers "
           "and query heads such pipelines."},
          {"minProperties", 1},
          {"propertyNames", {{"pattern", name_pattern}}},
          {"additionalProperties", pipeline}};
}

/// An input of one kind. `partial`: a file that extends another may say a part of it.
Json input_schema(bool partial) {
  Json kinds = Json::array();
  Json every_key = Json::object();
  auto add = [&](Json kind) {
    for (const auto& item : kind["properties"].items()) every_key[item.key()] = item.value();
    kinds.push_back(std::move(kind));
  };
  for (const auto& kind : file_input_parameters()) add(object_schema({kind}));
  for (const auto& name : workload_kinds()) {
    Json kind = object_schema(workload_parameters(name));
    kind["properties"]["workload"] = {{"const", name}};
    kind["required"] = Json::array({"workload"});
    add(std::move(kind));
  }
  const char* description = "What is attended to: a trace, npz or safetensors file, or a generated workload.";
  if (!partial) return {{"description", description}, {"oneOf", kinds}};
  every_key["workload"] = {{"enum", workload_kinds()}};
  return {{"description", description},
          {"type", "object"},
          {"properties", every_key},
          {"additionalProperties", false}};
}

Json paths_schema(const std::string& description) {
  const Json path = {{"type", "string"}};
  return {{"description", description}, {"anyOf", {path, {{"type", "array"}, {"items", path}}}}};
}

}  // namespace

Json json_schema(const Parameter& p) {
  Json schema = value_schema(p);
  std::string text = p.doc;
  if (!p.unit.empty()) text += (text.empty() ? "Unit: " : " Unit: ") + p.unit + ".";
  if (!p.since.empty()) text += " Since " + p.since + ".";
  if (!text.empty()) schema["description"] = text;
  if (p.default_value.is_set()) schema["default"] = to_json(p.default_value);
  for (const auto& value : p.sweep) schema["examples"].push_back(to_json(value));
  return schema;
}

Json stage_json_schema(const Descriptor& method) {
  Json schema = {{"$schema", dialect}, {"title", "attnlab stage " + method.id}};
  const Json stage = stage_schema(method);
  for (const auto& item : stage.items()) schema[item.key()] = item.value();
  return schema;
}

Json config_json_schema(const plugin::Catalog& catalog) {
  Json schema = {{"$schema", dialect}, {"title", "attnlab config"}};
  const Json run = object_schema(run_parameters());
  schema["type"] = "object";
  Json& properties = schema["properties"];
  properties["$schema"] = {{"description", "For editors; attnlab does not read it."}};
  properties["extends"] = paths_schema("Files that this one extends, relative to it; later ones win.");
  for (const auto& item : run["properties"].items()) properties[item.key()] = item.value();
  properties["plugin_path"] = paths_schema(plugin_path_parameter().doc);
  properties["attention"] = object_schema(attention_parameters());
  properties["pipelines"] = pipelines_schema();
  properties["input"] = Json::object();
  schema["additionalProperties"] = false;
  // --input gives configs without one theirs, so that it is not required here.
  schema["if"] = {{"required", {"extends"}}};
  schema["then"] = {{"properties", {{"input", input_schema(true)}}}};
  schema["else"] = {{"properties", {{"input", input_schema(false)}}}, {"required", {"pipelines"}}};
  const Json not_false = {{"properties", {{"causal", {{"not", {{"const", false}}}}}}}};
  schema["allOf"] = Json::array();
  schema["allOf"].push_back(
      {{"if", key_is("mode", "decode", true)}, {"then", {{"properties", {{"attention", not_false}}}}}});
  schema["$defs"]["stages"] = stages_schema(catalog);
  schema["$defs"]["policy"] = policy_schema();
  schema["$defs"]["stage"] = any_stage(catalog);
  for (const auto& id : catalog.ids()) {
    schema["$defs"]["stage." + id] = stage_schema(catalog.find(id)->descriptor);
  }
  return schema;
}

}  // namespace attnlab::config
