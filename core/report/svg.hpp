// Figures as inline SVG. Colours come from the classes and variables of style.hpp, so that they follow the
// theme.
#pragma once

#include <string>
#include <vector>

#include "core/measure/record.hpp"

namespace attnlab::report {

/// Colour levels of a ramp: 0 is the paper, the last one the full colour.
constexpr int color_levels = 16;

/// Level of a block density: 0 only at 0; by its square root, so that sparse blocks show.
int density_level(double density);

/// A coordinate, "12.5". It must be finite.
std::string px(double value);

/// Mask of one head: cells of one level as one path, so that a 96 x 96 picture takes tens of KiB. Cells
/// without visible keys stay undrawn: the style hatches the ground. "" for a picture without cells.
std::string mask_picture(const measure::Picture& picture, const std::string& label);

struct Scatter {
  std::string svg;
  std::vector<std::string> left_out;  ///< pipelines without finite figures, raw names
  bool numbered = false;  ///< labels are 1-based places in the table, for there are many pipelines
};

/// Mean output error (log y) against mean density (log x), a whisker to the error's p95. Figures of 0 lie on
/// an edge of their own, labelled 0; infinite errors on the upper edge. Labels keep clear of points and of
/// one another; one that finds no room is left to the point's tooltip. O(pipelines^2).
Scatter error_over_density(const measure::RunRecord& run, double width, double height);

}  // namespace attnlab::report
