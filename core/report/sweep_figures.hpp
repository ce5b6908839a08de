// Figures of a sweep as inline SVG. What stands for a trial carries its index as data-trial, and its facts as
// a tooltip: a title line, then a line "label: text" for each.
#pragma once

#include <string>
#include <vector>

#include "core/report/sweep_importance.hpp"
#include "core/report/sweep_summary.hpp"

namespace attnlab::report {

/// Rules for the classes of these figures, for the page's style element.
extern const char* const sweep_style;

/// What all figures are drawn from: trials that have objectives, few enough for a page.
struct DrawnSweep {
  const SweepReport& report;
  const SweepSummary& summary;
  std::vector<size_t> trials;  ///< ascending
  std::vector<size_t> failed;  ///< drawn over the axes alone
  std::vector<int> level;      ///< colour of each of the report's trials by the first objective: 0 is best
  std::vector<bool> on_front;  ///< of each of the report's trials
};
/// Levels 0 to color_levels - 1 of the sweep's ramp.
inline constexpr int sweep_levels = 8;
DrawnSweep drawn_sweep(const SweepReport& report, const SweepSummary& summary);

/// One objective against another: feasible ones filled, infeasible ones hollow, those on the front over all
/// objectives in another colour, and as steps what cannot be bettered in these two alone. "" without trials.
std::string objective_scatter(const DrawnSweep& drawn, size_t x, size_t y, double width, double height);
/// The only objective against density. "" where no trial has a density.
std::string density_scatter(const DrawnSweep& drawn, double width, double height);
/// The first objective against one axis, with the median of each value or bin. "" without trials.
std::string axis_scatter(const DrawnSweep& drawn, size_t axis, double width, double height);
/// A line a trial over all axes and objectives. "" without trials.
std::string parallel_coordinates(const DrawnSweep& drawn);
/// Bars of what axes explain of one objective, each with a mark at its noise.
std::string importance_bars(const DrawnSweep& drawn, const std::vector<Importance>& of_axes);

}  // namespace attnlab::report
