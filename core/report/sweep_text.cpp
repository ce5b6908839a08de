// report.md of a sweep.
#include <fmt/format.h>

#include "core/report/sweep.hpp"
#include "core/report/sweep_figures.hpp"
#include "core/report/sweep_tables.hpp"
#include "core/report/text.hpp"

namespace attnlab::report {
namespace {

/// A code span; text with a backtick of its own is plain text instead. `in_table`: a bar would end the cell.
std::string code(const std::string& text, bool in_table) {
  const std::string plain = clean(text);
  if (plain.empty() || plain.find('`') != std::string::npos ||
      (in_table && plain.find('|') != std::string::npos))
    return markdown_text(plain);
  return "`" + plain + "`";
}

/// Paths of links: what would end one is percent-encoded.
std::string link(const SweepTrial& trial) {
  if (trial.config.empty()) return markdown_text(short_id(trial));
  std::string target;
  for (const char c : clean(trial.config))
    target += std::string_view(" ()<>|\\\"%").find(c) == std::string_view::npos
                  ? std::string(1, c)
                  : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  return "[" + markdown_text(short_id(trial)) + "](" + target + ")";
}

std::string front_section(const SweepReport& report, const SweepSummary& summary) {
  const std::vector<size_t> listed = listed_feasible(report, summary);
  if (listed.empty()) return "";
  const std::vector<std::string> columns = listed_columns(report, summary);
  std::string text = "## " + markdown_text(listed_title(report, summary)) + "\n\n| config ";
  for (const std::string& column : columns) text += "| " + markdown_text(column) + " ";
  text += "| command |\n|---";
  for (size_t c = 0; c < columns.size(); ++c) text += "|---:";
  text += "|---|\n";
  for (const size_t i : listed) {
    const SweepTrial& trial = report.trials[i];
    text += "| " + link(trial) + " ";
    for (const std::string& cell : listed_cells(report, trial)) text += "| " + markdown_text(cell) + " ";
    text += "| " + code(trial.command, true) + " |\n";
  }
  return text + "\n";
}

/// Indented: whatever the text says, it cannot end the block.
std::string indented(const std::string& text) {
  std::string out = "    ";
  for (const char c : clean(text, true)) out += c == '\n' ? "\n    " : std::string(1, c);
  return out + "\n\n";
}

std::string failure_section(const SweepReport& report, const SweepSummary& summary) {
  std::string text;
  for (const SweepFailure& failure : failures_of(report, summary)) {
    const SweepTrial& example = report.trials[failure.example];
    text +=
        fmt::format("**{} x {}**, such as {}", failure.count, markdown_text(failure.reason), link(example));
    if (const std::string words = point_words(report, summary, example); !words.empty())
      text += " (" + markdown_text(words) + ")";
    text += example.command.empty() ? "\n\n" : ": " + code(example.command, false) + "\n\n";
    if (!example.stderr_tail.empty()) text += indented(example.stderr_tail);
  }
  return text.empty() ? "" : "## Failed trials\n\n" + text;
}

std::string infeasible_section(const SweepReport& report, const SweepSummary& summary) {
  std::string text;
  for (const auto& [constraint, count] : broken_constraints(report, summary))
    text += fmt::format("- {} x {}\n", count, markdown_text(constraint));
  return text.empty() ? "" : "## Infeasible trials\n\n" + text + "\n";
}

}  // namespace

std::string sweep_markdown(const SweepReport& report) {
  const SweepSummary summary = summary_of(report);
  std::string text = "# " + markdown_text(report.title) + "\n\n";
  for (const std::string& sentence : sweep_sentences(report, summary)) text += markdown_text(sentence) + "\n";
  text += "\n";
  // Without figures, none are thinned.
  for (const std::string& note : sweep_notes(report, summary, summary.valued().size()))
    text += "> " + markdown_text(note) + "\n\n";
  text += front_section(report, summary);
  if (!summary.valued().empty() && !report.axes.empty()) {
    text += plain_markdown(importance_table(report, summary, importances(report, summary))) + "\n";
    for (const std::string& sentence : importance_method()) text += markdown_text(sentence) + "\n\n";
  }
  text += infeasible_section(report, summary) + failure_section(report, summary);
  return text + (report.command.empty() ? "" : "Made by " + code(report.command, false) + ".\n");
}

}  // namespace attnlab::report
