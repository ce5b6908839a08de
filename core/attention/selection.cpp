#include "core/attention/selection.hpp"

#include <algorithm>

namespace attnlab::attention {

void Selection::reset(int64_t rows) {
  if (lists_.empty()) lists_.emplace_back();
  lists_[0].clear();
  used_ = 1;
  list_of_.assign(static_cast<size_t>(rows), 0);
}

RowList& Selection::assign(int64_t row, int64_t count) {
  if (used_ == lists_.size()) lists_.emplace_back();
  lists_[used_].clear();
  std::fill_n(list_of_.begin() + row, count, static_cast<int32_t>(used_));
  return lists_[used_++];
}

void Selection::share(int64_t row, int64_t count, int64_t like) {
  std::fill_n(list_of_.begin() + row, count, list_of_[static_cast<size_t>(like)]);
}

int64_t Selection::span_end(int64_t row) const {
  int64_t end = row + 1;
  while (end < rows() && list_id(end) == list_id(row)) ++end;
  return end;
}

}  // namespace attnlab::attention
