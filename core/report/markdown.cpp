// report.md and the comparison as CSV.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/report/format.hpp"
#include "core/report/report.hpp"
#include "core/report/table.hpp"
#include "core/report/text.hpp"

namespace attnlab::report {
namespace {

/// A code block whose fence is longer than any run of backticks inside.
std::string code_block(const std::string& text) {
  size_t longest = 2, run = 0;
  for (const char c : text) {
    run = c == '`' ? run + 1 : 0;
    longest = std::max(longest, run);
  }
  const std::string fence(longest + 1, '`');
  return fence + "sh\n" + text + "\n" + fence + "\n";
}

std::string comparison(const measure::RunRecord& run) {
  std::string head = "| pipeline |", rule = "|---|", body;
  for (const Column& column : comparison_columns()) {
    head += fmt::format(" {} {} |", column.group, markdown_text(column.title));
    rule += "---:|";
  }
  for (const measure::PipelineRecord& pipeline : run.pipelines) {
    body += "| " + markdown_text(pipeline.name) + " |";
    for (const Column& column : comparison_columns())
      body += " " + column.print(column.value(run, pipeline)) + " |";
    body += "\n";
  }
  return head + "\n" + rule + "\n" + body;
}

std::string cost(const measure::RunRecord& run) {
  std::string head = "| pipeline |", rule = "|---|", body;
  for (const auto& heading : cost_headings()) {
    head += " " + heading.first + " |";
    rule += "---:|";
  }
  for (const CostRow& row : cost_rows(run)) {
    body += (row.is_stage ? "| · " : "| ") + markdown_text(row.name) + " |";
    for (const std::string& cell : row.cells) body += " " + cell + " |";
    body += "\n";
  }
  return markdown_text(cost_line(run.input)) + "\n\n" + head + "\n" + rule + "\n" + body;
}

/// Figures of csv that the comparison has no room for.
struct CostFigure {
  const char* key;
  double measure::StageCost::*figure;
};
constexpr CostFigure cost_figures[] = {
    {"index_bytes_per_token", &measure::StageCost::index_bytes_per_token},
    {"index_bytes_per_sequence", &measure::StageCost::index_bytes_per_sequence},
    {"state_bytes_per_token", &measure::StageCost::state_bytes_per_token},
    {"search_bytes_per_query", &measure::StageCost::search_bytes_per_query},
};

std::string csv_figure(double value) {
  return std::isnan(value) ? "," : fmt::format(",{}", value);
}

std::string layers(const measure::RunRecord& run) {
  std::string out =
      "| pipeline | layer | density mean | output error mean | worst head | its output error |\n"
      "|---|---:|---:|---:|---:|---:|\n";
  for (const LayerRow& row : layer_rows(run)) {
    const std::string head = row.worst_head < 0 ? "-" : fmt::format("{}", row.worst_head);
    out += fmt::format("| {} | {} | {} | {} | {} | {} |\n", markdown_text(row.pipeline), row.layer,
                       percent(row.density), number(row.output_error), head, number(row.worst_error));
  }
  return out;
}

}  // namespace

std::string markdown(const measure::RunRecord& run) {
  std::string out = "# " + markdown_text(title_of(run)) + "\n\n";
  Facts facts = input_facts(run.input);
  for (const auto& check : check_facts(run)) facts.push_back(check);
  facts.emplace_back("run", fmt::format("{}, attnlab {}", run.run_id, run.version));
  for (const auto& [label, text] : facts)
    out += fmt::format("- {}: {}\n", markdown_text(label), markdown_text(text));
  out += "\n" + code_block(clean(run.command, true));
  if (!run.notes.empty()) {
    out += "\n## Notes\n\n";
    for (const std::string& note : run.notes) out += "- " + markdown_text(note) + "\n";
  }
  out += "\n## Comparison\n\n" + comparison(run) + "\n" + markdown_text(clock_footnote()) + "\n";
  out += "\n## Pipelines\n\n";
  for (const measure::PipelineRecord& pipeline : run.pipelines) {
    out += fmt::format("- **{}**: {}\n", markdown_text(pipeline.name), markdown_text(stage_line(pipeline)));
  }
  if (run.input.kv_bytes_per_token > 0) out += "\n## Cost\n\n" + cost(run);
  if (!run.heads.empty()) out += "\n## Layers\n\n" + layers(run);
  return out;
}

std::string csv(const measure::RunRecord& run) {
  std::string out = "pipeline";
  for (const Column& column : comparison_columns()) out += "," + column.key;
  for (const CostFigure& figure : cost_figures) out += fmt::format(",{}", figure.key);
  out += ",attended_bytes_per_query\n";
  for (const measure::PipelineRecord& pipeline : run.pipelines) {
    out += csv_text(pipeline.name);
    for (const Column& column : comparison_columns()) {
      out += csv_figure(column.value(run, pipeline));
    }
    const bool failed = !pipeline.failure.empty();
    for (const CostFigure& figure : cost_figures) {
      double sum = failed ? std::numeric_limits<double>::quiet_NaN() : 0;
      for (const measure::StageCost& stage : pipeline.cost.stages) sum += stage.*figure.figure;
      out += csv_figure(sum);
    }
    out += csv_figure(pipeline.cost.attended_bytes_per_query);
    out += "\n";
  }
  return out;
}

}  // namespace attnlab::report
