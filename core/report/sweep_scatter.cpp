// Points of a sweep: objectives against each other, against density and against axes.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <tuple>

#include "core/report/compare_plot.hpp"
#include "core/report/format.hpp"
#include "core/report/svg.hpp"
#include "core/report/sweep_figures.hpp"
#include "core/report/sweep_marks.hpp"
#include "core/report/sweep_scale.hpp"
#include "core/report/text.hpp"

namespace attnlab::report {
namespace {

constexpr size_t most_small_points = 600;  ///< in a small figure
constexpr double small_width = 400;

struct Frame {
  double left, top, right, bottom;
};

Frame frame_of(double width, double height) {
  return {62, 12, width - 12, height - 46};
}

std::string axes(const Frame& frame, const SweepScale& x, const SweepScale& y, const std::string& x_name,
                 const std::string& y_name) {
  std::string svg;
  const int cells = x.is_even() ? std::max(3, static_cast<int>(std::max(x.cell(), 40.0) / 7.6)) : 12;
  for (const auto& tick : x.ticks(40)) {
    svg += svg_line("grid", tick.at, frame.top, tick.at, frame.bottom);
    svg += svg_text("tick", "middle", tick.at, frame.bottom + 16, shorten(clean(tick.text), cells));
  }
  for (const auto& tick : y.ticks(24)) {
    svg += svg_line("grid", frame.left, tick.at, frame.right, tick.at);
    svg += svg_text("tick", "end", frame.left - 6, tick.at + 4, shorten(clean(tick.text), 8));
  }
  svg += svg_line("axis", frame.left, frame.bottom, frame.right, frame.bottom);
  svg += svg_line("axis", frame.left, frame.top, frame.left, frame.bottom);
  const int room = static_cast<int>((frame.right - frame.left) / 6.8),
            tall = static_cast<int>((frame.bottom - frame.top) / 6.8);
  svg += svg_text("name", "middle", (frame.left + frame.right) / 2, frame.bottom + 36,
                  shorten(clean(x_name), room));
  return svg + fmt::format("<g transform=\"translate(13 {}) rotate(-90)\">{}</g>",
                           px((frame.top + frame.bottom) / 2),
                           svg_text("name", "middle", 0, 0, shorten(clean(y_name), tall)));
}

std::string name_of(const SweepObjective& objective, const SweepScale& scale, double width) {
  const char* direction = objective.maximise ? ", more is better" : ", less is better";
  return objective.name + (width > small_width ? direction : "") + (scale.is_logarithmic() ? " (log)" : "");
}

/// Infeasible ones first and those on the front last, so that they lie on top.
std::vector<size_t> painting_order(const DrawnSweep& drawn, std::vector<size_t> trials) {
  const auto key = [&](size_t i) {
    return is_feasible(drawn.report.trials[i]) ? (drawn.on_front[i] ? 2 : 1) : 0;
  };
  std::stable_sort(trials.begin(), trials.end(), [&](size_t a, size_t b) { return key(a) < key(b); });
  return trials;
}

double value_of(const DrawnSweep& drawn, size_t trial, size_t objective) {
  return drawn.report.trials[trial].judgement.values.at(objective);
}

/// Of feasible trials those that none betters in both objectives, from left to right.
std::vector<size_t> flat_front(const DrawnSweep& drawn, size_t x, size_t y) {
  const auto cost = [&](size_t i, size_t k) {
    return drawn.report.objectives[k].maximise ? -value_of(drawn, i, k) : value_of(drawn, i, k);
  };
  std::vector<size_t> order = drawn.summary.feasible;
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return std::make_tuple(cost(a, x), cost(a, y), a) < std::make_tuple(cost(b, x), cost(b, y), b);
  });
  std::vector<size_t> front;
  for (const size_t i : order) {
    if (front.empty() || cost(i, y) < cost(front.back(), y)) front.push_back(i);
  }
  if (drawn.report.objectives[x].maximise) std::reverse(front.begin(), front.end());
  return front;
}

