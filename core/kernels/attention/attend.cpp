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

void logits(const LogitsArguments& a) {
  KeyPointers keys;
  for (int64_t begin = a.key_begin; begin < a.key_end; begin += kPanelKeys) {
    const int64_t count = std::min(kPanelKeys, a.key_end - begin);
    for (int64_t j = 0; j < kPanelKeys + kFetchAhead; ++j) {
      keys.at[j] = a.key + std::min(begin + j, a.key_end - 1) * a.key_stride;
    }
    float* out = a.logits + begin;
    dots(a.query, a.query_stride, a.rows, a.head_dim, keys, count, out, a.logits_stride);
    for (int64_t r = 0; r < a.rows; ++r) {
      const float* bias = a.bias == nullptr || a.bias[r] == nullptr ? nullptr : a.bias[r] + begin;
      scale_and_bias(out + r * a.logits_stride, count, a.scale, bias);
    }
  }
}

void gather_logits(const GatherLogitsArguments& a) {
  KeyPointers keys;
  float bias[kPanelKeys];
  for (int64_t begin = 0; begin < a.count; begin += kPanelKeys) {
    const int64_t count = std::min(kPanelKeys, a.count - begin);
    for (int64_t j = 0; j < kPanelKeys + kFetchAhead; ++j) {
      keys.at[j] = a.key + a.ids[std::min(begin + j, a.count - 1)] * a.key_stride;
    }
    dots(a.query, 0, 1, a.head_dim, keys, count, a.out + begin, 0);
    for (int64_t j = 0; a.bias != nullptr && j < count; ++j) bias[j] = a.bias[a.ids[begin + j]];
    scale_and_bias(a.out + begin, count, a.scale, a.bias == nullptr ? nullptr : bias);
  }
}

/// Logits of a block's entries for `rows` rows from `first_row` on, into group.weight.
void block_logits(const AttendArguments& a, int64_t first_row, int64_t rows, const EntryBlock& block,
                  SoftmaxGroup& group) {
  const float* query = a.query + first_row * a.query_stride;
  KeyPointers keys;
  for (int64_t begin = 0; begin < block.count; begin += kPanelKeys) {
    for (int64_t j = 0; j < kPanelKeys + kFetchAhead; ++j)
      keys.at[j] = block.key[std::min(begin + j, block.count - 1)];
    dots(query, a.query_stride, rows, a.head_dim, keys, std::min(kPanelKeys, block.count - begin),
         &group.weight[0][begin], kBlockEntries);
  }
  float gathered[kBlockEntries];
  for (int64_t r = 0; r < rows; ++r) {
    const float* bias = a.bias == nullptr ? nullptr : a.bias[first_row + r];
    for (int64_t e = 0; bias != nullptr && e < block.count; ++e) gathered[e] = bias[block.id[e]];
    scale_and_bias(group.weight[r], block.count, a.scale, bias == nullptr ? nullptr : gathered);
    for (int64_t e = 0; block.weighted && e < block.count; ++e) group.weight[r][e] += block.log_weight[e];
  }
}

void attend(const AttendArguments& a) {
  SoftmaxGroup group;
  EntryBlock block;
  for (int64_t first = 0; first < a.rows; first += kGroupRows) {
    const int64_t rows = std::min(kGroupRows, a.rows - first);
    float* out = a.out + first * a.out_stride;
    start(group, rows, a.sink_logit == nullptr ? nullptr : a.sink_logit + first, out, a.out_stride,
          a.value_dim);
    EntryCursor cursor(a.segments, a.segment_count);
    while (cursor.next(block)) {
      block_logits(a, first, rows, block, group);
      std::fill_n(group.count, rows, block.count);
      join_block(group, rows, block.value, a.value_dim, out, a.out_stride);
    }
    finish(group, rows, out, a.out_stride, a.value_dim, a.lse + first);
  }
}

void attend_logits(const AttendLogitsArguments& a) {
  SoftmaxGroup group;
  const float* value[kBlockEntries];
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
      for (int64_t e = 0; e < kBlockEntries; ++e)
        value[e] = a.value + std::min(begin + e, longest - 1) * a.value_stride;
      join_block(group, rows, value, a.value_dim, out, a.out_stride);
    }
    finish(group, rows, out, a.out_stride, a.value_dim, a.lse + first);
  }
}

const AttendKernels& attend_table() {
  static constexpr AttendKernels table{logits, gather_logits, attend, attend_logits};
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
