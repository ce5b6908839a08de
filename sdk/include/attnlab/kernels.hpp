// Loops that methods have in common, run by the host in vectors of its CPU: scores of a key index, matrix
// products, top-k, sampling. Without a host, as in a unit test, or with one that does not offer them, plain
// loops take their place.
//
// hamming, lut, top_k and sample give the same bits either way. dot, interval and gemm add in another order:
// a score differs by at most n 2^-23 times the sum of its n terms' absolute values.
//
// Any thread may call. The work is done on the calling thread, that of gemm perhaps on the host's others too.
// No function counts search cost: take the index by `column.matrix(begin, end)`, which does. Throws HostError
// when the host refuses the arguments, std::bad_alloc.
#pragma once

#include <attnlab/sampling.hpp>
#include <attnlab/scorer.hpp>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <new>
#include <numeric>
#include <span>
#include <type_traits>
#include <vector>

namespace attnlab::kernels {

namespace detail {

/// A function of the host's table, or null where there is none. Tables only grow at their end.
template <class Function>
Function offered(Function attnlab_kernels::*slot) {
  const attnlab_kernels* table = attnlab::detail::host_kernels.load(std::memory_order_acquire);
  if (table == nullptr) return nullptr;
  const auto end = reinterpret_cast<const char*>(&(table->*slot) + 1) - reinterpret_cast<const char*>(table);
  return end <= static_cast<int64_t>(table->struct_size) ? table->*slot : nullptr;
}

inline void check(attnlab_status status) {
  if (status == ATTNLAB_FAILED) throw std::bad_alloc();
  if (status != ATTNLAB_OK) throw HostError(status, "the host refused the arguments of a kernel");
}

/// Calls `body(row, key)` for all of them and stores the score that it returns.
template <class Body>
void for_each_score(int64_t rows, int64_t keys, Output out, const Body& body) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t j = 0; j < keys; ++j) out.data[r * out.stride + j] = body(r, j);
  }
}

}  // namespace detail

/// out[r][j] = scale * queries[r] . keys[j].
inline void dot(const Matrix<float>& queries, const Matrix<float>& keys, float scale, Output out) {
  if (const auto call = detail::offered(&attnlab_kernels::dot)) {
    const attnlab_dot arguments{.struct_size = sizeof arguments,
                                .scale = scale,
                                .query = queries.data(),
                                .query_stride = queries.stride(),
                                .rows = queries.rows(),
                                .width = queries.columns(),
                                .key = keys.data(),
                                .key_stride = keys.stride(),
                                .keys = keys.rows(),
                                .ids = nullptr,
                                .scores = out.data,
                                .scores_stride = out.stride};
    return detail::check(call(&arguments));
  }
  detail::for_each_score(queries.rows(), keys.rows(), out, [&](int64_t r, int64_t j) {
    const auto q = queries.row(r), k = keys.row(j);
    return scale * std::inner_product(q.begin(), q.end(), k.begin(), 0.0F);
  });
}

/// out[r][i] = scale * queries[r] . keys[ids[i]].
inline void dot(const Matrix<float>& queries, const Matrix<float>& keys, std::span<const int32_t> ids,
                float scale, Output out) {
  const auto count = static_cast<int64_t>(ids.size());
  if (const auto call = detail::offered(&attnlab_kernels::dot); call != nullptr && count > 0) {
    const attnlab_dot arguments{.struct_size = sizeof arguments,
                                .scale = scale,
                                .query = queries.data(),
                                .query_stride = queries.stride(),
                                .rows = queries.rows(),
                                .width = queries.columns(),
                                .key = keys.data(),
                                .key_stride = keys.stride(),
                                .keys = count,
                                .ids = ids.data(),
                                .scores = out.data,
                                .scores_stride = out.stride};
    return detail::check(call(&arguments));
  }
  detail::for_each_score(queries.rows(), count, out, [&](int64_t r, int64_t i) {
    const auto q = queries.row(r), k = keys.row(ids[static_cast<size_t>(i)]);
    return scale * std::inner_product(q.begin(), q.end(), k.begin(), 0.0F);
  });
}

