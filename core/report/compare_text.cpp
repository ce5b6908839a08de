// The table of a comparison for terminals, Markdown, LaTeX and CSV.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/report/compare.hpp"
#include "core/report/compare_table.hpp"
#include "core/report/text.hpp"

namespace attnlab::report {
namespace {

using measure::ComparedSubject;
using measure::Comparison;

constexpr int kLongestName = 24;

struct Shown {
  CompareColumn column;
  std::vector<std::string> cells;
  int width = 0;
};

/// Two cells between columns; a heading over a group may widen its last column.
int gap(const std::vector<Shown>& columns, size_t i) {
  const bool joined =
      i > 0 && !columns[i].column.group.empty() && columns[i].column.group == columns[i - 1].column.group;
  return joined ? 2 : 3;
}

size_t group_end(const std::vector<Shown>& columns, size_t first) {
  size_t end = first + 1;
  while (end < columns.size() && !columns[first].column.group.empty() &&
         columns[end].column.group == columns[first].column.group)
    ++end;
  return end;
}

int group_width(const std::vector<Shown>& columns, size_t first, size_t end) {
  int width = 0;
  for (size_t i = first; i < end; ++i) width += columns[i].width + (i > first ? gap(columns, i) : 0);
  return width;
}

std::vector<Shown> shown_columns(const Comparison& comparison) {
  std::vector<Shown> columns;
  for (const CompareColumn& column : compare_columns(comparison)) {
    Shown shown{column, {}, display_width(column.title)};
    for (const ComparedSubject& subject : comparison.subjects) {
      shown.cells.push_back(column.text(comparison, subject));
      shown.width = std::max(shown.width, display_width(shown.cells.back()));
    }
    columns.push_back(std::move(shown));
  }
  return columns;
}

void fit_headings(std::vector<Shown>& columns) {
  for (size_t first = 0, end; first < columns.size(); first = end) {
    end = group_end(columns, first);
    const int missing = display_width(columns[first].column.group) - group_width(columns, first, end);
    if (missing > 0) columns[end - 1].width += missing;
  }
}

int total_width(const std::vector<Shown>& columns, int name) {
  int total = name;
  for (size_t i = 0; i < columns.size(); ++i) total += gap(columns, i) + columns[i].width;
  return total;
}

std::string bold(bool color, const std::string& text) {
  return color ? "\x1b[1m" + text + "\x1b[0m" : text;
}

std::string headings(const std::vector<Shown>& columns, int name, bool color) {
  std::string groups(static_cast<size_t>(name), ' '), titles = pad_right("subject", name);
  for (size_t first = 0, end; first < columns.size(); first = end) {
    end = group_end(columns, first);
    const int width = group_width(columns, first, end);
    const std::string& group = columns[first].column.group;
    const int behind = end - first > 1 ? (width - display_width(group)) / 2 : 0;
    groups += std::string(static_cast<size_t>(gap(columns, first)), ' ') +
              pad_right(pad_left(group, width - behind), width);
    for (size_t i = first; i < end; ++i)
      titles += std::string(static_cast<size_t>(gap(columns, i)), ' ') +
                pad_left(columns[i].column.title, columns[i].width);
  }
  while (groups.ends_with(' ')) groups.pop_back();
  return bold(color, groups) + "\n" + bold(color, titles) + "\n";
}

std::string latex_text(std::string_view text) {
  std::string out;
  for (const char c : clean(text)) {
    switch (c) {
      case '\\':
        out += "\\textbackslash{}";
        break;
      case '~':
        out += "\\textasciitilde{}";
        break;
      case '^':
        out += "\\textasciicircum{}";
        break;
      case '&':
      case '%':
      case '$':
      case '#':
      case '_':
      case '{':
      case '}':
        out += std::string("\\") + c;
        break;
      default:
        out += c;
    }
  }
  return out;
}

/// Figures: signs and ± belong to mathematics, "-" alone is a dash.
std::string latex_cell(const std::string& text) {
  if (text == "-") return "--";
  std::string out = latex_text(text);
  const std::string sign = "±";
  if (const size_t at = out.find(sign); at != std::string::npos) out.replace(at, sign.size(), "$\\pm$");
  if (out.starts_with('-') || out.starts_with('<')) out = "$" + out.substr(0, 1) + "$" + out.substr(1);
  return out;
}

std::string csv_number(double value) {
  return std::isfinite(value) ? fmt::format("{}", value) : "";
}

}  // namespace

std::string compare_terminal(const Comparison& comparison, bool color, int width) {
  std::vector<Shown> columns = shown_columns(comparison);
  std::vector<std::string> names, left_out;
  int name = display_width("subject");
  for (const ComparedSubject& subject : comparison.subjects) {
    names.push_back(shorten(clean(subject.name), kLongestName));
    name = std::max(name, display_width(names.back()));
  }
  fit_headings(columns);
  while (columns.size() > 1 && total_width(columns, name) > width) {
    const auto least = std::min_element(columns.begin(), columns.end(), [](const Shown& a, const Shown& b) {
      return a.column.keep < b.column.keep;
    });
    left_out.push_back(least->column.group + (least->column.group.empty() ? "" : " ") + least->column.title);
    columns.erase(least);
    for (Shown& shown : columns) {
      shown.width = display_width(shown.column.title);
      for (const std::string& cell : shown.cells) shown.width = std::max(shown.width, display_width(cell));
    }
    fit_headings(columns);
  }
  std::string text = bold(color, clean(comparison.title)) + "\n" +
                     wrap(compare_summary(comparison), width, 0) + "\n\n" + headings(columns, name, color);
  for (size_t row = 0; row < names.size(); ++row) {
    text += pad_right(names[row], name);
    for (size_t i = 0; i < columns.size(); ++i)
      text += std::string(static_cast<size_t>(gap(columns, i)), ' ') +
              pad_left(columns[i].cells[row], columns[i].width);
    text += "\n";
  }
  if (!left_out.empty())
    text += "\n" +
            wrap("Left out for width: " + fmt::format("{}", fmt::join(left_out, ", ")) + ".", width, 0) +
            "\n";
  if (!comparison.notes.empty()) text += "\n";
  for (const std::string& note : comparison.notes) text += wrap("note: " + clean(note), width, 2) + "\n";
  return text;
}

std::string compare_markdown(const Comparison& comparison) {
  const std::vector<CompareColumn> columns = compare_columns(comparison);
  std::string text = "# " + markdown_text(comparison.title) + "\n\n" +
                     markdown_text(compare_summary(comparison)) + "\n\n| subject |",
              rule = "|---|";
  for (const CompareColumn& column : columns) {
    text += " " + column.group + (column.group.empty() ? "" : " ") + column.title + " |";
    rule += "---:|";
  }
  text += "\n" + rule + "\n";
  for (const ComparedSubject& subject : comparison.subjects) {
    text += "| " + markdown_text(subject.name) + " |";
    for (const CompareColumn& column : columns)
      text += " " + markdown_text(column.text(comparison, subject)) + " |";
    text += "\n";
  }
  if (!comparison.notes.empty()) text += "\n";
  for (const std::string& note : comparison.notes) text += "- " + markdown_text(note) + "\n";
  text += "\n## Subjects\n\n| subject | attention |\n|---|---|\n";
  for (const ComparedSubject& subject : comparison.subjects)
    text += "| " + markdown_text(subject.name) + " | " + markdown_text(subject.attention) + " |\n";
  text += "\n## How to read it\n\n";
  for (const std::string& line : compare_method(comparison)) text += markdown_text(line) + "\n\n";
  text += "| column | meaning |\n|---|---|\n";
  for (const CompareColumn& column : columns)
    text += "| " + column.group + (column.group.empty() ? "" : " ") + column.title + " | " +
            markdown_text(column.meaning) + " |\n";
  if (const std::string machine = compare_machine(comparison); !machine.empty())
    text += "\nClocks: " + markdown_text(machine) + ".\n";
  if (!comparison.command.empty()) text += "\n```sh\n" + clean(comparison.command) + "\n```\n";
  return text;
}

std::string compare_latex(const Comparison& comparison) {
  std::vector<Shown> columns = shown_columns(comparison);
  std::string text = "% " + clean(comparison.title) + "\n% " + clean(compare_summary(comparison)) + "\n";
  for (const std::string& line : compare_method(comparison)) text += "% " + clean(line) + "\n";
  for (const std::string& note : comparison.notes) text += "% " + clean(note) + "\n";
  text += "% Needs \\usepackage{booktabs}.\n\\begin{tabular}{l" + std::string(columns.size(), 'r') +
          "}\n\\toprule\n";
  std::string groups, rules, titles = "subject";
  for (size_t first = 0, end; first < columns.size(); first = end) {
    end = group_end(columns, first);
    groups += fmt::format(" & \\multicolumn{{{}}}{{c}}{{{}}}", end - first,
                          latex_text(columns[first].column.group));
    if (!columns[first].column.group.empty())
      rules += fmt::format("\\cmidrule(lr){{{}-{}}}", first + 2, end + 1);
    for (size_t i = first; i < end; ++i) titles += " & " + latex_text(columns[i].column.title);
  }
  text += groups + " \\\\\n" + rules + "\n" + titles + " \\\\\n\\midrule\n";
  for (size_t row = 0; row < comparison.subjects.size(); ++row) {
    text += latex_text(comparison.subjects[row].name);
    for (const Shown& shown : columns) text += " & " + latex_cell(shown.cells[row]);
    text += " \\\\\n";
  }
  return text + "\\bottomrule\n\\end{tabular}\n";
}

std::string compare_csv(const Comparison& comparison) {
  std::string text = "subject,attention";
  for (const CompareColumn& column : compare_csv_columns()) text += "," + column.key;
  text += "\n";
  for (const ComparedSubject& subject : comparison.subjects) {
    text += csv_text(subject.name) + "," + csv_text(subject.attention);
    for (const CompareColumn& column : compare_csv_columns())
      text += "," + csv_number(column.value(comparison, subject));
    text += "\n";
  }
  return text;
}

}  // namespace attnlab::report
