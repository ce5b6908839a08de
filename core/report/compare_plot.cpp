#include "core/report/compare_plot.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/report/svg.hpp"
#include "core/report/text.hpp"

namespace attnlab::report {
namespace {

/// 1, 2 or 5 times a power of ten.
double step_of(double range, int most) {
  const double raw = range / std::max(most, 1);
  const double decade = std::pow(10.0, std::floor(std::log10(raw)));
  for (const double step : {1.0, 2.0, 5.0}) {
    if (step * decade >= raw * (1 - 1e-9)) return step * decade;
  }
  return 10 * decade;
}

}  // namespace

std::vector<double> LinearAxis::ticks(int most) const {
  const double step = step_of(high_ - low_, most);
  std::vector<double> ticks;
  for (double i = std::ceil(low_ / step - 1e-9); i * step <= high_ + 1e-9 * step; ++i)
    ticks.push_back(i == 0 ? 0 : i * step);  // no -0
  return ticks;
}

std::string LinearAxis::label(double tick, int most, bool sign) const {
  const double step = step_of(high_ - low_, most);
  const int decimals = std::max(0, -static_cast<int>(std::floor(std::log10(step) + 1e-9)));
  if (std::fabs(tick) < step / 2) return "0";
  return sign ? fmt::format("{:+.{}f}", tick, decimals) : fmt::format("{:.{}f}", tick, decimals);
}

std::string svg_open(std::string_view label, double width, double height) {
  return fmt::format(
      R"(<svg class="scatter" role="img" aria-label="{}" viewBox="0 0 {} {}" width="{}" height="{}">)",
      html_text(label), px(width), px(height), px(width), px(height));
}

std::string svg_line(std::string_view style, double x1, double y1, double x2, double y2) {
  return fmt::format(R"(<line class="{}" x1="{}" y1="{}" x2="{}" y2="{}"/>)", style, px(x1), px(y1), px(x2),
                     px(y2));
}

std::string svg_text(std::string_view style, std::string_view anchor, double x, double y,
                     std::string_view text) {
  return fmt::format(R"(<text class="{}" text-anchor="{}" x="{}" y="{}">{}</text>)", style, anchor, px(x),
                     px(y), html_text(text));
}

std::string svg_point(std::string_view style, double x, double y, double radius, std::string_view tip) {
  return fmt::format(R"(<circle class="{}" cx="{}" cy="{}" r="{}"><title>{}</title></circle>)", style, px(x),
                     px(y), px(radius), html_text(tip));
}

std::string svg_path(std::string_view style, const std::vector<std::pair<double, double>>& points,
                     bool closed) {
  if (points.size() < 2) return "";
  std::string path;
  for (const auto& [x, y] : points) path += (path.empty() ? "M" : "L") + px(x) + " " + px(y);
  return fmt::format(R"(<path class="{}" d="{}{}"/>)", style, path, closed ? "Z" : "");
}

std::vector<double> spread(const std::vector<double>& centres, double distance, double low, double high) {
  std::vector<size_t> order(centres.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return centres[a] < centres[b]; });
  // Neighbours that touch become a cluster around the mean of what they wanted.
  struct Cluster {
    double sum;
    std::vector<size_t> members;
    double centre() const { return sum / static_cast<double>(members.size()); }
  };
  std::vector<Cluster> clusters;
  auto half = [&](const Cluster& c) { return distance * static_cast<double>(c.members.size()) / 2; };
  auto placed = [&](const Cluster& c) {
    return std::clamp(c.centre(), low + half(c), std::max(low + half(c), high - half(c)));
  };
  for (const size_t i : order) {
    clusters.push_back({centres[i], {i}});
    while (clusters.size() > 1) {
      Cluster &last = clusters.back(), &before = clusters[clusters.size() - 2];
      if (placed(before) + half(before) <= placed(last) - half(last)) break;
      before.sum += last.sum;
      before.members.insert(before.members.end(), last.members.begin(), last.members.end());
      clusters.pop_back();
    }
  }
  std::vector<double> result(centres.size());
  for (const Cluster& cluster : clusters) {
    double at = placed(cluster) - half(cluster) + distance / 2;
    for (const size_t i : cluster.members) {
      result[i] = at;
      at += distance;
    }
  }
  return result;
}

}  // namespace attnlab::report
