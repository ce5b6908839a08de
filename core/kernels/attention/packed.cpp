#include <algorithm>
#include <cmath>
#include <cstdint>

#include "core/kernels/attention/packed.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/attention/packed.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "core/kernels/attention/dot-inl.hpp"
#include "core/kernels/attention/softmax_block-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace attnlab::kernels::HWY_NAMESPACE {

static_assert(kPackedKeys == kBlockEntries && kPanelWidth == kPanelKeys);

/// Rows of a call that stream the packed blocks together; their weights fill a part of the second-level
/// cache.
inline constexpr int64_t kPackedRows = 96;

template <class Element>
void pack(const PackArgumentsOf<Element>& a) {
  const Element* keys[kPackedKeys];
  for (int64_t j = 0; j < kPackedKeys; ++j) keys[j] = a.key + std::min(j, a.count - 1) * a.key_stride;
  for (int64_t first = 0; first < a.count; first += kPanelWidth) {
    float* panel = a.packed_key + first * a.head_dim;
    for (int64_t j = 0; j < kPanelWidth; j += kLanes)
      pack_channels(keys + first + j, 0, a.head_dim, panel + j);
  }
  const Floats d;
  auto finite = hn::Eq(hn::Zero(d), hn::Zero(d));
  const StridedRows<Element> values{a.value, a.value_stride};
  for (int64_t first = 0; first < a.value_dim; first += kPanelWidth) {
    float* panel = a.packed_value + first * kPackedKeys;
    const int64_t columns = std::min(kPanelWidth, a.value_dim - first);
    for (int64_t e = 0; e < a.count; ++e) {
      for (int64_t c = 0; c < columns; c += kLanes) {
        const Vector v = load_row(values[e] + first + c, std::min(kLanes, columns - c));
        finite = hn::And(finite, hn::IsFinite(v));
        hn::Store(v, d, panel + e * kPanelWidth + c);
      }
    }
  }
  *a.finite = hn::AllTrue(d, finite) ? 1 : 0;
}

/// sums[r][j] = q_r . k_j over a panel of kPanelWidth keys, the order of `accumulate`.
template <int64_t kRows>
HWY_NOINLINE void panel_logits(const float* query, int64_t query_stride, int64_t head_dim, const float* panel,
                               float* sums) {
  for (int64_t begin = 0; begin < head_dim; begin += kChunkChannels) {
    const int64_t channels = std::min(kChunkChannels, head_dim - begin);
    constexpr int64_t wide = kTileVectors * kLanes;
    for (int64_t j = 0; j < kPanelWidth; j += wide) {
      accumulate<kRows, kTileVectors>(query + begin, query_stride, channels, panel + begin * kPanelWidth + j,
                                      begin == 0, sums + j, kBlockEntries, wide);
    }
  }
}

/// out_r = decay_r out_r + sum over e < count of weight_r[e] value_e, for kRows rows.
template <int64_t kRows>
HWY_NOINLINE void add_packed(const float* values, int64_t count, const float (*weight)[kBlockEntries],
                             const float* decay, int64_t value_dim, float* out, int64_t out_stride) {
  const Floats d;
  constexpr int64_t wide = kTileVectors * kLanes;
  for (int64_t c = 0; c < value_dim; c += wide) {
    const float* panel = values + c / kPanelWidth * kPanelWidth * kPackedKeys + c % kPanelWidth;
    Vector sum[kRows][kTileVectors];
    set_zero(sum);
    multiply_add(weight[0], kBlockEntries, 1, panel, kPanelWidth, count, sum);
    if (c + wide <= value_dim) {
#pragma GCC unroll 8
      for (int64_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
        for (int64_t v = 0; v < kTileVectors; ++v) {
          float* to = out + r * out_stride + c + v * kLanes;
          hn::StoreU(hn::MulAdd(hn::Set(d, decay[r]), hn::LoadU(d, to), sum[r][v]), d, to);
        }
      }
      continue;
    }
    for (int64_t r = 0; r < kRows; ++r) {
      for (int64_t v = 0; c + v * kLanes < value_dim; ++v) {
        float* to = out + r * out_stride + c + v * kLanes;
        const int64_t lanes = std::min(kLanes, value_dim - c - v * kLanes);
        store_first(hn::MulAdd(hn::Set(d, decay[r]), load_first(to, lanes), sum[r][v]), to, lanes);
      }
    }
  }
}

