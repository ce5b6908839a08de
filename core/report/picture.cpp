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

std::string mask_picture(const measure::Picture& picture, const std::string& label) {
  ATTNLAB_CHECK(static_cast<int64_t>(picture.density.size()) == picture.rows * picture.columns,
                "mask picture");
  if (picture.density.empty()) return "";
  std::array<std::string, color_levels> runs;
  for (int64_t row = 0; row < picture.rows; ++row) {
    const float* cells = picture.density.data() + row * picture.columns;
    const auto level_at = [&](int64_t column) {
      return cells[column] >= 0 ? density_level(cells[column]) : -1;
    };
    for (int64_t first = 0, end; first < picture.columns; first = end) {
      const int level = level_at(first);
      for (end = first + 1; end < picture.columns && level_at(end) == level;) ++end;
      if (level >= 0) runs[static_cast<size_t>(level)] += fmt::format("M{} {}.5h{}", first, row, end - first);
    }
  }
  // Whole pixels per cell, near 288 across; few rows are stretched so that they can be seen.
  const int64_t cell = std::max<int64_t>(1, 288 / picture.columns);
  const int64_t cell_height = std::max<int64_t>({1, std::min(cell, 288 / picture.rows), 48 / picture.rows});
  std::string svg = fmt::format(
      R"(<svg class="mask" role="img" aria-label="{}" width="{}" height="{}" viewBox="0 0 {} {}" preserveAspectRatio="none">)",
      html_text(label), cell * picture.columns, cell_height * picture.rows, picture.columns, picture.rows);
  for (size_t level = 0; level < runs.size(); ++level) {
    if (!runs[level].empty()) svg += fmt::format(R"(<path class="d{}" d="{}"/>)", level, runs[level]);
  }
  return svg + "</svg>";
}

}  // namespace attnlab::report
