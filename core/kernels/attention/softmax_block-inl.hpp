// Online softmax (arXiv:2205.14135, algorithm 1) over blocks of entries, compiled once per SIMD target.
#if defined(ATTNLAB_KERNELS_ATTENTION_SOFTMAX_BLOCK_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTNLAB_KERNELS_ATTENTION_SOFTMAX_BLOCK_INL
#undef ATTNLAB_KERNELS_ATTENTION_SOFTMAX_BLOCK_INL
#else
#define ATTNLAB_KERNELS_ATTENTION_SOFTMAX_BLOCK_INL
#endif

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "core/kernels/attention/dot-inl.hpp"
#include "core/kernels/attention/entry_cursor.hpp"
#include "core/kernels/simd/vector_math-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace attnlab::kernels::HWY_NAMESPACE {

/// Rows that stream the same block of keys and values together.
inline constexpr int64_t kGroupRows = 32;
inline constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

/// The running softmax of a group of rows; each row's unnormalised sum of values lives in its output row.
struct SoftmaxGroup {
  float maximum[kGroupRows];
  double denominator[kGroupRows];
  /// Logits, then weights, of the current block.
  HWY_ALIGN float weight[kGroupRows][kBlockEntries];
  /// What the sums of the earlier blocks are multiplied with.
  float decay[kGroupRows];
  /// Entries of the current block that the row attends to.
  int64_t count[kGroupRows];
};

inline void start(SoftmaxGroup& group, int64_t rows, const float* sink_logit, float* out, int64_t out_stride,
                  int64_t value_dim) {
  for (int64_t r = 0; r < rows; ++r) {
    group.maximum[r] = sink_logit == nullptr ? kMinusInfinity : sink_logit[r];
    group.denominator[r] = group.maximum[r] == kMinusInfinity ? 0 : 1;
    std::fill_n(out + r * out_stride, value_dim, 0.0F);
  }
}

/// Replaces the logits of row r by exp(logit - maximum) and joins them to maximum and denominator.
inline void exponentiate(SoftmaxGroup& group, int64_t r) {
  const Floats d;
  float* weight = group.weight[r];
  const int64_t count = group.count[r];
  const int64_t padded = (count + kLanes - 1) / kLanes * kLanes;
  std::fill(weight + count, weight + padded, kMinusInfinity);

  Vector maxima = hn::Set(d, group.maximum[r]);
  for (int64_t j = 0; j < padded; j += kLanes) maxima = hn::Max(maxima, hn::Load(d, weight + j));
  const float maximum = hn::GetLane(hn::MaxOfLanes(d, maxima));
  group.decay[r] = 1;
  if (maximum == kMinusInfinity) {  // nothing active so far: -inf minus -inf must not be taken
    std::fill_n(weight, padded, 0.0F);
    return;
  }
  if (maximum != group.maximum[r]) {
    group.decay[r] = hn::GetLane(exp_nonpositive(hn::Set(d, group.maximum[r] - maximum)));
    group.maximum[r] = maximum;
  }
  const Vector shift = hn::Set(d, maximum);
  Vector total = hn::Zero(d);
  for (int64_t j = 0; j < padded; j += kLanes) {
    const Vector w = exp_nonpositive(hn::Sub(hn::Load(d, weight + j), shift));
    hn::Store(w, d, weight + j);
    total = hn::Add(total, w);
  }
  const float sum = hn::GetLane(hn::SumOfLanes(d, total));
  group.denominator[r] = group.denominator[r] * group.decay[r] + sum;
}

/// What every register tile of a block's value sums shares.
struct ValueBlock {
  const float* const* value;  ///< [count] rows of value_dim
  int64_t count;
  int64_t value_dim;
  int64_t out_stride;
};

