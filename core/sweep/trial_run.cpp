#include "core/sweep/trial_run.hpp"

#include <fmt/core.h>

#include <cmath>

#include "core/base/error.hpp"
#include "core/base/parallel.hpp"
#include "core/kernels/table.hpp"
#include "core/measure/experiment.hpp"
#include "core/plugin/library.hpp"

namespace attnlab::sweep {
namespace {

using base::Exit;
using base::UserError;
using io::Json;

std::map<std::string, double> metrics_of(const measure::PipelineRecord& pipeline) {
  std::map<std::string, double> metrics;
  pipeline.quality.each(
      [&](const char* name, const measure::Summary& summary) { metrics[name] = summary.mean; });
  metrics["search_bytes"] = pipeline.cost.search_bytes_per_query();
  metrics["attended_bytes"] = pipeline.cost.attended_bytes_per_query;
  metrics["empty_rows"] = static_cast<double>(pipeline.quality.empty_rows);
  return metrics;
}

/// A small run of dense attention: it starts what is started once a process.
constexpr const char* rehearsal = R"({"pipelines": {"dense": []},
  "input": {"workload": "gaussian", "query_heads": 1, "kv_heads": 1, "queries": 8, "keys": 16, "head_dim": 8,
            "value_dim": 8}})";

}  // namespace

std::map<std::string, double> run_trial(const Json& config, const plugin::Catalog& catalog,
                                        const std::vector<std::string>& required) {
  config::Document document;
  document.set("", config, {"the trial's config", "."});
  const config::RunPlan plan = config::resolve(document, catalog);
  std::vector<attention::Pipeline> pipelines;
  for (const auto& pipeline : plan.pipelines) pipelines.emplace_back(pipeline, catalog, document);
  const auto source = data::open_source(plan.input);
  measure::ExperimentOptions experiment;
  experiment.execution.kernels = &kernels::active_table();
  measure::check_plan(plan, *source, document, experiment);
  for (const auto& pipeline : pipelines)
    pipeline.check_geometry(measure::wanted_layers(plan, *source), source->geometry());
  const measure::RunRecord run = measure::run_experiment(plan, pipelines, *source, experiment);
  const measure::PipelineRecord& first = run.pipelines.at(0);
  if (first.quality.empty_rows > 0 && plan.attention.on_empty_row == config::EmptyRow::error) {
    throw UserError(fmt::format("{} rows selected no key", first.quality.empty_rows),
                    {.suggestion = "/attention/on_empty_row = \"zeros\" or \"dense\" accepts them"},
                    Exit::failed);
  }
  std::map<std::string, double> metrics = metrics_of(first);
  for (const auto& name : required) {
    const auto found = metrics.find(name);
    if (found == metrics.end()) throw UserError("there is no metric " + name);
    if (!std::isfinite(found->second)) {
      throw UserError((std::isnan(found->second) ? "NaN in " : "infinity in ") + name, {}, Exit::failed);
    }
  }
  std::erase_if(metrics, [](const auto& metric) { return !std::isfinite(metric.second); });
  return metrics;
}

void prepare_trials(const std::vector<std::string>& methods, const plugin::Catalog& catalog) {
  // Lives as long as the process, and so do its children's copies.
  static const base::ThreadLimit one_thread(1);
  for (const auto& id : methods) {
    const plugin::CatalogEntry* entry = catalog.find(id);
    if (entry == nullptr || catalog.static_entry(entry->file) != nullptr) continue;
    std::vector<std::string> warnings;
    plugin::load_library(entry->file, warnings);
  }
  run_trial(Json::parse(rehearsal), catalog, {});
}

}  // namespace attnlab::sweep
