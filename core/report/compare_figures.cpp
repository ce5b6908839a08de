#include "core/report/compare_figures.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "core/report/axis.hpp"
#include "core/report/compare_plot.hpp"
#include "core/report/compare_table.hpp"
#include "core/report/format.hpp"
#include "core/report/text.hpp"

namespace attnlab::report {
namespace {

using measure::ComparedSubject;
using measure::Comparison;
using measure::Estimate;

constexpr double kWidth = 1032;

std::string color_of(size_t subject) {
  return fmt::format("s{}", subject % subject_colors);
}

std::string short_name(const std::string& name) {
  return shorten(clean(name), 20);
}

/// Generous, since the reader's font is unknown.
double text_width(const std::string& text) {
  return 7.2 * display_width(text);
}

/// What an axis must show.
struct Range {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  void take(double value) {
    if (!std::isfinite(value)) return;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  bool empty() const { return !(low <= high); }
  /// With air at both ends.
  LinearAxis axis(double from, double to, double air = 0.06) const {
    const double width = std::max(high - low, 1e-9 + 1e-6 * std::fabs(high));
    return {low - air * width, high + air * width, from, to};
  }
};

std::string x_ticks(const LinearAxis& x, double top, double bottom, int most, bool sign) {
  std::string svg;
  for (const double tick : x.ticks(most)) {
    svg += svg_line("grid", x.at(tick), top, x.at(tick), bottom) +
           svg_text("tick", "middle", x.at(tick), bottom + 17, x.label(tick, most, sign));
  }
  return svg;
}

std::string y_ticks(const LinearAxis& y, double left, double right, int most) {
  std::string svg;
  for (const double tick : y.ticks(most)) {
    svg += svg_line("grid", left, y.at(tick), right, y.at(tick)) +
           svg_text("tick", "end", left - 7, y.at(tick) + 4, y.label(tick, most));
  }
  return svg;
}

std::string y_name(double x, double y, const std::string& name) {
  return fmt::format("<g transform=\"translate({:.1f} {:.1f}) rotate(-90)\">{}</g>", x, y,
                     svg_text("name", "middle", 0, 0, name));
}

/// A whisker along x; what lies outside of the plot ends in an arrow head.
std::string x_whisker(const char* style, const LinearAxis& x, double y, double low, double high, double cap) {
  const double left = x.at(std::max(low, x.low())), right = x.at(std::min(high, x.high()));
  std::string svg = svg_line(style, left, y, right, y);
  for (const auto& [at, inside, direction] :
       {std::tuple{left, low >= x.low(), 1.0}, std::tuple{right, high <= x.high(), -1.0}}) {
    svg += inside ? svg_line(style, at, y - cap, at, y + cap)
                  : svg_line(style, at, y, at + direction * 5, y - 4) +
                        svg_line(style, at, y, at + direction * 5, y + 4);
  }
  return svg;
}

/// Subjects with something to show in the figure of differences, without the baseline.
std::vector<size_t> different(const Comparison& comparison) {
  std::vector<size_t> subjects;
  for (size_t i = 0; i < comparison.subjects.size(); ++i) {
    if (i != comparison.baseline && !comparison.subjects[i].by_seed.empty()) subjects.push_back(i);
  }
  return subjects;
}

/// Intervals of few seeds may be very wide: they do not squeeze the rest beyond a factor.
Range difference_range(const Comparison& comparison, const std::vector<size_t>& subjects) {
  Range seeds, all;
  seeds.take(0);
  for (const size_t i : subjects) {
    for (const measure::SeedDifference& seed : comparison.subjects[i].by_seed) {
      for (const double value : {seed.difference.mean, seed.difference.low, seed.difference.high})
        seeds.take(value);
    }
    const Estimate& mean = comparison.subjects[i].difference.difference;
    for (const double value : {mean.low, mean.high}) all.take(value);
  }
  const double width = seeds.high - seeds.low;
  Range range = seeds;
  range.take(std::max(all.low, seeds.low - 0.75 * width));
  range.take(std::min(all.high, seeds.high + 0.75 * width));
  return range;
}

}  // namespace

std::string difference_figure(const Comparison& comparison) {
  const std::vector<size_t> subjects = different(comparison);
  if (subjects.empty()) return "";
  const auto seeds = static_cast<double>(comparison.seeds.size());
  const double spacing = seeds > 6 ? 4 : 7, row = 30 + spacing * seeds;
  const double left = 170, right = kWidth - 210, bottom = 10 + row * static_cast<double>(subjects.size());
  const LinearAxis x = difference_range(comparison, subjects).axis(left, right, 0.04);
  std::string svg = svg_open("differences to the baseline", kWidth, bottom + 48);
  svg += x_ticks(x, 6, bottom, 9, true) + svg_line("zero", x.at(0), 6, x.at(0), bottom) +
         svg_text(
             "name", "middle", (left + right) / 2, bottom + 40,
             "held-out loss less that of " + short_name(comparison.base().name) + ", nats (left is better)");
  double top = 10;
  for (const size_t i : subjects) {
    const ComparedSubject& s = comparison.subjects[i];
    const Estimate& mean = s.difference.difference;
    const double y = top + 14;
    svg += svg_text("label strong", "end", left - 14, y + 4, short_name(s.name));
    double at = y + 15;
    for (const measure::SeedDifference& seed : s.by_seed) {
      const Estimate& d = seed.difference;
      if (!std::isfinite(d.mean)) continue;
      if (std::isfinite(d.low)) svg += x_whisker("noise", x, at, d.low, d.high, 0);
      svg += svg_point("seed", x.at(d.mean), at, 2.5,
                       fmt::format("{}, seed {}: {:+.4f}, evaluation noise [{:+.4f}, {:+.4f}]", s.name,
                                   seed.seed, d.mean, d.low, d.high));
      at += spacing;
    }
    std::string text = "-";
    if (std::isfinite(mean.mean)) {
      text = fmt::format("{:+.4f}", mean.mean);
      if (std::isfinite(mean.low)) {
        svg += x_whisker("interval", x, y, mean.low, mean.high, 5);
        text += fmt::format(" ± {:.4f}", (mean.high - mean.low) / 2);
      }
      svg += svg_point("mean", x.at(mean.mean), y, 5.5, s.name + ": " + text);
    }
    svg += svg_text("label", "start", right + 14, y + 4, text);
    if (std::isfinite(s.adjusted_p))
      svg += svg_text("tick", "start", right + 14, y + 20,
                      s.adjusted_p < 0.0001
                          ? "p < 0.0001"
                          : fmt::format("p = {:.{}f}", s.adjusted_p, s.adjusted_p < 0.001 ? 4 : 3));
    top += row;
  }
  return svg + "</svg>";
}

namespace {

struct Box {
  double left, top, right, bottom;
  bool overlaps(const Box& other) const {
    return left < other.right && other.left < right && top < other.bottom && other.top < bottom;
  }
};

struct StatePoint {
  size_t subject;
  double bytes, x = 0, y = 0;
};

/// The first free place around a point, nearest first.
std::string place_label(const StatePoint& point, const std::string& text, const Box& frame,
                        std::vector<Box>& taken) {
  static constexpr std::array<std::array<double, 2>, 8> directions{
      {{1, 0}, {-1, 0}, {1, -0.9}, {1, 0.9}, {-1, -0.9}, {-1, 0.9}, {0, -1}, {0, 1}}};
  const double half_width = text_width(text) / 2, half_height = 8;
  for (const double distance : {10.0, 20.0, 34.0, 50.0, 70.0}) {
    for (const auto& [right, down] : directions) {
      const double x = point.x + right * (distance + half_width),
                   y = point.y + down * (distance + half_height);
      const Box box{x - half_width, y - half_height, x + half_width, y + half_height};
      const bool inside = box.left >= frame.left && box.right <= frame.right && box.top >= frame.top &&
                          box.bottom <= frame.bottom;
      if (!inside ||
          std::any_of(taken.begin(), taken.end(), [&](const Box& other) { return box.overlaps(other); }))
        continue;
      taken.push_back(box);
      const char* anchor = right > 0 ? "start" : right < 0 ? "end" : "middle";
      const double at = right > 0 ? box.left : right < 0 ? box.right : x;
      std::string svg;
      if (distance > 10) {
        svg = svg_line("leader", point.x, point.y, std::clamp(point.x, box.left, box.right),
                       std::clamp(point.y, box.top, box.bottom));
      }
      return svg + svg_text("label", anchor, at, y + 4, text);
    }
  }
  return "";
}

/// "4 KiB", "192 KiB": ticks at powers of two.
std::string byte_ticks(double low, double high, const LogAxis& x, double top, double bottom) {
  std::string svg;
  double last = -1e9;
  const double span = std::log2(std::max(high / low, 4.0));
  const int stride = std::max(1, static_cast<int>(std::ceil(span / 9)));
  for (int e = static_cast<int>(std::floor(std::log2(low))) - 1; e <= std::log2(high) + 1; ++e) {
    const double bytes = std::exp2(e), at = x.at(bytes);
    if (e % stride != 0 || at - last < 56) continue;
    // Clamped ends are no places.
    if (x.at(bytes * 0.99) == at || x.at(bytes * 1.01) == at) continue;
    last = at;
    const std::string label = bytes < 1024          ? fmt::format("{:.0f} B", bytes)
                              : bytes < 1024 * 1024 ? fmt::format("{:.0f} KiB", bytes / 1024)
                                                    : fmt::format("{:.0f} MiB", bytes / 1024 / 1024);
    svg += svg_line("grid", at, top, at, bottom) + svg_text("tick", "middle", at, bottom + 17, label);
  }
  return svg;
}

}  // namespace

std::string state_figure(const Comparison& comparison) {
  std::vector<StatePoint> points;
  std::vector<double> bytes;
  Range losses;
  for (size_t i = 0; i < comparison.subjects.size(); ++i) {
    const ComparedSubject& s = comparison.subjects[i];
    if (!s.state.refusal.empty() || !std::isfinite(s.loss.mean) || s.state.long_bytes == 0) continue;
    points.push_back({i, static_cast<double>(s.state.long_bytes)});
    bytes.push_back(points.back().bytes);
    losses.take(s.loss.mean);
  }
  if (points.size() < 2) return "";
  // Intervals of few seeds may be very wide: they end at the frame before they squeeze the means.
  const double reach = 0.6 * (losses.high - losses.low);
  Range shown = losses;
  for (const StatePoint& point : points) {
    const Estimate& loss = comparison.subjects[point.subject].loss;
    shown.take(std::max(loss.low, losses.low - reach));
    shown.take(std::min(loss.high, losses.high + reach));
  }
  constexpr double height = 430, left = 66, right = kWidth - 10, top = 10, bottom = height - 48;
  const LogAxis x(bytes, left + 20, right - 20, 0);
  const LinearAxis y = shown.axis(bottom, top);
  std::string svg = svg_open("loss against state", kWidth, height);
  const auto [least, most] = std::minmax_element(bytes.begin(), bytes.end());
  svg += byte_ticks(*least, *most, x, top, bottom) + y_ticks(y, left, right, 7);
  svg += svg_line("axis", left, bottom, right, bottom) + svg_line("axis", left, top, left, bottom);
  svg += svg_text("name", "middle", (left + right) / 2, bottom + 38,
                  fmt::format("state of a sequence of {} tokens, all layers (log)", comparison.window));
  svg += y_name(14, (top + bottom) / 2, "held-out loss, nats");
  std::vector<Box> taken;
  std::string marks, labels;
  for (StatePoint& point : points) {
    const ComparedSubject& s = comparison.subjects[point.subject];
    point.x = x.at(point.bytes), point.y = y.at(s.loss.mean);
    taken.push_back({point.x - 7, point.y - 7, point.x + 7, point.y + 7});
    if (std::isfinite(s.loss.low)) {
      const double low = y.at(std::max(s.loss.low, y.low())), high = y.at(std::min(s.loss.high, y.high()));
      const std::string style = "bar " + color_of(point.subject);
      marks += svg_line(style, point.x, low, point.x, high);
      if (s.loss.low >= y.low()) marks += svg_line(style, point.x - 4, low, point.x + 4, low);
      if (s.loss.high <= y.high()) marks += svg_line(style, point.x - 4, high, point.x + 4, high);
      taken.push_back({point.x - 3, high, point.x + 3, low});
    }
  }
  const Box frame{left + 4, top, right, bottom};
  for (const StatePoint& point : points) {
    const ComparedSubject& s = comparison.subjects[point.subject];
    marks += svg_point(
        "dot " + color_of(point.subject), point.x, point.y, 5.5,
        fmt::format("{}: loss {:.4f}, {} of state", s.name, s.loss.mean, byte_size(s.state.long_bytes)));
    labels += place_label(point, short_name(s.name), frame, taken);
  }
  return svg + marks + labels + "</svg>";
}

}  // namespace attnlab::report
