// report.md and the comparison as CSV.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

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
  if (!run.heads.empty()) out += "\n## Layers\n\n" + layers(run);
  return out;
}

std::string csv(const measure::RunRecord& run) {
  std::string out = "pipeline";
  for (const Column& column : comparison_columns()) out += "," + column.key;
  out += "\n";
  for (const measure::PipelineRecord& pipeline : run.pipelines) {
    out += csv_text(pipeline.name);
    for (const Column& column : comparison_columns()) {
      const double value = column.value(run, pipeline);
      out += std::isnan(value) ? "," : fmt::format(",{}", value);
    }
    out += "\n";
  }
  return out;
}

}  // namespace attnlab::report
