// Writes masks row by row: the one path of conversions, merges and clips.
#pragma once

#include <cstdint>
#include <vector>

#include "core/mask/mask.hpp"

namespace attnlab::mask {

/// Collects entries of the stored rows in order. Not thread-safe.
class Builder {
 public:
  /// `target` is dense or sparse. Throws UserError when a Dense plane would pass `max_stored_entries`.
  Builder(const Shape& shape, const Extents& extents, State target);

  /// Announces how many entries will come. Throws UserError past `max_stored_entries`.
  void reserve(int64_t entries);
  /// Adds an active entry to the current row; keys rise within a row.
  void add(const Entry& entry);
  void end_row();
  /// The mask, in state `target`, once every row has ended.
  Mask finish();

 private:
  Shape shape_;
  Extents extents_;
  bool dense_;
  int64_t row_ = 0;
  std::vector<int64_t> row_ptr_;
  std::vector<int32_t> column_;
  std::vector<float> probability_;
  std::vector<float> log_weight_;
};

/// Calls `visit(b, h, q)` for every stored row of `extents`, with logical indices that read it, in storage
/// order.
template <class Visit>
void for_each_stored_row(const Shape& shape, const Extents& extents, Visit visit) {
  for (int64_t b = 0; b < extents.batch; ++b) {
    for (int64_t stored_head = 0; stored_head < extents.heads; ++stored_head) {
      const int64_t h = stored_head * (shape.heads / extents.heads);
      for (int64_t q = 0; q < shape.queries; ++q) visit(b, h, q);
    }
  }
}

}  // namespace attnlab::mask
