#include "core/kernels/amx/prefill.hpp"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <algorithm>
#include <initializer_list>

#include "core/base/parallel.hpp"
#include "core/kernels/amx/tiles.hpp"
#include "core/kernels/scratch.hpp"
#include "core/mask/seen_keys.hpp"

namespace attnlab::kernels {
namespace {

#if defined(__x86_64__) && defined(__linux__)
/// The features of the CPU that tiles.cpp is compiled for, registers that the operating system saves, and its
/// leave to use tiles, which holds for all threads of the process.
bool amx_usable() {
  uint32_t a = 0, b = 0, c = 0, d = 0;
  const auto has = [](uint32_t word, std::initializer_list<int> bits) {
    return std::ranges::all_of(bits, [&](int bit) { return (word >> bit & 1) != 0; });
  };
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || !has(c, {12, 27})) return false;  // FMA, OSXSAVE
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  if (!has(b, {5, 16, 17, 30, 31}) || !has(d, {22, 24}))
    return false;  // AVX2, AVX-512 F DQ BW VL; AMX bf16, tile
  if (__get_cpuid_count(7, 1, &a, &b, &c, &d) == 0 || !has(a, {5})) return false;  // AVX-512 bf16
  uint32_t saved = 0, high = 0;
  asm volatile("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
  if (!has(saved, {1, 2, 5, 6, 7, 17, 18})) return false;  // SSE, AVX, AVX-512, tiles
  constexpr int request_permission = 0x1023, tile_data = 18;
  return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
}
#else
bool amx_usable() {
  return false;
}
#endif

class AmxPrefill {
 public:
  AmxPrefill(const AmxKernels& kernels, const AmxPrefillArguments& arguments)
      : kernels_(kernels),
        a_(arguments),
        padded_keys_(amx_padded(a_.keys)),
        channels_(amx_padded(a_.head_dim)),
        values_(amx_padded(a_.value_dim)),
        key_(a_.batches * a_.kv_heads * padded_keys_ * channels_),
        value_(a_.batches * a_.kv_heads * padded_keys_ * values_) {}

  void run() {
    const int64_t heads = a_.batches * a_.kv_heads;
    const int64_t steps = padded_keys_ / kAmxStep;
    base::parallel_for(heads * steps, [&](int64_t i, int) { pack(i / steps, i % steps * kAmxStep); });
    // The longest rows of a causal problem first.
    const int64_t blocks = (a_.queries + kAmxBlockRows - 1) / kAmxBlockRows;
    const int64_t query_heads = a_.batches * a_.query_heads;
    base::parallel_for(blocks * query_heads, [&](int64_t i, int) {
      attend(i % query_heads / a_.query_heads, i % a_.query_heads,
             (blocks - 1 - i / query_heads) * kAmxBlockRows);
    });
  }

 private:
  /// The row as bfloat16, from one of the two sources; zeros from `size` to amx_padded(size).
  void load_row(const HeadRows<const float>& wide, const HeadRows<const uint16_t>& narrow, int64_t batch,
                int64_t head, int64_t row, int64_t size, uint16_t* to) const {
    if (wide.data != nullptr) {
      kernels_.amx_round(wide.row(batch, head, row), size, to);
    } else {
      std::copy_n(narrow.row(batch, head, row), size, to);
    }
    std::fill(to + size, to + amx_padded(size), uint16_t{0});
  }
  int64_t valid(int64_t batch) const { return a_.valid == nullptr ? a_.keys : a_.valid[batch]; }

  /// kAmxStep keys and values from key `first` on.
  void pack(int64_t head, int64_t first) {
    const int64_t batch = head / a_.kv_heads;
    uint16_t rows[kAmxStep][kLargestDim];
    const auto load = [&](const auto& wide, const auto& narrow, int64_t size) {
      for (int64_t j = 0; j < kAmxStep; ++j) {
        if (first + j < valid(batch)) {
          load_row(wide, narrow, batch, head % a_.kv_heads, first + j, size, rows[j]);
        } else {
          std::fill_n(rows[j], amx_padded(size), uint16_t{0});
        }
      }
    };
    load(a_.key, a_.key_bfloat16, a_.head_dim);
    uint16_t* to = key_.data() + (head * padded_keys_ + first) * channels_;
    for (int64_t half = 0; half < 2; ++half) {
      for (int64_t c = 0; c < channels_; c += 2) {
        for (int64_t j = 0; j < 16; ++j, to += 2) std::copy_n(rows[half * 16 + j] + c, 2, to);
      }
    }
    load(a_.value, a_.value_bfloat16, a_.value_dim);
    to = value_.data() + (head * padded_keys_ + first) * values_;
    for (int64_t c = 0; c < values_; c += 16) {
      for (int64_t j = 0; j < kAmxStep; j += 2) {
        for (int64_t i = 0; i < 16; ++i) {
          *to++ = rows[j][c + i];
          *to++ = rows[j + 1][c + i];
        }
      }
    }
  }

  void attend(int64_t batch, int64_t head, int64_t first) {
    const int64_t rows = std::min(kAmxBlockRows, a_.queries - first);
    alignas(64) uint16_t query[kAmxBlockRows * kLargestDim];
    int64_t seen[kAmxBlockRows];
    for (int64_t r = 0; r < rows; ++r) {
      load_row(a_.query, {}, batch, head, first + r, a_.head_dim, query + r * channels_);
      seen[r] = mask::seen_keys(first + r, a_.queries, valid(batch), a_.causal);
    }
    std::fill_n(query + rows * channels_, (amx_padded(rows) - rows) * channels_, uint16_t{0});
    const int64_t kv_head = batch * a_.kv_heads + head / (a_.query_heads / a_.kv_heads);
    AmxBlock block;
    block.query = query;
    block.key = key_.data() + kv_head * padded_keys_ * channels_;
    block.value = value_.data() + kv_head * padded_keys_ * values_;
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

  static constexpr int64_t kLargestDim = 256;

  const AmxKernels& kernels_;
  const AmxPrefillArguments& a_;
  const int64_t padded_keys_;
  const int64_t channels_;
  const int64_t values_;
  AlignedBuffer<uint16_t> key_,
      value_;  ///< AmxBlock's layouts, one after the other for each batch and KV head
};

}  // namespace

const AmxKernels* amx_kernels() {
  static const bool usable = amx_tile_kernels.amx_attend != nullptr && amx_usable();
  return usable ? &amx_tile_kernels : nullptr;
}

void amx_prefill(const AmxKernels& kernels, const AmxPrefillArguments& arguments) {
  AmxPrefill(kernels, arguments).run();
}

}  // namespace attnlab::kernels
