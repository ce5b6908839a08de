// The backward of few rows straight from scattered keys, compiled once per SIMD target. Packing a key costs
// as much as its products with a dozen rows.
#if defined(ATTNLAB_KERNELS_ATTENTION_BACKWARD_FEW_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTNLAB_KERNELS_ATTENTION_BACKWARD_FEW_INL
#undef ATTNLAB_KERNELS_ATTENTION_BACKWARD_FEW_INL
#else
#define ATTNLAB_KERNELS_ATTENTION_BACKWARD_FEW_INL
#endif

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>

#include "core/kernels/attention/backward.hpp"
#include "core/kernels/simd/register_tile-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace attnlab::kernels::HWY_NAMESPACE {

/// p and ds of the rows, [row][key].
struct FewWeights {
  HWY_ALIGN float weight[kBackwardFewRows][kBackwardKeys];
  HWY_ALIGN float grad_logit[kBackwardFewRows][kBackwardKeys];
};

/// Keys whose dot products with kRows rows are summed together.
inline constexpr int64_t kFewKeys = kManyRegisters ? 4 : 2;
/// Keys between the one in use and the one that is fetched.
inline constexpr int64_t kFewAhead = 8;

/// sums[r * kBackwardKeys + j] = row r . keys[j] for kRows rows and `count` keys; fetches the rows of `next`
/// on the way.
template <int64_t kRows>
HWY_NOINLINE void few_dots(const float* rows, int64_t row_stride, const float* const* keys, int64_t count,
                           int64_t size, const float* const* next, float* sums) {
  static_assert(kBackwardKeys % kFewKeys == 0);
  const Floats d;
  for (int64_t j = 0; j < count; j += kFewKeys) {
    const float* key[kFewKeys];
    Vector sum[kRows][kFewKeys];
    set_zero(sum);
    for (int64_t t = 0; t < kFewKeys; ++t) {
      key[t] = keys[std::min(j + t, count - 1)];
      const int64_t ahead = std::min(j + t + kFewAhead, count - 1);
      for (int64_t c = 0; c < size; c += 16) {
        hwy::Prefetch(keys[ahead] + c);
        hwy::Prefetch(next[ahead] + c);
      }
    }
    for (int64_t c = 0; c < size; c += kLanes) {
      const int64_t lanes = std::min(kLanes, size - c);
      Vector k[kFewKeys];
#pragma GCC unroll 8
      for (int64_t t = 0; t < kFewKeys; ++t) k[t] = load_first(key[t] + c, lanes);
#pragma GCC unroll 8
      for (int64_t r = 0; r < kRows; ++r) {
        const Vector row = load_first(rows + r * row_stride + c, lanes);
#pragma GCC unroll 8
        for (int64_t t = 0; t < kFewKeys; ++t) sum[r][t] = hn::MulAdd(row, k[t], sum[r][t]);
      }
    }
    // Sums beyond `count` are sums of the last key, and are not used.
#pragma GCC unroll 8
    for (int64_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
      for (int64_t t = 0; t < kFewKeys; ++t)
        sums[r * kBackwardKeys + j + t] = hn::GetLane(hn::SumOfLanes(d, sum[r][t]));
    }
  }
}

/// to[j][c] += sum over r of left[r * kBackwardKeys + j] * factor * rows[r][c] for kVectors vectors of
/// channels.
template <int64_t kRows, int64_t kVectors>
HWY_NOINLINE void few_add_to_keys(const float* left, const float* rows, int64_t row_stride, float factor,
                                  int64_t count, int64_t channel, int64_t size, float* const* to) {
  const Floats d;
  Vector row[kRows][kVectors];
#pragma GCC unroll 8
  for (int64_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int64_t v = 0; v < kVectors; ++v) {
      const int64_t c = channel + v * kLanes;
      row[r][v] =
          hn::Mul(hn::Set(d, factor), load_first(rows + r * row_stride + c, std::min(kLanes, size - c)));
    }
  }
  const int64_t last = std::min(kLanes, size - channel - (kVectors - 1) * kLanes);
  for (int64_t j = 0; j < count; ++j) {
    float* out = to[j] + channel;
    Vector sum[kVectors];
#pragma GCC unroll 8
    for (int64_t v = 0; v < kVectors; ++v)
      sum[v] = load_first(out + v * kLanes, v + 1 < kVectors ? kLanes : last);
#pragma GCC unroll 8
    for (int64_t r = 0; r < kRows; ++r) {
      const Vector x = hn::Set(d, left[r * kBackwardKeys + j]);
#pragma GCC unroll 8
      for (int64_t v = 0; v < kVectors; ++v) sum[v] = hn::MulAdd(x, row[r][v], sum[v]);
    }
#pragma GCC unroll 8
    for (int64_t v = 0; v < kVectors; ++v)
      store_first(sum[v], out + v * kLanes, v + 1 < kVectors ? kLanes : last);
  }
}

