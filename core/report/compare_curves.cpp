// Loss curves of a comparison.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/report/compare_figures.hpp"
#include "core/report/compare_plot.hpp"
#include "core/report/compare_table.hpp"
#include "core/report/text.hpp"

namespace attnlab::report {
namespace {

using measure::ComparedSubject;
using measure::Comparison;
using train::CurvePoint;
using Curve = std::vector<CurvePoint> train::TrialResult::*;
using Line = std::vector<std::pair<double, double>>;

/// A point over the seeds of a subject.
struct MeanPoint {
  double steps = 0, mean = 0, low = 0, high = 0;
};

/// Over finished trials, as far as all of them go; none where a trial diverged.
std::vector<MeanPoint> mean_curve(const ComparedSubject& subject, Curve curve) {
  std::vector<const std::vector<CurvePoint>*> curves;
  size_t length = std::numeric_limits<size_t>::max();
  for (const train::TrialResult& trial : subject.trials) {
    if (trial.state != train::TrialState::finished) continue;
    curves.push_back(&(trial.*curve));
    length = std::min(length, curves.back()->size());
  }
  std::vector<MeanPoint> points;
  if (curves.empty() || subject.diverged > 0) return points;
  for (size_t i = 0; i < length; ++i) {
    MeanPoint point{static_cast<double>((*curves[0])[i].steps), 0, std::numeric_limits<double>::infinity(),
                    -std::numeric_limits<double>::infinity()};
    for (const auto* each : curves) {
      const double loss = (*each)[i].loss;
      point.mean += loss / static_cast<double>(curves.size());
      point.low = std::min(point.low, loss);
      point.high = std::max(point.high, loss);
    }
    points.push_back(point);
  }
  return points;
}

/// Steps and mean losses that plots show: the fall from the first weights is cut off, or it would hide the
/// rest.
struct Window {
  double steps = 0, low = std::numeric_limits<double>::infinity(), high = -low;
};
/// `skipped`: the share of a run whose losses may be cut off.
Window window_of(const Comparison& comparison, double skipped_share, bool training) {
  Window window;
  for (const ComparedSubject& subject : comparison.subjects)
    window.steps = std::max(window.steps, static_cast<double>(subject.steps));
  for (const double skipped : {skipped_share, -1.0}) {
    for (const ComparedSubject& subject : comparison.subjects) {
      for (const Curve curve : {&train::TrialResult::held_out, &train::TrialResult::training}) {
        if (curve == &train::TrialResult::training && !training) continue;
        for (const MeanPoint& point : mean_curve(subject, curve)) {
          if (point.steps <= skipped * static_cast<double>(subject.steps)) continue;
          window.low = std::min(window.low, point.mean);
          window.high = std::max(window.high, point.mean);
        }
      }
    }
    if (window.low < window.high) break;
  }
  return window;
}

struct Frame {
  double left, top, right, bottom;
};

Line line_of(const std::vector<MeanPoint>& points, const LinearAxis& x, const LinearAxis& y,
             double MeanPoint::*member = &MeanPoint::mean) {
  Line line;
  for (const MeanPoint& point : points) line.emplace_back(x.at(point.steps), y.at(point.*member));
  return line;
}

/// Between the least and the largest of the seeds.
Line band_of(const std::vector<MeanPoint>& points, const LinearAxis& x, const LinearAxis& y) {
  Line band = line_of(points, x, y, &MeanPoint::low);
  const Line upper = line_of(points, x, y, &MeanPoint::high);
  band.insert(band.end(), upper.rbegin(), upper.rend());
  return band;
}

LinearAxis y_axis(const Window& window, const Frame& frame) {
  const double air = 0.05 * (window.high - window.low);
  return {window.low - air, window.high + air, frame.bottom, frame.top};
}

std::string axes(const LinearAxis& x, const LinearAxis& y, const Frame& frame, int x_most, int y_most) {
  std::string svg;
  for (const double tick : x.ticks(x_most))
    svg += svg_text("tick", "middle", x.at(tick), frame.bottom + 17, compact(tick));
  for (const double tick : y.ticks(y_most)) {
    svg += svg_line("grid", frame.left, y.at(tick), frame.right, y.at(tick)) +
           svg_text("tick", "end", frame.left - 7, y.at(tick) + 4, y.label(tick, y_most));
  }
  return svg + svg_line("axis", frame.left, frame.bottom, frame.right, frame.bottom);
}

/// What is drawn inside stays inside.
std::string clipped(const Frame& frame, const std::string& id, const std::string& inside) {
  return fmt::format(
      "<clipPath id=\"{0}\"><rect x=\"{1:.1f}\" y=\"{2:.1f}\" width=\"{3:.1f}\" height=\"{4:.1f}\"/>"
      "</clipPath><g clip-path=\"url(#{0})\">{5}</g>",
      id, frame.left, frame.top, frame.right - frame.left, frame.bottom - frame.top, inside);
}

}  // namespace

std::string curve_figure(const Comparison& comparison) {
  constexpr double width = 1032, height = 440;
  const Frame frame{60, 8, width - 170, height - 46};
  const Window window = window_of(comparison, 0.3, false);
  if (!(window.low < window.high)) return "";
  const LinearAxis x(0, window.steps, frame.left, frame.right), y = y_axis(window, frame);
  std::string lines;
  std::vector<size_t> named;
  std::vector<double> ends, ends_x;
  for (size_t i = 0; i < comparison.subjects.size(); ++i) {
    const auto points = mean_curve(comparison.subjects[i], &train::TrialResult::held_out);
    if (points.empty()) continue;
    const std::string color = fmt::format("s{}", i % subject_colors);
    lines += svg_path("band " + color, band_of(points, x, y), true);
    lines += svg_path("curve " + color, line_of(points, x, y));
    for (const MeanPoint& point : points) {
      lines += svg_point(
          "dot small " + color, x.at(point.steps), y.at(point.mean), 2.6,
          fmt::format("{}, step {:.0f}: {:.4f}", comparison.subjects[i].name, point.steps, point.mean));
    }
    named.push_back(i);
    ends.push_back(y.at(points.back().mean));
    ends_x.push_back(x.at(points.back().steps));
  }
  std::string svg = svg_open("held-out loss while training", width, height) + axes(x, y, frame, 9, 8) +
                    clipped({frame.left, frame.top, frame.right + 4, frame.bottom}, "curves", lines);
  const std::vector<double> places = spread(ends, 16, frame.top, frame.bottom);
  for (size_t n = 0; n < named.size(); ++n) {
    const std::string color = fmt::format("s{}", named[n] % subject_colors);
    svg += svg_line("lead " + color, ends_x[n] + 5, ends[n], frame.right + 24, places[n]) +
           svg_text("label " + color, "start", frame.right + 28, places[n] + 4,
                    shorten(clean(comparison.subjects[named[n]].name), 20));
  }
  svg += svg_text("name", "middle", (frame.left + frame.right) / 2, frame.bottom + 38, "updates");
  return svg + fmt::format("<g transform=\"translate(14 {:.1f}) rotate(-90)\">{}</g></svg>",
                           (frame.top + frame.bottom) / 2,
                           svg_text("name", "middle", 0, 0, "held-out loss, nats"));
}

std::string subject_curve_figure(const Comparison& comparison, size_t subject) {
  constexpr double width = 330, height = 210;
  const Frame frame{46, 8, width - 10, height - 26};
  const Window window = window_of(comparison, 0.12, true);
  const auto held_out = mean_curve(comparison.subjects[subject], &train::TrialResult::held_out);
  if (held_out.empty() || !(window.low < window.high)) return "";
  const LinearAxis x(0, window.steps, frame.left, frame.right), y = y_axis(window, frame);
  const std::string color = fmt::format("s{}", subject % subject_colors);
  std::string lines;
  if (subject != comparison.baseline)
    lines += svg_path("behind", line_of(mean_curve(comparison.base(), &train::TrialResult::held_out), x, y));
  lines += svg_path("thin " + color,
                    line_of(mean_curve(comparison.subjects[subject], &train::TrialResult::training), x, y));
  lines += svg_path("band " + color, band_of(held_out, x, y), true);
  lines += svg_path("curve " + color, line_of(held_out, x, y));
  for (const MeanPoint& point : held_out) {
    lines += svg_point("dot small " + color, x.at(point.steps), y.at(point.mean), 2.4,
                       fmt::format("step {:.0f}: {:.4f}", point.steps, point.mean));
  }
  return svg_open(comparison.subjects[subject].name, width, height) + axes(x, y, frame, 4, 4) +
         clipped({frame.left, frame.top, frame.right + 4, frame.bottom}, fmt::format("curve{}", subject),
                 lines) +
         "</svg>";
}

}  // namespace attnlab::report
