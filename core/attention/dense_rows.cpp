#include "core/attention/dense_rows.hpp"

#include <algorithm>

#include "core/attention/row_arguments.hpp"
#include "core/kernels/attention/dense.hpp"

namespace attnlab::attention {

using kernels::kPackedKeys;

void DenseRows::start(int64_t rows_per_head) {
  packs_ = rows_per_head >= kernels::kPackingRows;
  packed_keys_ = 0;
  batch_ = kv_head_ = -1;
}

void DenseRows::attend(Tile& tile, int64_t row, int64_t count, float* out, float* lse) {
  if (tile.has_logits() || tile.hidden(row) != nullptr) {
    attend_logits(tile, row, count, out, lse);
  } else if (packs_) {
    attend_packed(tile, row, count, out, lse);
  } else {
    attend_streamed(tile, row, count, out, lse);
  }
}

void DenseRows::attend_logits(Tile& tile, int64_t row, int64_t count, float* out, float* lse) {
  kernels::AttendLogitsArguments arguments;
  arguments.logits = tile.logits() + row * tile.logits_stride();
  arguments.logits_stride = tile.logits_stride();
  arguments.rows = count;
  arguments.key_end = tile.visible_ends() + row;
  arguments.value = tile.value();
  arguments.value_stride = tile.value_stride();
  arguments.value_dim = tile.value_dim();
  arguments.sink_logit = tile.sink_logit() == nullptr ? nullptr : tile.sink_logit() + row;
  arguments.out = out;
  arguments.out_stride = tile.value_dim();
  arguments.lse = lse;
  tile.kernels().attend_logits(arguments);
}

/// Packs what is not yet packed of the tile's keys. A block that was cut short is packed again.
void DenseRows::pack(const Tile& tile) {
  if (batch_ != tile.index().batch || kv_head_ != tile.index().kv_head) {
    batch_ = tile.index().batch;
    kv_head_ = tile.index().kv_head;
    packed_keys_ = 0;
  }
  const int64_t blocks = (tile.problem().key.tokens + kPackedKeys - 1) / kPackedKeys;
  float* key = key_.take(blocks * kernels::packed_key_floats(tile.head_dim()));
  float* value = value_.take(blocks * kernels::packed_value_floats(tile.value_dim()));
  uint8_t* finite = finite_.take(blocks);
  for (int64_t block = packed_keys_ / kPackedKeys; packed_keys_ < tile.key_count(); ++block) {
    const int64_t begin = block * kPackedKeys;
    packed_keys_ = std::min(begin + kPackedKeys, tile.key_count());
    tile.kernels().pack_kv({.key = tile.key() + begin * tile.key_stride(),
                            .key_stride = tile.key_stride(),
                            .value = tile.value() + begin * tile.value_stride(),
                            .value_stride = tile.value_stride(),
                            .count = packed_keys_ - begin,
                            .head_dim = tile.head_dim(),
                            .value_dim = tile.value_dim(),
                            .packed_key = key + block * kernels::packed_key_floats(tile.head_dim()),
                            .packed_value = value + block * kernels::packed_value_floats(tile.value_dim()),
                            .finite = finite + block});
  }
}

void DenseRows::attend_packed(const Tile& tile, int64_t row, int64_t count, float* out, float* lse) {
  pack(tile);
  kernels::AttendPackedArguments arguments;
  set_rows(tile, row, count, arguments);
  arguments.key_end = tile.visible_ends() + row;
  arguments.key = key_.data();
  arguments.value = value_.data();
  arguments.finite = finite_.data();
  arguments.out = out;
  arguments.lse = lse;
  tile.kernels().attend_packed(arguments);
}

void DenseRows::attend_streamed(const Tile& tile, int64_t row, int64_t count, float* out, float* lse) {
  for (int64_t first = row; first < row + count;) {
    const int64_t visible_end = tile.visible_end(first);
    int64_t end = first + 1;
    while (end < row + count && end % tile.group() != 0 && tile.visible_end(end) == visible_end) ++end;
    tile.visible_runs(first, visible_.runs);
    const RowSegments segments(tile, visible_);
    kernels::AttendArguments arguments = attend_arguments(tile, first, end - first, segments);
    arguments.out = out + (first - row) * tile.value_dim();
    arguments.lse = lse + (first - row);
    kernels::split_attend(tile.kernels(), arguments);
    first = end;
  }
}

uint64_t DenseRows::bytes() const {
  return key_.bytes() + value_.bytes() + finite_.bytes();
}

}  // namespace attnlab::attention
