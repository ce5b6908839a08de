// Output error against density.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "core/report/axis.hpp"
#include "core/report/format.hpp"
#include "core/report/svg.hpp"
#include "core/report/text.hpp"

namespace attnlab::report {
namespace {

constexpr double font_size = 12;
constexpr double radius = 5;
constexpr double zero_gap = 30;

struct Point {
  const measure::PipelineRecord* pipeline;
  size_t place;  // 1-based, as in the table
  double x, y, whisker;
};

struct Box {
  double left, top, right, bottom;
  bool overlaps(const Box& other) const {
    return left < other.right && other.left < right && top < other.bottom && other.top < bottom;
  }
};

struct Label {
  std::string text;
  Box box;
  const char* anchor;
  bool far;  // needs a line to its point

  double x() const {
    return *anchor == 's' ? box.left : *anchor == 'e' ? box.right : (box.left + box.right) / 2;
  }
  double baseline() const { return (box.top + box.bottom) / 2 + font_size * 0.35; }
};

/// Generous, since the reader's font is unknown.
double text_width(const std::string& text) {
  return display_width(text) * font_size * 0.6;
}

/// The first place around the point, nearest ring first, that touches nothing taken and stays inside the
/// frame.
std::optional<Label> place_label(const Point& point, const std::string& text, const Box& frame,
                                 const std::vector<Box>& taken) {
  static constexpr std::array<std::array<double, 2>, 10> directions{
      {{1, 0}, {-1, 0}, {1, -0.8}, {1, 0.8}, {-1, -0.8}, {-1, 0.8}, {0, 1}, {0, -1}, {1, -1.8}, {-1, -1.8}}};
  const double half_width = text_width(text) / 2, half_height = font_size * 0.7;
  for (const double distance : {radius + 4, 22.0, 36.0, 52.0, 70.0}) {
    for (const auto& [right, down] : directions) {
      const double x = point.x + right * (distance + half_width);
      const double y = point.y + down * (distance + half_height);
      const Box box{x - half_width, y - half_height, x + half_width, y + half_height};
      if (box.left < frame.left || box.right > frame.right || box.top < frame.top ||
          box.bottom > frame.bottom)
        continue;
      if (std::any_of(taken.begin(), taken.end(), [&](const Box& other) { return box.overlaps(other); }))
        continue;
      return Label{text, box, right > 0 ? "start" : right < 0 ? "end" : "middle", distance > radius + 4};
    }
  }
  return std::nullopt;
}

std::string line(const char* style, double x1, double y1, double x2, double y2) {
  return fmt::format(R"(<line class="{}" x1="{}" y1="{}" x2="{}" y2="{}"/>)", style, px(x1), px(y1), px(x2),
                     px(y2));
}

std::string text_at(const char* style, const char* anchor, double x, double y, const std::string& text) {
  return fmt::format(R"(<text class="{}" text-anchor="{}" x="{}" y="{}">{}</text>)", style, anchor, px(x),
                     px(y), html_text(text));
}

std::string axes(const LogAxis& x, const LogAxis& y, const Box& plot) {
  std::string svg;
  const auto x_tick = [&](double at, const std::string& label) {
    svg +=
        line("grid", at, plot.top, at, plot.bottom) + text_at("tick", "middle", at, plot.bottom + 17, label);
  };
  const auto y_tick = [&](double at, const std::string& label) {
    svg += line("grid", plot.left, at, plot.right, at) + text_at("tick", "end", plot.left - 7, at + 4, label);
  };
  if (x.has_zero()) x_tick(x.at(0), "0");
  if (y.has_zero()) y_tick(y.at(0), "0");
  // Ticks too near to the one before, as 5 % and 10 % on a phone, are not labelled twice in one place.
  double last = -1e9;
  for (const double tick : x.ticks()) {
    if (x.at(tick) - last < 44) continue;
    last = x.at(tick);
    x_tick(last, percent(tick, 1));
  }
  for (const double tick : y.ticks()) y_tick(y.at(tick), number(tick, 1));
  svg += line("axis", plot.left, plot.bottom, plot.right, plot.bottom);
  svg += line("axis", plot.left, plot.top, plot.left, plot.bottom);
  svg += text_at("name", "middle", (plot.left + plot.right) / 2, plot.bottom + 38, "mean density (log)");
  const std::string name = text_at("name", "middle", 0, 0, "mean output error (log)");
  return svg + fmt::format("<g transform=\"translate(14 {}) rotate(-90)\">{}</g>",
                           px((plot.top + plot.bottom) / 2), name);
}

std::string marker(const Point& point) {
  const measure::Quality& quality = point.pipeline->quality;
  std::string svg;
  if (std::fabs(point.whisker - point.y) > 1) {
    svg += line("whisker", point.x, point.y, point.x, point.whisker) +
           line("whisker", point.x - 4, point.whisker, point.x + 4, point.whisker);
  }
  return svg +
         fmt::format(
             R"(<circle class="{}" cx="{}" cy="{}" r="{}"><title>{}: density {}, output error {}, p95 {}</title></circle>)",
             point.pipeline->stages.empty() ? "point exact" : "point", px(point.x), px(point.y), px(radius),
             html_text(point.pipeline->name), percent(quality.density.mean),
             number(quality.output_error.mean), number(quality.output_error.p95));
}

}  // namespace

Scatter error_over_density(const measure::RunRecord& run, double width, double height) {
  constexpr size_t most_names = 12;
  Scatter result;
  result.numbered = run.pipelines.size() > most_names;
  const Box plot{width < 500 ? 58.0 : 66.0, 10, width - 8, height - 48};

  std::vector<double> densities, errors;
  std::vector<Point> points;
  for (size_t i = 0; i < run.pipelines.size(); ++i) {
    const measure::PipelineRecord& pipeline = run.pipelines[i];
    const measure::Summary &density = pipeline.quality.density, &error = pipeline.quality.output_error;
    if (density.rows <= 0 || error.rows <= 0 || !std::isfinite(density.mean) || std::isnan(error.mean)) {
      result.left_out.push_back(pipeline.name);
      continue;
    }
    densities.push_back(density.mean);
    errors.push_back(error.mean);
    if (error.p95 > 0) errors.push_back(error.p95);
    points.push_back({&pipeline, i + 1, 0, 0, 0});
  }
  const LogAxis x(densities, plot.left + 14, plot.right - 14, zero_gap);
  const LogAxis y(errors, plot.bottom, plot.top + 10, zero_gap);

  std::vector<Box> taken{{plot.left, plot.bottom - 2, plot.right, plot.bottom + 2}};
  for (Point& point : points) {
    const measure::Summary& error = point.pipeline->quality.output_error;
    point.x = x.at(point.pipeline->quality.density.mean);
    point.y = y.at(error.mean);
    point.whisker = std::isnan(error.p95) ? point.y : y.at(error.p95);
    taken.push_back({point.x - radius - 1, point.y - radius - 1, point.x + radius + 1, point.y + radius + 1});
    const auto [top, bottom] = std::minmax(point.y, point.whisker);
    taken.push_back({point.x - 5, top - 2, point.x + 5, bottom + 2});
  }
  std::string labels, leaders;
  const Box frame{plot.left + 2, plot.top, plot.right, plot.bottom};
  for (const Point& point : points) {
    const std::string name = result.numbered ? fmt::format("{}", point.place)
                                             : shorten(clean(point.pipeline->name), width < 500 ? 18 : 32);
    const std::optional<Label> label = place_label(point, name, frame, taken);
    if (!label) continue;
    taken.push_back({label->box.left - 4, label->box.top, label->box.right + 4, label->box.bottom});
    labels += text_at("label", label->anchor, label->x(), label->baseline(), label->text);
    if (label->far) {
      leaders += line("leader", point.x, point.y, std::clamp(point.x, label->box.left, label->box.right),
                      std::clamp(point.y, label->box.top, label->box.bottom));
    }
  }
  std::string markers;
  for (const Point& point : points) markers += marker(point);
  result.svg = fmt::format(R"(<svg class="scatter" role="img" aria-label="output error against density" )"
                           R"(viewBox="0 0 {} {}" width="{}" height="{}">)",
                           px(width), px(height), px(width), px(height)) +
               axes(x, y, plot) + leaders + markers + labels + "</svg>";
  return result;
}

}  // namespace attnlab::report
