// Draws masks small while the rows pass by.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "core/attention/session.hpp"
#include "core/measure/record.hpp"

namespace attnlab::measure {

/// Counts active and visible keys of one (batch 0, head) in blocks of the [queries, keys] plane. Rows may
/// arrive in any order and from any thread: the counts are integers.
class PictureCounter {
 public:
  /// At most `size` blocks each way.
  PictureCounter(int64_t layer, int64_t head, int64_t queries, int64_t keys, int64_t size);

  int64_t layer() const { return layer_; }
  int64_t head() const { return head_; }
  /// Adds row `row` of the outcome's tile as query number `query`. O(active runs + ids + columns).
  void add(const attention::TileOutcome& outcome, int64_t row, int64_t query);
  Picture picture() const;

 private:
  void count(std::vector<std::atomic<int64_t>>& cells, int64_t query, const kernels::Range& run);

  int64_t layer_, head_, queries_, keys_, rows_, columns_;
  std::vector<std::atomic<int64_t>> active_, visible_;
};

}  // namespace attnlab::measure
