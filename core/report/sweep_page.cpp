// report.html of a sweep.
#include <fmt/format.h>

#include <algorithm>

#include "core/report/assets.hpp"
#include "core/report/sweep.hpp"
#include "core/report/sweep_figures.hpp"
#include "core/report/sweep_marks.hpp"
#include "core/report/sweep_tables.hpp"
#include "core/report/text.hpp"

namespace attnlab::report {
namespace {

constexpr size_t most_axis_figures = 8, most_pairs = 6;
constexpr size_t narrow_columns = 6;  ///< with no more, commands have room beside them

constexpr const char* style =
    ".facts p{max-width:86ch}.legend i.ramp{background:var(--ramp);border:0;width:14px}.legend .strip{gap:0}"
    ".legend .strip i.ramp+span,.legend .strip span+i.ramp{margin-left:6px}.legend svg{overflow:visible}"
    "#listed th,#listed td{padding:5px 8px}#listed tbody tr+tr.run{border-top:0}#listed thead "
    "th{white-space:normal;"
    "vertical-align:bottom}#listed .run td{text-align:left;padding-top:0;padding-bottom:8px}#listed .word{"
    "text-align:left}#listed tbody th{font-weight:400}"
    "a{color:var(--accent)}.copyable{user-select:all;color:var(--muted)}"
    ".copyable+button.plain{font-size:12px;min-height:0;padding:0 7px;margin-left:8px}"
    ".failure{margin:14px 0 22px}.failure p{overflow-wrap:anywhere}.failure "
    "pre{max-height:260px;overflow:auto}"
    ".wide-cards{grid-template-columns:repeat(auto-fill,minmax(min(100%,480px),1fr))}"
    ".small-cards{grid-template-columns:repeat(auto-fill,minmax(min(100%,320px),1fr))}"
    ".method p{max-width:90ch}@media (max-width:640px){#front>figure svg,svg.bars{max-width:none}}";

std::string header(const SweepReport& report, const SweepSummary& summary, size_t drawn) {
  std::string html = "<header><h1>" + html_text(report.title) + "</h1><div class=\"facts\">";
  for (const std::string& sentence : sweep_sentences(report, summary))
    html += "<p>" + html_text(sentence) + "</p>";
  if (!summary.feasible.empty())
    html += R"(<p><a href="#listed">Configs and commands of these trials</a></p>)";
  html += "</div>";
  const std::vector<std::string> notes = sweep_notes(report, summary, drawn);
  if (!notes.empty()) {
    html += R"(<div class="notes"><h2>Notes</h2><ul>)";
    for (const std::string& note : notes) html += "<li>" + html_text(note) + "</li>";
    html += "</ul></div>";
  }
  return html + "</header>";
}

std::string key(const char* dot, const char* text) {
  return fmt::format(
      R"(<span><svg width="14" height="14" aria-hidden="true"><circle class="dot {}" cx="7" cy="7" r="4.5"/></svg>{}</span>)",
      dot, text);
}

std::string point_legend(const SweepSummary& summary, bool several) {
  std::string html = R"(<div class="legend">)" + key("", "feasible");
  html += key("best", several ? "on the Pareto front over all objectives" : "best");
  if (!summary.infeasible.empty()) html += key("hollow", "infeasible");
  return html + "</div>";
}

std::string figure(const std::string& svg) {
  return svg.empty() ? "" : R"(<figure class="scroll">)" + svg + "</figure>";
}

std::string front_section(const DrawnSweep& drawn) {
  const size_t count = drawn.report.objectives.size();
  if (drawn.trials.empty()) return "";
  if (count == 1) {
    const std::string svg = density_scatter(drawn, 760, 420);
    if (drawn.report.objectives[0].name == "density" || svg.empty()) return "";
    return R"(<section id="front"><h2>Objective against density</h2>)" + point_legend(drawn.summary, false) +
           figure(svg) + "</section>";
  }
  std::string html = R"(<section id="front"><h2>Pareto front</h2><p class="small">)";
  html += count == 2
              ? "Steps: what no trial betters in both objectives at once."
              : "The first two objectives, then other pairs. Steps: what no trial betters in these two "
                "at once; trials beside them are on the front for another objective.";
  html += "</p>" + point_legend(drawn.summary, true) + figure(objective_scatter(drawn, 0, 1, 760, 440));
  std::string others;
  size_t pairs = 1;
  for (size_t y = 1; y < count; ++y) {
    for (size_t x = 0; x < y; ++x) {
      if ((x == 0 && y == 1) || pairs++ >= most_pairs) continue;
      others += figure(objective_scatter(drawn, x, y, 330, 260));
    }
  }
  if (!others.empty()) html += R"(<div class="cards small-cards">)" + others + "</div>";
  return html + "</section>";
}

std::string config_link(const SweepTrial& trial) {
  if (trial.config.empty()) return html_text(short_id(trial));
  return fmt::format(R"(<a href="{}">{}</a>)", html_text(clean(trial.config)), html_text(short_id(trial)));
}

std::string command_of(const SweepTrial& trial) {
  return trial.command.empty() ? ""
                               : R"(<code class="copyable">)" + html_text(clean(trial.command)) + "</code>";
}

std::string listed_section(const SweepReport& report, const SweepSummary& summary) {
  const std::vector<size_t> listed = listed_feasible(report, summary);
  if (listed.empty()) return "";
  const std::vector<std::string> columns = listed_columns(report, summary);
  const bool narrow = columns.size() <= narrow_columns;
  std::string html =
      R"(<section id="listed"><h2>)" + html_text(listed_title(report, summary)) +
      R"(</h2><div class="scroll" tabindex="0" role="region" aria-label="trials"><table class="grid-table">)"
      R"(<thead><tr><th class="word" scope="col">config</th>)";
  for (const std::string& column : columns) html += "<th scope=\"col\">" + html_text(clean(column)) + "</th>";
  html +=
      narrow ? R"(<th class="word" scope="col">command</th></tr></thead><tbody>)" : "</tr></thead><tbody>";
  for (const size_t i : listed) {
    const SweepTrial& trial = report.trials[i];
    html += fmt::format(R"(<tr><th class="word" scope="row">{}</th>)", config_link(trial));
    for (const std::string& cell : listed_cells(report, trial))
      html += "<td>" + html_text(clean(cell)) + "</td>";
    if (narrow) {
      html += R"(<td class="word">)" + command_of(trial) + "</td>";
    } else if (!trial.command.empty()) {
      html += fmt::format(R"(</tr><tr class="run"><td colspan="{}">{}</td>)", columns.size() + 1,
                          command_of(trial));
    }
    html += "</tr>";
  }
  html += "</tbody></table></div>";
  const size_t all = report.objectives.size() > 1 ? summary.front.size() : summary.feasible.size();
  if (listed.size() < all)
    html += "<p class=\"small\">attnlab sweep best and attnlab sweep export list the others.</p>";
  return html + "</section>";
}

std::string parallel_section(const DrawnSweep& drawn) {
  const std::string svg = parallel_coordinates(drawn);
  if (svg.empty()) return "";
  std::string html =
      R"(<section id="parallel"><h2>Parallel coordinates</h2><p class="small">A line for each trial, )";
  html += drawn.report.objectives.size() > 1 ? "thick on the Pareto front." : "thick for the best.";
  html += R"(</p><div class="legend"><span class="strip"><span>)" +
          html_text(drawn.report.objectives[0].name) + ": best</span>";
  for (int level = 0; level < sweep_levels; ++level)
    html += fmt::format(R"(<i class="ramp q{}"></i>)", level);
  html += "<span>worst, by rank</span></span>";
  if (!drawn.summary.infeasible.empty()) html += "<span>dashed: infeasible</span>";
  if (!drawn.failed.empty()) html += "<span>dotted, without objectives: failed</span>";
  return html + "</div>" + R"(<figure class="scroll" tabindex="0">)" + svg + "</figure></section>";
}

std::string importance_section(const DrawnSweep& drawn, const std::vector<std::vector<Importance>>& all) {
  if (drawn.trials.empty() || drawn.report.axes.empty()) return "";
  std::string html =
      R"(<section id="importance"><h2>Importance of axes</h2><p class="small">Share of the variance of an objective that an axis alone explains. Upright mark: what an axis without effect reaches in one case of twenty; grey bars are below it.</p><div class="cards wide-cards">)";
  for (size_t k = 0; k < all.size(); ++k)
    html += "<figure class=\"scroll\"><h3>" + html_text(drawn.report.objectives[k].name) + "</h3>" +
            importance_bars(drawn, all[k]) + "</figure>";
  html += "</div><details class=\"method\"><summary>How this is computed, and where it misleads</summary>";
  for (const std::string& sentence : importance_method()) html += "<p>" + html_text(sentence) + "</p>";
  return html + "</details></section>";
}

std::string axes_section(const DrawnSweep& drawn, const std::vector<std::vector<Importance>>& all) {
  if (drawn.trials.empty() || drawn.report.axes.empty()) return "";
  std::string figures;
  std::vector<size_t> order = axes_by_share(all[0]);
  order.resize(std::min(order.size(), most_axis_figures));
  for (const size_t a : order) figures += figure(axis_scatter(drawn, a, 330, 250));
  return R"(<section id="axes"><h2>)" + html_text(drawn.report.objectives[0].name) +
         " against each axis</h2><p class=\"small\">Squares: medians of a value, or of a bin of values." +
         (order.size() < all[0].size() ? fmt::format(" The {} most important axes.", order.size()) : "") +
         "</p><div class=\"cards small-cards\">" + figures + "</div></section>";
}

std::string lost_section(const SweepReport& report, const SweepSummary& summary) {
  std::string html;
  const auto broken = broken_constraints(report, summary);
  if (!broken.empty()) {
    html += R"(<section id="infeasible"><h2>Infeasible trials</h2><table class="grid-table"><tbody>)";
    for (const auto& [constraint, count] : broken)
      html += fmt::format("<tr><td>{}</td><td>{}</td></tr>", count, html_text(clean(constraint)));
    html += "</tbody></table></section>";
  }
  const std::vector<SweepFailure> failures = failures_of(report, summary);
  if (failures.empty()) return html;
  html += R"(<section id="failures"><h2>Failed trials</h2>)";
  for (const SweepFailure& failure : failures) {
    const SweepTrial& example = report.trials[failure.example];
    html += fmt::format(R"(<div class="failure"><h3>{} × {}</h3><p class="small">Such as {}: {}</p>)",
                        failure.count, html_text(clean(failure.reason)), config_link(example),
                        html_text(point_words(report, summary, example)));
    if (!example.command.empty()) html += "<p>" + command_of(example) + "</p>";
    if (!example.stderr_tail.empty()) html += "<pre>" + html_text(example.stderr_tail) + "</pre>";
    html += "</div>";
  }
  return html + "</section>";
}

}  // namespace

std::string sweep_html(const SweepReport& report) {
  const SweepSummary summary = summary_of(report);
  const DrawnSweep drawn = drawn_sweep(report, summary);
  const auto shares = importances(report, summary);
  std::string page = page_head(report.title, std::string(sweep_style) + style, Scripts::own);
  for (const std::string& section :
       {header(report, summary, drawn.trials.size()), front_section(drawn), parallel_section(drawn),
        importance_section(drawn, shares), axes_section(drawn, shares), listed_section(report, summary),
        lost_section(report, summary)}) {
    page += section + "\n";
  }
  page +=
      "<section><h2>Again</h2><p class=\"small\">Makes this page from the records.</p><pre id=\"command\">" +
      html_text(report.command) + "</pre></section>\n";
  page += fmt::format("<footer class=\"small\">attnlab {}</footer></main>\n", ATTNLAB_VERSION);
  // The shared script looks for a run's data.
  page += "<script type=\"application/json\" id=\"run-data\">null</script>\n<script>\n";
  page += sweep_script;
  return page + "</script></body></html>\n";
}

}  // namespace attnlab::report
