#pragma once

#include <cstdint>

namespace attnlab::kernels {

/// Rows of a [batch, head, row, channel] tensor; channels are adjacent, strides count elements. A batch or
/// head stride of 0 broadcasts. Not owned.
template <class T>
struct HeadRows {
  T* data = nullptr;
  int64_t batch_stride = 0;
  int64_t head_stride = 0;
  int64_t row_stride = 0;

  T* row(int64_t batch, int64_t head, int64_t row) const {
    return data + batch * batch_stride + head * head_stride + row * row_stride;
  }
};

/// The keys [0, seen_keys) that query row i sees: it is at position i + valid - queries.
constexpr int64_t seen_keys(int64_t row, int64_t queries, int64_t valid, bool causal) {
  const int64_t end = row + valid - queries + 1;
  return !causal || end > valid ? valid : end < 0 ? 0 : end;
}

}  // namespace attnlab::kernels