/// out[r][j] = bits - 2 * (bits in which queries[r] and codes[j] differ): packed codes whose bits stand for
/// +1 and -1, as many words as both have columns, at most 64. Bits of the last word beyond `bits` are equal
/// in all.
inline void hamming(const Matrix<uint64_t>& queries, const Matrix<uint64_t>& codes, int64_t bits,
                    Output out) {
  if (const auto call = detail::offered(&attnlab_kernels::hamming)) {
    const attnlab_hamming arguments{.struct_size = sizeof arguments,
                                    .reserved = 0,
                                    .query = queries.data(),
                                    .query_stride = queries.stride(),
                                    .rows = queries.rows(),
                                    .words = queries.columns(),
                                    .bits = bits,
                                    .code = codes.data(),
                                    .code_stride = codes.stride(),
                                    .keys = codes.rows(),
                                    .scores = out.data,
                                    .scores_stride = out.stride};
    return detail::check(call(&arguments));
  }
  detail::for_each_score(queries.rows(), codes.rows(), out, [&](int64_t r, int64_t j) {
    const auto query = queries.row(r), code = codes.row(j);
    int64_t distance = 0;
    for (size_t w = 0; w < query.size(); ++w) distance += std::popcount(query[w] ^ code[w]);
    return static_cast<float>(bits - 2 * distance);
  });
}

/// out[r][p] = sum over channels c of max(x_c lowest_c, x_c highest_c), x = scale * queries[r]: no logit of a
/// key between a page's extremes is larger (Quest, arXiv:2406.10774). A row of `extremes` is lowest, then
/// highest; finite, and lowest <= highest in each channel.
inline void interval(const Matrix<float>& queries, const Matrix<float>& extremes, float scale, Output out) {
  if (const auto call = detail::offered(&attnlab_kernels::interval)) {
    const attnlab_interval arguments{.struct_size = sizeof arguments,
                                     .scale = scale,
                                     .query = queries.data(),
                                     .query_stride = queries.stride(),
                                     .rows = queries.rows(),
                                     .head_dim = queries.columns(),
                                     .extremes = extremes.data(),
                                     .extremes_stride = extremes.stride(),
                                     .pages = extremes.rows(),
                                     .scores = out.data,
                                     .scores_stride = out.stride};
    return detail::check(call(&arguments));
  }
  detail::for_each_score(queries.rows(), extremes.rows(), out, [&](int64_t r, int64_t p) {
    const auto query = queries.row(r), lowest = extremes.row(p).first(query.size());
    const auto highest = extremes.row(p).last(query.size());
    float sum = 0;
    for (size_t c = 0; c < query.size(); ++c) {
      const float x = scale * query[c];
      sum += std::max(x * lowest[c], x * highest[c]);
    }
    return sum;
  });
}

/// out[r][j] = sum over s, ascending, of tables[r][s * entries + codes[j][s]]: product quantisation, hash
/// buckets. Codes are uint8_t or int32_t in [0, entries).
template <class Code>
void lut(const Matrix<float>& tables, int64_t entries, const Matrix<Code>& codes, Output out) {
  static_assert(std::is_same_v<Code, uint8_t> || std::is_same_v<Code, int32_t>);
  if (const auto call = detail::offered(&attnlab_kernels::lut)) {
    const attnlab_lut arguments{.struct_size = sizeof arguments,
                                .code_type = attnlab::detail::ElementCode<Code>::value,
                                .table = tables.data(),
                                .table_stride = tables.stride(),
                                .rows = tables.rows(),
                                .subspaces = codes.columns(),
                                .entries = entries,
                                .code = codes.data(),
                                .code_stride = codes.stride(),
                                .keys = codes.rows(),
                                .scores = out.data,
                                .scores_stride = out.stride};
    return detail::check(call(&arguments));
  }
  detail::for_each_score(tables.rows(), codes.rows(), out, [&](int64_t r, int64_t j) {
    const auto table = tables.row(r);
    const auto code = codes.row(j);
    float sum = 0;
    for (size_t s = 0; s < code.size(); ++s) {
      sum += table[s * static_cast<size_t>(entries) + static_cast<size_t>(code[s])];
    }
    return sum;
  });
}

