#include "core/report/sections.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <tuple>
#include <vector>

#include "core/report/format.hpp"
#include "core/report/svg.hpp"
#include "core/report/table.hpp"
#include "core/report/text.hpp"

namespace attnlab::report {
namespace {

/// Logarithmic colour scale over the positive finite errors of a run.
struct ErrorScale {
  double low = std::numeric_limits<double>::infinity(), high = 0;

  void add(double error) {
    if (!std::isfinite(error) || error <= 0) return;
    low = std::min(low, error);
    high = std::max(high, error);
  }
  /// At most four decades, so that one lucky head does not make all others look the same.
  void trim() { low = std::max(low, high / 1e4); }
  /// 0 for no error, else from 1 to the last level.
  int level(double error) const {
    if (error <= 0) return 0;
    if (error >= high || low >= high) return color_levels - 1;
    if (error <= low) return 1;
    const double place = std::log(error / low) / std::log(high / low);
    return 1 + static_cast<int>(std::lround(place * (color_levels - 2)));
  }
};

using HeadErrors = std::map<int64_t, std::map<int64_t, double>>;  // layer -> head -> mean output error

std::string heat_cell(int64_t layer, int64_t head, double error, const ErrorScale& scale, bool with_number) {
  const std::string color = std::isnan(error) ? "nothing" : fmt::format("e{}", scale.level(error));
  return fmt::format(R"(<td class="{}" title="layer {}, head {}: {}">{}</td>)", color, layer, head,
                     number(error), with_number ? number(error, 2) : "");
}

std::string heat_table(const HeadErrors& errors, const ErrorScale& scale) {
  constexpr size_t most_numbers = 8;  // heads of a row whose numbers fit on a phone
  std::set<int64_t> heads;
  for (const auto& [layer, row] : errors) {
    for (const auto& [head, error] : row) heads.insert(head);
  }
  const bool with_numbers = heads.size() <= most_numbers;
  std::string html = fmt::format(
      R"(<div class="scroll" tabindex="0" role="region" aria-label="layers and heads"><table class="heat {}"><thead><tr><th scope="col">layer</th>)",
      with_numbers ? "" : "fine");
  const size_t step = with_numbers ? 1 : 4;  // heads to a heading
  size_t place = 0;
  for (const int64_t head : heads) {
    if (place % step == 0) {
      html += fmt::format(R"(<th colspan="{}">{}</th>)", std::min(step, heads.size() - place), head);
    }
    ++place;
  }
  html += "</tr></thead><tbody>";
  for (const auto& [layer, row] : errors) {
    html += fmt::format("<tr><th>{}</th>", layer);
    for (const int64_t head : heads) {
      const auto found = row.find(head);
      html += found == row.end() ? "<td></td>" : heat_cell(layer, head, found->second, scale, with_numbers);
    }
    html += "</tr>";
  }
  return html + "</tbody></table></div>";
}

std::string time_row(const char* row_class, const std::string& what, double seconds, double longest) {
  const double share = std::isfinite(seconds) && longest > 0 ? std::clamp(seconds / longest, 0.0, 1.0) : 0;
  return fmt::format(
      R"(<tr class="{}"><td class="who"><span class="clamp">{}</span></td><td>{}</td><td class="bar-cell"><span class="bar" style="width:{}%"></span></td></tr>)",
      row_class, html_text(what), duration(seconds), px(share * 100));
}

}  // namespace

std::string mask_section(const measure::RunRecord& run) {
  constexpr int64_t side = 96;
  const measure::Plane& plane = run.plane;
  std::string cards;
  for (const measure::PipelineRecord& pipeline : run.pipelines) {
    const std::string svg = mask_picture(coarsen(plane, pipeline.active, side), "mask of " + pipeline.name);
    cards += fmt::format(R"(<figure><h3 class="clamp">{}</h3>{}<figcaption>)", html_text(pipeline.name), svg);
    cards += html_text(stage_line(pipeline));
    if (pipeline.state_bytes > 0) cards += "<br>key-side state " + byte_size(pipeline.state_bytes);
    if (pipeline.reference_error >= 0) {
      cards += "<br>deviation from double precision " + number(pipeline.reference_error);
    }
    cards += "</figcaption></figure>";
  }
  if (cards.empty()) return "";
  const std::string what =
      plane.visible.empty()
          ? ""
          : fmt::format("Layer {}, head {}: {} quer{} down, {} keys across. ", plane.layer, plane.head,
                        plane.queries, plane.queries == 1 ? "y" : "ies", plane.keys);
  std::string legend;
  for (const double density : {0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0}) {
    legend +=
        fmt::format(R"(<span><i class="d{}"></i>{}</span>)", density_level(density), percent(density, 1));
  }
  return R"(<section id="masks"><h2>Masks</h2><p class="small">)" + what +
         R"(Colour is the share of a block's visible keys that are active.</p><div class="legend">)" +
         legend + R"(<span><i class="nothing"></i>nothing visible</span></div><div class="cards">)" + cards +
         "</div></section>";
}

std::string head_section(const measure::RunRecord& run) {
  std::map<std::string, HeadErrors> by_pipeline;
  ErrorScale scale;
  for (const measure::HeadRecord& head : run.heads) {
    const measure::Summary& error = head.quality.output_error;
    const double mean = error.rows > 0 ? error.mean : std::numeric_limits<double>::quiet_NaN();
    by_pipeline[head.pipeline][head.layer][head.head] = mean;
    scale.add(mean);
  }
  if (by_pipeline.empty()) return "";
  scale.trim();
  std::string cards;
  for (size_t i = 0; i < run.pipelines.size(); ++i) {
    const measure::PipelineRecord& pipeline = run.pipelines[i];
    const auto found = by_pipeline.find(pipeline.name);
    if (found == by_pipeline.end() || pipeline.stages.empty()) continue;
    cards += fmt::format(R"(<figure data-pipeline="{}"><h3 class="clamp">{}</h3>{}</figure>)", i,
                         html_text(pipeline.name), heat_table(found->second, scale));
  }
  if (cards.empty()) return "";
  std::string legend = R"(<span><i class="e0"></i>0</span>)";
  if (scale.high > 0) {
    for (int step = 0; step <= 4; ++step) {
      const double error = scale.low * std::pow(scale.high / scale.low, step / 4.0);
      legend += fmt::format(R"(<span><i class="e{}"></i>{}</span>)", scale.level(error), number(error, 2));
      if (scale.low >= scale.high) break;
    }
  }
  return R"(<section id="heads"><h2>Layers and heads</h2><p class="small">Mean <span class="metric">output error</span> of the rows of a head; layers down, heads across, one scale for all pipelines.</p><div class="legend">)" +
         legend + R"(</div><div class="cards heats">)" + cards + "</div></section>";
}

std::string time_section(const measure::RunRecord& run) {
  const measure::TimeRecord& time = run.time;
  std::vector<std::tuple<const char*, std::string, double>> rows;
  rows.emplace_back("", "load the input", time.load_seconds);
  rows.emplace_back("", "exact logits, shared", time.logits);
  rows.emplace_back("", "exact rows (dense), shared", time.exact_rows);
  rows.emplace_back("", "measure", time.measure);
  for (const measure::PipelineTime& pipeline : time.pipelines) {
    double total = pipeline.attend;
    for (const auto& stage : pipeline.stages) total += stage.second;
    // Dense attention is the shared exact rows.
    if (pipeline.stages.empty() && total == 0) continue;
    rows.emplace_back("total", pipeline.pipeline, total);
    for (const auto& [name, seconds] : pipeline.stages) rows.emplace_back("part", name, seconds);
    rows.emplace_back("part", "attend", pipeline.attend);
  }
  double longest = 0;
  for (const auto& [row_class, what, seconds] : rows) {
    if (std::isfinite(seconds)) longest = std::max(longest, seconds);
  }
  std::string html =
      R"(<section id="time"><h2>Time by stage</h2><p class="small">)" +
      fmt::format("Seconds summed over {} thread{}; the whole run took {} of wall clock", time.threads,
                  time.threads == 1 ? "" : "s", duration(time.wall_seconds)) +
      (time.peak_resident_bytes > 0 ? ", at most " + byte_size(time.peak_resident_bytes) + " resident" : "") +
      R"(. A shared-run clock: good for finding the slow stage, not for ranking methods.</p><div class="scroll"><table class="grid-table wide"><tbody>)";
  for (const auto& [row_class, what, seconds] : rows) html += time_row(row_class, what, seconds, longest);
  return html + "</tbody></table></div></section>";
}

}  // namespace attnlab::report
