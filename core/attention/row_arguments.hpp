// From a row's list to kernel arguments.
#pragma once

#include "core/attention/row_list.hpp"
#include "core/attention/tile.hpp"

namespace attnlab::attention {

/// Where the tile's keys and values lie: a segment without keys.
kernels::Segment memory_of(const Tile& tile);

/// The list as segments: runs, ids, sampled ids with their log weights. Points into tile and list.
struct RowSegments {
  RowSegments(const Tile& tile, const RowList& list);
  kernels::Segment parts[3];
};

/// Fills in what the kernels' arguments say of rows [row, row + rows) themselves: queries, bias, sink logits
/// and the shape of contiguous outputs.
template <class Arguments>
void set_rows(const Tile& tile, int64_t row, int64_t rows, Arguments& arguments) {
  arguments.query = tile.query() + row * tile.head_dim();
  arguments.query_stride = tile.head_dim();
  arguments.rows = rows;
  arguments.head_dim = tile.head_dim();
  arguments.value_dim = tile.value_dim();
  arguments.scale = tile.options().scale;
  arguments.bias = tile.bias() == nullptr ? nullptr : tile.bias() + row;
  arguments.sink_logit = tile.sink_logit() == nullptr ? nullptr : tile.sink_logit() + row;
  arguments.out_stride = tile.value_dim();
}

/// Arguments for rows [row, row + rows) that share the segments; `out` and `lse` are left to the caller.
kernels::AttendArguments attend_arguments(const Tile& tile, int64_t row, int64_t rows,
                                          const RowSegments& segments);

}  // namespace attnlab::attention
