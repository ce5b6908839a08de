// From a row's list to kernel arguments.
#pragma once

#include "core/attention/row_list.hpp"
#include "core/attention/tile.hpp"

namespace attnlab::attention {

/// The list as segments: runs, ids, sampled ids with their log weights. Points into tile and list.
struct RowSegments {
  RowSegments(const Tile& tile, const RowList& list);
  kernels::Segment parts[3];
};

/// Arguments for rows [row, row + rows) that share the segments; `out` and `lse` are left to the caller.
kernels::AttendArguments attend_arguments(const Tile& tile, int64_t row, int64_t rows,
                                          const RowSegments& segments);

}  // namespace attnlab::attention
