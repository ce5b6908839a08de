// Online softmax (arXiv:2205.14135, algorithm 1) over blocks of entries, compiled once per SIMD target.
#if defined(ATTNLAB_KERNELS_ATTENTION_SOFTMAX_BLOCK_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTNLAB_KERNELS_ATTENTION_SOFTMAX_BLOCK_INL
#undef ATTNLAB_KERNELS_ATTENTION_SOFTMAX_BLOCK_INL
#else
#define ATTNLAB_KERNELS_ATTENTION_SOFTMAX_BLOCK_INL
#endif

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
template <int64_t kRows>
struct SoftmaxRows {
  float maximum[kRows];
  double denominator[kRows];
  /// Logits, then weights, of the current block.
  HWY_ALIGN float weight[kRows][kBlockEntries];
  /// What the sums of the earlier blocks are multiplied with.
  float decay[kRows];
  /// Entries of the current block that the row attends to.
  int64_t count[kRows];
};
using SoftmaxGroup = SoftmaxRows<kGroupRows>;

template <class Group>
inline void start(Group& group, int64_t rows, const float* sink_logit, float* out, int64_t out_stride,
                  int64_t value_dim) {
  for (int64_t r = 0; r < rows; ++r) {
    group.maximum[r] = sink_logit == nullptr ? kMinusInfinity : sink_logit[r];
    group.denominator[r] = group.maximum[r] == kMinusInfinity ? 0 : 1;
    std::fill_n(out + r * out_stride, value_dim, 0.0F);
  }
}

/// Replaces the logits of row r by exp(logit - maximum) and joins them to maximum and denominator.
template <class Group>
inline void exponentiate(Group& group, int64_t r) {
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

/// Columns of values that are summed at a time.
inline constexpr int64_t kValueColumns = 256;
/// Entries whose values pass through the register tile together: few enough to stay in the first-level cache
/// for all columns and rows.
inline constexpr int64_t kFewEntries = 16;

/// sum[r][c] += sum_e weight[r][e] value_e[c] for kRows rows and kVectors * kLanes columns from `column` on,
/// of which `columns` exist.
template <int64_t kRows, int64_t kVectors, class Rows, class Upcoming>
HWY_INLINE void add_columns(Rows value, int64_t first, int64_t count, const float (*weight)[kBlockEntries],
                            int64_t column, int64_t columns, bool fresh, float (*sum)[kValueColumns],
                            int64_t at, Upcoming& upcoming) {
  const Floats d;
  const int64_t last = columns - (kVectors - 1) * kLanes;
  Vector total[kRows][kVectors];
#pragma GCC unroll 8
  for (int64_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int64_t v = 0; v < kVectors; ++v)
      total[r][v] = fresh ? hn::Zero(d) : hn::LoadU(d, sum[r] + at + v * kLanes);
  }
  for (int64_t e = 0; e < count; ++e) {
    upcoming.before(first + e, column, kVectors * kLanes);
    const auto* from = value[first + e] + column;
    Vector v_e[kVectors];
#pragma GCC unroll 8
    for (int64_t v = 0; v < kVectors; ++v)
      v_e[v] = load_row(from + v * kLanes, v + 1 < kVectors ? kLanes : last);
#pragma GCC unroll 8
    for (int64_t r = 0; r < kRows; ++r) {
      const Vector w = hn::Set(d, weight[r][e]);
#pragma GCC unroll 8
      for (int64_t v = 0; v < kVectors; ++v) total[r][v] = hn::MulAdd(w, v_e[v], total[r][v]);
    }
  }
#pragma GCC unroll 8
  for (int64_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int64_t v = 0; v < kVectors; ++v) hn::StoreU(total[r][v], d, sum[r] + at + v * kLanes);
  }
}

/// out_r = decay_r out_r + sum_e weight_r[e] value_e for kRows rows.
template <int64_t kRows, class Rows, class Upcoming>
HWY_NOINLINE void add_values(Rows value, int64_t count, const float (*weight)[kBlockEntries],
                             const float* decay, int64_t value_dim, float* out, int64_t out_stride,
                             Upcoming upcoming) {
  constexpr int64_t wide = kTileVectors * kLanes;
  HWY_ALIGN float sum[kRows][kValueColumns];
  for (int64_t first = 0; first < value_dim; first += kValueColumns) {
    const int64_t end = std::min(first + kValueColumns, value_dim);
    for (int64_t e = 0; e < count; e += kFewEntries) {
      const int64_t few = std::min(kFewEntries, count - e);
      const auto* w = reinterpret_cast<const float(*)[kBlockEntries]>(&weight[0][e]);
      int64_t c = first;
      for (; c + wide <= end; c += wide)
        add_columns<kRows, kTileVectors>(value, e, few, w, c, wide, e == 0, sum, c - first, upcoming);
      for (; c < end; c += kLanes)
        add_columns<kRows, 1>(value, e, few, w, c, std::min(kLanes, end - c), e == 0, sum, c - first,
                              upcoming);
    }
    for (int64_t r = 0; r < kRows; ++r) {
      const Vector scale = hn::Set(Floats(), decay[r]);
      for (int64_t c = first; c < end; c += kLanes) {
        float* to = out + r * out_stride + c;
        const int64_t lanes = std::min(kLanes, end - c);
        store_first(hn::MulAdd(scale, load_first(to, lanes), hn::LoadU(Floats(), sum[r] + (c - first))), to,
                    lanes);
      }
    }
  }
}

/// Joins a block, whose logits stand in group.weight, to the rows. Rows share loads of values only with
/// neighbours that attend to equally many entries: a row never touches values beyond its own. `upcoming` are
/// the rows of memory that should be fetched meanwhile.
template <class Rows, class Upcoming>
inline void join_block(SoftmaxGroup& group, int64_t rows, Rows value, int64_t value_dim, float* out,
                       int64_t out_stride, Upcoming upcoming) {
  using AddValues = void (*)(Rows, int64_t, const float(*)[kBlockEntries], const float*, int64_t, float*,
                             int64_t, Upcoming);
  static constexpr AddValues by_rows[kTileRows] = {
      add_values<1, Rows, Upcoming>, add_values<2, Rows, Upcoming>, add_values<3, Rows, Upcoming>,
      add_values<4, Rows, Upcoming>, add_values<5, Rows, Upcoming>, add_values<6, Rows, Upcoming>};
  for (int64_t r = 0; r < rows; ++r) exponentiate(group, r);
  for (int64_t r = 0; r < rows;) {
    const int64_t count = group.count[r];
    int64_t together = 1;
    while (together < kTileRows && r + together < rows && group.count[r + together] == count) ++together;
    if (count > 0) {
      by_rows[together - 1](value, count, group.weight + r, group.decay + r, value_dim, out + r * out_stride,
                            out_stride, upcoming);
      upcoming = {};
    }
    r += together;
  }
}

/// Divides by the denominators and writes lse = maximum + ln denominator.
template <class Group>
inline void finish(const Group& group, int64_t rows, float* out, int64_t out_stride, int64_t value_dim,
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