/// A matrix in any order of axes: element (i, j) at data + i * row_stride + j * column_stride. Does not own.
struct Operand {
  const float* data;
  int64_t row_stride, column_stride;
};

/// out[i][j] = sum over l of a[i][l] b[l][j], i in [0, m), j in [0, n), l in [0, k).
inline void gemm(int64_t m, int64_t n, int64_t k, Operand a, Operand b, Output out) {
  if (const auto call = detail::offered(&attnlab_kernels::gemm)) {
    const attnlab_gemm arguments{.struct_size = sizeof arguments,
                                 .reserved = 0,
                                 .m = m,
                                 .n = n,
                                 .k = k,
                                 .a = a.data,
                                 .a_row_stride = a.row_stride,
                                 .a_column_stride = a.column_stride,
                                 .b = b.data,
                                 .b_row_stride = b.row_stride,
                                 .b_column_stride = b.column_stride,
                                 .c = out.data,
                                 .c_stride = out.stride};
    return detail::check(call(&arguments));
  }
  detail::for_each_score(m, n, out, [&](int64_t i, int64_t j) {
    float sum = 0;
    for (int64_t l = 0; l < k; ++l) {
      sum += a.data[i * a.row_stride + l * a.column_stride] * b.data[l * b.row_stride + j * b.column_stride];
    }
    return sum;
  });
}

/// Writes the k keys of `runs` with the largest scores, ascending, to `ids`, and returns the part that was
/// written; equal scores: the lower key first. `scores` is indexed by key and holds no NaN; `ids` has room
/// for k, or for all when they are fewer.
inline std::span<int32_t> top_k(std::span<const float> scores, std::span<const Range> runs, int64_t k,
                                std::span<int32_t> ids) {
  if (const auto call = detail::offered(&attnlab_kernels::top_k)) {
    attnlab_top_k arguments{.struct_size = sizeof arguments,
                            .reserved = 0,
                            .scores = scores.data(),
                            .runs = runs.data(),
                            .run_count = static_cast<int64_t>(runs.size()),
                            .k = k,
                            .ids = ids.data(),
                            .chosen = 0};
    detail::check(call(&arguments));
    return ids.first(static_cast<size_t>(arguments.chosen));
  }
  std::vector<int32_t> keys;
  for (const Range run : runs) {
    for (int32_t key = run.begin; key < run.end; ++key) keys.push_back(key);
  }
  const auto chosen = std::min(static_cast<int64_t>(keys.size()), k);
  const auto better = [&](int32_t a, int32_t b) {
    const float x = scores[static_cast<size_t>(a)], y = scores[static_cast<size_t>(b)];
    return x > y || (x == y && a < b);
  };
  std::partial_sort(keys.begin(), keys.begin() + chosen, keys.end(), better);
  std::sort(keys.begin(), keys.begin() + chosen);
  std::copy_n(keys.begin(), chosen, ids.begin());
  return ids.first(static_cast<size_t>(chosen));
}

/// Fills `ids` with candidates drawn uniformly without replacement, ascending: what
/// sample_without_replacement draws first from tile.random(row). At most as many as there are.
inline void sample(const Tile& tile, int64_t row, const Candidates& candidates, std::span<int32_t> ids) {
  if (const auto call = detail::offered(&attnlab_kernels::sample)) {
    const attnlab_sample arguments{.struct_size = sizeof arguments,
                                   .reserved = 0,
                                   .rng_key = tile.table()->rng_key,
                                   .rng_stream = tile.table()->rng_stream[row],
                                   .runs = candidates.runs.data(),
                                   .run_count = static_cast<int64_t>(candidates.runs.size()),
                                   .count = static_cast<int64_t>(ids.size()),
                                   .ids = ids.data()};
    return detail::check(call(&arguments));
  }
  Philox random = tile.random(row);
  std::vector<uint64_t> seen(static_cast<size_t>((candidates.count + 63) / 64));
  sample_without_replacement(random, candidates, static_cast<int64_t>(ids.size()), seen, ids);
}

}  // namespace attnlab::kernels
