// Attention of a tile's rows to their lists.
#pragma once

#include <cstdint>
#include <vector>

#include "core/attention/selection.hpp"
#include "core/attention/tile.hpp"
#include "core/kernels/attention/list_union.hpp"

namespace attnlab::attention {

/// One worker's; keeps memory. Not thread-safe.
class SparseRows {
 public:
  /// Rows [row, row + count) of one query attend to their lists; `out` [count, value_dim] and `lse` [count]
  /// are those of the first of them. Rows that share a list read its keys once, and so do rows whose lists
  /// overlap enough.
  void attend(const Tile& tile, const Selection& selection, int64_t row, int64_t count, float* out,
              float* lse);
  uint64_t bytes() const { return union_.bytes(); }

 private:
  std::vector<kernels::KeyList> lists_;
  kernels::ListUnion union_;
};

}  // namespace attnlab::attention
