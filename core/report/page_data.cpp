// What the script of report.html reads.
#include <cmath>
#include <map>
#include <set>

#include "core/report/sections.hpp"
#include "core/report/svg.hpp"
#include "core/report/text.hpp"

namespace attnlab::report {
namespace {

using io::Json;

Json figure(double value) {
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  return std::isnan(value) ? Json(nullptr) : Json(value);
}

/// [layer, head, mean output error, mass recall, density] in the order of the cells of the heat tables.
Json heads_json(const measure::RunRecord& run) {
  std::map<std::string, std::map<std::pair<int64_t, int64_t>, const measure::Quality*>> by_pipeline;
  for (const measure::HeadRecord& head : run.heads) {
    by_pipeline[head.pipeline][{head.layer, head.head}] = &head.quality;
  }
  Json all = Json::array();
  for (const measure::PipelineRecord& pipeline : run.pipelines) {
    Json cells = Json::array();
    for (const auto& [place, quality] : by_pipeline[pipeline.name]) {
      const bool measured = quality->output_error.rows > 0;
      Json cell = Json::array({place.first, place.second});
      for (const measure::Summary* metric :
           {&quality->output_error, &quality->mass_recall, &quality->density}) {
        cell.push_back(measured ? figure(metric->mean) : Json(nullptr));
      }
      cells.push_back(std::move(cell));
    }
    all.push_back(std::move(cells));
  }
  return all;
}

}  // namespace

std::string page_data(const measure::RunRecord& run) {
  Json data;
  Json& pipelines = data["pipelines"] = Json::array();
  for (const measure::PipelineRecord& pipeline : run.pipelines) {
    Json facts = Json::array();
    for (const auto& [label, text] : point_facts(run, pipeline)) facts.push_back({label, text});
    pipelines.push_back(
        {{"name", clean(pipeline.name)}, {"dense", pipeline.stages.empty()}, {"facts", std::move(facts)}});
  }
  data["heads"] = heads_json(run);
  const measure::Plane& plane = run.plane;
  Json pictures = measure::pictures_json(run);
  // By place: two names may be the same text once they are clean.
  Json active = Json::array();
  for (const measure::PipelineRecord& pipeline : run.pipelines) {
    const bool fits = !pipeline.active.empty() && pipeline.active.size() == plane.visible.size();
    active.push_back(fits ? pictures["active"][pipeline.name] : Json(nullptr));
  }
  pictures["active"] = std::move(active);
  data["pictures"] = std::move(pictures);
  std::string text;
  for (const char c : io::line_text(data)) {
    if (c == '<') {
      text += "\\u003c";
    } else {
      text += c;
    }
  }
  return text;
}

}  // namespace attnlab::report
