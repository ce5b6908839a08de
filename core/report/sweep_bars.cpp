// Importance of a sweep's axes as bars.
#include <fmt/format.h>

#include <cmath>

#include "core/report/compare_plot.hpp"
#include "core/report/format.hpp"
#include "core/report/svg.hpp"
#include "core/report/sweep_figures.hpp"
#include "core/report/text.hpp"

namespace attnlab::report {
namespace {

constexpr double width = 500, name_width = 150, bar_width = 170, row_height = 25, first_row = 6;

std::string bar_text(const Importance& importance) {
  if (importance.trials == 0) return "in no trial";
  if (importance.values < 2) return "one value";
  if (std::isnan(importance.share)) return "the objective is constant";
  return fmt::format("{}, noise {}, {} {}", percent(importance.share, 2), percent(importance.noise, 2),
                     importance.values, importance.binned ? "bins" : "values");
}

}  // namespace

std::string importance_bars(const DrawnSweep& drawn, const std::vector<Importance>& of_axes) {
  const double height = first_row + row_height * static_cast<double>(of_axes.size()) + 6;
  std::string svg = fmt::format(
      R"(<svg class="scatter bars" role="img" aria-label="importance of axes" viewBox="0 0 {} {}" width="{}" height="{}">)",
      px(width), px(height), px(width), px(height));
  double y = first_row;
  for (const size_t a : axes_by_share(of_axes)) {
    const Importance& importance = of_axes[a];
    const std::string& label = drawn.summary.labels[a];
    svg += fmt::format(R"(<text text-anchor="end" x="{}" y="{}">{}<title>{}</title></text>)",
                       px(name_width - 8), px(y + 15), html_text(shorten(clean(label), 20)),
                       html_text(clean(base::join(drawn.report.axes[a].pointers, " + "))));
    double end = name_width;
    if (!std::isnan(importance.share)) {
      const double level = name_width + bar_width * importance.noise;
      end = name_width + bar_width * importance.share;
      svg += fmt::format(R"(<rect class="share{}" x="{}" y="{}" width="{}" height="13"/>)",
                         importance.above_noise() ? "" : " weak", px(name_width), px(y + 4),
                         px(std::max(end - name_width, 1.0)));
      svg += svg_line("level", level, y + 1, level, y + 20);
      end = std::max(end, level);
    }
    svg += svg_text("tick", "start", end + 8, y + 15, bar_text(importance));
    y += row_height;
  }
  svg += svg_line("axis", name_width, 2, name_width, height - 2);
  return svg + "</svg>";
}

}  // namespace attnlab::report
