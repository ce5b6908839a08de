#include "core/measure/identity.hpp"

#include <algorithm>
#include <filesystem>
#include <set>

#include "core/base/hash.hpp"
#include "core/measure/scope.hpp"

namespace attnlab::measure {
namespace {

using io::Json;

/// Calls visit(file) for each file that a stage's parameter names.
template <class Visit>
void for_each_stage_file(const config::RunPlan& plan, const plugin::Catalog& catalog, const Visit& visit) {
  for (const auto& pipeline : plan.pipelines) {
    for (const auto& stage : pipeline.stages) {
      const auto& parameters = catalog.find(stage.masker)->descriptor.parameters;
      for (size_t p = 0; p < parameters.size(); ++p) {
        const auto* path = std::get_if<std::string>(&stage.values[p].data);
        if (parameters[p].type == plugin::ParameterType::path && path != nullptr &&
            std::filesystem::is_regular_file(*path))
          visit(*path);
      }
    }
  }
}

/// Replaces text that equals `from`, anywhere in the document. Documents have bounded depth.
void replace_text(Json& json, const std::string& from, const std::string& to) {
  if (json.is_string() && json.get_ref<const std::string&>() == from) json = to;
  if (!json.is_structured()) return;
  for (auto& item : json) replace_text(item, from, to);
}

}  // namespace

InputFiles input_files(const config::RunPlan& plan, const plugin::Catalog& catalog,
                       const data::Source& source) {
  std::set<std::string> plugins;
  for (const auto& pipeline : plan.pipelines) {
    for (const auto& stage : pipeline.stages) plugins.insert(catalog.find(stage.masker)->file);
  }
  InputFiles files{source.files(), {plugins.begin(), plugins.end()}};
  for_each_stage_file(plan, catalog, [&](const std::string& file) {
    if (std::find(files.data.begin(), files.data.end(), file) == files.data.end()) files.data.push_back(file);
  });
  return files;
}

Json complete_config(const config::RunPlan& plan, const plugin::Catalog& catalog,
                     const data::Source& source) {
  // Filled in before it is written, so that the key order, and with it the run id, survives a run of
  // resolved.json.
  const auto attention = attention_options(plan, source);
  config::RunPlan complete = plan;
  complete.attention.causal = attention.causal;
  complete.attention.scale = double{attention.scale};
  return to_json(complete, catalog);
}

std::string run_id(const config::RunPlan& plan, const plugin::Catalog& catalog, const Json& complete,
                   const InputFiles& files, const FileHash& hash) {
  Json identity = complete;
  for (const char* path : {"trace", "npz", "safetensors"}) io::erase_member(identity["input"], path);
  for (const char* name : {"title", "plugin_path"}) io::erase_member(identity, name);
  for_each_stage_file(
      plan, catalog, [&](const std::string& file) { replace_text(identity["pipelines"], file, hash(file)); });
  identity["files"] = Json::array();
  for (const auto* list : {&files.data, &files.plugins}) {
    for (const auto& file : *list) identity["files"].push_back(hash(file));
  }
  identity["version"] = ATTNLAB_VERSION;
  return base::hash_hex(identity.dump());
}

}  // namespace attnlab::measure
