// report.html of a look at operators.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/report/format.hpp"
#include "core/report/operators.hpp"
#include "core/report/operators_chart.hpp"
#include "core/report/operators_tables.hpp"
#include "core/report/text.hpp"

namespace attnlab::report {
namespace {

using measure::Crossover;
using measure::OperatorPoint;
using measure::OperatorScaling;
using measure::OperatorSpectrum;
using measure::OperatorsRecord;
using measure::Quantity;

constexpr double chart_width = 520, chart_height = 340;
/// Singular values below this share of the first are rounding.
constexpr double least_decay = 1e-16;

constexpr const char* style =
    "#tables h3{margin-top:28px}#tables .grid-table th,#tables .grid-table td{padding:4px 8px}"
    "#tables .word{text-align:left}#tables thead th{white-space:normal;vertical-align:bottom}"
    "tbody .word{font-weight:400;color:var(--text)}.facts p{font-size:14px}";

/// An operator's colour, the same in all charts: its place in the config.
size_t color_of(const OperatorsRecord& record, const std::string& name) {
  const auto& all = record.plan.operators;
  return static_cast<size_t>(
      std::find_if(all.begin(), all.end(), [&](const auto& o) { return o.name == name; }) - all.begin());
}

std::string value_text(double value, Quantity quantity) {
  return quantity == Quantity::state ? byte_size(static_cast<uint64_t>(std::llround(value)))
                                     : duration(value);
}

ChartPoint chart_point(const std::string& name, const OperatorPoint& point, Quantity quantity) {
  const double y = value_of(point, quantity);
  ChartPoint result{static_cast<double>(point.tokens), y, 0, 0,
                    fmt::format("{}, {} tokens: {}", name, point.tokens, value_text(y, quantity))};
  if (quantity != Quantity::prefill) return result;
  const measure::Spread s = measure::spread(point.prefill);
  result.low = s.minimum / result.x, result.high = s.maximum / result.x;
  result.tip += fmt::format(" ({} to {})", duration(result.low), duration(result.high));
  return result;
}

/// Powers of two, or of 4, 16, ... where there would be many, within what is drawn.
std::vector<double> byte_ticks(const std::vector<ChartLine>& lines) {
  double low = 1e300, high = 0;
  for (const ChartLine& line : lines) {
    for (const ChartPoint& point : line.points) low = std::min(low, point.y), high = std::max(high, point.y);
  }
  std::vector<double> ticks;
  const double octaves = high > 0 ? std::log2(high / low) : 0;
  const int step = octaves < 7 ? 1 : octaves < 14 ? 2 : 4;
  for (int power = 0; power <= 50; power += step) {
    if (const double tick = std::ldexp(1.0, power); tick >= low * 0.9 && tick <= high * 1.1)
      ticks.push_back(tick);
  }
  return ticks;
}

std::string crossover_caption(const std::vector<Crossover>& found, Quantity quantity) {
  std::string text;
  for (const Crossover& c : found) {
    if (c.quantity != quantity) continue;
    text += (text.empty() ? "Below " + c.against + ": " : "; ") + c.name + " " + crossover_text(c);
  }
  return text.empty() ? "" : "<figcaption>" + html_text(text) + ".</figcaption>";
}

std::string scaling_chart(const OperatorsRecord& record, const std::vector<Crossover>& found,
                          Quantity quantity) {
  const char* titles[] = {"Prefill, time per token", "Decoding, time per token",
                          "State after so many tokens"};
  Chart chart;
  chart.title = titles[static_cast<size_t>(quantity)];
  chart.x_name = quantity == Quantity::prefill ? "tokens (log)" : "tokens before (log)";
  chart.y_name = quantity == Quantity::state ? "bytes (log)" : "time per token (log)";
  for (const int64_t tokens : record.plan.scaling->tokens)
    chart.x_ticks.push_back(static_cast<double>(tokens));
  chart.y_label = [quantity](double value) { return value_text(value, quantity); };
  double longest = 0;
  for (const OperatorScaling& s : record.scaling) {
    ChartLine line{s.name, color_of(record, s.name), {}};
    for (const OperatorPoint& point : s.points) {
      if (const double y = value_of(point, quantity); std::isnan(y) || y <= 0) continue;
      line.points.push_back(chart_point(s.name, point, quantity));
      longest = std::max(longest, line.points.back().x);
    }
    chart.lines.push_back(std::move(line));
  }
  std::erase_if(chart.x_ticks, [&](double tick) { return tick > longest; });
  if (quantity == Quantity::state) chart.y_ticks = byte_ticks(chart.lines);
  for (const Crossover& c : found) {
    if (c.quantity != quantity || c.kind != Crossover::Kind::at) continue;
    chart.marks.push_back({c.tokens, c.value, color_of(record, c.name), fmt::format("{:.0f}", c.tokens),
                           fmt::format("{} is below {} {}", c.name, c.against, crossover_text(c))});
  }
  std::string figure = line_chart(chart, chart_width, chart_height);
  if (figure.empty()) return figure;
  return figure.insert(figure.rfind("</figure>"), crossover_caption(found, quantity));
}

std::string scaling_section(const OperatorsRecord& record) {
  if (!record.plan.scaling) return "";
  const std::vector<Crossover> found = measure::crossovers(record.scaling);
  std::string charts;
  for (const Quantity quantity : {Quantity::prefill, Quantity::state, Quantity::decode})
    charts += scaling_chart(record, found, quantity);
  return R"(<section id="scaling"><h2>Time and state against length</h2><p class="small">Medians; bars span the rounds of prefill. A ring is where a line passes below the one compared with.</p><div class="pair">)" +
         charts + "</div></section>";
}

/// At the longest sequence of all operators that have weights.
std::string decay_section(const OperatorsRecord& record) {
  if (record.spectra.empty()) return "";
  const int64_t tokens = record.spectra.back().tokens;
  Chart chart;
  chart.title = fmt::format("Singular values, {} tokens", tokens);
  chart.x_name = "i (log)", chart.y_name = "σᵢ / σ₁ (log)";
  chart.y_label = [](double value) { return number(value, 1); };
  for (double tick = 1; tick <= static_cast<double>(tokens); tick *= 2) chart.x_ticks.push_back(tick);
  for (const OperatorSpectrum& s : record.spectra) {
    if (s.tokens != tokens) continue;
    ChartLine line{s.name, color_of(record, s.name), {}};
    for (const auto& [place, ratio] : s.decay) {
      if (ratio < least_decay) break;
      line.points.push_back({static_cast<double>(place), ratio, 0, 0,
                             fmt::format("{}, i = {}: {}", s.name, place, number(ratio))});
    }
    chart.lines.push_back(std::move(line));
  }
  const std::string figure = line_chart(chart, chart_width, chart_height);
  if (figure.empty()) return "";
  return R"(<section id="spectra"><h2>Spectra</h2><p class="small">How the singular values of the weights fall; means over the samples. A line that ends has rounding only beyond.</p>)" +
         figure + "</section>";
}

std::string head_of(const OperatorsRecord& record) {
  const std::string title = html_text(operators_title(record));
  std::string html = "<header><h1>" + title + "</h1><div class=\"facts\">";
  for (const std::string& fact : operators_facts(record)) html += "<p>" + html_text(fact) + "</p>";
  html += "</div>";
  const std::vector<std::string> notes = operators_notes(record);
  if (!notes.empty()) {
    html += "<div class=\"notes\"><h2>Notes</h2><ul>";
    for (const std::string& note : notes) html += "<li>" + html_text(note) + "</li>";
    html += "</ul></div>";
  }
  return html + "</header>\n";
}

}  // namespace

std::string operators_html(const OperatorsRecord& record) {
  std::string page = page_head(operators_title(record), std::string(chart_style) + style) + head_of(record);
  page += scaling_section(record) + "\n" + decay_section(record) + "\n";
  page += R"(<section id="tables"><h2>Tables</h2>)";
  for (const PlainTable& table : operators_tables(record)) page += plain_html(table);
  return page + "</section>\n</main></body></html>\n";
}

}  // namespace attnlab::report
