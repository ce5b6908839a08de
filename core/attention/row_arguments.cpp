#include "core/attention/row_arguments.hpp"

namespace attnlab::attention {

kernels::Segment memory_of(const Tile& tile) {
  kernels::Segment memory;
  memory.key = tile.key();
  memory.key_stride = tile.key_stride();
  memory.value = tile.value();
  memory.value_stride = tile.value_stride();
  return memory;
}

RowSegments::RowSegments(const Tile& tile, const RowList& list) {
  for (auto& part : parts) part = memory_of(tile);
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
  set_rows(tile, row, rows, arguments);
  arguments.segments = segments.parts;
  arguments.segment_count = 3;
  return arguments;
}

}  // namespace attnlab::attention
