// The active keys of a tile's rows: what execution uses instead of a [Sq, Sk] plane.
#pragma once

#include <cstdint>
#include <vector>

#include "core/attention/row_list.hpp"

namespace attnlab::attention {

/// Rows point at lists; rows of a GQA group may share one. Lists keep their memory between tiles. Not
/// thread-safe.
class Selection {
 public:
  /// `rows` rows without any active key.
  void reset(int64_t rows);

  int64_t rows() const { return static_cast<int64_t>(list_of_.size()); }
  const RowList& list(int64_t row) const {
    return lists_[static_cast<size_t>(list_of_[static_cast<size_t>(row)])];
  }
  RowList& list(int64_t row) { return lists_[static_cast<size_t>(list_of_[static_cast<size_t>(row)])]; }
  /// Rows with the same number share their list.
  int32_t list_id(int64_t row) const { return list_of_[static_cast<size_t>(row)]; }
  /// A cleared list for rows [row, row + count).
  RowList& assign(int64_t row, int64_t count);
  /// Lets rows [row, row + count) share the list of `like`.
  void share(int64_t row, int64_t count, int64_t like);
  /// First row after `row` with another list.
  int64_t span_end(int64_t row) const;

 private:
  std::vector<int32_t> list_of_;
  std::vector<RowList> lists_;
  size_t used_ = 0;
};

}  // namespace attnlab::attention
