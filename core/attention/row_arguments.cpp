#include "core/attention/row_arguments.hpp"

namespace attnlab::attention {

RowSegments::RowSegments(const Tile& tile, const RowList& list) {
  for (auto& part : parts) {
    part.key = tile.key();
    part.key_stride = tile.key_stride();
    part.value = tile.value();
    part.value_stride = tile.value_stride();
  }
  parts[0].runs = list.runs.data();
  parts[0].run_count = static_cast<int64_t>(list.runs.size());
  parts[1].ids = list.ids.data();
  parts[1].id_count = static_cast<int64_t>(list.ids.size());
  parts[2].ids = list.sampled.data();
  parts[2].id_count = static_cast<int64_t>(list.sampled.size());
  parts[2].log_weight = list.log_weight.data();
}

kernels::AttendArguments attend_arguments(const Tile& tile, int64_t row, int64_t rows,
                                          const RowSegments& segments) {
  kernels::AttendArguments arguments;
  arguments.query = tile.query() + row * tile.head_dim();
  arguments.query_stride = tile.head_dim();
  arguments.rows = rows;
  arguments.head_dim = tile.head_dim();
  arguments.value_dim = tile.value_dim();
  arguments.scale = tile.options().scale;
  arguments.segments = segments.parts;
  arguments.segment_count = 3;
  arguments.bias = tile.bias() == nullptr ? nullptr : tile.bias() + row;
  arguments.sink_logit = tile.sink_logit() == nullptr ? nullptr : tile.sink_logit() + row;
  arguments.out_stride = tile.value_dim();
  return arguments;
}

}  // namespace attnlab::attention
