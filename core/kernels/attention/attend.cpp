// The tile kernels, built once for each SIMD target that the compiler knows and chosen at run time.
#include <algorithm>
#include <cstdint>

#include "core/kernels/attention/attend.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/attention/attend.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "core/kernels/attention/dot-inl.hpp"
#include "core/kernels/attention/softmax_block-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace attnlab::kernels::HWY_NAMESPACE {

template <class Element>
void logits(const LogitsArgumentsOf<Element>& a) {
  const Element* keys[kPanelKeys + kFetchAhead];
  for (int64_t begin = a.key_begin; begin < a.key_end; begin += kPanelKeys) {
    const int64_t count = std::min(kPanelKeys, a.key_end - begin);
    for (int64_t j = 0; j < kPanelKeys + kFetchAhead; ++j)
      keys[j] = a.key + std::min(begin + j, a.key_end - 1) * a.key_stride;
    float* out = a.logits + begin;
    dots(a.query, a.query_stride, a.rows, a.head_dim, keys, count, out, a.logits_stride,
         Fetcher<Element>(keys + kFetchAhead, kPanelKeys, a.head_dim));
    for (int64_t r = 0; r < a.rows; ++r) {
      const float* bias = a.bias == nullptr || a.bias[r] == nullptr ? nullptr : a.bias[r] + begin;
      scale_and_bias(out + r * a.logits_stride, count, a.scale, bias);
    }
  }
}

template <class Element>
void gather_logits(const GatherLogitsArgumentsOf<Element>& a) {
  const Element* keys[kPanelKeys + kFetchAhead];
  float bias[kPanelKeys];
  for (int64_t begin = 0; begin < a.count; begin += kPanelKeys) {
    const int64_t count = std::min(kPanelKeys, a.count - begin);
    for (int64_t j = 0; j < kPanelKeys + kFetchAhead; ++j)
      keys[j] = a.key + a.ids[std::min(begin + j, a.count - 1)] * a.key_stride;
    dots(a.query, 0, 1, a.head_dim, keys, count, a.out + begin, 0,
         Fetcher<Element>(keys + kFetchAhead, kPanelKeys, a.head_dim));
    for (int64_t j = 0; a.bias != nullptr && j < count; ++j) bias[j] = a.bias[a.ids[begin + j]];
    scale_and_bias(a.out + begin, count, a.scale, a.bias == nullptr ? nullptr : bias);
  }
}

/// Blocks whose keys are read one after the other, then their values: memory is fastest in long stretches.
inline constexpr int64_t kStretchBlocks = 4;

using BlockLogits = float[kGroupRows][kBlockEntries];

/// Rows of memory that will be read next.
template <class Element>
struct NextRows {
  const Element* const* at = nullptr;
  int64_t count = 0;
};

/// Adds a row's own log weights. -inf replaces the logit, which may be anything.
inline void add_own_weights(const float* log_weight, int64_t count, float* logits) {
  const Floats d;
  const Vector hidden = hn::Set(d, kMinusInfinity);
  for (int64_t e = 0; e < count; e += kLanes) {
    const int64_t lanes = std::min(kLanes, count - e);
    const Vector weight = load_first(log_weight + e, lanes);
    const Vector sum = hn::Add(load_first(logits + e, lanes), weight);
    store_first(hn::IfThenElse(hn::Eq(weight, hidden), hidden, sum), logits + e, lanes);
  }
}

/// Logits of a block's entries for `rows` rows from `first_row` on.
template <class Element>
void block_logits(const AttendArgumentsOf<Element>& a, int64_t first_row, int64_t rows,
                  const EntryBlock<Element>& block, NextRows<Element> next, BlockLogits& logits) {
  const float* query = a.query + first_row * a.query_stride;
  const Element* keys[kPanelKeys + kFetchAhead];  // after the last key what is read next
  for (int64_t begin = 0; begin < block.count; begin += kPanelKeys) {
    for (int64_t j = 0; j < kPanelKeys + kFetchAhead; ++j) {
      const int64_t e = begin + j;
      keys[j] = e < block.count ? block.key[e] : next.at[std::min(e - block.count, next.count - 1)];
    }
    const int64_t count = std::min(kPanelKeys, block.count - begin);
    // A vector of keys is read whole, and a value may be shorter than a key.
    for (int64_t j = count; j % kLanes != 0; ++j) keys[j] = keys[0];
    dots(query, a.query_stride, rows, a.head_dim, keys, count, &logits[0][begin], kBlockEntries,
         Fetcher<Element>(keys + kFetchAhead, count, a.head_dim));
  }
  float gathered[kBlockEntries];
  for (int64_t r = 0; r < rows; ++r) {
    const float* bias = a.bias == nullptr ? nullptr : a.bias[first_row + r];
    for (int64_t e = 0; bias != nullptr && e < block.count; ++e) gathered[e] = bias[block.id[e]];
    scale_and_bias(logits[r], block.count, a.scale, bias == nullptr ? nullptr : gathered);
    for (int64_t e = 0; block.weighted && e < block.count; ++e) logits[r][e] += block.log_weight[e];
    if (block.row_weight != nullptr)
      add_own_weights(block.row_weight + (first_row + r) * block.row_weight_stride, block.count, logits[r]);
  }
}

