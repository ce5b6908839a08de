// Masks against what their rows can see: clipping, densities and down-sampled pictures.
#pragma once

#include <cstdint>
#include <vector>

#include "core/mask/mask.hpp"
#include "core/mask/visibility.hpp"

namespace attnlab::mask {

/// Keys of one or more rows. A sampled key counts as one active key, whatever its probability.
struct Coverage {
  int64_t active = 0;   ///< active and visible
  int64_t visible = 0;  ///< visible

  /// active / visible in [0, 1]. 1 when nothing is visible: nothing that could be attended to is left out.
  double density() const {
    return visible == 0 ? 1.0 : static_cast<double>(active) / static_cast<double>(visible);
  }
};

/// The mask's visible entries, pairs kept bit for bit; idempotent. Dense stays Dense, the others become
/// Sparse (a mask of which nothing is hidden stays as it is), and the result is `normalized()`. Throws
/// UserError for unequal shapes, or past `max_stored_entries` for a Full mask with many visible entries.
/// O(entries of the mask over the combined extents) for Sparse, O(rows * Sk) for Dense, O(visible entries)
/// for Full.
Mask clip(const Mask& mask, const Visibility& visibility);

/// Active and visible entries over all rows of [B, Hq, Sq, Sk]. Rows without visible keys add to neither.
/// Throws UserError for unequal shapes. O(rows log entries) for Sparse, O(rows) for Full and Empty, O(rows *
/// Sk) for Dense; with a bias O(rows * Sk).
Coverage coverage(const Mask& mask, const Visibility& visibility);

/// coverage().density(): 1 for Full, 0 for Empty where anything is visible.
double density(const Mask& mask, const Visibility& visibility);

/// Coverage of each row of head [b, h], [Sq]. Costs as `coverage`, for Sq rows.
std::vector<Coverage> row_coverage(const Mask& mask, const Visibility& visibility, int64_t b, int64_t h);

/// A head's [Sq, Sk] plane divided into rows x columns cells. Cell (i, j) holds queries [i Sq / rows, (i+1)
/// Sq / rows) and keys [j Sk / columns, (j+1) Sk / columns), bounds rounded down. Both arrays are row-major.
struct BlockDensity {
  int64_t rows = 0;
  int64_t columns = 0;
  std::vector<double> inclusion;  ///< sum of p over the cell's visible entries / their number; 0 without any
  std::vector<double> visible;    ///< visible entries / entries of the cell
};

/// Exact: every entry is counted, none is sampled. `rows` and `columns`, at least 1, are lowered to Sq and
/// Sk. Throws UserError for unequal shapes. O(entries of the head + Sq * columns) for Sparse, O(Sq * columns)
/// for Full and Empty, O(Sq * Sk) for Dense or with a bias; memory O(rows * columns).
BlockDensity block_density(const Mask& mask, const Visibility& visibility, int64_t b, int64_t h, int64_t rows,
                           int64_t columns);

}  // namespace attnlab::mask
