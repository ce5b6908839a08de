#include "core/kernels/attention/dense_amx.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "core/base/parallel.hpp"
#include "core/kernels/scratch.hpp"
#include "core/mask/seen_keys.hpp"

namespace attnlab::kernels {
namespace {

constexpr int64_t kLargestDim = 256;
constexpr float kLargestBFloat16 = 0x1.fep127F;

/// Keys and values of all batches and KV heads, one after the other, in AmxBlock's layouts.
struct PackedForAmx {
  int64_t keys = 0;      ///< of a head, padded
  int64_t channels = 0;  ///< of a key, padded
  int64_t values = 0;    ///< of a value, padded
  uint16_t* key = nullptr;
  uint16_t* value = nullptr;
};

class DenseAmx {
 public:
  DenseAmx(const AmxKernels& kernels, const DenseArgumentsOf<BFloat16>& arguments)
      : kernels_(kernels), a_(arguments) {}

  bool run() {
    thread_local AlignedBuffer<uint16_t> key, value;
    const int64_t heads = a_.batch * a_.kv_heads;
    packed_.keys = amx_padded(a_.keys);
    packed_.channels = amx_padded(a_.head_dim);
    packed_.values = amx_padded(a_.value_dim);
    packed_.key = key.take(heads * packed_.keys * packed_.channels);
    packed_.value = value.take(heads * packed_.keys * packed_.values);
    const int64_t steps = packed_.keys / kAmxStep;
    base::parallel_for(heads * steps, [&](int64_t i, int) { pack(i / steps, i % steps * kAmxStep); });
    // The longest rows of a causal problem first.
    const int64_t blocks = (a_.queries + kAmxBlockRows - 1) / kAmxBlockRows;
    const int64_t query_heads = a_.batch * a_.query_heads;
    base::parallel_for(blocks * query_heads, [&](int64_t i, int) {
      if (finite_.load(std::memory_order_relaxed))
        attend(i % query_heads / a_.query_heads, i % a_.query_heads,
               (blocks - 1 - i / query_heads) * kAmxBlockRows);
    });
    return finite_.load(std::memory_order_relaxed);
  }

 private:
  int64_t valid(int64_t batch) const { return a_.valid == nullptr ? a_.keys : a_.valid[batch]; }

  /// `count` numbers, then zeros up to amx_padded(count).
  void load(const BFloat16* from, int64_t count, uint16_t* to) {
    bool finite = true;
    for (int64_t c = 0; c < count; ++c) {
      to[c] = from[c].bits;
      finite &= (to[c] & 0x7f80) != 0x7f80;
    }
    std::fill(to + count, to + amx_padded(count), uint16_t{0});
    if (!finite) finite_.store(false, std::memory_order_relaxed);
  }

  /// kAmxStep keys and values from key `first` on.
  void pack(int64_t head, int64_t first) {
    const int64_t batch = head / a_.kv_heads;
    uint16_t rows[kAmxStep][kLargestDim];
    const auto load_rows = [&](const HeadRows<const BFloat16>& from, int64_t size) {
      for (int64_t j = 0; j < kAmxStep; ++j) {
        if (first + j < valid(batch)) {
          load(from.row(batch, head % a_.kv_heads, first + j), size, rows[j]);
        } else {
          std::fill_n(rows[j], amx_padded(size), uint16_t{0});
        }
      }
    };
    load_rows(a_.key, a_.head_dim);
    uint16_t* to = packed_.key + (head * packed_.keys + first) * packed_.channels;
    for (int64_t half = 0; half < 2; ++half) {
      for (int64_t c = 0; c < packed_.channels; c += 2) {
        for (int64_t j = 0; j < 16; ++j, to += 2) std::copy_n(rows[half * 16 + j] + c, 2, to);
      }
    }
    load_rows(a_.value, a_.value_dim);
    to = packed_.value + (head * packed_.keys + first) * packed_.values;
    for (int64_t c = 0; c < packed_.values; c += 16) {
      for (int64_t j = 0; j < kAmxStep; j += 2) {
        for (int64_t i = 0; i < 16; ++i) {
          *to++ = rows[j][c + i];
          *to++ = rows[j + 1][c + i];
        }
      }
    }
  }

  /// Rows of one query head.
  void attend(int64_t batch, int64_t head, int64_t first) {
    const int64_t rows = std::min(kAmxBlockRows, a_.queries - first);
    alignas(64) uint16_t query[kAmxBlockRows * kLargestDim];
    int64_t seen[kAmxBlockRows];
    for (int64_t r = 0; r < rows; ++r) {
      const float* from = a_.query.row(batch, head, first + r);
      // Not `>`: NaN is no finite number either.
      if (!std::all_of(from, from + a_.head_dim, [](float x) { return std::abs(x) <= kLargestBFloat16; })) {
        finite_.store(false, std::memory_order_relaxed);
        return;
      }
      uint16_t* to = query + r * packed_.channels;
      kernels_.amx_round(from, a_.head_dim, to);
      std::fill(to + a_.head_dim, to + packed_.channels, uint16_t{0});
      seen[r] = mask::seen_keys(first + r, a_.queries, valid(batch), a_.causal);
    }
    std::fill_n(query + rows * packed_.channels, (amx_padded(rows) - rows) * packed_.channels, uint16_t{0});
    const int64_t kv_head = batch * a_.kv_heads + head / (a_.query_heads / a_.kv_heads);
    AmxBlock block;
    block.query = query;
    block.key = packed_.key + kv_head * packed_.keys * packed_.channels;
    block.value = packed_.value + kv_head * packed_.keys * packed_.values;
    block.rows = rows;
    block.head_dim = a_.head_dim;
    block.value_dim = a_.value_dim;
    block.scale = a_.scale;
    block.seen = seen;
    if (a_.sink_logit != nullptr) block.sink_logit = a_.sink_logit[head];
    block.out = a_.out.row(batch, head, first);
    block.out_stride = a_.out.row_stride;
    block.lse = a_.lse + (batch * a_.query_heads + head) * a_.queries + first;
    kernels_.amx_attend(block);
  }

  const AmxKernels& kernels_;
  const DenseArgumentsOf<BFloat16>& a_;
  PackedForAmx packed_;
  std::atomic<bool> finite_{true};
};

}  // namespace

bool amx_takes(const DenseArgumentsOf<BFloat16>& a) {
  return a.bias.data == nullptr && a.head_dim <= kLargestDim && a.value_dim <= kLargestDim;
}

bool dense_attention_amx(const AmxKernels& kernels, const DenseArgumentsOf<BFloat16>& arguments) {
  return DenseAmx(kernels, arguments).run();
}

}  // namespace attnlab::kernels
