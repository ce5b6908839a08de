#include "core/kernels/scoring/reference.hpp"

#include <algorithm>
#include <bit>

namespace attnlab::kernels::reference {

void hamming(const HammingArguments& a, double* scores) {
  for (int64_t r = 0; r < a.rows; ++r) {
    for (int64_t j = 0; j < a.keys; ++j) {
      int64_t distance = 0;
      for (int64_t w = 0; w < a.words; ++w)
        distance += std::popcount(a.query[r * a.query_stride + w] ^ a.code[j * a.code_stride + w]);
      scores[r * a.scores_stride + j] = static_cast<double>(a.bits - 2 * distance);
    }
  }
}

void interval(const IntervalArguments& a, double* scores) {
  for (int64_t r = 0; r < a.rows; ++r) {
    for (int64_t p = 0; p < a.pages; ++p) {
      const float* lowest = a.extremes + p * a.extremes_stride;
      const float* highest = lowest + a.head_dim;
      double sum = 0;
      for (int64_t c = 0; c < a.head_dim; ++c) {
        const double x = double{a.scale} * double{a.query[r * a.query_stride + c]};
        sum += std::max(x * double{lowest[c]}, x * double{highest[c]});
      }
      scores[r * a.scores_stride + p] = sum;
    }
  }
}

template <class Code>
void lut(const LutArguments<Code>& a, double* scores) {
  for (int64_t r = 0; r < a.rows; ++r) {
    for (int64_t j = 0; j < a.keys; ++j) {
      double sum = 0;
      for (int64_t s = 0; s < a.subspaces; ++s)
        sum += double{a.table[r * a.table_stride + s * a.entries + a.code[j * a.code_stride + s]]};
      scores[r * a.scores_stride + j] = sum;
    }
  }
}

template void lut(const LutArguments<uint8_t>&, double*);
template void lut(const LutArguments<int32_t>&, double*);

}  // namespace attnlab::kernels::reference
