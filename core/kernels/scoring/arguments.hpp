// Plain argument structs of the scoring kernels, the same for every SIMD target and for the reference.
#pragma once

#include <cstdint>

namespace attnlab::kernels {

/// scores[r][j] = bits - 2 * popcount(query_r XOR code_j): the inner product of codes whose bits stand for +1
/// and -1. Exact. Bits beyond `bits` in the last word must be equal in all codes.
struct HammingArguments {
  const uint64_t* query = nullptr;  ///< [rows, words], rows `query_stride` words apart
  int64_t query_stride = 0;
  int64_t rows = 0;
  int64_t words = 0;  ///< at most kMaxHammingWords
  int64_t bits = 0;
  const uint64_t* code = nullptr;  ///< [keys, words], keys `code_stride` words apart
  int64_t code_stride = 0;
  int64_t keys = 0;
  float* scores = nullptr;  ///< [rows, keys], rows `scores_stride` apart
  int64_t scores_stride = 0;
};
inline constexpr int64_t kMaxHammingWords = 64;

/// scores[r][p] = sum over channels c of max(x_c lowest_pc, x_c highest_pc) with x = scale q_r: the least
/// upper bound of the logits of all keys between `lowest` and `highest` (Quest, arXiv:2406.10774). Extremes
/// are finite and lowest <= highest. A score's bits do not depend on the other rows and pages of the call.
struct IntervalArguments {
  const float* query = nullptr;  ///< [rows, head_dim], rows `query_stride` apart
  int64_t query_stride = 0;
  int64_t rows = 0;
  int64_t head_dim = 0;
  float scale = 1;
  const float* extremes =
      nullptr;  ///< [pages, 2, head_dim], lowest before highest, pages `extremes_stride` apart
  int64_t extremes_stride = 0;
  int64_t pages = 0;
  float* scores = nullptr;  ///< [rows, pages], rows `scores_stride` apart
  int64_t scores_stride = 0;
};

/// scores[r][j] = sum over subspaces s, ascending, of table_r[s][code_j[s]]: product quantisation, hash
/// tables. Plain float additions from 0 in that order, the same bits on every target. `Code` is uint8_t or
/// int32_t.
template <class Code>
struct LutArguments {
  const float* table = nullptr;  ///< [rows, subspaces, entries], rows `table_stride` apart
  int64_t table_stride = 0;
  int64_t rows = 0;
  int64_t subspaces = 0;
  int64_t entries = 0;         ///< every code is in [0, entries)
  const Code* code = nullptr;  ///< [keys, subspaces], keys `code_stride` apart
  int64_t code_stride = 0;
  int64_t keys = 0;
  float* scores = nullptr;  ///< [rows, keys], rows `scores_stride` apart
  int64_t scores_stride = 0;
};

}  // namespace attnlab::kernels
