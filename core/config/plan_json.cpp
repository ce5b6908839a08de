// RunPlan -> resolved config.
#include "core/config/run_plan.hpp"
#include "core/config/schema.hpp"

namespace attnlab::config {
using io::Json;

Json to_json(const StagePlan& stage, const plugin::Descriptor& method) {
  Json json;
  json["masker"] = stage.masker;
  json["name"] = stage.name;
  bool own_seed = false;
  for (size_t i = 0; i < method.parameters.size(); ++i) {
    const plugin::Parameter& parameter = method.parameters[i];
    if (stage.values[i].is_set() && !parameter.fixed) json[parameter.key] = to_json(stage.values[i]);
    own_seed = own_seed || parameter.key == "seed";
  }
  if (!own_seed) json["seed"] = stage.seed;
  if (!stage.selector) return json;
  const SelectorPlan& selector = *stage.selector;
  json["select"] = name_of(selector.kind);
  switch (selector.kind) {
    case SelectorPlan::Kind::top_k:
      json["heavy_size"] = to_json(plugin::Value{selector.heavy_size});
      break;
    case SelectorPlan::Kind::top_p:
      json["top_p"] = selector.top_p;
      json["of"] = selector.of_total ? "total" : "remaining";
      break;
    case SelectorPlan::Kind::threshold:
      json["threshold"] = selector.threshold;
      break;
    case SelectorPlan::Kind::importance:
      json["sample_size"] = to_json(plugin::Value{selector.sample_size});
      json["temperature"] = selector.temperature;
      break;
  }
  json["share"] = selector.share == SelectorPlan::Share::kv_group ? "kv_group" : "query_head";
  json["reduce"] = selector.reduce == SelectorPlan::Reduce::mean ? "mean" : "max";
  return json;
}

namespace {

Json pipeline_json(const PipelinePlan& pipeline, const plugin::Catalog& catalog) {
  std::vector<Json> stages;
  for (const auto& stage : pipeline.stages) {
    stages.push_back(to_json(stage, catalog.find(stage.masker)->descriptor));
  }
  return pipeline.policy ? policy_json(pipeline, stages) : Json(stages);
}

Json input_json(const InputSpec& input) {
  Json json;
  if (input.kind != InputSpec::Kind::workload) {
    json[input_key(input)] = input.path;
    return json;
  }
  const WorkloadSpec& spec = input.workload;
  json["workload"] = spec.kind;
  json["layers"] = spec.layers;
  json["batch"] = spec.batch;
  json["query_heads"] = spec.query_heads;
  json["kv_heads"] = spec.kv_heads;
  json["queries"] = spec.queries;
  json["keys"] = spec.keys;
  json["head_dim"] = spec.head_dim;
  json["value_dim"] = spec.value_dim;
  json["seed"] = spec.seed;
  if (spec.kind == "power_law" || spec.kind == "cone") json["alpha"] = spec.alpha;
  if (spec.kind == "cone") {
    json["mean_norm"] = spec.mean_norm;
    json["rank"] = spec.rank;
  }
  if (spec.kind == "needle") {
    json["needle_mass"] = spec.needle_mass;
    json["depths"] = spec.depths;
  }
  if (spec.kind == "aggregation") {
    json["relevant_share"] = spec.relevant_share;
    json["relevant_mass"] = spec.relevant_mass;
  }
  if (spec.kind == "drift") {
    json["drift_begin"] = spec.drift_begin;
    json["clusters"] = spec.clusters;
  }
  return json;
}

}  // namespace

std::string PipelinePlan::stage_label(size_t stage) const {
  const std::string& own = stages[stage].name;
  if (!policy) return own;
  for (const auto& variant : policy->variants) {
    if (variant.begin <= stage && stage < variant.end) return variant.name + "/" + own;
  }
  return own;
}

Json policy_json(const PipelinePlan& pipeline, const std::vector<Json>& stages) {
  const PolicyPlan& policy = *pipeline.policy;
  auto variant_json = [&](size_t index) {
    const VariantPlan& variant = policy.variants[index];
    if (variant.is_named) return Json(variant.name);
    Json list = Json::array();
    for (size_t s = variant.begin; s < variant.end; ++s) list.push_back(stages[s]);
    return list;
  };
  auto heads_json = [&](const std::vector<HeadRule>& rules) {
    Json json = Json::object();
    for (const auto& rule : rules) json[rule.heads.text] = variant_json(rule.variant);
    return json;
  };
  Json json;
  for (const auto& rule : policy.layers) {
    json["layers"][rule.layers.text] = rule.variant ? variant_json(*rule.variant) : heads_json(rule.heads);
  }
  if (!policy.heads.empty()) json["heads"] = heads_json(policy.heads);
  return json;
}

Json to_json(const RunPlan& plan, const plugin::Catalog& catalog) {
  Json json;
  if (!plan.title.empty()) json["title"] = plan.title;
  if (!plan.plugin_path.empty()) json["plugin_path"] = plan.plugin_path;
  json["pipelines"] = Json::object();
  for (const auto* pipelines : {&plan.pipelines, &plan.helpers}) {
    for (const auto& pipeline : *pipelines)
      json["pipelines"][pipeline.name] = pipeline_json(pipeline, catalog);
  }
  json["compare"] = plan.compare;
  json["attention"] = Json::object();
  if (plan.attention.causal) json["attention"]["causal"] = *plan.attention.causal;
  if (plan.attention.scale) json["attention"]["scale"] = *plan.attention.scale;
  json["attention"]["on_empty_row"] = name_of(plan.attention.on_empty_row);
  json["input"] = input_json(plan.input);
  json["mode"] = name_of(plan.mode);
  if (plan.queries) json["queries"] = *plan.queries;
  json["layers"] = plan.layers;
  json["heads"] = plan.heads;
  json["seed"] = plan.seed;
  return json;
}

}  // namespace attnlab::config
