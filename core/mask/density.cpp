#include "core/mask/density.hpp"

#include <algorithm>

#include "core/base/error.hpp"
#include "core/mask/builder.hpp"

namespace attnlab::mask {
namespace {

void check_shapes(const Mask& mask, const Visibility& visibility) {
  if (mask.shape() != visibility.shape())
    throw base::UserError("a mask and its visibility have different shapes");
}

Coverage coverage_of_row(const Mask& mask, const Visibility& visibility, int64_t b, int64_t h, int64_t q) {
  Coverage result;
  result.visible = visibility.visible_count(b, h, q);
  if (mask.is_full()) return {result.visible, result.visible};
  const RowView row = mask.row(b, h, q);
  if (!visibility.has_bias()) {
    result.active = row.active_before(visibility.end(b, q));
    return result;
  }
  for (const Entry& entry : row) result.active += visibility.visible(b, h, q, entry.key);
  return result;
}

}  // namespace

Mask clip(const Mask& mask, const Visibility& visibility) {
  check_shapes(mask, visibility);
  if (mask.is_empty() || visibility.hides_nothing()) return mask.normalized();
  const Shape& shape = mask.shape();
  const Extents extents = combined(mask.extents(), visibility.extents());
  Builder builder(shape, extents, mask.state() == State::dense ? State::dense : State::sparse);
  if (mask.state() == State::full) {
    const int64_t copies = (shape.batch / extents.batch) * (shape.heads / extents.heads);
    builder.reserve(coverage(mask, visibility).visible / copies);
  }
  for_each_stored_row(shape, extents, [&](int64_t b, int64_t h, int64_t q) {
    const int64_t end = visibility.end(b, q);
    for (const Entry& entry : mask.row(b, h, q)) {
      if (entry.key >= end) break;
      if (visibility.visible(b, h, q, entry.key)) builder.add(entry);
    }
    builder.end_row();
  });
  return builder.finish().normalized();
}

Coverage coverage(const Mask& mask, const Visibility& visibility) {
  check_shapes(mask, visibility);
  const Shape& shape = mask.shape();
  const Extents extents = combined(mask.extents(), visibility.extents());
  Coverage total;
  for_each_stored_row(shape, extents, [&](int64_t b, int64_t h, int64_t q) {
    const Coverage row = coverage_of_row(mask, visibility, b, h, q);
    total.active += row.active;
    total.visible += row.visible;
  });
  const int64_t copies = (shape.batch / extents.batch) * (shape.heads / extents.heads);
  return {total.active * copies, total.visible * copies};
}

double density(const Mask& mask, const Visibility& visibility) {
  return coverage(mask, visibility).density();
}

std::vector<Coverage> row_coverage(const Mask& mask, const Visibility& visibility, int64_t b, int64_t h) {
  check_shapes(mask, visibility);
  std::vector<Coverage> rows;
  for (int64_t q = 0; q < mask.shape().queries; ++q)
    rows.push_back(coverage_of_row(mask, visibility, b, h, q));
  return rows;
}

BlockDensity block_density(const Mask& mask, const Visibility& visibility, int64_t b, int64_t h, int64_t rows,
                           int64_t columns) {
  check_shapes(mask, visibility);
  ATTNLAB_CHECK(rows >= 1 && columns >= 1, "a picture has at least one cell");
  const int64_t queries = mask.shape().queries, keys = mask.shape().keys;
  rows = std::min(rows, queries);
  columns = std::min(columns, keys);
  const auto cells = static_cast<size_t>(rows * columns);
  BlockDensity picture{rows, columns, std::vector<double>(cells), std::vector<double>(cells)};
  for (int64_t i = 0; i < rows; ++i) {
    double* included = &picture.inclusion[i * columns];
    double* visible = &picture.visible[i * columns];
    const int64_t query_begin = i * queries / rows, query_end = (i + 1) * queries / rows;
    for (int64_t q = query_begin; q < query_end; ++q) {
      const int64_t end = visibility.end(b, q);
      for (int64_t j = 0; j < columns; ++j) {
        const int64_t count = visibility.visible_count(b, h, q, j * keys / columns, (j + 1) * keys / columns);
        visible[j] += static_cast<double>(count);
        if (mask.is_full()) included[j] += static_cast<double>(count);
      }
      if (mask.is_full()) continue;
      int64_t j = 0;
      for (const Entry& entry : mask.row(b, h, q)) {
        if (entry.key >= end) break;
        while (entry.key >= (j + 1) * keys / columns) ++j;
        if (visibility.visible(b, h, q, entry.key)) included[j] += entry.probability;
      }
    }
    for (int64_t j = 0; j < columns; ++j) {
      if (visible[j] > 0) included[j] /= visible[j];
      const int64_t width = (j + 1) * keys / columns - j * keys / columns;
      visible[j] /= static_cast<double>((query_end - query_begin) * width);
    }
  }
  return picture;
}

}  // namespace attnlab::mask
