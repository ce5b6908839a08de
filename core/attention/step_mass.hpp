// How much attention each key received in a step: what feedback methods are told.
#pragma once

#include <atomic>
#include <vector>

#include "core/attention/row_list.hpp"
#include "core/attention/tile.hpp"

namespace attnlab::attention {

/// Attention mass by key of every (batch, KV head), summed over the rows of a step (a prompt, a chunk, a
/// decoded token). Sums are whole numbers of 2^-40, so they depend neither on tiles nor on threads. 8 bytes
/// per key.
class StepMass {
 public:
  /// A worker's memory.
  struct Scratch {
    std::vector<int32_t> ids;
    std::vector<float> logits;
  };

  /// `heads`: batch * kv_heads.
  StepMass(int64_t heads, int64_t keys);

  /// Adds a row's weights exp(logit - log p - lse) on its active keys. Safe from any thread. O(active keys),
  /// with one dot product each when the tile has no exact logits.
  void add(Tile& tile, int64_t head, int64_t row, const RowList& active, float lse, Scratch& scratch);
  /// Rows added for a head.
  int64_t rows(int64_t head) const { return rows_[static_cast<size_t>(head)]; }
  /// Mass of keys [0, count).
  std::vector<float> of(int64_t head, int64_t count) const;
  void clear();

 private:
  int64_t keys_;
  std::vector<std::atomic<uint64_t>> mass_;
  std::vector<std::atomic<int64_t>> rows_;
};

}  // namespace attnlab::attention