/// Steps along what is reached: a place is reached from the point that is at least as good in both.
std::string staircase(const DrawnSweep& drawn, size_t x, size_t y, const SweepScale& x_scale,
                      const SweepScale& y_scale) {
  const std::vector<size_t> front = flat_front(drawn, x, y);
  if (front.size() < 2) return "";
  std::string path;
  for (const size_t i : front) {
    const double left = x_scale.at(value_of(drawn, i, x)), top = y_scale.at(value_of(drawn, i, y));
    if (path.empty()) {
      path = fmt::format("M{} {}", px(left), px(top));
    } else if (drawn.report.objectives[x].maximise) {
      path += fmt::format("V{}H{}", px(top), px(left));
    } else {
      path += fmt::format("H{}V{}", px(left), px(top));
    }
  }
  return fmt::format(R"(<path class="front-line" d="{}"/>)", path);
}

std::string fact(const SweepObjective& objective, double value) {
  return clean(objective.name) + ": " + number(value, 4);
}

/// A point with all facts in a large figure, and in a small one with those that it shows.
std::string circle(const DrawnSweep& drawn, size_t trial, double x, double y, const std::string& facts = {}) {
  const double radius = (facts.empty() ? 4 : 3) + (drawn.on_front[trial] ? 1 : 0);
  return fmt::format(
      R"(<circle class="trial dot{}{}" data-trial="{}" cx="{}" cy="{}" r="{}"><title>{}</title></circle>)",
      is_feasible(drawn.report.trials[trial]) ? "" : " hollow", drawn.on_front[trial] ? " best" : "", trial,
      px(x), px(y), px(radius),
      facts.empty() ? trial_tip(drawn, trial)
                    : html_text(clean(short_id(drawn.report.trials[trial])) + "\n" + facts));
}

std::vector<size_t> few(const DrawnSweep& drawn, double width) {
  return width > small_width
             ? drawn.trials
             : thinned(drawn.trials, listed_feasible(drawn.report, drawn.summary), most_small_points);
}

/// Apart from its neighbours of the same choice, the same in every run.
double jitter(size_t trial, double cell) {
  const double turn = static_cast<double>(trial) * 0.6180339887498949;
  return (turn - std::floor(turn) - 0.5) * std::min(cell * 0.3, 14.0);
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2 == 1) return *middle;
  return (*middle + *std::max_element(values.begin(), middle)) / 2;
}

/// Medians over all trials that have objectives, drawn or not.
std::string medians(const DrawnSweep& drawn, size_t axis, const SweepScale& x, const SweepScale& y) {
  const AxisGroups groups = groups_on_axis(drawn.report, axis, drawn.summary.valued());
  std::vector<std::vector<double>> places(groups.count), values(groups.count);
  for (size_t i = 0; i < groups.trials.size(); ++i) {
    const size_t trial = groups.trials[i];
    places[groups.group[i]].push_back(x.at(*drawn.report.trials[trial].point[axis]));
    values[groups.group[i]].push_back(value_of(drawn, trial, 0));
  }
  std::vector<std::pair<double, double>> corners;
  for (size_t g = 0; g < groups.count; ++g) corners.emplace_back(median(places[g]), y.at(median(values[g])));
  // Choices without numbers have no course between them.
  const bool ordered = std::none_of(groups.trials.begin(), groups.trials.end(), [&](size_t trial) {
    return std::isnan(drawn.report.trials[trial].point[axis]->number);
  });
  std::string svg = ordered ? svg_path("median-line", corners) : "";
  for (size_t g = 0; g < groups.count; ++g) {
    svg += fmt::format(
        R"(<rect class="median" x="{}" y="{}" width="7" height="7"><title>{}</title></rect>)",
        px(corners[g].first - 3.5), px(corners[g].second - 3.5),
        html_text(fmt::format("median of {} trials: {}", values[g].size(), number(median(values[g]), 4))));
  }
  return svg;
}

}  // namespace

