#include "core/kernels/attention/dense.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>
#include <vector>

#include "core/base/parallel.hpp"
#include "core/kernels/attention/dense_amx.hpp"
#include "core/kernels/scratch.hpp"
#include "core/mask/seen_keys.hpp"

namespace attnlab::kernels {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
/// Rows of one task of the packed way.
constexpr int64_t kTaskRows = 96;
constexpr int64_t kPackedBytes = int64_t{256} << 20;

void pack_with(const KernelTable& kernels, const PackArgumentsOf<float>& a) {
  kernels.pack_kv(a);
}
void pack_with(const KernelTable& kernels, const PackArgumentsOf<BFloat16>& a) {
  kernels.pack_kv_bfloat16(a);
}
void pack_with(const KernelTable& kernels, const PackArgumentsOf<Float16>& a) {
  kernels.pack_kv_float16(a);
}
void attend_with(const KernelTable& kernels, const AttendArgumentsOf<float>& a) {
  kernels.attend(a);
}
void attend_with(const KernelTable& kernels, const AttendArgumentsOf<BFloat16>& a) {
  kernels.bfloat16.attend(a);
}
void attend_with(const KernelTable& kernels, const AttendArgumentsOf<Float16>& a) {
  kernels.float16.attend(a);
}

template <class Element>
int64_t visible_end(const DenseArgumentsOf<Element>& a, int64_t batch, int64_t query) {
  return mask::seen_keys(query, a.queries, a.valid == nullptr ? a.keys : a.valid[batch], a.causal);
}

template <class Element>
const float* bias_row(const DenseArgumentsOf<Element>& a, int64_t batch, int64_t head, int64_t query) {
  return a.bias.data == nullptr ? nullptr : a.bias.row(batch, head, query);
}

/// Packed blocks of some KV heads.
struct PackedHeads {
  int64_t key_floats = 0;    ///< of one head
  int64_t value_floats = 0;  ///< of one head
  int64_t blocks = 0;        ///< of one head
  float* key = nullptr;
  float* value = nullptr;
  uint8_t* finite = nullptr;
};

template <class Element>
void pack_block(const KernelTable& kernels, const DenseArgumentsOf<Element>& a, int64_t head, int64_t block,
                const PackedHeads& packed, int64_t slot) {
  const int64_t begin = block * kPackedKeys;
  const int64_t batch = head / a.kv_heads;
  const int64_t kv_head = head % a.kv_heads;
  PackArgumentsOf<Element> pack;
  pack.key = a.key.row(batch, kv_head, begin);
  pack.key_stride = a.key.row_stride;
  pack.value = a.value.row(batch, kv_head, begin);
  pack.value_stride = a.value.row_stride;
  pack.count = std::min(kPackedKeys, a.keys - begin);
  pack.head_dim = a.head_dim;
  pack.value_dim = a.value_dim;
  pack.packed_key = packed.key + slot * packed.key_floats + block * packed_key_floats(a.head_dim);
  pack.packed_value = packed.value + slot * packed.value_floats + block * packed_value_floats(a.value_dim);
  pack.finite = packed.finite + slot * packed.blocks + block;
  pack_with(kernels, pack);
}

/// Queries [begin, begin + count) of one query head.
template <class Element>
void attend_block(const KernelTable& kernels, const DenseArgumentsOf<Element>& a, int64_t batch, int64_t head,
                  int64_t begin, int64_t count, const PackedHeads& packed, int64_t slot) {
  int64_t key_end[kTaskRows];
  const float* bias[kTaskRows];
  float sink_logit[kTaskRows];
  for (int64_t i = 0; i < count; ++i) {
    key_end[i] = visible_end(a, batch, begin + i);
    bias[i] = bias_row(a, batch, head, begin + i);
    if (a.sink_logit != nullptr) sink_logit[i] = a.sink_logit[head];
  }
  AttendPackedArguments attend;
  attend.query = a.query.row(batch, head, begin);
  attend.query_stride = a.query.row_stride;
  attend.rows = count;
  attend.head_dim = a.head_dim;
  attend.value_dim = a.value_dim;
  attend.scale = a.scale;
  attend.key_end = key_end;
  attend.key = packed.key + slot * packed.key_floats;
  attend.value = packed.value + slot * packed.value_floats;
  attend.finite = packed.finite + slot * packed.blocks;
  attend.bias = a.bias.data == nullptr ? nullptr : bias;
  attend.sink_logit = a.sink_logit == nullptr ? nullptr : sink_logit;
  attend.out = a.out.row(batch, head, begin);
  attend.out_stride = a.out.row_stride;
  attend.lse = a.lse + (batch * a.query_heads + head) * a.queries + begin;
  kernels.attend_packed(attend);
}

template <class Element>
void attend_packed_heads(const KernelTable& kernels, const DenseArgumentsOf<Element>& a) {
  thread_local AlignedBuffer<float> keys, values;
  thread_local AlignedBuffer<uint8_t> finite;
  const int64_t group = a.query_heads / a.kv_heads;
  const int64_t heads = a.batch * a.kv_heads;
  PackedHeads packed;
  packed.blocks = (a.keys + kPackedKeys - 1) / kPackedKeys;
  packed.key_floats = packed.blocks * packed_key_floats(a.head_dim);
  packed.value_floats = packed.blocks * packed_value_floats(a.value_dim);
  const int64_t head_bytes = (packed.key_floats + packed.value_floats) * static_cast<int64_t>(sizeof(float));
  const int64_t slots = std::clamp<int64_t>(kPackedBytes / std::max<int64_t>(1, head_bytes), 1, heads);
  packed.key = keys.take(slots * packed.key_floats);
  packed.value = values.take(slots * packed.value_floats);
  packed.finite = finite.take(slots * packed.blocks);
  const int64_t tasks = (a.queries + kTaskRows - 1) / kTaskRows;
  for (int64_t first = 0; first < heads; first += slots) {
    const int64_t count = std::min(slots, heads - first);
    base::parallel_for(count * packed.blocks, [&](int64_t i, int) {
      pack_block(kernels, a, first + i / packed.blocks, i % packed.blocks, packed, i / packed.blocks);
    });
    base::parallel_for(count * group * tasks, [&](int64_t i, int) {
      // Late queries see most keys: they go first, so that no thread ends with one of them alone.
      const int64_t begin = (tasks - 1 - i / (count * group)) * kTaskRows;
      const int64_t slot = i % (count * group) / group;
      const int64_t head = (first + slot) % a.kv_heads * group + i % group;
      attend_block(kernels, a, (first + slot) / a.kv_heads, head, begin,
                   std::min(kTaskRows, a.queries - begin), packed, slot);
    });
  }
}

/// One query of one KV head: its group's rows share the keys.
template <class Element>
void attend_streamed(const KernelTable& kernels, const DenseArgumentsOf<Element>& a, int64_t batch,
                     int64_t kv_head, int64_t query) {
  const int64_t group = a.query_heads / a.kv_heads;
  const Range run{0, static_cast<int32_t>(visible_end(a, batch, query))};
  SegmentOf<Element> segment;
  segment.key = a.key.row(batch, kv_head, 0);
  segment.key_stride = a.key.row_stride;
  segment.value = a.value.row(batch, kv_head, 0);
  segment.value_stride = a.value.row_stride;
  segment.runs = &run;
  segment.run_count = 1;
  thread_local AlignedBuffer<const float*> bias;
  const int64_t head = kv_head * group;
  AttendArgumentsOf<Element> attend;
  attend.query = a.query.row(batch, head, query);
  attend.query_stride = a.query.head_stride;
  attend.rows = group;
  attend.head_dim = a.head_dim;
  attend.value_dim = a.value_dim;
  attend.scale = a.scale;
  attend.segments = &segment;
  attend.segment_count = 1;
  if (a.bias.data != nullptr) {
    const float** rows = bias.take(group);
    for (int64_t g = 0; g < group; ++g) rows[g] = bias_row(a, batch, head + g, query);
    attend.bias = rows;
  }
  attend.sink_logit = a.sink_logit == nullptr ? nullptr : a.sink_logit + head;
  attend.out = a.out.row(batch, head, query);
  attend.out_stride = a.out.head_stride;
  // Rows are heads: their lse lie `queries` apart.
  thread_local AlignedBuffer<float> lse_buffer;
  float* lse = lse_buffer.take(group);
  attend.lse = lse;
  split_attend(kernels, attend);
  for (int64_t g = 0; g < group; ++g) a.lse[(batch * a.query_heads + head + g) * a.queries + query] = lse[g];
}

/// Entries [begin, end) of a segment list, as a segment list. Keeps its memory.
template <class Element>
class Part {
 public:
  void cut(const AttendArgumentsOf<Element>& a, int64_t begin, int64_t end) {
    segments_.clear();
    runs_.clear();
    for (int64_t s = 0; s < a.segment_count; ++s) {
      const SegmentOf<Element>& segment = a.segments[s];
      SegmentOf<Element> piece = segment;
      const size_t first_run = runs_.size();
      for (int64_t i = 0; i < segment.run_count; ++i) {
        const Range run = segment.runs[i];
        const int64_t from = std::clamp<int64_t>(begin, 0, run.size());
        const int64_t to = std::clamp<int64_t>(end, 0, run.size());
        if (from < to)
          runs_.push_back({static_cast<int32_t>(run.begin + from), static_cast<int32_t>(run.begin + to)});
        begin -= run.size();
        end -= run.size();
      }
      piece.run_count = static_cast<int64_t>(runs_.size() - first_run);
      const int64_t from = std::clamp<int64_t>(begin, 0, segment.id_count);
      const int64_t to = std::clamp<int64_t>(end, 0, segment.id_count);
      piece.ids = segment.ids + from;
      piece.log_weight = segment.log_weight == nullptr ? nullptr : segment.log_weight + from;
      piece.id_count = to - from;
      begin -= segment.id_count;
      end -= segment.id_count;
      segments_.push_back(piece);
    }
    size_t first = 0;  // only now do the runs stay where they are
    for (auto& segment : segments_) {
      segment.runs = runs_.data() + first;
      first += static_cast<size_t>(segment.run_count);
    }
  }
  const std::vector<SegmentOf<Element>>& segments() const { return segments_; }

