// The JSON Schema of the config of attnlab sweep.
#include "core/cli/config_schemas.hpp"
#include "core/config/json_schema.hpp"
#include "core/sweep/config.hpp"

namespace attnlab::cli {
namespace {

using io::Json;
using namespace schema;

Json constant(const Json& value) {
  return {{"const", value}};
}

/// A pointer into a run's config that a sweep may vary.
constexpr const char* varied_pointer = "^/(pipelines|attention|input|mode|queries|layers|heads|seed)(/|$)";

/// Values of one pointer.
Json axis_schema() {
  const Json number = {{"type", "number"}, {"minimum", -0x1p53}, {"maximum", 0x1p53}};
  Json positive = number;
  positive["exclusiveMinimum"] = 0;
  const auto pair = [](const Json& low, const Json& high) -> Json {
    return {{"type", "array"}, {"prefixItems", {low, high}}, {"minItems", 2}, {"maxItems", 2}};
  };
  const Json count = {{"description", "Values at equal distances."},
                      {"type", "integer"},
                      {"minimum", 2},
                      {"maximum", 10'000}};
  const Json step = {{"type", "number"}, {"exclusiveMinimum", 0}};
  Json range = with_member(object({}), "range", pair(number, number), true);
  range["properties"]["step"] = step;
  range["properties"]["count"] = count;
  range["not"] = {{"required", {"step", "count"}}};
  Json log_range = with_member(object({}), "log_range", pair(positive, number), true);
  log_range["properties"]["count"] = count;
  const Json list = {{"type", "array"}, {"minItems", 1}, {"maxItems", 10'000}};
  return {{"description", "A list of values, or a range."}, {"anyOf", {list, range, log_range}}};
}

Json axes_schema(const std::string& description) {
  return {{"description", description},
          {"type", "object"},
          {"propertyNames", {{"pattern", varied_pointer}}},
          {"additionalProperties", reference("axis")}};
}

Json space_schema() {
  Json zipped = axes_schema("Axes of equally many values, which change together.");
  zipped["minProperties"] = 2;
  Json space = axes_schema("What varies, by JSON pointer into the base.");
  space["propertyNames"]["pattern"] = std::string("^zip$|") + varied_pointer;
  space["properties"]["zip"] = {{"type", "array"}, {"items", zipped}};
  return space;
}

Json condition_schema() {
  Json test = axes_schema("A value, or a list of values, by pointer.");
  test["additionalProperties"] = true;
  test["minProperties"] = 1;
  Json then = axes_schema("Axes that take part where the test holds; elsewhere the base's value stays.");
  then["minProperties"] = 1;
  return with_member(with_member(object({}), "if", test, true), "then", then, true);
}

/// `partial`: a weaker file may say the kind.
Json sampler_schema(bool partial) {
  using Kind = sweep::SamplerPlan::Kind;
  const Json rung = {{"type", "object"}, {"propertyNames", {{"pattern", "^/"}}}};
  const Json rungs = {
      {"description", "Values over base and point, by pointer: workloads, the smallest first."},
      {"type", "array"},
      {"items", rung},
      {"minItems", 2},
      {"maxItems", 16}};
  Json all = {{"type", "object"}, {"properties", Json::object()}}, rules = Json::array();
  for (const Kind kind :
       {Kind::grid, Kind::random, Kind::sobol, Kind::halton, Kind::tpe, Kind::successive_halving}) {
    Json own = object(sweep::sampler_parameters(kind));
    if (kind == Kind::successive_halving) {
      own = with_member(own, "rungs", rungs, true);
      own["if"] = {{"properties", {{"first", constant("grid")}}}, {"required", {"first"}}};
      own["then"] = {{"properties", {{"trials", false}}}};
      own["else"] = {{"required", {"trials"}}};
    }
    for (const auto& item : own["properties"].items()) all["properties"][item.key()] = item.value();
    Json is = {{"properties", {{"kind", constant(name_of(kind))}}}};
    if (kind != Kind::grid) is["required"] = {"kind"};
    rules.push_back({{"if", is}, {"then", own}});
  }
  io::erase_member(all["properties"]["trials"], "default");
  all["additionalProperties"] = false;
  if (!partial) all["allOf"] = rules;
  return all;
}

Json objective_schema() {
  const Json expression = {{"description", "A metric, or an expression of metrics."},
                           {"type", "string"},
                           {"maxLength", 500},
                           {"examples", sweep::metric_names()}};
  Json hub = with_member(object({}), "preset", {{"enum", {"hub"}}}, true);
  hub["properties"]["target_density"] = {{"type", "number"}, {"exclusiveMinimum", 0}, {"maximum", 1}};
  const Json one = {{"oneOf",
                     {with_member(object({}), "minimise", expression, true),
                      with_member(object({}), "maximise", expression, true), hub}}};
  return one_or_list(one, 1, 16);
}

}  // namespace

Json ConfigSchemas::sweep() const {
  Json whole = begun("sweep");
  add(whole, sweep::sweep_parameters());
  Json base = run_;
  whole["$defs"] = base["$defs"];
  for (const char* key : {"$schema", "title", "$defs"}) io::erase_member(base, key);
  for (const char* of_files : {"$schema", "extends"}) base["properties"][of_files] = false;
  base["required"] = {"input"};
  whole["$defs"]["run"] = base;
  whole["$defs"]["axis"] = axis_schema();
  Json& properties = whole["properties"];
  const Json file = text("A config of attnlab run, relative to this file.");
  properties["space"] = space_schema();
  const Json stage = {
      {"description", "Pointer of a stage."}, {"type", "string"}, {"pattern", varied_pointer}};
  properties["default_space"] = {
      {"description", "Vary what the methods declare: of all stages of the pipeline, or of these."},
      {"anyOf", {{{"type", "boolean"}}, {{"type", "array"}, {"items", stage}, {"minItems", 1}}}}};
  properties["conditions"] = {{"type", "array"}, {"items", condition_schema()}};
  properties["constraints"] = {
      {"description",
       "Comparisons of pointers, which choose the points, or of metrics, which judge the trials."},
      {"type", "array"},
      {"items", {{"type", "string"}, {"maxLength", 500}}}};
  properties["objective"] = objective_schema();
  properties["limits"] = object(sweep::limit_parameters());
  properties["limits"]["properties"]["memory"]["pattern"] =
      "^ *([0-9]+\\.?[0-9]*|\\.[0-9]+)([eE][+-]?[0-9]+)? *(KiB|MiB|GiB|TiB)$";
  properties["executor"] = object(sweep::executor_parameters());
  const Json part = {{"base", {{"anyOf", {file, {{"type", "object"}}}}}}, {"sampler", sampler_schema(true)}};
  const Json members = {{"base", {{"if", {{"type", "object"}}}, {"then", reference("run")}, {"else", file}}},
                        {"sampler", sampler_schema(false)}};
  Json config = finished(whole, members, part);
  config["else"]["required"] = {"base"};
  const Json something = {{"properties", {{"space", {{"minProperties", 1}}}}}, {"required", {"space"}}};
  const Json declared = {{"properties", {{"default_space", {{"not", constant(false)}}}}},
                         {"required", {"default_space"}}};
  config["else"]["anyOf"] = {something, declared};
  return config;
}

}  // namespace attnlab::cli
