// Error against what a pipeline costs: density, or bytes read.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <tuple>

#include "core/report/axis.hpp"
#include "core/report/format.hpp"
#include "core/report/svg.hpp"
#include "core/report/table.hpp"
#include "core/report/text.hpp"

namespace attnlab::report {
namespace {

constexpr double font_size = 12;
constexpr double radius = 5;
constexpr double zero_gap = 30;

struct Point {
  const measure::PipelineRecord* pipeline;
  size_t index;
  double cost, figure;
  double x, y, whisker;  // pixels
  bool front;
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

/// Whether a line from the point to the box would run through another point.
bool crosses_point(const Point& point, const Box& box, const std::vector<Point>& points) {
  const double dx = std::clamp(point.x, box.left, box.right) - point.x;
  const double dy = std::clamp(point.y, box.top, box.bottom) - point.y;
  return std::any_of(points.begin(), points.end(), [&](const Point& other) {
    const double x = other.x - point.x, y = other.y - point.y;
    if (std::hypot(x, y) < 2 * radius) return false;  // itself, or one that overlaps it anyway
    const double along = std::clamp((x * dx + y * dy) / std::max(dx * dx + dy * dy, 1e-9), 0.0, 1.0);
    return std::hypot(x - along * dx, y - along * dy) < radius + 2;
  });
}

/// The first place around the point, nearest ring first, that touches nothing taken and stays inside the
/// frame.
std::optional<Label> place_label(const Point& point, const std::string& text, const Box& frame,
                                 const std::vector<Box>& taken, const std::vector<Point>& points) {
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
      if (crosses_point(point, box, points)) continue;
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

std::string axes(const LogAxis& x, const LogAxis& y, const Box& plot, const PlotMetric& metric,
                 const PlotCost& cost) {
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
  svg += text_at("name", "middle", (plot.left + plot.right) / 2, plot.bottom + 38, cost.axis + " (log)");
  const std::string name = text_at("name", "middle", 0, 0, "mean " + metric.title + " (log)");
  return svg + fmt::format("<g transform=\"translate(14 {}) rotate(-90)\">{}</g>",
                           px((plot.top + plot.bottom) / 2), name);
}

/// Marks the points that no other betters, and draws the steps between them, which labels shall not cover.
std::string mark_front(std::vector<Point>& points, std::vector<Box>& taken) {
  std::vector<const Point*> front;
  for (Point& point : points) {
    point.front = std::none_of(points.begin(), points.end(), [&](const Point& other) {
      return other.cost <= point.cost && other.figure <= point.figure &&
             (other.cost < point.cost || other.figure < point.figure);
    });
    if (point.front) front.push_back(&point);
  }
  if (front.size() < 2) return "";
  std::sort(front.begin(), front.end(), [](const Point* a, const Point* b) {
    return std::tie(a->cost, a->index) < std::tie(b->cost, b->index);
  });
  std::string path = fmt::format("M{} {}", px(front[0]->x), px(front[0]->y));
  for (size_t i = 1; i < front.size(); ++i) {
    const Point &from = *front[i - 1], &to = *front[i];
    path += fmt::format("H{}V{}", px(to.x), px(to.y));
    taken.push_back({from.x, from.y - 2, to.x, from.y + 2});
    taken.push_back({to.x - 2, from.y, to.x + 2, to.y});
  }
  return fmt::format(R"(<path class="front-line" d="{}"/>)", path);
}

std::string marker(const measure::RunRecord& run, const Point& point) {
  std::string svg;
  if (std::fabs(point.whisker - point.y) > 1) {
    svg += line("whisker", point.x, point.y, point.x, point.whisker) +
           line("whisker", point.x - 4, point.whisker, point.x + 4, point.whisker);
  }
  std::string text = point.pipeline->name;
  const char* separator = ": ";
  for (const auto& [label, value] : point_facts(run, *point.pipeline)) {
    text += separator + label + " " + value;
    separator = ", ";
  }
  if (point.front) text += ", on the Pareto front";
  return svg +
         fmt::format(
             R"(<circle class="point{}{}" data-pipeline="{}" cx="{}" cy="{}" r="{}"><title>{}</title></circle>)",
             point.pipeline->stages.empty() ? " exact" : "", point.front ? " front" : "", point.index,
             px(point.x), px(point.y), px(radius), html_text(text));
}

}  // namespace

const std::vector<PlotMetric>& plot_metrics() {
  using measure::Quality;
  static const std::vector<PlotMetric> metrics{
      {"output_error", "output error", [](const Quality& q) { return q.output_error.mean; },
       [](const Quality& q) { return q.output_error.p95; }},
      {"missed_mass", "missed mass, 1 − mass recall",
       [](const Quality& q) { return std::max(1 - q.mass_recall.mean, 0.0); },
       [](const Quality& q) { return std::max(1 - q.mass_recall.p05, 0.0); }},
      {"denominator_error", "denominator error", [](const Quality& q) { return q.denominator_error.mean; },
       [](const Quality& q) { return q.denominator_error.p95; }},
  };
  return metrics;
}

const std::vector<PlotCost>& plot_costs() {
  using measure::PipelineRecord, measure::RunRecord;
  static const std::vector<PlotCost> costs{
      {"density", "density", "mean density",
       [](const RunRecord&, const PipelineRecord& p) { return p.quality.density.mean; }},
      {"bytes_read", "bytes read", "bytes read / those of dense attention", read_share},
  };
  return costs;
}

std::vector<std::pair<std::string, std::string>> point_facts(const measure::RunRecord& run,
                                                             const measure::PipelineRecord& pipeline) {
  const measure::Quality& quality = pipeline.quality;
  return {{"density", percent(quality.density.mean)},
          {"bytes read", percent(read_share(run, pipeline))},
          {"output error mean", number(quality.output_error.mean)},
          {"output error p05", number(quality.output_error.p05)},
          {"output error p95", number(quality.output_error.p95)},
          {"mass recall", percent(quality.mass_recall.mean)},
          {"denominator error", number(quality.denominator_error.mean)}};
}

Scatter metric_over_cost(const measure::RunRecord& run, const PlotMetric& metric, const PlotCost& cost,
                         double width, double height) {
  constexpr size_t most_names = 12;
  Scatter result;
  result.numbered = run.pipelines.size() > most_names;
  const Box plot{width < 500 ? 58.0 : 66.0, 10, width - 8, height - 48};

  std::vector<double> shares, figures;
  std::vector<Point> points;
  for (size_t i = 0; i < run.pipelines.size(); ++i) {
    const measure::Quality& quality = run.pipelines[i].quality;
    const double share = cost.share(run, run.pipelines[i]), figure = metric.mean(quality);
    // All metrics are of the same rows.
    if (quality.density.rows <= 0 || !std::isfinite(share) || std::isnan(figure)) {
      result.left_out.push_back(run.pipelines[i].name);
      continue;
    }
    shares.push_back(share);
    figures.push_back(figure);
    if (const double whisker = metric.whisker(quality); whisker > 0) figures.push_back(whisker);
    points.push_back({&run.pipelines[i], i, share, figure, 0, 0, 0, false});
  }
  const LogAxis x(shares, plot.left + 14, plot.right - 14, zero_gap);
  const LogAxis y(figures, plot.bottom, plot.top + 10, zero_gap);

  std::vector<Box> taken{{plot.left, plot.bottom - 2, plot.right, plot.bottom + 2}};
  for (Point& point : points) {
    const double whisker = metric.whisker(point.pipeline->quality);
    point.x = x.at(point.cost);
    point.y = y.at(point.figure);
    point.whisker = std::isnan(whisker) ? point.y : y.at(whisker);
    taken.push_back({point.x - radius - 1, point.y - radius - 1, point.x + radius + 1, point.y + radius + 1});
    const auto [top, bottom] = std::minmax(point.y, point.whisker);
    taken.push_back({point.x - 5, top - 2, point.x + 5, bottom + 2});
  }
  const std::string front = mark_front(points, taken);
  std::string labels, leaders;
  const Box frame{plot.left + 2, plot.top, plot.right, plot.bottom};
  for (const Point& point : points) {
    const std::string name = result.numbered ? fmt::format("{}", point.index + 1)
                                             : shorten(clean(point.pipeline->name), width < 500 ? 18 : 32);
    const std::optional<Label> label = place_label(point, name, frame, taken, points);
    if (!label) continue;
    taken.push_back({label->box.left - 4, label->box.top, label->box.right + 4, label->box.bottom});
    labels += text_at("label", label->anchor, label->x(), label->baseline(), label->text);
    if (label->far) {
      leaders += line("leader", point.x, point.y, std::clamp(point.x, label->box.left, label->box.right),
                      std::clamp(point.y, label->box.top, label->box.bottom));
    }
  }
  std::string markers;
  for (const Point& point : points) markers += marker(run, point);
  result.svg =
      fmt::format(
          R"(<svg class="scatter" role="group" aria-label="{} against {}" viewBox="0 0 {} {}" width="{}" height="{}">)",
          html_text(metric.title), html_text(cost.title), px(width), px(height), px(width), px(height)) +
      axes(x, y, plot, metric, cost) + front + leaders + markers + labels + "</svg>";
  return result;
}

}  // namespace attnlab::report