std::string objective_scatter(const DrawnSweep& drawn, size_t x, size_t y, double width, double height) {
  if (drawn.trials.empty()) return "";
  const auto& objectives = drawn.report.objectives;
  const Frame frame = frame_of(width, height);
  std::vector<double> across, up;
  for (const size_t i : drawn.trials) {
    across.push_back(value_of(drawn, i, x));
    up.push_back(value_of(drawn, i, y));
  }
  const SweepScale x_scale(across, frame.left, frame.right), y_scale(up, frame.bottom, frame.top);
  std::string svg = svg_open(objectives[y].name + " against " + objectives[x].name, width, height) +
                    axes(frame, x_scale, y_scale, name_of(objectives[x], x_scale, width),
                         name_of(objectives[y], y_scale, width)) +
                    staircase(drawn, x, y, x_scale, y_scale);
  for (const size_t i : painting_order(drawn, few(drawn, width))) {
    const double x_value = value_of(drawn, i, x), y_value = value_of(drawn, i, y);
    const std::string facts =
        width > small_width ? "" : fact(objectives[x], x_value) + "\n" + fact(objectives[y], y_value);
    svg += circle(drawn, i, x_scale.at(x_value), y_scale.at(y_value), facts);
  }
  return svg + "</svg>";
}

std::string density_scatter(const DrawnSweep& drawn, double width, double height) {
  const Frame frame = frame_of(width, height);
  std::vector<size_t> trials;
  std::vector<double> across, up;
  for (const size_t i : drawn.trials) {
    if (!std::isfinite(drawn.report.trials[i].density)) continue;
    trials.push_back(i);
    across.push_back(drawn.report.trials[i].density);
    up.push_back(value_of(drawn, i, 0));
  }
  if (trials.empty()) return "";
  const SweepScale x(across, frame.left, frame.right), y(up, frame.bottom, frame.top);
  const SweepObjective& objective = drawn.report.objectives[0];
  std::string svg =
      svg_open(objective.name + " against density", width, height) +
      axes(frame, x, y, x.is_logarithmic() ? "density (log)" : "density", name_of(objective, y, width));
  for (const size_t i : painting_order(drawn, trials))
    svg += circle(drawn, i, x.at(drawn.report.trials[i].density), y.at(value_of(drawn, i, 0)));
  return svg + "</svg>";
}

std::string axis_scatter(const DrawnSweep& drawn, size_t axis, double width, double height) {
  const Frame frame = frame_of(width, height);
  std::vector<size_t> trials;
  std::vector<const SweepValue*> across;
  std::vector<double> up;
  for (const size_t i : drawn.trials) {
    const auto& value = drawn.report.trials[i].point.at(axis);
    if (!value) continue;
    trials.push_back(i);
    across.push_back(&*value);
    up.push_back(value_of(drawn, i, 0));
  }
  if (trials.empty()) return "";
  const SweepScale x(drawn.report.axes[axis], across, frame.left, frame.right),
      y(up, frame.bottom, frame.top);
  const SweepObjective& objective = drawn.report.objectives[0];
  const std::string& label = drawn.summary.labels[axis];
  std::string svg =
      svg_open(objective.name + " against " + label, width, height) +
      axes(frame, x, y, label + (x.is_logarithmic() ? " (log)" : ""), name_of(objective, y, width));
  for (const size_t i : painting_order(
           drawn, thinned(trials, listed_feasible(drawn.report, drawn.summary), most_small_points))) {
    const auto& value = drawn.report.trials[i].point[axis];
    if (!value) continue;
    const double y_value = value_of(drawn, i, 0);
    svg += circle(drawn, i, x.at(*value) + jitter(i, x.cell()), y.at(y_value),
                  fact(objective, y_value) + "\n" + clean(label) + ": " + clean(value->text));
  }
  return svg + medians(drawn, axis, x, y) + "</svg>";
}

}  // namespace attnlab::report
