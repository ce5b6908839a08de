// Dense attention of a tile's rows.
#pragma once

#include <cstdint>

#include "core/attention/row_list.hpp"
#include "core/attention/tile.hpp"
#include "core/kernels/scratch.hpp"

namespace attnlab::attention {

/// One worker's; keeps memory, and the packed keys and values of a KV head between its tiles. Not
/// thread-safe.
class DenseRows {
 public:
  /// Keys may have changed. `rows_per_head`: rows of a KV head that are about to be attended in all, from
  /// which follows whether packing its keys pays; it must not depend on tiles or threads.
  void start(int64_t rows_per_head);
  /// Rows [row, row + count) attend to their visible keys; `out` [count, value_dim] and `lse` [count] are
  /// those of the first of them. Uses the exact logits where the tile has them.
  void attend(Tile& tile, int64_t row, int64_t count, float* out, float* lse);
  uint64_t bytes() const;

 private:
  void attend_logits(Tile& tile, int64_t row, int64_t count, float* out, float* lse);
  void attend_packed(const Tile& tile, int64_t row, int64_t count, float* out, float* lse);
  void attend_streamed(const Tile& tile, int64_t row, int64_t count, float* out, float* lse);
  void pack(const Tile& tile);

  bool packs_ = false;
  int64_t batch_ = -1, kv_head_ = -1;
  int64_t packed_keys_ = 0;  ///< of that head
  kernels::AlignedBuffer<float> key_, value_;
  kernels::AlignedBuffer<uint8_t> finite_;
  RowList visible_;
};

}  // namespace attnlab::attention