 private:
  std::vector<SegmentOf<Element>> segments_;
  std::vector<Range> runs_;
};

template <class Element>
int64_t entries_of(const AttendArgumentsOf<Element>& a) {
  int64_t entries = 0;
  for (int64_t s = 0; s < a.segment_count; ++s) {
    for (int64_t i = 0; i < a.segments[s].run_count; ++i) entries += a.segments[s].runs[i].size();
    entries += a.segments[s].id_count;
  }
  return entries;
}

}  // namespace

void merge_parts(const float* part_out, const float* part_lse, int64_t parts, int64_t rows, int64_t value_dim,
                 float* out, int64_t out_stride, float* lse) {
  for (int64_t r = 0; r < rows; ++r) {
    float* to = out + r * out_stride;
    std::fill_n(to, value_dim, 0.0F);
    float maximum = kMinusInfinity;
    // NaN stays: std::max would pass over it, and a row of nothing but NaN would seem to see nothing.
    for (int64_t i = 0; i < parts && !std::isnan(maximum); ++i) {
      const float part = part_lse[i * rows + r];
      if (!(part <= maximum)) maximum = part;
    }
    lse[r] = maximum;
    if (maximum == kMinusInfinity) continue;
    double sum = 0;
    for (int64_t i = 0; i < parts; ++i) sum += std::exp(double{part_lse[i * rows + r]} - maximum);
    lse[r] = static_cast<float>(maximum + std::log(sum));
    for (int64_t i = 0; i < parts; ++i) {
      const float weight = static_cast<float>(std::exp(double{part_lse[i * rows + r]} - maximum) / sum);
      const float* from = part_out + (i * rows + r) * value_dim;
      for (int64_t c = 0; c < value_dim; ++c) to[c] += weight * from[c];
    }
  }
}

