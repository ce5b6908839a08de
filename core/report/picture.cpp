// Mask pictures.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "core/base/error.hpp"
#include "core/report/svg.hpp"
#include "core/report/text.hpp"

namespace attnlab::report {

int density_level(double density) {
  if (!(density > 0)) return 0;
  return static_cast<int>(std::ceil(std::sqrt(std::min(density, 1.0)) * (color_levels - 1)));
}

std::string px(double value) {
  ATTNLAB_CHECK(std::isfinite(value), "SVG coordinate");
  std::string text = fmt::format("{:.1f}", value);
  if (text.ends_with(".0")) text.resize(text.size() - 2);
  return text;
}

MaskGrid coarsen(const measure::Plane& plane, const std::vector<uint32_t>& active, int64_t side) {
  MaskGrid grid;
  if (active.empty() || active.size() != plane.visible.size()) return grid;
  grid.rows = std::min(plane.rows, side);
  grid.columns = std::min(plane.columns, side);
  const auto cells = static_cast<size_t>(grid.rows * grid.columns);
  std::vector<uint64_t> active_sum(cells), visible_sum(cells);
  for (int64_t row = 0; row < plane.rows; ++row) {
    const int64_t first = row * grid.rows / plane.rows * grid.columns;
    for (int64_t column = 0; column < plane.columns; ++column) {
      const auto cell = static_cast<size_t>(first + column * grid.columns / plane.columns);
      const auto block = static_cast<size_t>(row * plane.columns + column);
      active_sum[cell] += active[block];
      visible_sum[cell] += plane.visible[block];
    }
  }
  for (size_t cell = 0; cell < cells; ++cell) {
    grid.density.push_back(visible_sum[cell] == 0 ? -1
                                                  : static_cast<double>(active_sum[cell]) /
                                                        static_cast<double>(visible_sum[cell]));
  }
  return grid;
}

std::string mask_picture(const MaskGrid& grid, const std::string& label) {
  ATTNLAB_CHECK(static_cast<int64_t>(grid.density.size()) == grid.rows * grid.columns, "mask picture");
  if (grid.density.empty()) return "";
  std::array<std::string, color_levels> runs;
  for (int64_t row = 0; row < grid.rows; ++row) {
    const double* cells = grid.density.data() + row * grid.columns;
    const auto level_at = [&](int64_t column) {
      return cells[column] >= 0 ? density_level(cells[column]) : -1;
    };
    for (int64_t first = 0, end; first < grid.columns; first = end) {
      const int level = level_at(first);
      for (end = first + 1; end < grid.columns && level_at(end) == level;) ++end;
      if (level >= 0) runs[static_cast<size_t>(level)] += fmt::format("M{} {}.5h{}", first, row, end - first);
    }
  }
  // Whole pixels per cell, near 288 across; few rows are stretched so that they can be seen.
  const int64_t cell = std::max<int64_t>(1, 288 / grid.columns);
  const int64_t cell_height = std::max<int64_t>({1, std::min(cell, 288 / grid.rows), 48 / grid.rows});
  std::string svg = fmt::format(
      R"(<svg class="mask" role="img" aria-label="{}" width="{}" height="{}" viewBox="0 0 {} {}" preserveAspectRatio="none">)",
      html_text(label), cell * grid.columns, cell_height * grid.rows, grid.columns, grid.rows);
  for (size_t level = 0; level < runs.size(); ++level) {
    if (!runs[level].empty()) svg += fmt::format(R"(<path class="d{}" d="{}"/>)", level, runs[level]);
  }
  return svg + "</svg>";
}

}  // namespace attnlab::report
