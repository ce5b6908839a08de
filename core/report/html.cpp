// report.html.
#include <fmt/format.h>

#include "core/base/error.hpp"
#include "core/report/report.hpp"
#include "core/report/sections.hpp"
#include "core/report/style.hpp"
#include "core/report/svg.hpp"
#include "core/report/table.hpp"
#include "core/report/text.hpp"

namespace attnlab::report {
namespace {

std::string header(const measure::RunRecord& run) {
  std::string html = "<header><h1>" + html_text(title_of(run)) + "</h1><dl>";
  Facts facts = input_facts(run.input);
  for (const auto& check : check_facts(run)) facts.push_back(check);
  for (const auto& [label, text] : facts) {
    html += fmt::format("<dt>{}</dt><dd>{}</dd>", html_text(label), html_text(text));
  }
  html += "</dl>";
  if (!run.notes.empty()) {
    html += R"(<div class="notes"><ul>)";
    for (const std::string& note : run.notes) html += "<li>" + html_text(note) + "</li>";
    html += "</ul></div>";
  }
  return html + "</header>";
}

std::string comparison_section(const measure::RunRecord& run, bool numbered) {
  const std::vector<Column>& columns = comparison_columns();
  std::string groups = R"(<tr><th class="who"></th>)", titles = R"(<tr><th class="who">pipeline</th>)",
              meanings;
  for (size_t first = 0, end; first < columns.size(); first = end) {
    for (end = first; end < columns.size() && columns[end].group == columns[first].group; ++end) {
      titles += fmt::format(R"(<th title="{}">{}</th>)", html_text(columns[end].meaning),
                            html_text(columns[end].title));
      meanings += fmt::format("<dt>{} {}</dt><dd>{}</dd>", html_text(columns[end].group),
                              html_text(columns[end].title), html_text(columns[end].meaning));
    }
    groups += fmt::format(R"(<th colspan="{}">{}</th>)", end - first, html_text(columns[first].group));
  }
  std::string body;
  for (size_t i = 0; i < run.pipelines.size(); ++i) {
    const measure::PipelineRecord& pipeline = run.pipelines[i];
    const std::string place = numbered ? fmt::format(R"(<span class="small">{}</span> )", i + 1) : "";
    body += fmt::format(R"(<tr><td class="who"><span class="clamp">{}{}</span></td>)", place,
                        html_text(pipeline.name));
    for (const Column& column : columns) {
      const double value = column.value(run, pipeline);
      const char* warn = column.key == "empty_rows" && value > 0 ? R"( class="warn")" : "";
      body += fmt::format("<td{}>{}</td>", warn, column.print(value));
    }
    body += "</tr>";
  }
  return R"(<section><h2>Comparison</h2><div class="scroll"><table class="grid-table wide"><thead>)" +
         groups + "</tr>" + titles + "</tr></thead><tbody>" + body +
         R"(</tbody></table></div><p class="small">)" + html_text(clock_footnote()) +
         "</p><details><summary>What the columns mean</summary><dl>" + meanings + "</dl></details></section>";
}

std::string scatter_section(const Scatter& broad, const Scatter& narrow) {
  std::vector<std::string> caption{"The whisker ends at the p95 of the rows."};
  if (broad.numbered) caption.emplace_back("Numbers are those of the table.");
  if (!broad.left_out.empty())
    caption.push_back("Not drawn, for want of figures: " + base::join(broad.left_out) + ".");
  return fmt::format(
      R"(<section><h2>Error against density</h2><figure><div class="broad">{}</div><div class="narrow">{}</div><figcaption>{}</figcaption></figure></section>)",
      broad.svg, narrow.svg, html_text(base::join(caption, " ")));
}

}  // namespace

std::string html(const measure::RunRecord& run) {
  const Scatter broad = error_over_density(run, 1032, 440);
  const Scatter narrow = error_over_density(run, 358, 380);
  const std::string title = html_text(title_of(run));
  std::string page =
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>" +
      title + "</title>\n<style>" + style_sheet() + "</style></head>\n<body><main>\n";
  page += header(run) + "\n";
  page += comparison_section(run, broad.numbered) + "\n";
  page += scatter_section(broad, narrow) + "\n";
  page += mask_section(run) + "\n";
  page += head_section(run) + "\n";
  page += time_section(run) + "\n";
  page += fmt::format("<footer><p class=\"small\">Run {}, attnlab {}. Made by:</p><pre>{}</pre></footer>\n",
                      html_text(run.run_id), html_text(run.version), html_text(run.command));
  return page + "</main></body></html>\n";
}

}  // namespace attnlab::report
