#include "core/config/scheme_plan.hpp"

#include <fmt/core.h>

#include "core/config/schema.hpp"

namespace attnlab::config {
namespace {

using base::Mistake;
using base::UserError;
using io::Json;

std::vector<std::string> scheme_ids(const plugin::Catalog& catalog) {
  std::vector<std::string> ids;
  for (const auto& [id, entry] : catalog.entries()) {
    if (entry.descriptor.facet == plugin::Facet::scheme) ids.push_back(id);
  }
  return ids;
}

[[noreturn]] void unknown_scheme(const Document& document, const std::string& pointer, const std::string& id,
                                 const plugin::Catalog& catalog) {
  Mistake mistake = document.where(pointer + "/scheme");
  mistake.found = "\"" + id + "\"";
  const std::vector<std::string> known = scheme_ids(catalog);
  mistake.allowed = known.empty() ? "" : base::join(known);
  const plugin::CatalogEntry* entry = catalog.find(id);
  mistake.suggestion = entry != nullptr ? fmt::format("{} is a {}; schemes are what a layer computes", id,
                                                      plugin::name_of(entry->descriptor.facet))
                                        : base::did_you_mean(id, known);
  if (mistake.suggestion.empty()) mistake.suggestion = catalog.why_missing(id);
  throw UserError("there is no such scheme", mistake, base::Exit::plugin_missing);
}

}  // namespace

SchemePlan resolve_scheme(const Document& document, const std::string& pointer,
                          const plugin::Catalog& catalog) {
  const Json& object = document.root().at(Json::json_pointer(pointer));
  if (!object.is_object() || !object.contains("scheme") || !object["scheme"].is_string()) {
    Mistake mistake = document.where(pointer);
    mistake.found = object.dump().substr(0, 80);
    mistake.allowed = "{\"scheme\": \"mha\", ...}, one of " + base::join(scheme_ids(catalog));
    throw UserError("an attention layer names its scheme", mistake);
  }
  SchemePlan plan;
  plan.pointer = pointer;
  plan.scheme = object["scheme"].get<std::string>();
  const plugin::CatalogEntry* entry = catalog.find(plan.scheme);
  if (entry == nullptr || entry->descriptor.facet != plugin::Facet::scheme)
    unknown_scheme(document, pointer, plan.scheme, catalog);
  const plugin::Descriptor& method = entry->descriptor;
  std::vector<plugin::Parameter> free;
  for (const auto& parameter : method.parameters) {
    if (!parameter.fixed) free.push_back(parameter);
  }
  const Values values = read_object(document, pointer, object, free, {"scheme"}, [&](const std::string& key) {
    for (const auto& parameter : method.parameters) {
      if (parameter.fixed && parameter.key == key)
        return fmt::format("{} fixes it at {}; the scheme \"{}\" lets you choose", method.id,
                           to_text(parameter.default_value), method.method);
    }
    return std::string();
  });
  for (const auto& parameter : method.parameters) {
    plan.values.push_back(parameter.fixed ? parameter.default_value : values.at(parameter.key));
    auto* list = std::get_if<plugin::StageList>(&plan.values.back().data);
    if (list == nullptr) continue;
    PipelinePlan pipeline;
    pipeline.name = parameter.key;
    pipeline.stages = resolve_stages(document, pointer + "/" + parameter.key, list->stages, catalog);
    list->stages = Json::array();
    for (const StagePlan& stage : pipeline.stages)
      list->stages.push_back(to_json(stage, catalog.find(stage.masker)->descriptor));
    plan.pipelines.emplace(plan.values.size() - 1, std::move(pipeline));
  }
  return plan;
}

Json to_json(const SchemePlan& plan, const plugin::Descriptor& method) {
  Json object = {{"scheme", plan.scheme}};
  for (size_t i = 0; i < method.parameters.size(); ++i) {
    if (!method.parameters[i].fixed && plan.values[i].is_set())
      object[method.parameters[i].key] = plugin::to_json(plan.values[i]);
  }
  return object;
}

}  // namespace attnlab::config
