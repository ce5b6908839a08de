#include "core/measure/describe.hpp"

#include <fmt/core.h>

#include "core/config/resolve_policy.hpp"
#include "core/measure/scope.hpp"

namespace attnlab::measure {

InputRecord describe_input(const config::RunPlan& plan, const data::Source& source,
                           const attention::AttentionOptions& attention) {
  const data::Geometry& g = source.geometry();
  InputRecord input;
  input.description = source.description();
  input.mode = name_of(plan.mode);
  input.batch = g.batch;
  input.query_heads = g.query_heads;
  input.kv_heads = g.kv_heads;
  input.queries = g.queries;
  input.keys = g.keys;
  input.head_dim = g.head_dim;
  input.value_dim = g.value_dim;
  input.measured_queries = measured_queries(plan, g);
  for (int layer : wanted_layers(plan, source)) input.layers.push_back(layer);
  input.causal = attention.causal;
  input.scale = double{attention.scale};
  input.kv_bytes_per_token = static_cast<double>(g.head_dim + g.value_dim) * sizeof(float);
  return input;
}

StageRecord describe_stage(const config::PipelinePlan& plan, size_t index, const plugin::Descriptor& method) {
  const config::StagePlan& stage = plan.stages[index];
  const io::Json written = to_json(stage, method);
  io::Json parameters = io::Json::object();
  for (const auto& [key, value] : written.items()) {
    if (key != "masker" && key != "name") parameters[key] = value;
  }
  // A config may not give what a preset fixes; a reader wants to know it.
  for (size_t i = 0; i < method.parameters.size(); ++i) {
    if (method.parameters[i].fixed) parameters[method.parameters[i].key] = to_json(stage.values[i]);
  }
  return {plan.stage_label(index), stage.masker, parameters};
}

PipelineRecord describe_pipeline(const config::PipelinePlan& plan,
                                 const std::vector<const plugin::Descriptor*>& descriptors) {
  PipelineRecord record;
  record.name = plan.name;
  std::vector<io::Json> stages;
  for (size_t s = 0; s < plan.stages.size(); ++s) {
    stages.push_back(to_json(plan.stages[s], *descriptors[s]));
    record.stages.push_back(describe_stage(plan, s, *descriptors[s]));
  }
  if (plan.policy) record.policy = policy_json(plan, stages);
  return record;
}

void add_notes(const PipelineRecord& record, const std::vector<const plugin::Descriptor*>& descriptors,
               config::Mode mode, bool prompt_seen, std::vector<std::string>& notes) {
  const bool prefill = mode == config::Mode::prefill;
  for (size_t s = 0; s < record.stages.size(); ++s) {
    const plugin::Descriptor& method = *descriptors[s];
    const auto add = [&](const char* text) {
      notes.push_back(fmt::format("{}: {} {}", record.name, record.stages[s].name, text));
    };
    if (prefill && (method.has(ATTNLAB_RETAINS) || method.has(ATTNLAB_NEEDS_FEEDBACK))) {
      add("evicts only after the prompt, and prefill is the prompt: use decode");
    } else if (prefill && method.has(ATTNLAB_PROMPT_FITTED)) {
      add("is fitted on the whole prompt, so prefill rows know later keys");
    } else if (!prefill && method.has(ATTNLAB_NEEDS_FEEDBACK) && !prompt_seen) {
      add("saw no queries of the prompt, as the input has none before the measured ones: measure fewer");
    }
  }
}

}  // namespace attnlab::measure
