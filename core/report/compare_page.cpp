// report.html of a comparison.
#include <fmt/format.h>

#include <vector>

#include "core/report/compare.hpp"
#include "core/report/compare_figures.hpp"
#include "core/report/compare_table.hpp"
#include "core/report/plain_table.hpp"
#include "core/report/text.hpp"

namespace attnlab::report {
namespace {

using measure::ComparedSubject;
using measure::Comparison;

// Dark on the light page and light on the dark one; neighbours differ in hue and in lightness.
constexpr const char* style =
    ".s0{--series:light-dark(#1f54b0,#80b6ff)}.s1{--series:light-dark(#b8500d,#ffa566)}"
    ".s2{--series:light-dark(#1a7048,#6fd3a0)}.s3{--series:light-dark(#7a3aa0,#d3a2f2)}"
    ".s4{--series:light-dark(#b02a52,#ff9bb8)}.s5{--series:light-dark(#0d7580,#66d3dd)}"
    ".s6{--series:light-dark(#80620a,#e6c866)}.s7{--series:light-dark(#4c4fc4,#aeb0ff)}"
    ".s8{--series:light-dark(#5b6168,#b9c0c8)}.s9{--series:light-dark(#8c3f1c,#e6b09a)}"
    ".scatter .label[class*=\" s\"]{fill:var(--series)}.scatter .strong{font-weight:600;fill:var(--text)}"
    ".curve{fill:none;stroke:var(--series);stroke-width:2;stroke-linejoin:round}"
    ".thin{fill:none;stroke:var(--series);stroke-width:1;opacity:.5}"
    ".behind{fill:none;stroke:var(--muted);stroke-width:1.25;stroke-dasharray:4 3;opacity:.8}"
    ".band{fill:var(--series);opacity:.14;stroke:none}.lead{stroke:var(--series);stroke-width:1;opacity:.6}"
    ".dot{fill:var(--series);stroke:var(--page);stroke-width:1.5}.dot.small{stroke-width:.75}"
    ".bar{stroke:var(--series);stroke-width:1.5;opacity:.6}svg .bar{display:inline;background:none}"
    ".zero{stroke:var(--text);stroke-width:1.25}.interval{stroke:var(--accent);stroke-width:2}"
    ".noise{stroke:var(--muted);stroke-width:1;opacity:.7}.seed{fill:var(--muted)}"
    ".mean{fill:var(--accent);stroke:var(--page);stroke-width:1.5}"
    ".curves{grid-template-columns:repeat(auto-fill,minmax(min(100%,310px),1fr))}"
    "#table{margin-top:18px}#table .who,#costs .who{white-space:nowrap;min-width:0}#table td,#table "
    "th{padding:6px 9px}.base "
    "td,.base th{background:var(--paper)}"
    "#table tbody th{color:var(--text)}.bad{color:var(--warn)}.method p{max-width:76ch}"
    ".swatch{display:inline-block;width:9px;height:9px;border-radius:50%;background:var(--series);margin-"
    "right:7px}";

std::string header(const Comparison& comparison) {
  std::string html = "<header><h1>" + html_text(comparison.title) + "</h1><p>" +
                     html_text(compare_summary(comparison)) + "</p>";
  if (!comparison.notes.empty()) {
    html += R"(<div class="notes"><h2>Notes</h2><ul>)";
    for (const std::string& note : comparison.notes) html += "<li>" + html_text(note) + "</li>";
    html += "</ul></div>";
  }
  return html + "</header>";
}

std::string swatch(size_t subject) {
  return fmt::format(R"(<i class="swatch s{}"></i>)", subject % subject_colors);
}

std::string group_headings(const std::vector<CompareColumn>& columns) {
  std::string html = R"(<tr><th class="who"></th>)";
  for (size_t first = 0, end; first < columns.size(); first = end) {
    end = first + 1;
    while (end < columns.size() && columns[end].group == columns[first].group &&
           !columns[first].group.empty())
      ++end;
    html += fmt::format("<th colspan=\"{}\">{}</th>", end - first, html_text(columns[first].group));
  }
  return html + "</tr>";
}

/// Columns about what a subject takes have a table of their own: one of all would be too wide for a page.
bool is_cost(const CompareColumn& column) {
  return column.group == "state" || column.group == "by formula" || column.group == "tokens/s" ||
         column.key == "memory_bytes";
}

std::string html_table(const Comparison& comparison, const std::vector<CompareColumn>& columns,
                       const char* label) {
  std::string html =
      fmt::format(R"(<div class="scroll" tabindex="0" role="region" aria-label="{}">)", label) +
      R"(<table class="grid-table wide"><thead>)" + group_headings(columns) +
      R"(<tr><th class="who" scope="col">subject</th>)";
  for (const CompareColumn& column : columns)
    html += fmt::format(R"(<th scope="col" title="{}">{}</th>)", html_text(column.meaning),
                        html_text(column.title));
  html += "</tr></thead><tbody>";
  for (size_t i = 0; i < comparison.subjects.size(); ++i) {
    const ComparedSubject& subject = comparison.subjects[i];
    html += fmt::format(R"(<tr{}><th class="who" scope="row" title="{}">{}{}</th>)",
                        i == comparison.baseline ? " class=\"base\"" : "", html_text(subject.attention),
                        swatch(i), html_text(subject.name));
    for (const CompareColumn& column : columns) {
      const std::string text = column.text(comparison, subject);
      html +=
          fmt::format("<td{}>{}</td>", text.starts_with("diverged") ? " class=\"bad\"" : "", html_text(text));
    }
    html += "</tr>";
  }
  html += "</tbody></table></div><details><summary>What the columns mean</summary><dl>";
  for (const CompareColumn& column : columns)
    html += fmt::format("<dt>{}{}{}</dt><dd>{}</dd>", html_text(column.group),
                        column.group.empty() ? "" : " ", html_text(column.title), html_text(column.meaning));
  return html + "</dl></details>";
}

std::string table_section(const Comparison& comparison) {
  std::vector<CompareColumn> columns = compare_columns(comparison);
  std::erase_if(columns, is_cost);
  std::string html = R"(<section id="table">)" + html_table(comparison, columns, "quality and size") +
                     "<details><summary>Attention of the subjects</summary><dl>";
  for (const ComparedSubject& subject : comparison.subjects)
    html += "<dt>" + html_text(subject.name) + "</dt><dd>" + html_text(subject.attention) + "</dd>";
  return html + "</dl></details></section>";
}

std::string cost_section(const Comparison& comparison) {
  std::vector<CompareColumn> columns = compare_columns(comparison);
  std::erase_if(columns, [](const CompareColumn& column) { return !is_cost(column); });
  if (columns.empty()) return "";
  return R"(<section id="costs"><h2>Cost</h2>)" + html_table(comparison, columns, "costs") + "</section>";
}

std::string figure_section(const char* id, const char* title, const std::string& about,
                           const std::string& figure) {
  if (figure.empty()) return "";
  return fmt::format(
             R"(<section id="{}"><h2>{}</h2><p class="small">{}</p><figure class="scroll" tabindex="0">)", id,
             title, html_text(about)) +
         figure + "</figure></section>";
}

std::string curve_cards(const Comparison& comparison) {
  std::string cards;
  for (size_t i = 0; i < comparison.subjects.size(); ++i) {
    const std::string figure = subject_curve_figure(comparison, i);
    if (figure.empty()) continue;
    cards +=
        "<figure><h3>" + swatch(i) + html_text(comparison.subjects[i].name) + "</h3>" + figure + "</figure>";
  }
  if (cards.empty()) return "";
  return R"(<section id="subjects"><h2>Each subject</h2><p class="small">Thin: the training loss, means of stretches and over seeds. Points: held-out, with the range of the seeds. Dashed: the baseline held-out. All panels have the same axes.</p><div class="cards curves">)" +
         cards + "</div></section>";
}

std::string method_section(const Comparison& comparison) {
  std::string html = R"(<section class="method"><h2>How this was measured</h2>)";
  for (const std::string& line : compare_method(comparison)) html += "<p>" + html_text(line) + "</p>";
  if (const std::string machine = compare_machine(comparison); !machine.empty())
    html += "<p>Clocks ran on: " + html_text(machine) + ".</p>";
  if (!comparison.command.empty()) html += "<pre>" + html_text(comparison.command) + "</pre>";
  return html + "</section>";
}

}  // namespace

std::string compare_html(const Comparison& comparison) {
  std::string page = page_head(comparison.title, style);
  const bool several = comparison.seeds.size() > 1;
  for (const std::string& section :
       {header(comparison), table_section(comparison),
        figure_section("differences", "Differences to the baseline",
                       std::string(several ? "Large: the mean over seeds with its 95 % interval. " : "") +
                           "Small: one seed each, with the noise of its evaluation alone (95 %, bootstrap of "
                           "blocks of windows).",
                       difference_figure(comparison)),
        cost_section(comparison),
        figure_section("state", "Quality against state",
                       std::string("Below and to the left is better.") +
                           (several ? " Bars: the 95 % interval over seeds." : ""),
                       state_figure(comparison)),
        figure_section(
            "curves", "Loss while training",
            std::string("Held-out loss, means over seeds; bands reach from the least to the largest of "
                        "the seeds. The fall from the first weights is cut off."),
            curve_figure(comparison)),
        curve_cards(comparison), method_section(comparison)}) {
    page += section + "\n";
  }
  return page +
         fmt::format("<footer class=\"small\">attnlab {}</footer></main></body></html>\n", ATTNLAB_VERSION);
}

}  // namespace attnlab::report
