// Linear axes and the marks that plots are made of.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace attnlab::report {

/// From data to pixels. Low and high differ, as do the pixels.
class LinearAxis {
 public:
  LinearAxis(double low, double high, double from, double to)
      : low_(low), high_(high), from_(from), to_(to) {}
  double at(double value) const { return from_ + (value - low_) / (high_ - low_) * (to_ - from_); }
  double low() const { return low_; }
  double high() const { return high_; }
  /// At most about `most` round numbers inside.
  std::vector<double> ticks(int most) const;
  /// A tick with the decimals that tell it from the next one.
  std::string label(double tick, int most, bool sign = false) const;

 private:
  double low_, high_, from_, to_;
};

std::string svg_open(std::string_view label, double width, double height);
std::string svg_line(std::string_view style, double x1, double y1, double x2, double y2);
std::string svg_text(std::string_view style, std::string_view anchor, double x, double y,
                     std::string_view text);
/// A filled circle with a tooltip.
std::string svg_point(std::string_view style, double x, double y, double radius, std::string_view tip);
/// A polyline, or an area where `closed`.
std::string svg_path(std::string_view style, const std::vector<std::pair<double, double>>& points,
                     bool closed = false);

/// Moves centres apart to at least `distance`, as little as needed in order, within [low, high].
std::vector<double> spread(const std::vector<double>& centres, double distance, double low, double high);

}  // namespace attnlab::report
