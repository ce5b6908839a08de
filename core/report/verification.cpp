#include "core/report/verification.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "core/report/axis.hpp"
#include "core/report/format.hpp"
#include "core/report/plain_table.hpp"
#include "core/report/svg.hpp"
#include "core/report/text.hpp"

namespace attnlab::report {
namespace {

using measure::EpsilonPoint;
using measure::SamplingRecord;
using measure::SeedMean;
using measure::VerificationRecord;

std::string with_error(const SeedMean& mean) {
  if (std::isnan(mean.mean)) return "-";
  return fmt::format("{:.4f} ± {:.4f}", mean.mean, mean.standard_error);
}

std::string z_of(const SeedMean& mean, double rounding) {
  const double z = mean.z(1, rounding);
  return std::isnan(z) ? "-" : fmt::format("{:.1f}", z);
}

std::string verdict(const SamplingRecord& record) {
  if (record.holds()) return record.coverage ? "holds" : "unbiased";
  const bool missed = record.coverage && record.coverage->missed();
  return record.biased() ? missed ? "biased, missed" : "biased" : "missed";
}

/// Rows of cells, the heading first.
std::vector<std::vector<std::string>> cells(const VerificationRecord& verification) {
  std::vector<std::vector<std::string>> rows{{"pipeline", "verdict", "density", "added", "minimum", "D^/D",
                                              "z", "N^ on N", "z", "var/theory", "error", "within epsilon",
                                              "99 % interval", "promised"}};
  for (const SamplingRecord& record : verification.pipelines) {
    std::vector<std::string> row{clean(record.pipeline),
                                 verdict(record),
                                 percent(record.density),
                                 number(record.added),
                                 number(record.minimum),
                                 with_error(record.denominator_ratio),
                                 z_of(record.denominator_ratio, record.rounding),
                                 with_error(record.numerator_projection),
                                 z_of(record.numerator_projection, record.rounding),
                                 record.theoretical_variance > 0
                                     ? number(record.denominator_variance / record.theoretical_variance)
                                     : "-",
                                 number(record.mean_error)};
    if (record.coverage) {
      const measure::Coverage& coverage = *record.coverage;
      row.insert(row.end(), {fmt::format("{:.4f}", coverage.share()),
                             fmt::format("{:.4f}-{:.4f}", coverage.interval.low, coverage.interval.high),
                             fmt::format(">= {}", number(1 - coverage.delta))});
    } else {
      row.insert(row.end(), {"-", "-", "-"});
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

// A page of 1200 pixels has room for these columns of cells(), what a reader looks for first; its notes say
// the others.
constexpr std::array<size_t, 10> page_columns{0, 1, 11, 12, 13, 2, 3, 5, 6, 10};
constexpr std::array<size_t, 4> note_columns{4, 7, 8, 9};

std::vector<std::string> notes(const VerificationRecord& verification) {
  std::vector<std::string> lines;
  for (const SamplingRecord& record : verification.pipelines) {
    std::string line = clean(record.pipeline) + ": error is that of the " + record.target;
    if (record.coverage) {
      line += fmt::format(", epsilon {}, delta {}, worst row within epsilon in {} of the seeds",
                          number(record.coverage->epsilon), number(record.coverage->delta),
                          percent(record.coverage->worst_row));
    }
    line += "; theory: " + record.theory;
    line += fmt::format("; |mean N^ - N| / |N| {} where noise leaves {}", number(record.numerator_mean_error),
                        number(record.numerator_noise));
    if (record.empty_rows > 0) line += fmt::format("; {} rows selected no key", record.empty_rows);
    lines.push_back(line);
  }
  return lines;
}

std::string summary(const VerificationRecord& v) {
  return fmt::format("{}; {}, {} rows, {} seeds from {}", clean(v.input.description), v.input.mode, v.rows,
                     v.seeds, v.first_seed);
}

// ---- Figures

struct Series {
  std::string style, name;
  std::vector<double> values;
};

/// One panel: series over epsilon, both axes logarithmic.
std::string panel(const std::vector<double>& epsilons, const std::vector<Series>& series,
                  const std::string& title, bool diagonal, bool as_percent) {
  constexpr double width = 500, height = 340, left = 62, right = 488, top = 26, bottom = 292;
  std::vector<double> y_values = diagonal ? epsilons : std::vector<double>{};
  for (const Series& one : series) y_values.insert(y_values.end(), one.values.begin(), one.values.end());
  const LogAxis x(epsilons, left + 12, right - 12, 30), y(y_values, bottom, top + 8, 30);
  const auto line = [](const char* style, double x1, double y1, double x2, double y2) {
    return fmt::format(R"(<line class="{}" x1="{}" y1="{}" x2="{}" y2="{}"/>)", style, px(x1), px(y1), px(x2),
                       px(y2));
  };
  const auto text = [](const char* style, const char* anchor, double at_x, double at_y,
                       const std::string& what) {
    return fmt::format(R"(<text class="{}" text-anchor="{}" x="{}" y="{}">{}</text>)", style, anchor,
                       px(at_x), px(at_y), html_text(what));
  };
  std::string svg = fmt::format(
      R"(<svg class="scatter" role="img" aria-label="{}" viewBox="0 0 {} {}" width="{}" height="{}">)",
      html_text(title + " against epsilon"), px(width), px(height), px(width), px(height));
  for (const double tick : x.ticks()) {
    svg += line("grid", x.at(tick), top, x.at(tick), bottom);
    svg += text("tick", "middle", x.at(tick), bottom + 17, number(tick, 1));
  }
  if (y.has_zero()) svg += text("tick", "end", left - 7, y.at(0) + 4, "0");
  for (const double tick : y.ticks()) {
    svg += line("grid", left, y.at(tick), right, y.at(tick));
    svg += text("tick", "end", left - 7, y.at(tick) + 4, as_percent ? percent(tick, 2) : number(tick, 1));
  }
  svg += line("axis", left, bottom, right, bottom) + line("axis", left, top, left, bottom);
  svg += text("name", "middle", (left + right) / 2, bottom + 38, "epsilon asked for (log)");
  svg += text("name", "start", left, 14, title + " (log)");
  if (diagonal) {
    const auto [low, high] = std::minmax_element(epsilons.begin(), epsilons.end());
    svg += line("leader", x.at(*low), y.at(*low), x.at(*high), y.at(*high));
    svg += text("tick", "end", x.at(*high) - 6, y.at(*high) - 6, "error = epsilon");
  }
  for (const Series& one : series) {
    std::string path;
    std::string points;
    for (size_t i = 0; i < epsilons.size(); ++i) {
      if (std::isnan(one.values[i])) continue;
      const double at_x = x.at(epsilons[i]), at_y = y.at(one.values[i]);
      path += fmt::format("{}{} {}", path.empty() ? "M" : "L", px(at_x), px(at_y));
      points += fmt::format(
          R"(<circle class="point {}" cx="{}" cy="{}" r="4.5"><title>{}, epsilon {}: {}</title></circle>)",
          one.style, px(at_x), px(at_y), html_text(one.name), number(epsilons[i]),
          as_percent ? percent(one.values[i]) : number(one.values[i]));
    }
    svg += fmt::format(R"(<path class="curve {}" d="{}"/>)", one.style, path) + points;
    if (!epsilons.empty() && !std::isnan(one.values.back())) {
      // On the side from which the line does not come.
      const bool falls = one.values.back() < one.values.front();
      svg += text("label", "end", x.at(epsilons.back()) - 4, y.at(one.values.back()) + (falls ? 20 : -10),
                  one.name);
    }
  }
  return svg + "</svg>";
}

std::string figures(const SamplingRecord& record) {
  if (record.epsilons.empty() || !record.coverage) return "";
  std::vector<EpsilonPoint> points = record.epsilons;
  std::sort(points.begin(), points.end(),
            [](const EpsilonPoint& a, const EpsilonPoint& b) { return a.epsilon < b.epsilon; });
  std::vector<double> epsilons, mean, quantile, density;
  for (const EpsilonPoint& point : points) {
    epsilons.push_back(point.epsilon);
    mean.push_back(point.mean_error);
    quantile.push_back(point.quantile_error);
    density.push_back(point.density);
  }
  const std::string share = percent(1 - record.coverage->delta, 2);
  return "<section><h2 class=\"clamp\">" + html_text(record.pipeline) + "</h2><div class=\"pair\"><figure>" +
         panel(epsilons, {{"quantile", share + " quantile", quantile}, {"mean", "mean", mean}},
               record.target + " error seen", true, false) +
         "</figure><figure>" + panel(epsilons, {{"mean", "density", density}}, "density", false, true) +
         "</figure></div><p class=\"small\">Each point is the stage with another epsilon and the same delta. "
         "The promise is kept where the " +
         share + " quantile lies on or below the line.</p></section>";
}

constexpr const char* style =
    ".pair{display:flex;flex-wrap:wrap;gap:24px}.pair figure{flex:1 1 380px}"
    ".curve{fill:none;stroke:var(--accent);stroke-width:1.5}.curve.quantile{stroke:var(--error)}"
    ".point.quantile{fill:var(--error)}";

}  // namespace

std::string verification_table(const VerificationRecord& verification) {
  const auto rows = cells(verification);
  std::vector<int> widths(rows[0].size(), 0);
  for (const auto& row : rows) {
    for (size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], display_width(row[c]));
  }
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (size_t c = 0; c < row.size(); ++c) {
      const bool left = c < 2;
      if (c > 0) line += "  ";
      line += left ? pad_right(row[c], widths[c]) : pad_left(row[c], widths[c]);
    }
    text += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  text += "\n" + summary(verification) + "\n";
  for (const std::string& note : notes(verification)) text += note + "\n";
  return text;
}

std::string verification_csv(const VerificationRecord& verification) {
  const auto field = [](double value) {
    return std::isnan(value) ? std::string() : fmt::format("{}", value);
  };
  std::string text =
      "pipeline,target,density,added_keys,minimum_keys,sampled_keys,denominator_ratio,denominator_ratio_se,"
      "numerator_projection,numerator_projection_se,numerator_mean_error,numerator_noise,denominator_"
      "variance,"
      "theoretical_variance,mean_error,epsilon,delta,coverage,coverage_low,coverage_high,worst_row,verdict\n";
  for (const SamplingRecord& r : verification.pipelines) {
    text += csv_text(r.pipeline) + "," + r.target;
    constexpr double none = std::numeric_limits<double>::quiet_NaN();
    const measure::Coverage none_declared{none, none, 0, 0, {none, none}, none};
    const measure::Coverage& c = r.coverage ? *r.coverage : none_declared;
    for (const double value :
         {r.density, r.added, r.minimum, r.sampled, r.denominator_ratio.mean,
          r.denominator_ratio.standard_error, r.numerator_projection.mean,
          r.numerator_projection.standard_error, r.numerator_mean_error, r.numerator_noise,
          r.denominator_variance, r.theoretical_variance, r.mean_error, c.epsilon, c.delta, c.share(),
          c.interval.low, c.interval.high, c.worst_row}) {
      text += "," + field(value);
    }
    text += "," + csv_text(verdict(r)) + "\n";
  }
  return text;
}

std::string verification_html(const VerificationRecord& verification) {
  const std::string title = verification.title.empty() ? "sampling" : verification.title;
  std::string page = page_head(title, style);
  page +=
      "<header><h1>" + html_text(title) + "</h1><p>" + html_text(summary(verification)) + "</p></header>\n";
  const auto rows = cells(verification);
  page +=
      "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"pipelines\"><table "
      "class=\"grid-table\"><thead><tr>";
  for (const size_t c : page_columns) {
    page += fmt::format("<th scope=\"col\"{}>{}</th>", c == 0 ? " class=\"who\"" : "", html_text(rows[0][c]));
  }
  page += "</tr></thead><tbody>";
  for (size_t r = 1; r < rows.size(); ++r) {
    page += "<tr><th scope=\"row\" class=\"who\">" + html_text(rows[r][0]) + "</th>";
    for (const size_t c : page_columns) {
      if (c == 0) continue;
      const bool warn = c == 1 && !verification.pipelines[r - 1].holds();
      page += fmt::format("<td{}>{}</td>", warn ? " class=\"warn\"" : "", html_text(rows[r][c]));
    }
    page += "</tr>";
  }
  page += "</tbody></table></div><ul class=\"small\">";
  const std::vector<std::string> lines = notes(verification);
  for (size_t i = 0; i < lines.size(); ++i) {
    page += "<li>" + html_text(lines[i]);
    const char* separator = "; ";
    for (const size_t c : note_columns) {
      if (rows[i + 1][c] == "-") continue;
      page += separator + html_text(rows[0][c] + " " + rows[i + 1][c]);
      separator = ", ";
    }
    page += "</li>";
  }
  page += "</ul>";
  for (const SamplingRecord& record : verification.pipelines) page += figures(record);
  page += "<footer class=\"small\">attnlab " + html_text(verification.version) + "<pre>" +
          html_text(verification.command) + "</pre></footer></main></body></html>\n";
  return page;
}

}  // namespace attnlab::report
