// Parallel coordinates of a sweep.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/report/compare_plot.hpp"
#include "core/report/svg.hpp"
#include "core/report/sweep_figures.hpp"
#include "core/report/sweep_marks.hpp"
#include "core/report/sweep_scale.hpp"
#include "core/report/text.hpp"

namespace attnlab::report {
namespace {

constexpr double page_width = 1032, least_column = 84, height = 430;
constexpr double right = 44, top = 62, bottom = 390;
constexpr double letter = 6.4;          ///< of a tick's text
constexpr double absent = bottom + 22;  ///< where lines pass axes that take no part in their trial
constexpr size_t many_lines = 300;

/// One of the upright lines.
struct Column {
  double x;
  std::string name, full_name;
  std::vector<std::string> below;  ///< lines
  SweepScale scale;
  bool is_conditional;
};

class Parallel {
 public:
  explicit Parallel(const DrawnSweep& drawn) : drawn_(drawn) {
    left_ = margin();
    const size_t count = drawn.report.axes.size() + drawn.report.objectives.size();
    const double gaps = static_cast<double>(std::max<size_t>(count, 2) - 1);
    step_ = std::max(least_column, (page_width - left_ - right) / gaps);
    if (count == 2) step_ = std::min(step_, 420.0);
    width_ = left_ + right + gaps * step_;
    for (size_t a = 0; a < drawn.report.axes.size(); ++a) add_axis(a);
    for (size_t k = 0; k < drawn.report.objectives.size(); ++k) add_objective(k);
  }

  std::string svg() const {
    const bool many = drawn_.trials.size() > many_lines;
    std::string svg = fmt::format(
        R"(<svg class="parallel{}" role="img" aria-label="parallel coordinates" data-absent="{}" viewBox="0 0 {} {}" width="{}" height="{}">)",
        many ? " many" : "", px(absent), px(width_), px(height), px(width_), px(height));
    for (const size_t i : drawn_.failed) svg += line(i, "lost");
    for (const size_t i : painting_order()) svg += line(i, style(i));
    for (const Column& column : columns_) svg += upright(column);
    return svg + "</svg>";
  }

 private:
  /// Room for the texts of the first axis.
  double margin() const {
    int cells = 6;
    for (const std::string& choice : drawn_.report.axes[0].choices)
      cells = std::max(cells, display_width(clean(choice)));
    return std::min(letter * cells + 16, 150.0);
  }

  double next_x() const { return left_ + static_cast<double>(columns_.size()) * step_; }

  void add_axis(size_t a) {
    const SweepAxis& axis = drawn_.report.axes[a];
    std::vector<const SweepValue*> values;
    bool is_conditional = false;
    for (const auto* list : {&drawn_.trials, &drawn_.failed}) {
      for (const size_t i : *list) {
        const auto& value = drawn_.report.trials[i].point.at(a);
        if (value) values.push_back(&*value);
        is_conditional = is_conditional || !value;
      }
    }
    SweepScale scale(axis, values, bottom, top);
    std::vector<std::string> below;
    if (scale.is_logarithmic()) below.push_back("log");
    columns_.push_back({next_x(), drawn_.summary.labels[a], base::join(axis.pointers, " + "), below,
                        std::move(scale), is_conditional});
  }

  void add_objective(size_t k) {
    const SweepObjective& objective = drawn_.report.objectives[k];
    std::vector<double> values;
    for (const size_t i : drawn_.trials) values.push_back(drawn_.report.trials[i].judgement.values.at(k));
    SweepScale scale(values, bottom, top);
    std::vector<std::string> below = {objective.maximise ? "more is better" : "less is better"};
    if (scale.is_logarithmic()) below.push_back("log");
    columns_.push_back({next_x(), objective.name, objective.name, below, std::move(scale), false});
  }

  /// The best last, on top of the others.
  std::vector<size_t> painting_order() const {
    std::vector<size_t> order = drawn_.trials;
    const auto key = [&](size_t i) {
      if (!is_feasible(drawn_.report.trials[i])) return -1;
      return drawn_.on_front[i] ? sweep_levels : sweep_levels - 1 - drawn_.level[i];
    };
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return key(a) < key(b); });
    return order;
  }

  std::string style(size_t i) const {
    if (!is_feasible(drawn_.report.trials[i])) return "hollow";
    return fmt::format("ramp q{}{}", drawn_.level[i], drawn_.on_front[i] ? " best" : "");
  }

  std::string line(size_t i, const std::string& style) const {
    const SweepTrial& trial = drawn_.report.trials[i];
    std::string path;
    const auto to = [&](const Column& column, double y) {
      path += (path.empty() ? "M" : "L") + px(column.x) + " " + px(y);
    };
    for (size_t a = 0; a < drawn_.report.axes.size(); ++a) {
      const auto& value = trial.point.at(a);
      to(columns_[a], value ? columns_[a].scale.at(*value) : absent);
    }
    for (size_t k = 0; k < trial.judgement.values.size(); ++k) {
      const Column& column = columns_[drawn_.report.axes.size() + k];
      to(column, column.scale.at(trial.judgement.values[k]));
    }
    return fmt::format(R"(<path class="trial line {}" data-trial="{}" d="{}"><title>{}</title></path>)",
                       style, i, path, trial_tip(drawn_, i));
  }

  std::string upright(const Column& column) const {
    const int room = static_cast<int>(step_ / 7.8);
    const double beside = column.x == left_ ? left_ : step_;
    std::string svg = svg_line("axis", column.x, top, column.x, bottom);
    for (const auto& tick : column.scale.ticks(17)) {
      svg += svg_line("axis", column.x - 4, tick.at, column.x, tick.at);
      svg += svg_text("tick", "end", column.x - 7, tick.at + 4,
                      shorten(clean(tick.text), static_cast<int>((beside - 12) / letter)));
    }
    if (column.is_conditional) svg += svg_text("tick", "end", column.x - 7, absent + 4, "not set");
    svg += fmt::format(R"(<text class="name" text-anchor="middle" x="{}" y="19">{}<title>{}</title></text>)",
                       px(column.x), html_text(shorten(clean(column.name), room)),
                       html_text(clean(column.full_name)));
    double y = 35;
    for (const std::string& line : column.below) {
      svg += svg_text("small-name", "middle", column.x, y, line);
      y += 13;
    }
    return svg;
  }

  const DrawnSweep& drawn_;
  double left_ = 0, step_ = 0, width_ = 0;
  std::vector<Column> columns_;
};

}  // namespace

std::string parallel_coordinates(const DrawnSweep& drawn) {
  if (drawn.trials.empty() || drawn.report.axes.empty()) return "";
  return Parallel(drawn).svg();
}

}  // namespace attnlab::report
