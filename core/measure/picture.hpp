// Draws masks small while the rows pass by.
#pragma once

#include <vector>

#include "core/attention/session.hpp"
#include "core/measure/record.hpp"

namespace attnlab::measure {

/// Most blocks of a picture, and the side that it has where the plane is larger both ways.
constexpr int64_t picture_blocks = int64_t{1} << 18, picture_side = 512;

/// Counts visible keys, and active keys of several pipelines, in blocks of the [queries, keys] plane of one
/// head of sequence 0. Rows may arrive in any order and from any thread: the counts are integers. Memory: 4
/// bytes a block for each pipeline and once more.
class PictureCounter {
 public:
  /// Blocks of single entries while at most `side` x `side` of them are needed; a plane of few queries may
  /// have more columns, one of few keys more rows.
  PictureCounter(int64_t layer, int64_t head, int64_t first_query, int64_t queries, int64_t keys,
                 size_t pipelines, int64_t side = picture_side);

  int64_t layer() const { return plane_.layer; }
  int64_t head() const { return plane_.head; }
  /// Adds row `row` of the outcome's tile, query number `query` of the plane, to the outcome's pipeline;
  /// pipeline 0 stands for all in what is visible. O(active runs + ids + columns).
  void add(const attention::TileOutcome& outcome, int64_t row, int64_t query);

  /// Gives the counts away, when all rows have been added: the plane, and the active entries of a pipeline.
  Plane take_plane() { return std::move(plane_); }
  std::vector<uint32_t> take_active(size_t pipeline) { return std::move(active_[pipeline]); }

 private:
  void count(std::vector<uint32_t>& blocks, int64_t query, const kernels::Range& run);

  Plane plane_;
  std::vector<std::vector<uint32_t>> active_;
};

}  // namespace attnlab::measure