/// Weighted sum of a block's values.
template <class Element>
void block_values(const AttendArgumentsOf<Element>& a, int64_t rows, const EntryBlock<Element>& block,
                  NextRows<Element> next, const BlockLogits& logits, SoftmaxGroup& group, float* out) {
  std::fill_n(group.count, rows, block.count);
  for (int64_t r = 0; r < rows; ++r) std::copy_n(logits[r], block.count, group.weight[r]);
  if (block.consecutive != nullptr) {
    const StridedRows<Element> values{block.value[0], block.consecutive->value_stride};
    join_block(group, rows, values, a.value_dim, out, a.out_stride, StridedFetcher(values, a.value_dim));
    return;
  }
  const Element* ahead[kBlockEntries];
  int64_t count = std::max<int64_t>(0, block.count - kFetchAhead);
  std::copy_n(block.value + std::min(kFetchAhead, block.count), count, ahead);
  for (int64_t e = 0; e < std::min(kFetchAhead, next.count) && count < kBlockEntries; ++e)
    ahead[count++] = next.at[e];
  join_block(group, rows, GatheredRows<Element>{block.value}, a.value_dim, out, a.out_stride,
             Fetcher<Element>(ahead, count, a.value_dim));
}

template <class Element>
void attend(const AttendArgumentsOf<Element>& a) {
  SoftmaxGroup group;
  EntryBlock<Element> blocks[kStretchBlocks];
  HWY_ALIGN BlockLogits logits[kStretchBlocks];
  for (int64_t first = 0; first < a.rows; first += kGroupRows) {
    const int64_t rows = std::min(kGroupRows, a.rows - first);
    float* out = a.out + first * a.out_stride;
    start(group, rows, a.sink_logit == nullptr ? nullptr : a.sink_logit + first, out, a.out_stride,
          a.value_dim);
    EntryCursor<Element> cursor(a.segments, a.segment_count);
    for (int64_t count = kStretchBlocks; count == kStretchBlocks;) {
      for (count = 0; count < kStretchBlocks && cursor.next(blocks[count]);) ++count;
      for (int64_t i = 0; i < count; ++i) {
        const auto& next = blocks[i + 1 < count ? i + 1 : 0];
        block_logits(a, first, rows, blocks[i],
                     NextRows<Element>{i + 1 < count ? next.key : next.value, next.count}, logits[i]);
      }
      for (int64_t i = 0; i < count; ++i) {
        const NextRows<Element> next =
            i + 1 < count ? NextRows<Element>{blocks[i + 1].value, blocks[i + 1].count} : NextRows<Element>{};
        block_values(a, rows, blocks[i], next, logits[i], group, out);
      }
    }
    finish(group, rows, out, a.out_stride, a.value_dim, a.lse + first);
  }
}

template <class Element>
void attend_logits(const AttendLogitsArgumentsOf<Element>& a) {
  SoftmaxGroup group;
  const StridedRows<Element> values{a.value, a.value_stride};
  for (int64_t first = 0; first < a.rows; first += kGroupRows) {
    const int64_t rows = std::min(kGroupRows, a.rows - first);
    const int64_t* key_end = a.key_end + first;
    float* out = a.out + first * a.out_stride;
    start(group, rows, a.sink_logit == nullptr ? nullptr : a.sink_logit + first, out, a.out_stride,
          a.value_dim);
    const int64_t longest = *std::max_element(key_end, key_end + rows);
    for (int64_t begin = 0; begin < longest; begin += kBlockEntries) {
      for (int64_t r = 0; r < rows; ++r) {
        group.count[r] = std::clamp<int64_t>(key_end[r] - begin, 0, kBlockEntries);
        std::copy_n(a.logits + (first + r) * a.logits_stride + begin, group.count[r], group.weight[r]);
      }
      const StridedRows<Element> block = values.from(begin);
      join_block(group, rows, block, a.value_dim, out, a.out_stride, StridedFetcher(block, a.value_dim));
    }
    finish(group, rows, out, a.out_stride, a.value_dim, a.lse + first);
  }
}

template <class Element>
constexpr AttendKernelsOf<Element> kernels_of() {
  return {logits<Element>, gather_logits<Element>, attend<Element>, attend_logits<Element>};
}

const AttendKernels& attend_table() {
  static constexpr AttendKernels table{kernels_of<float>(), kernels_of<BFloat16>(), kernels_of<Float16>()};
  return table;
}

}  // namespace attnlab::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attnlab::kernels {

HWY_EXPORT(attend_table);

const AttendKernels& attend_kernels(SimdTarget target) {
  return for_target(HWY_DISPATCH_TABLE(attend_table), target)();
}

}  // namespace attnlab::kernels
#endif  // HWY_ONCE
