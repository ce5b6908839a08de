#include <algorithm>
#include <vector>

#include "core/kernels/scoring/scoring.hpp"

namespace attnlab::kernels {

/// max(x lowest, x highest) is x lowest for x < 0 and x highest otherwise, so that the bound is the dot
/// product of the record [lowest, highest] with [min(x, 0), max(x, 0)]: it runs at the speed at which logits
/// read keys.
void interval(const AttendKernels& kernels, const IntervalArguments& a) {
  constexpr int64_t capacity = 8192;
  float memory[capacity];
  const int64_t width = 2 * a.head_dim;
  std::vector<float> large(static_cast<size_t>(width > capacity ? width : 0));
  float* signs = large.empty() ? memory : large.data();
  const int64_t block_rows = std::max<int64_t>(1, capacity / std::max<int64_t>(1, width));
  for (int64_t first = 0; first < a.rows; first += block_rows) {
    const int64_t rows = std::min(block_rows, a.rows - first);
    for (int64_t r = 0; r < rows; ++r) {
      const float* query = a.query + (first + r) * a.query_stride;
      float* negative = signs + r * width;
      for (int64_t c = 0; c < a.head_dim; ++c) {
        const float x = a.scale * query[c];
        negative[c] = std::min(x, 0.0F);
        negative[a.head_dim + c] = std::max(x, 0.0F);
      }
    }
    kernels.logits({.query = signs,
                    .query_stride = width,
                    .rows = rows,
                    .head_dim = width,
                    .key = a.extremes,
                    .key_stride = a.extremes_stride,
                    .key_begin = 0,
                    .key_end = a.pages,
                    .scale = 1,
                    .logits = a.scores + first * a.scores_stride,
                    .logits_stride = a.scores_stride});
  }
}

}  // namespace attnlab::kernels
