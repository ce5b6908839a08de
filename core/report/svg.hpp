// Figures as inline SVG. Colours come from the classes of assets/report.css, so that they follow the theme.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "core/measure/record.hpp"

namespace attnlab::report {

/// Colour levels of a ramp: 0 is the paper, the last one the full colour.
constexpr int color_levels = 16;

/// Level of a block density: 0 only at 0; by its square root, so that sparse blocks show.
int density_level(double density);

/// A coordinate, "12.5". It must be finite.
std::string px(double value);

/// A mask drawn small: [rows * columns] active / visible entries of blocks, -1 where none is visible.
struct MaskGrid {
  int64_t rows = 0, columns = 0;
  std::vector<double> density;
};

/// At most `side` blocks each way, each the exact sum of whole blocks of the plane. Empty where `active` does
/// not fit the plane. O(blocks of the plane).
MaskGrid coarsen(const measure::Plane& plane, const std::vector<uint32_t>& active, int64_t side);

/// Mask of one head: cells of one level as one path, so that a 96 x 96 grid takes tens of KiB. Cells without
/// visible keys stay undrawn: the style hatches the ground. "" for a grid without cells.
std::string mask_picture(const MaskGrid& grid, const std::string& label);

/// What a plot shows up its y axis: 0 is best, and a whisker reaches to the bad rows.
struct PlotMetric {
  std::string key, title;  ///< "output_error"; "output error"
  double (*mean)(const measure::Quality& quality);
  double (*whisker)(const measure::Quality& quality);
};
/// Output error first.
const std::vector<PlotMetric>& plot_metrics();

/// What a plot shows it against, a share of what dense attention takes: less is better.
struct PlotCost {
  std::string key, title;  ///< "density"; "density"
  std::string axis;        ///< "mean density"
  double (*share)(const measure::RunRecord& run, const measure::PipelineRecord& pipeline);
};
/// Density first.
const std::vector<PlotCost>& plot_costs();

struct Scatter {
  std::string svg;
  std::vector<std::string> left_out;  ///< pipelines without finite figures, raw names
  bool numbered = false;  ///< labels are 1-based places in the table, for there are many pipelines
};

/// A metric (log y) against a cost (log x). Figures of 0 lie on an edge of their own, labelled 0;
/// infinite ones on the upper edge. A stepped line joins the Pareto front: the points than which no other is
/// better in one figure and as good in the other. Labels keep clear of points and of one another; one that
/// finds no room is left to the point's tooltip. Points carry their pipeline's index as data-pipeline.
/// O(pipelines^2).
Scatter metric_over_cost(const measure::RunRecord& run, const PlotMetric& metric, const PlotCost& cost,
                         double width, double height);

/// The figures of a pipeline that a point stands for, (label, text).
std::vector<std::pair<std::string, std::string>> point_facts(const measure::RunRecord& run,
                                                             const measure::PipelineRecord& pipeline);

}  // namespace attnlab::report
