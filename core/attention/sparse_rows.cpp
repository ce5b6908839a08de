#include "core/attention/sparse_rows.hpp"

#include <algorithm>

#include "core/attention/row_arguments.hpp"

namespace attnlab::attention {

void SparseRows::attend(const Tile& tile, const Selection& selection, int64_t row, int64_t count, float* out,
                        float* lse) {
  lists_.clear();
  for (int64_t first = row; first < row + count;) {
    const int64_t last = std::min(row + count, selection.span_end(first));
    const RowList& list = selection.list(first);
    lists_.push_back({.rows = last - first,
                      .runs = list.runs,
                      .ids = list.ids,
                      .sampled = list.sampled,
                      .log_weight = list.log_weight.data()});
    first = last;
  }
  kernels::AttendArguments arguments;
  set_rows(tile, row, count, arguments);
  arguments.out = out;
  arguments.lse = lse;
  union_.attend(tile.kernels(), arguments, memory_of(tile), lists_);
}

}  // namespace attnlab::attention
