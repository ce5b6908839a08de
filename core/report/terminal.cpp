// The comparison as fixed-width text.
#include <fmt/format.h>

#include <algorithm>

#include "core/base/error.hpp"
#include "core/report/report.hpp"
#include "core/report/table.hpp"
#include "core/report/text.hpp"

namespace attnlab::report {
namespace {

constexpr int readable_name = 24;  // names are shortened to this before a column with information goes
constexpr int shortest_name = 20;  // before the least important column goes

struct Shown {
  const Column* column;
  std::vector<std::string> cells;  // one per pipeline
  int own_width = 0;               // of title and cells
  int width = 0;                   // with the share of the group heading
  bool all_zero = true;
};

/// Two cells between groups, one within a group.
int gap_before(const std::vector<Shown>& columns, size_t i) {
  return i > 0 && columns[i].column->group == columns[i - 1].column->group ? 1 : 2;
}

/// One past the last column of the group that starts at `first`.
size_t group_end(const std::vector<Shown>& columns, size_t first) {
  size_t end = first + 1;
  while (end < columns.size() && columns[end].column->group == columns[first].column->group) ++end;
  return end;
}

int total_width(const std::vector<Shown>& columns) {
  int total = 0;
  for (size_t i = 0; i < columns.size(); ++i) total += gap_before(columns, i) + columns[i].width;
  return total;
}

std::vector<Shown> all_columns(const measure::RunRecord& run) {
  std::vector<Shown> columns;
  for (const Column& column : comparison_columns()) {
    Shown shown{&column, {}, display_width(column.title)};
    for (const measure::PipelineRecord& pipeline : run.pipelines) {
      const double value = column.value(run, pipeline);
      shown.all_zero = shown.all_zero && value == 0;
      shown.cells.push_back(column.print(value));
      shown.own_width = std::max(shown.own_width, display_width(shown.cells.back()));
    }
    columns.push_back(std::move(shown));
  }
  return columns;
}

/// Widths of the columns; a group heading wider than its columns widens the first of them.
void fit_widths(std::vector<Shown>& columns) {
  for (size_t first = 0, end; first < columns.size(); first = end) {
    end = group_end(columns, first);
    int width = -1;
    for (size_t i = first; i < end; ++i) {
      columns[i].width = columns[i].own_width;
      width += 1 + columns[i].width;
    }
    columns[first].width += std::max(0, display_width(columns[first].column->group) - width);
  }
}

/// Takes out the least important columns until names have room; returns what was taken out, for people.
std::vector<std::string> make_room(std::vector<Shown>& columns, int longest_name, int width) {
  std::vector<std::string> left_out;
  const auto room = [&] { return width - total_width(columns); };
  const auto take = [&](size_t i) {
    const Column& column = *columns[i].column;
    left_out.push_back(column.group + " " + column.title);
    columns.erase(columns.begin() + static_cast<std::ptrdiff_t>(i));
    fit_widths(columns);
  };
  for (size_t i = 0; i < columns.size() && room() < std::min(longest_name, readable_name); ++i) {
    if (columns[i].column->key != "empty_rows" || !columns[i].all_zero) continue;
    take(i);
    left_out.back() += " (all 0)";
  }
  while (columns.size() > 1 && room() < std::min(longest_name, shortest_name)) {
    const auto least = std::min_element(columns.begin(), columns.end(), [](const Shown& a, const Shown& b) {
      return a.column->keep < b.column->keep;
    });
    take(static_cast<size_t>(least - columns.begin()));
  }
  return left_out;
}

struct Style {
  bool color;
  std::string operator()(const char* code, const std::string& text) const {
    return color ? std::string("\x1b[") + code + "m" + text + "\x1b[0m" : text;
  }
};

std::string heading(const std::vector<Shown>& columns, int name_width, const Style& style) {
  std::string groups(static_cast<size_t>(name_width), ' '), titles = pad_right("pipeline", name_width);
  for (size_t first = 0, end; first < columns.size(); first = end) {
    end = group_end(columns, first);
    int width = 0;
    for (size_t i = first; i < end; ++i) {
      const int gap = gap_before(columns, i);
      titles +=
          std::string(static_cast<size_t>(gap), ' ') + pad_left(columns[i].column->title, columns[i].width);
      width += columns[i].width + (i > first ? gap : 0);
    }
    // A heading over several columns stands in their middle.
    const std::string& group = columns[first].column->group;
    const int right = end - first > 1 ? (width - display_width(group)) / 2 : 0;
    groups += "  " + pad_right(pad_left(group, width - right), width);
  }
  groups.resize(groups.find_last_not_of(' ') + 1);
  std::string rule;
  for (int i = display_width(titles); i > 0; --i) rule += "─";
  return style("2", groups) + "\n" + style("1", titles) + "\n" + style("2", rule) + "\n";
}

}  // namespace

std::string terminal_table(const measure::RunRecord& run, bool color, int width) {
  const Style style{color};
  int longest_name = display_width("pipeline");
  for (const measure::PipelineRecord& pipeline : run.pipelines) {
    longest_name = std::max(longest_name, display_width(clean(pipeline.name)));
  }
  std::vector<Shown> columns = all_columns(run);
  fit_widths(columns);
  std::vector<std::string> left_out;
  int name_width = longest_name;
  if (width > 0) {
    left_out = make_room(columns, longest_name, width);
    name_width = std::min(longest_name, std::max(shortest_name, width - total_width(columns)));
  }

  std::string out = heading(columns, name_width, style);
  for (size_t row = 0; row < run.pipelines.size(); ++row) {
    out += pad_right(shorten(clean(run.pipelines[row].name), name_width), name_width);
    for (size_t i = 0; i < columns.size(); ++i) {
      const Shown& shown = columns[i];
      out.append(static_cast<size_t>(gap_before(columns, i)), ' ');
      const std::string cell = pad_left(shown.cells[row], shown.width);
      const bool alarming = shown.column->key == "empty_rows" && shown.cells[row] != "0";
      out += alarming ? style("33", cell) : cell;
    }
    out += "\n";
  }

  out += "\n";
  Facts facts = input_facts(run.input);
  const Facts checks = check_facts(run);
  for (const auto& [label, text] : checks) facts.emplace_back("check", label + ": " + text);
  constexpr int label_width = 8;
  const auto line = [&](const char* code, const std::string& label, const std::string& text) {
    out += style(code, pad_right(label, label_width) + wrap(clean(text), width, label_width)) + "\n";
  };
  for (const auto& [label, text] : facts) line("2", label, text);
  for (const std::string& note : run.notes) line("33", "note", note);
  const bool has_clock = std::any_of(columns.begin(), columns.end(),
                                     [](const Shown& shown) { return shown.column->title.ends_with('*'); });
  if (has_clock) line("2", "clock", clock_footnote());
  if (!left_out.empty()) {
    line("2", "hidden", fmt::format("no room in {} columns for: {}", width, base::join(left_out)));
  }
  return out;
}

}  // namespace attnlab::report