/// Logits of rows [first, first + rows) for the block from key `begin` on.
void packed_logits(const AttendPackedArguments& a, int64_t first, int64_t rows, int64_t begin,
                   SoftmaxRows<kPackedRows>& group) {
  using PanelLogits = void (*)(const float*, int64_t, int64_t, const float*, float*);
  static constexpr PanelLogits by_rows[kTileRows] = {panel_logits<1>, panel_logits<2>, panel_logits<3>,
                                                     panel_logits<4>, panel_logits<5>, panel_logits<6>};
  const float* block = a.key + begin / kPackedKeys * packed_key_floats(a.head_dim);
  for (int64_t panel = 0; panel < kPackedKeys; panel += kPanelWidth) {
    for (int64_t r = 0; r < rows; r += kTileRows) {
      const int64_t together = std::min(kTileRows, rows - r);
      if (*std::max_element(group.count + r, group.count + r + together) <= panel) continue;
      by_rows[together - 1](a.query + (first + r) * a.query_stride, a.query_stride, a.head_dim,
                            block + panel * a.head_dim, &group.weight[r][panel]);
    }
  }
  for (int64_t r = 0; r < rows; ++r) {
    const float* bias =
        a.bias == nullptr || a.bias[first + r] == nullptr ? nullptr : a.bias[first + r] + begin;
    scale_and_bias(group.weight[r], group.count[r], a.scale, bias);
  }
}

/// Joins the block to the rows. Weights beyond a row's count are 0 and values are finite, so that rows of
/// different counts may share a register tile; where some value is not finite, each row keeps to its own
/// entries.
void join_packed(const AttendPackedArguments& a, int64_t rows, int64_t begin, SoftmaxRows<kPackedRows>& group,
                 float* out) {
  using AddPacked =
      void (*)(const float*, int64_t, const float(*)[kBlockEntries], const float*, int64_t, float*, int64_t);
  static constexpr AddPacked by_rows[kTileRows] = {add_packed<1>, add_packed<2>, add_packed<3>,
                                                   add_packed<4>, add_packed<5>, add_packed<6>};
  const float* values = a.value + begin / kPackedKeys * packed_value_floats(a.value_dim);
  const int64_t step = a.finite[begin / kPackedKeys] != 0 ? kTileRows : 1;
  for (int64_t r = 0; r < rows; r += step) {
    const int64_t together = std::min(step, rows - r);
    const int64_t count = *std::max_element(group.count + r, group.count + r + together);
    if (count == 0) continue;
    for (int64_t i = r; i < r + together; ++i) {
      exponentiate(group, i);
      const int64_t written = (group.count[i] + kLanes - 1) / kLanes * kLanes;
      std::fill(group.weight[i] + std::min(written, count), group.weight[i] + count, 0.0F);
    }
    by_rows[together - 1](values, count, group.weight + r, group.decay + r, a.value_dim,
                          out + r * a.out_stride, a.out_stride);
  }
}

void attend_packed(const AttendPackedArguments& a) {
  SoftmaxRows<kPackedRows> group;
  for (int64_t first = 0; first < a.rows; first += kPackedRows) {
    const int64_t rows = std::min(kPackedRows, a.rows - first);
    const int64_t* key_end = a.key_end + first;
    float* out = a.out + first * a.out_stride;
    start(group, rows, a.sink_logit == nullptr ? nullptr : a.sink_logit + first, out, a.out_stride,
          a.value_dim);
    const int64_t longest = *std::max_element(key_end, key_end + rows);
    for (int64_t begin = 0; begin < longest; begin += kPackedKeys) {
      for (int64_t r = 0; r < rows; ++r)
        group.count[r] = std::clamp<int64_t>(key_end[r] - begin, 0, kPackedKeys);
      packed_logits(a, first, rows, begin, group);
      join_packed(a, rows, begin, group, out);
    }
    finish(group, rows, out, a.out_stride, a.value_dim, a.lse + first);
  }
}

const PackedKernels& packed_table() {
  static constexpr PackedKernels table{pack<float>, pack<BFloat16>, pack<Float16>, attend_packed};
  return table;
}

}  // namespace attnlab::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attnlab::kernels {

HWY_EXPORT(packed_table);

const PackedKernels& packed_kernels(SimdTarget target) {
  return for_target(HWY_DISPATCH_TABLE(packed_table), target)();
}

}  // namespace attnlab::kernels
#endif  // HWY_ONCE