template <class Element>
void split_attend(const KernelTable& kernels, const AttendArgumentsOf<Element>& a) {
  const int64_t entries = entries_of(a);
  const int64_t parts = (entries + kSplitEntries - 1) / kSplitEntries;
  if (parts <= 1) {
    attend_with(kernels, a);
    return;
  }
  thread_local AlignedBuffer<float> outs, lses;
  float* out = outs.take(parts * a.rows * a.value_dim);
  float* lse = lses.take(parts * a.rows);
  base::parallel_for(parts, [&](int64_t i, int) {
    thread_local Part<Element> part;
    part.cut(a, i * kSplitEntries, std::min(entries, (i + 1) * kSplitEntries));
    AttendArgumentsOf<Element> arguments = a;
    arguments.segments = part.segments().data();
    // The sink logit takes part once.
    if (i > 0) arguments.sink_logit = nullptr;
    arguments.out = out + i * a.rows * a.value_dim;
    arguments.out_stride = a.value_dim;
    arguments.lse = lse + i * a.rows;
    attend_with(kernels, arguments);
  });
  merge_parts(out, lse, parts, a.rows, a.value_dim, a.out, a.out_stride, a.lse);
}

template <class Element>
void dense_attention(const KernelTable& kernels, const DenseArgumentsOf<Element>& a) {
  if (a.queries * (a.query_heads / a.kv_heads) >= kPackingRows) {
    if constexpr (std::is_same_v<Element, BFloat16>) {
      if (kernels.amx != nullptr && amx_takes(a) && dense_attention_amx(*kernels.amx, a)) return;
    }
    attend_packed_heads(kernels, a);
    return;
  }
  base::parallel_for(a.batch * a.kv_heads * a.queries, [&](int64_t i, int) {
    const int64_t head = i / a.queries;
    attend_streamed(kernels, a, head / a.kv_heads, head % a.kv_heads, i % a.queries);
  });
}

template void split_attend(const KernelTable&, const AttendArgumentsOf<float>&);
template void split_attend(const KernelTable&, const AttendArgumentsOf<BFloat16>&);
template void split_attend(const KernelTable&, const AttendArgumentsOf<Float16>&);
template void dense_attention(const KernelTable&, const DenseArgumentsOf<float>&);
template void dense_attention(const KernelTable&, const DenseArgumentsOf<BFloat16>&);
template void dense_attention(const KernelTable&, const DenseArgumentsOf<Float16>&);

}  // namespace attnlab::kernels
