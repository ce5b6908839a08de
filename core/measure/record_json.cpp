#include <algorithm>

#include "core/io/compact.hpp"
#include "core/measure/record.hpp"

namespace attnlab::measure {
namespace {

using io::Json;

/// Null for the sentinel -1 of figures that a run does not have.
Json optional_figure(double value) {
  return value < 0 ? Json(nullptr) : Json(value);
}

Json summary_json(const Summary& summary) {
  Json json;
  json["rows"] = summary.rows;
  json["mean"] = summary.mean;
  json["p05"] = summary.p05;
  json["p95"] = summary.p95;
  json["min"] = summary.min;
  json["max"] = summary.max;
  return json;
}

Json quality_json(const Quality& quality) {
  Json json;
  quality.each([&](const char* name, const Summary& summary) { json[name] = summary_json(summary); });
  json["empty_rows"] = quality.empty_rows;
  return json;
}

/// Bytes that the largest count of the pictures needs.
int count_width(const RunRecord& run) {
  uint32_t largest = 0;
  const auto add = [&](const std::vector<uint32_t>& counts) {
    for (const uint32_t count : counts) largest = std::max(largest, count);
  };
  add(run.plane.visible);
  for (const PipelineRecord& pipeline : run.pipelines) add(pipeline.active);
  return io::width_of(largest);
}

Json cost_json(const Cost& cost) {
  Json json;
  json["search_bytes_per_query"] = cost.search_bytes_per_query();
  json["attended_bytes_per_query"] = cost.attended_bytes_per_query;
  Json& stages = json["stages"] = Json::array();
  for (const StageCost& stage : cost.stages) {
    stages.push_back({{"name", stage.name},
                      {"index_bytes_per_token", stage.index_bytes_per_token},
                      {"index_bytes_per_sequence", stage.index_bytes_per_sequence},
                      {"state_bytes_per_token", stage.state_bytes_per_token},
                      {"search_bytes_per_query", stage.search_bytes_per_query}});
  }
  return json;
}

Json pipeline_json(const PipelineRecord& pipeline) {
  Json json;
  json["name"] = pipeline.name;
  if (!pipeline.failure.empty()) json["failure"] = pipeline.failure;
  Json& stages = json["stages"] = Json::array();
  for (const StageRecord& stage : pipeline.stages) {
    Json stage_json;
    stage_json["name"] = stage.name;
    stage_json["masker"] = stage.masker;
    stage_json["parameters"] = stage.parameters;
    stages.push_back(std::move(stage_json));
  }
  if (!pipeline.policy.is_null()) json["policy"] = pipeline.policy;
  json["quality"] = pipeline.failure.empty() ? quality_json(pipeline.quality) : Json(nullptr);
  json["reference_error"] = optional_figure(pipeline.reference_error);
  json["state_bytes"] = pipeline.state_bytes;
  json["cost"] = pipeline.failure.empty() ? cost_json(pipeline.cost) : Json(nullptr);
  return json;
}

Json input_json(const InputRecord& input) {
  Json json;
  json["description"] = input.description;
  json["mode"] = input.mode;
  json["batch"] = input.batch;
  json["query_heads"] = input.query_heads;
  json["kv_heads"] = input.kv_heads;
  json["queries"] = input.queries;
  json["keys"] = input.keys;
  json["head_dim"] = input.head_dim;
  json["value_dim"] = input.value_dim;
  json["measured_queries"] = input.measured_queries;
  json["layers"] = input.layers;
  json["causal"] = input.causal;
  json["scale"] = input.scale;
  json["kv_bytes_per_token"] = input.kv_bytes_per_token;
  json["dense_bytes_per_query"] = input.dense_bytes_per_query;
  json["expected_output_difference"] = optional_figure(input.expected_output_difference);
  json["true_mass_difference"] = optional_figure(input.true_mass_difference);
  return json;
}

}  // namespace

double Cost::search_bytes_per_query() const {
  double bytes = 0;
  for (const StageCost& stage : stages) bytes += stage.search_bytes_per_query;
  return bytes;
}

Json result_json(const RunRecord& run) {
  Json json;
  json["run_id"] = run.run_id;
  json["title"] = run.title;
  json["version"] = run.version;
  json["input"] = input_json(run.input);
  json["notes"] = run.notes;
  Json& pipelines = json["pipelines"] = Json::array();
  for (const PipelineRecord& pipeline : run.pipelines) pipelines.push_back(pipeline_json(pipeline));
  return json;
}

Json pictures_json(const RunRecord& run) {
  const Plane& plane = run.plane;
  const int width = count_width(run);
  Json json;
  json["layer"] = plane.layer;
  json["head"] = plane.head;
  json["first_query"] = plane.first_query;
  json["queries"] = plane.queries;
  json["keys"] = plane.keys;
  json["rows"] = plane.rows;
  json["columns"] = plane.columns;
  json["type"] = "uint" + std::to_string(8 * width);
  json["visible"] = io::compact(plane.visible, width);
  Json& active = json["active"] = Json::object();
  for (const PipelineRecord& pipeline : run.pipelines) {
    active[pipeline.name] = io::compact(pipeline.active, width);
  }
  return json;
}

Json time_json(const TimeRecord& time) {
  Json json;
  json["wall_seconds"] = time.wall_seconds;
  json["threads"] = time.threads;
  json["load_seconds"] = time.load_seconds;
  json["logits"] = time.logits;
  json["exact_rows"] = time.exact_rows;
  json["measure"] = time.measure;
  json["peak_resident_bytes"] = time.peak_resident_bytes;
  json["scratch_bytes"] = time.scratch_bytes;
  Json& pipelines = json["pipelines"] = Json::array();
  for (const PipelineTime& pipeline : time.pipelines) {
    Json stages = Json::array();
    for (const auto& [name, seconds] : pipeline.stages)
      stages.push_back(Json{{"name", name}, {"seconds", seconds}});
    pipelines.push_back(
        Json{{"pipeline", pipeline.pipeline}, {"attend", pipeline.attend}, {"stages", stages}});
  }
  return json;
}

Json head_json(const HeadRecord& record) {
  Json json;
  json["pipeline"] = record.pipeline;
  json["layer"] = record.layer;
  json["head"] = record.head;
  const Json quality = quality_json(record.quality);
  for (const auto& [key, value] : quality.items()) json[key] = value;
  return json;
}

}  // namespace attnlab::measure
