// The comparison and the plots of report.html.
#include <fmt/format.h>

#include <cmath>

#include "core/base/error.hpp"
#include "core/report/sections.hpp"
#include "core/report/svg.hpp"
#include "core/report/table.hpp"
#include "core/report/text.hpp"

namespace attnlab::report {
namespace {

/// A figure as JavaScript's Number() reads it back exactly; "" for NaN.
std::string exact(double value) {
  if (std::isnan(value)) return "";
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  return fmt::format("{}", value);
}

/// A name that breaks between its parts rather than inside them.
std::string breakable(const std::string& name) {
  std::string html;
  for (const char c : html_text(name)) {
    html += c;
    if (c == '+' || c == '_') html += "<wbr>";
  }
  return html;
}

std::string plot(const measure::RunRecord& run, const PlotMetric& metric, const PlotCost& cost, bool shown,
                 Scatter& broad) {
  broad = metric_over_cost(run, metric, cost, 1032, 440);
  const Scatter narrow = metric_over_cost(run, metric, cost, 358, 380);
  std::string left_out;
  if (!broad.left_out.empty()) {
    left_out = R"(<p class="small">Not drawn, for want of figures: )" +
               html_text(base::join(broad.left_out)) + ".</p>";
  }
  return fmt::format(
      R"(<div class="plot" data-metric="{}" data-title="{}" data-cost="{}" data-cost-title="{}"{}><div class="broad">{}</div><div class="narrow">{}</div>{}</div>)",
      metric.key, html_text(metric.title), cost.key, html_text(cost.title), shown ? "" : " hidden", broad.svg,
      narrow.svg, left_out);
}

}  // namespace

std::string comparison_section(const measure::RunRecord& run, bool numbered) {
  const std::vector<Column>& columns = comparison_columns();
  std::string groups = R"(<tr><td class="who"></td>)",
              titles = R"(<tr><th class="who" scope="col" data-sort>pipeline</th>)", meanings;
  for (size_t first = 0, end; first < columns.size(); first = end) {
    for (end = first; end < columns.size() && columns[end].group == columns[first].group; ++end) {
      titles += fmt::format(R"(<th scope="col" data-sort title="{}">{}</th>)",
                            html_text(columns[end].meaning), html_text(columns[end].title));
      meanings += fmt::format("<dt>{} {}</dt><dd>{}</dd>", html_text(columns[end].group),
                              html_text(columns[end].title), html_text(columns[end].meaning));
    }
    groups += fmt::format(R"(<th colspan="{}" scope="colgroup">{}</th>)", end - first,
                          html_text(columns[first].group));
  }
  std::string body;
  for (size_t i = 0; i < run.pipelines.size(); ++i) {
    const measure::PipelineRecord& pipeline = run.pipelines[i];
    const std::string place = numbered ? fmt::format(R"(<span class="small">{}</span> )", i + 1) : "";
    const std::string failed =
        pipeline.failure.empty()
            ? ""
            : fmt::format(R"( <span class="warn" title="{}">failed</span>)", html_text(pipeline.failure));
    body += fmt::format(
        R"(<tr><th class="who" scope="row" data-value="{}"><span class="clamp">{}{}{}</span></th>)",
        html_text(pipeline.name), place, breakable(pipeline.name), failed);
    for (const Column& column : columns) {
      const double value = column.value(run, pipeline);
      const char* warn = column.key == "empty_rows" && value > 0 ? R"( class="warn")" : "";
      body += fmt::format(R"(<td{} data-value="{}">{}</td>)", warn, exact(value), column.print(value));
    }
    body += "</tr>";
  }
  return R"(<section id="comparison"><h2>Comparison</h2><div class="scroll" tabindex="0" role="region" aria-label="comparison of the pipelines"><table class="grid-table wide"><thead>)" +
         groups + "</tr>" + titles + "</tr></thead><tbody>" + body +
         R"(</tbody></table></div><p class="small">)" + html_text(clock_footnote()) +
         "</p><details><summary>What the columns mean</summary><dl>" + meanings + "</dl></details></section>";
}

std::string plot_section(const measure::RunRecord& run, bool& numbered) {
  std::string plots;
  for (const PlotMetric& metric : plot_metrics()) {
    for (const PlotCost& cost : plot_costs()) {
      Scatter broad;
      plots += plot(run, metric, cost, plots.empty(), broad);
      numbered = broad.numbered;
    }
  }
  std::string caption =
      "Lower left is better. Ringed points joined by the stepped line are the Pareto front of the two "
      "figures: no other pipeline is better in one and as good in the other. Whiskers end at the worst 5 % "
      "of "
      "the rows.";
  if (numbered) caption += " Numbers are those of the table.";
  return R"(<section id="plot"><h2>Error against density</h2><figure>)" + plots + "<figcaption>" + caption +
         "</figcaption></figure></section>";
}

}  // namespace attnlab::report