/// out_r = decay_r out_r + sum_e weight_r[e] value_e for kRows rows and `columns` columns from `column` on:
/// kVectors * kLanes columns, or up to kLanes when kVectors is 1.
template <int64_t kRows, int64_t kVectors>
HWY_INLINE void add_columns(const ValueBlock& block, const float (*weight)[kBlockEntries], const float* decay,
                            int64_t column, int64_t columns, float* out) {
  constexpr int64_t fetch_ahead = 8;
  constexpr int64_t line_floats = 16;
  const Floats d;
  const int64_t last = columns - (kVectors - 1) * kLanes;
  Vector sum[kRows][kVectors];
#pragma GCC unroll 8
  for (int64_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int64_t v = 0; v < kVectors; ++v) sum[r][v] = hn::Zero(d);
  }
  for (int64_t e = 0; e < block.count; ++e) {
    if (column == 0 && e + fetch_ahead < block.count) {  // whole rows in order, as dots_direct fetches keys
      const float* upcoming = block.value[e + fetch_ahead];
      for (int64_t c = 0; c < block.value_dim; c += line_floats) hwy::Prefetch(upcoming + c);
    }
    const float* from = block.value[e] + column;
    Vector value[kVectors];
#pragma GCC unroll 8
    for (int64_t v = 0; v < kVectors; ++v) {
      value[v] = load_first(from + v * kLanes, v + 1 < kVectors ? kLanes : last);
    }
#pragma GCC unroll 8
    for (int64_t r = 0; r < kRows; ++r) {
      const Vector w = hn::Set(d, weight[r][e]);
#pragma GCC unroll 8
      for (int64_t v = 0; v < kVectors; ++v) sum[r][v] = hn::MulAdd(w, value[v], sum[r][v]);
    }
  }
#pragma GCC unroll 8
  for (int64_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int64_t v = 0; v < kVectors; ++v) {
      float* to = out + r * block.out_stride + column + v * kLanes;
      const int64_t lanes = v + 1 < kVectors ? kLanes : last;
      store_first(hn::MulAdd(hn::Set(d, decay[r]), load_first(to, lanes), sum[r][v]), to, lanes);
    }
  }
}

template <int64_t kRows>
HWY_NOINLINE void add_values(const ValueBlock& block, const float (*weight)[kBlockEntries],
                             const float* decay, float* out) {
  constexpr int64_t wide = kTileVectors * kLanes;
  int64_t column = 0;
  for (; column + wide <= block.value_dim; column += wide) {
    add_columns<kRows, kTileVectors>(block, weight, decay, column, wide, out);
  }
  for (; column < block.value_dim; column += kLanes) {
    add_columns<kRows, 1>(block, weight, decay, column, std::min(kLanes, block.value_dim - column), out);
  }
}

/// Joins a block, whose logits stand in group.weight, to the rows. Rows share loads of values only with
/// neighbours that attend to equally many entries: a row never touches values beyond its own.
inline void join_block(SoftmaxGroup& group, int64_t rows, const float* const* value, int64_t value_dim,
                       float* out, int64_t out_stride) {
  using AddValues = void (*)(const ValueBlock&, const float(*)[kBlockEntries], const float*, float*);
  static constexpr AddValues by_rows[kTileRows] = {add_values<1>, add_values<2>, add_values<3>,
                                                   add_values<4>, add_values<5>, add_values<6>};
  for (int64_t r = 0; r < rows; ++r) exponentiate(group, r);
  for (int64_t r = 0; r < rows;) {
    const ValueBlock block{value, group.count[r], value_dim, out_stride};
    int64_t together = 1;
    while (together < kTileRows && r + together < rows && group.count[r + together] == block.count)
      ++together;
    if (block.count > 0)
      by_rows[together - 1](block, group.weight + r, group.decay + r, out + r * out_stride);
    r += together;
  }
}

/// Divides by the denominators and writes lse = maximum + ln denominator.
inline void finish(const SoftmaxGroup& group, int64_t rows, float* out, int64_t out_stride, int64_t value_dim,
                   float* lse) {
  for (int64_t r = 0; r < rows; ++r) {
    const double denominator = group.denominator[r];
    if (denominator == 0) {
      lse[r] = kMinusInfinity;
      continue;
    }
    lse[r] = static_cast<float>(group.maximum[r] + std::log(denominator));
    const float inverse = static_cast<float>(1 / denominator);
    for (int64_t c = 0; c < value_dim; ++c) out[r * out_stride + c] *= inverse;
  }
}

}  // namespace attnlab::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // target toggle
