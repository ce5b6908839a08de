// Lines over logarithmic axes as inline SVG, named at their ends.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace attnlab::report {

struct ChartPoint {
  double x = 0, y = 0;       ///< positive
  double low = 0, high = 0;  ///< of y; 0: no whisker
  std::string tip;
};

struct ChartLine {
  std::string name;
  size_t color = 0;  ///< lines of one colour may be in several charts
  std::vector<ChartPoint> points;
};

/// A place that is circled and has a few words beside it.
struct ChartMark {
  double x = 0, y = 0;
  size_t color = 0;
  std::string text, tip;
};

struct Chart {
  std::string title, x_name, y_name;
  std::vector<double> x_ticks;  ///< labelled as whole numbers where there is room
  std::vector<double> y_ticks;  ///< empty: those of the axis
  std::function<std::string(double)> y_label;
  std::vector<ChartLine> lines;
  std::vector<ChartMark> marks;
};

/// Rules for the classes of these charts, for the page's style element.
extern const char* const chart_style;

/// A figure with its heading; "" without points.
std::string line_chart(const Chart& chart, double width, double height);

}  // namespace attnlab::report
