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

}  // namespace attnlab::kernels
