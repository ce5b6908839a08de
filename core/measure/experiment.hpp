// Runs pipelines on a source and measures them.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/data/problem.hpp"
#include "core/measure/describe.hpp"
#include "core/measure/dump.hpp"
#include "core/measure/scope.hpp"

namespace attnlab::measure {

using Pipelines = std::vector<attention::Pipeline>;

struct ExperimentOptions {
  attention::Execution execution;
  DumpChoice dump;
  std::string dump_folder;  ///< `<dump_folder>/<pipeline>/...`
  uint64_t max_dump_bytes = uint64_t{1} << 30;
  bool reference = false;  ///< compare every row with the double-precision reference
  /// Called after each finished layer with that layer's records, so that a later failure loses nothing.
  std::function<void(const std::vector<HeadRecord>&)> on_layer;
  /// Rows done and rows in all; from the main thread.
  std::function<void(int64_t done, int64_t total)> on_progress;
  /// Polled between steps; true ends the run with UserError (Exit::interrupted).
  std::function<bool()> cancelled;
};

/// Everything that can be checked before work starts: layers, heads, policies, number of queries, dump size.
void check_plan(const config::RunPlan& plan, const data::Source& source, const config::Document& document,
                const ExperimentOptions& options);

/// Runs all pipelines on the same inputs, layer by layer. Fills all of the record but run_id, title, command,
/// version.
RunRecord run_experiment(const config::RunPlan& plan, const std::vector<attention::Pipeline>& pipelines,
                         const data::Source& source, const ExperimentOptions& options);

/// What a run measured of one pipeline.
struct PipelineFigures {
  Quality quality;
  Cost cost;
  double attend_seconds = 0;
  std::vector<double> stage_seconds;
  bool prompt_seen = true;  ///< as add_notes takes it
};
/// Appends the record, the time and the notes of pipeline `index` to the run; returns the record.
PipelineRecord& add_pipeline(const config::RunPlan& plan, const Pipelines& pipelines, size_t index,
                             const PipelineFigures& figures, RunRecord& run);

/// The record of a pipeline that could not be run to its end: its stages, NaN for every figure.
PipelineRecord failed_pipeline(const config::PipelinePlan& plan, const plugin::Catalog& catalog,
                               const std::string& failure);

}  // namespace attnlab::measure