/// to[r][c] += factor * sum over j of left[r * kBackwardKeys + j] * keys[j][c] for kVectors vectors of
/// channels.
template <int64_t kRows, int64_t kVectors>
HWY_NOINLINE void few_add_to_rows(const float* left, const float* const* keys, int64_t count, float factor,
                                  int64_t channel, int64_t size, float* to, int64_t to_stride) {
  const Floats d;
  const int64_t last = std::min(kLanes, size - channel - (kVectors - 1) * kLanes);
  Vector sum[kRows][kVectors];
  set_zero(sum);
  for (int64_t j = 0; j < count; ++j) {
    const float* key = keys[j] + channel;
    Vector k[kVectors];
#pragma GCC unroll 8
    for (int64_t v = 0; v < kVectors; ++v)
      k[v] = load_first(key + v * kLanes, v + 1 < kVectors ? kLanes : last);
#pragma GCC unroll 8
    for (int64_t r = 0; r < kRows; ++r) {
      const Vector x = hn::Set(d, left[r * kBackwardKeys + j]);
#pragma GCC unroll 8
      for (int64_t v = 0; v < kVectors; ++v) sum[r][v] = hn::MulAdd(x, k[v], sum[r][v]);
    }
  }
#pragma GCC unroll 8
  for (int64_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int64_t v = 0; v < kVectors; ++v) {
      float* out = to + r * to_stride + channel + v * kLanes;
      const int64_t lanes = v + 1 < kVectors ? kLanes : last;
      store_first(hn::MulAdd(hn::Set(d, factor), sum[r][v], load_first(out, lanes)), out, lanes);
    }
  }
}

/// Both products over all channels, a register tile of kTileVectors vectors or a single vector at a time.
template <int64_t kRows>
void few_add(const BackwardKeys& keys, const BackwardRows& a, int64_t row, const FewWeights& w,
             float* const* grad_key, float* const* grad_value) {
  const float* weight = w.weight[row];
  const float* grad_logit = w.grad_logit[row];
  const float* query = a.query + row * a.query_stride;
  const float* grad_out = a.grad_out + row * a.grad_out_stride;
  float* grad_query = a.grad_query + row * a.grad_query_stride;
  for (int64_t c = 0; c < keys.head_dim;) {
    if (c + kTileVectors * kLanes <= keys.head_dim) {
      few_add_to_rows<kRows, kTileVectors>(grad_logit, keys.key, keys.count, keys.scale, c, keys.head_dim,
                                           grad_query, a.grad_query_stride);
      few_add_to_keys<kRows, kTileVectors>(grad_logit, query, a.query_stride, keys.scale, keys.count, c,
                                           keys.head_dim, grad_key);
      c += kTileVectors * kLanes;
    } else {
      few_add_to_rows<kRows, 1>(grad_logit, keys.key, keys.count, keys.scale, c, keys.head_dim, grad_query,
                                a.grad_query_stride);
      few_add_to_keys<kRows, 1>(grad_logit, query, a.query_stride, keys.scale, keys.count, c, keys.head_dim,
                                grad_key);
      c += kLanes;
    }
  }
  for (int64_t c = 0; c < keys.value_dim;) {
    if (c + kTileVectors * kLanes <= keys.value_dim) {
      few_add_to_keys<kRows, kTileVectors>(weight, grad_out, a.grad_out_stride, 1, keys.count, c,
                                           keys.value_dim, grad_value);
      c += kTileVectors * kLanes;
    } else {
      few_add_to_keys<kRows, 1>(weight, grad_out, a.grad_out_stride, 1, keys.count, c, keys.value_dim,
                                grad_value);
      c += kLanes;
    }
  }
}

/// Dot products become p and ds of row `r`.
HWY_INLINE void few_weigh(const BackwardKeys& keys, const BackwardRows& a, int64_t r, FewWeights& w) {
  const Floats d;
  const Vector scale = hn::Set(d, keys.scale);
  const Vector lse = hn::Set(d, a.lse[r]);
  const Vector delta = hn::Set(d, a.delta[r]);
  for (int64_t j = 0; j < keys.count; j += kLanes) {
    Vector logit = hn::Mul(hn::Load(d, w.weight[r] + j), scale);
    if (a.bias != nullptr)
      logit = hn::Add(logit, load_first(a.bias + r * a.bias_stride + j, std::min(kLanes, keys.count - j)));
    const Vector p = exp_nonpositive(hn::Sub(logit, lse));
    hn::Store(p, d, w.weight[r] + j);
    hn::Store(hn::Mul(p, hn::Sub(hn::Load(d, w.grad_logit[r] + j), delta)), d, w.grad_logit[r] + j);
  }
}

template <int64_t kRows>
void few_rows(const BackwardKeys& keys, const BackwardRows& a, int64_t row, float* const* grad_key,
              float* const* grad_value, FewWeights& w) {
  few_dots<kRows>(a.query + row * a.query_stride, a.query_stride, keys.key, keys.count, keys.head_dim,
                  grad_key, w.weight[row]);
  few_dots<kRows>(a.grad_out + row * a.grad_out_stride, a.grad_out_stride, keys.value, keys.count,
                  keys.value_dim, grad_value, w.grad_logit[row]);
  for (int64_t r = row; r < row + kRows; ++r) few_weigh(keys, a, r, w);
  few_add<kRows>(keys, a, row, w, grad_key, grad_value);
}

void backward_few(const BackwardKeys& keys, const BackwardRows& a, float* const* grad_key,
                  float* const* grad_value) {
  FewWeights w;
  int64_t row = 0;
  for (; row + 4 <= a.rows; row += 4) few_rows<4>(keys, a, row, grad_key, grad_value, w);
  if (row + 2 <= a.rows) {
    few_rows<2>(keys, a, row, grad_key, grad_value, w);
    row += 2;
  }
  if (row < a.rows) few_rows<1>(keys, a, row, grad_key, grad_value, w);
  for (int64_t r = 0; a.grad_logit_sum != nullptr && r < a.rows; ++r) {
    for (int64_t j = 0; j < keys.count; ++j) a.grad_logit_sum[j] += w.grad_logit[r][j];
  }
}

}  // namespace attnlab::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // target toggle
