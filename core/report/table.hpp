// What the reports show, before any of them lays it out: columns of the comparison, facts, layer averages.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "core/measure/record.hpp"

namespace attnlab::report {

/// A column of the comparison table.
struct Column {
  std::string group, title;  ///< two lines of heading; neighbours of equal group share the first
  std::string key;           ///< CSV heading
  std::string meaning;       ///< one sentence
  int keep;                  ///< a narrow terminal leaves out the smallest first
  double (*value)(const measure::RunRecord& run, const measure::PipelineRecord& pipeline);
  std::string (*print)(double value);
};

/// In display order, the name of the pipeline apart.
const std::vector<Column>& comparison_columns();

/// A pipeline or one of its stages in the table of costs.
struct CostRow {
  std::string name;
  std::vector<std::string> cells;  ///< one for each of cost_headings()
  bool is_stage = false;
};

/// (title, meaning) of the columns of costs.
const std::vector<std::pair<std::string, std::string>>& cost_headings();
/// Each pipeline that has figures, followed by those of its stages that cost something when there are
/// several.
std::vector<CostRow> cost_rows(const measure::RunRecord& run);
/// What the figures are relative to.
std::string cost_line(const measure::InputRecord& input);
/// Bytes read to search and to attend, relative to dense attention; NaN without figures.
double read_share(const measure::RunRecord& run, const measure::PipelineRecord& pipeline);

/// Explains the "*" of the clock column.
std::string clock_footnote();

/// The clock figures of a pipeline, or null.
const measure::PipelineTime* time_of(const measure::RunRecord& run, const std::string& pipeline);

/// (label, text) about the input, for people: raw text, still to be escaped.
using Facts = std::vector<std::pair<std::string, std::string>>;
Facts input_facts(const measure::InputRecord& input);

/// Agreement with known truths, only those that the run has: expected output, exact softmax, double
/// precision.
Facts check_facts(const measure::RunRecord& run);

/// A pipeline's stages as a user would write them: "sink: sink_size=16; heavy (top_k): heavy_size=0.05".
std::string stage_line(const measure::PipelineRecord& pipeline);

/// The title, or "attnlab run".
std::string title_of(const measure::RunRecord& run);

/// Averages over the heads of one layer, weighted by their rows; NaN without rows.
struct LayerRow {
  std::string pipeline;
  int64_t layer = 0;
  double density = 0, output_error = 0;  ///< means
  int64_t worst_head = -1;               ///< head of the largest mean output error; -1: none compares
  double worst_error = 0;
};

/// Pipelines and layers in the order of their first head record. O(heads log heads).
std::vector<LayerRow> layer_rows(const measure::RunRecord& run);

}  // namespace attnlab::report
