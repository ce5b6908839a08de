// Dot products of query rows with keys, compiled once per SIMD target.
#if defined(ATTNLAB_KERNELS_ATTENTION_DOT_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTNLAB_KERNELS_ATTENTION_DOT_INL
#undef ATTNLAB_KERNELS_ATTENTION_DOT_INL
#else
#define ATTNLAB_KERNELS_ATTENTION_DOT_INL
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "core/kernels/simd/register_tile-inl.hpp"
#include "core/kernels/simd/rows-inl.hpp"
#include "core/kernels/simd/transpose-inl.hpp"
#include "core/kernels/simd/vector_math-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace attnlab::kernels::HWY_NAMESPACE {

// The order of a dot product. Within each chunk of 128 channels, channel c belongs to chain c mod 4; a chain
// is a sequence of multiply-adds from 0 over ascending channels; the chunk's chains are added to the total
// one after the other. Both ways below keep this order, so a logit has the same bits in either:
// - few rows: a vector is 4 channels of kLanes / 4 keys. Keys are read once, nearly in memory order.
// - many rows: a vector is one channel of kLanes keys. Keys are transposed into a panel, then a register
//   tile of rows x keys runs at nearly the speed of a matrix product.
inline constexpr int64_t kChunkChannels = 128;
inline constexpr int64_t kChains = 4;
/// Keys per call of `dots`; also the columns of a panel.
inline constexpr int64_t kPanelKeys = 64;

/// Gathered rows between the one in use and the one that is fetched.
inline constexpr int64_t kFetchAhead = 16;

#if HWY_TARGET == HWY_SCALAR
inline constexpr int64_t kDirectRows = 0;

template <class Element>
HWY_INLINE void transpose_channels(const Element* const* key, int64_t channel, float* panel) {
  for (int64_t i = 0; i < kChains; ++i) panel[i * kPanelKeys] = to_float(key[0][channel + i]);
}
#else
inline constexpr int64_t kDirectRows = 8;
/// Rows of the register tile of the direct way, with 4 accumulators each.
inline constexpr int64_t kDirectTileRows = kManyRegisters ? 4 : 2;
inline constexpr int64_t kBlocks = kLanes / 4;

/// Block b of the result, four lanes, holds the four channels of key[b * step] from `channel` on.
template <class Element>
HWY_INLINE Vector load_channels(const Element* const* key, int64_t step, int64_t channel) {
  const hn::Rebind<Stored<Element>, Floats> d;
  const auto address = [=](int64_t block) { return stored(key[block * step] + channel); };
  return widen(Element(), Floats(), load_blocks(d, address));
}

/// Four rows of a panel: row i holds channel + i of kLanes keys.
template <class Element>
HWY_INLINE void transpose_channels(const Element* const* key, int64_t channel, float* panel) {
  const Floats d;
  Vector v0 = load_channels(key + 0, 4, channel);
  Vector v1 = load_channels(key + 1, 4, channel);
  Vector v2 = load_channels(key + 2, 4, channel);
  Vector v3 = load_channels(key + 3, 4, channel);
  transpose_blocks(d, v0, v1, v2, v3);
  hn::Store(v0, d, panel + 0 * kPanelKeys);
  hn::Store(v1, d, panel + 1 * kPanelKeys);
  hn::Store(v2, d, panel + 2 * kPanelKeys);
  hn::Store(v3, d, panel + 3 * kPanelKeys);
}

/// chains[r] += products of four channels of the keys key[0 .. kBlocks) with kRows rows.
template <int64_t kRows, class Element>
HWY_INLINE void multiply_channels(const float* query, int64_t query_stride, const Element* const* key,
                                  int64_t channel, Vector (&chains)[kRows]) {
  const Floats d;
  const Vector k = load_channels(key, 1, channel);
#pragma GCC unroll 8
  for (int64_t r = 0; r < kRows; ++r) {
    chains[r] = hn::MulAdd(hn::LoadDup128(d, query + r * query_stride + channel), k, chains[r]);
  }
}

/// Channels that are read of a key together: 16 bytes.
template <class Element>
inline constexpr int64_t kStepChannels = std::is_same_v<Element, BFloat16> ? 8 : 4;

/// As two calls of multiply_channels, for eight channels: a bfloat16 is the upper half of its float, so that
/// interleaving with zeros widens four of them in each block.
template <int64_t kRows>
HWY_INLINE void multiply_step(const float* query, int64_t query_stride, const BFloat16* const* key,
                              int64_t channel, Vector (&chains)[kRows]) {
  const Floats d;
  const hn::Repartition<uint16_t, Floats> d16;
  const auto address = [=](int64_t block) { return reinterpret_cast<const float*>(key[block] + channel); };
  const auto stored = hn::BitCast(d16, load_blocks(d, address));
  const Vector low = hn::BitCast(d, hn::InterleaveLower(d16, hn::Zero(d16), stored));
  const Vector high = hn::BitCast(d, hn::InterleaveUpper(d16, hn::Zero(d16), stored));
#pragma GCC unroll 8
  for (int64_t r = 0; r < kRows; ++r) {
    const float* q = query + r * query_stride + channel;
    chains[r] = hn::MulAdd(hn::LoadDup128(d, q), low, chains[r]);
    chains[r] = hn::MulAdd(hn::LoadDup128(d, q + 4), high, chains[r]);
  }
}
template <int64_t kRows, class Element>
HWY_INLINE void multiply_step(const float* query, int64_t query_stride, const Element* const* key,
                              int64_t channel, Vector (&chains)[kRows]) {
  multiply_channels<kRows>(query, query_stride, key, channel, chains);
}

/// As multiply_channels for the last 1..3 channels; zeros stand for those that do not exist.
template <int64_t kRows, class Element>
HWY_INLINE void multiply_tail(const float* query, int64_t query_stride, const Element* const* key,
                              int64_t channel, int64_t channels, Vector (&chains)[kRows]) {
  const auto count = static_cast<size_t>(channels);
  Element padded_key[kBlocks][4] = {};
  float padded_query[kRows][4] = {};
  const Element* padded[kBlocks];
  for (int64_t b = 0; b < kBlocks; ++b) {
    std::memcpy(padded_key[b], key[b] + channel, count * sizeof(Element));
    padded[b] = padded_key[b];
  }
  for (int64_t r = 0; r < kRows; ++r)
    std::memcpy(padded_query[r], query + r * query_stride + channel, count * sizeof(float));
  multiply_channels<kRows>(&padded_query[0][0], 4, padded, 0, chains);
}

/// sums[r][j] = q_r . k_j for kRows rows and `count` <= kPanelKeys keys.
template <int64_t kRows, class Element>
HWY_NOINLINE void dots_direct(const float* query, int64_t query_stride, int64_t head_dim,
                              const Element* const* keys, int64_t count, float* sums, int64_t sums_stride,
                              Fetcher<Element> upcoming) {
  static_assert(kPanelKeys % kLanes == 0);
  constexpr int64_t line_channels = 64 / static_cast<int64_t>(sizeof(Element));
  const Floats d;
  // Vector i holds keys i kBlocks + b, b = 0 .. kBlocks - 1: transposition brings such a key to lane 4 b + i.
  HWY_ALIGN int32_t order[kLanes];
  for (int64_t key = 0; key < kLanes; ++key) {
    order[key] = static_cast<int32_t>(4 * (key % kBlocks) + key / kBlocks);
  }
  const auto by_key = hn::SetTableIndices(d, order);
  for (int64_t j = 0; j < count; j += kLanes) {
    Vector total[kRows];
#pragma GCC unroll 8
    for (int64_t r = 0; r < kRows; ++r) total[r] = hn::Zero(d);
    for (int64_t begin = 0; begin < head_dim; begin += kChunkChannels) {
      const int64_t end = std::min(begin + kChunkChannels, head_dim);
      Vector chains[4][kRows];
#pragma GCC unroll 4
      for (int64_t i = 0; i < 4; ++i) {
        const Element* const* key = keys + j + i * kBlocks;
#pragma GCC unroll 8
        for (int64_t r = 0; r < kRows; ++r) chains[i][r] = hn::Zero(d);
        int64_t c = begin;
        for (; c + line_channels <= end; c += line_channels) {
          upcoming.lines(kBlocks);
#pragma GCC unroll 8
          for (int64_t step = 0; step < line_channels; step += kStepChannels<Element>)
            multiply_step<kRows>(query, query_stride, key, c + step, chains[i]);
        }
        for (; c + 4 <= end; c += 4) multiply_channels<kRows>(query, query_stride, key, c, chains[i]);
        if (c < end) multiply_tail<kRows>(query, query_stride, key, c, end - c, chains[i]);
      }
#pragma GCC unroll 8
      for (int64_t r = 0; r < kRows; ++r) {
        transpose_blocks(d, chains[0][r], chains[1][r], chains[2][r], chains[3][r]);
        total[r] = hn::Add(total[r], chains[0][r]);
        total[r] = hn::Add(total[r], chains[1][r]);
        total[r] = hn::Add(total[r], chains[2][r]);
        total[r] = hn::Add(total[r], chains[3][r]);
      }
    }
#pragma GCC unroll 8
    for (int64_t r = 0; r < kRows; ++r) {
      store_first(hn::TableLookupLanes(total[r], by_key), sums + r * sums_stride + j,
                  std::min(kLanes, count - j));
    }
  }
}
#endif

/// Transposes channels [begin, begin + channels) of kLanes keys into columns of a panel
/// [channel][kPanelKeys].
template <class Element>
HWY_INLINE void pack_channels(const Element* const* key, int64_t begin, int64_t channels, float* panel) {
  int64_t c = 0;
  for (; c + kChains <= channels; c += kChains) transpose_channels(key, begin + c, panel + c * kPanelKeys);
  for (; c < channels; ++c) {
    for (int64_t j = 0; j < kLanes; ++j) panel[c * kPanelKeys + j] = to_float(key[j][begin + c]);
  }
}

/// sums[r][j] += q_r . k_j over the panel's channels, `sums` taken as 0 when `fresh`. `keys` counts the
/// columns: kVectors * kLanes, or up to kLanes when kVectors is 1. The totals stand in memory between chains:
/// registers are for one chain.
template <int64_t kRows, int64_t kVectors>
HWY_INLINE void accumulate(const float* query, int64_t query_stride, int64_t channels, const float* panel,
                           bool fresh, float* sums, int64_t sums_stride, int64_t keys) {
  const int64_t last = keys - (kVectors - 1) * kLanes;
  for (int64_t first = 0; first < kChains; ++first) {
    Vector chain[kRows][kVectors];
    set_zero(chain);
    multiply_add(query + first, query_stride, kChains, panel + first * kPanelKeys, kChains * kPanelKeys,
                 (channels - first + kChains - 1) / kChains, chain);
    const bool first_of_all = fresh && first == 0;
#pragma GCC unroll 8
    for (int64_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
      for (int64_t v = 0; v < kVectors; ++v) {
        float* to = sums + r * sums_stride + v * kLanes;
        const int64_t lanes = v + 1 < kVectors ? kLanes : last;
        store_first(first_of_all ? chain[r][v] : hn::Add(load_first(to, lanes), chain[r][v]), to, lanes);
      }
    }
  }
}

/// `accumulate` for kRows rows and the first `count` columns of a panel.
template <int64_t kRows>
HWY_NOINLINE void accumulate_columns(const float* query, int64_t query_stride, int64_t channels,
                                     const float* panel, bool fresh, float* sums, int64_t sums_stride,
                                     int64_t count) {
  constexpr int64_t wide = kTileVectors * kLanes;
  int64_t j = 0;
  for (; j + wide <= count; j += wide) {
    accumulate<kRows, kTileVectors>(query, query_stride, channels, panel + j, fresh, sums + j, sums_stride,
                                    wide);
  }
  for (; j < count; j += kLanes) {
    accumulate<kRows, 1>(query, query_stride, channels, panel + j, fresh, sums + j, sums_stride,
                         std::min(kLanes, count - j));
  }
}

/// `dots` by way of a panel.
template <class Element>
inline void dots_panel(const float* query, int64_t query_stride, int64_t rows, int64_t head_dim,
                       const Element* const* keys, int64_t count, float* sums, int64_t sums_stride) {
  using Accumulate = void (*)(const float*, int64_t, int64_t, const float*, bool, float*, int64_t, int64_t);
  static constexpr Accumulate by_rows[kTileRows] = {accumulate_columns<1>, accumulate_columns<2>,
                                                    accumulate_columns<3>, accumulate_columns<4>,
                                                    accumulate_columns<5>, accumulate_columns<6>};
  HWY_ALIGN float panel[kChunkChannels * kPanelKeys];  // 32 KiB
  for (int64_t begin = 0; begin < head_dim; begin += kChunkChannels) {
    const int64_t channels = std::min(kChunkChannels, head_dim - begin);
    for (int64_t j = 0; j < count; j += kLanes) pack_channels(keys + j, begin, channels, panel + j);
    for (int64_t r = 0; r < rows; r += kTileRows) {
      by_rows[std::min(kTileRows, rows - r) - 1](query + r * query_stride + begin, query_stride, channels,
                                                 panel, begin == 0, sums + r * sums_stride, sums_stride,
                                                 count);
    }
  }
}

/// sums[r][j] = q_r . k_j for all rows and `count` <= kPanelKeys keys. `keys` holds kPanelKeys valid
/// pointers; `upcoming` are the rows of memory that should be fetched meanwhile.
template <class Element>
inline void dots(const float* query, int64_t query_stride, int64_t rows, int64_t head_dim,
                 const Element* const* keys, int64_t count, float* sums, int64_t sums_stride,
                 [[maybe_unused]] Fetcher<Element> upcoming) {
  if (rows > kDirectRows) {
    dots_panel(query, query_stride, rows, head_dim, keys, count, sums, sums_stride);
    return;
  }
#if HWY_TARGET != HWY_SCALAR
  using Dots = void (*)(const float*, int64_t, int64_t, const Element* const*, int64_t, float*, int64_t,
                        Fetcher<Element>);
  static constexpr Dots by_rows[] = {dots_direct<1, Element>, dots_direct<2, Element>,
                                     dots_direct<3, Element>, dots_direct<4, Element>};
  for (int64_t r = 0; r < rows; r += kDirectTileRows) {
    const float* q = query + r * query_stride;
    float* to = sums + r * sums_stride;
    by_rows[std::min(kDirectTileRows, rows - r) - 1](q, query_stride, head_dim, keys, count, to, sums_stride,
                                                     upcoming);
    upcoming = {};
  }
#endif
}

/// Turns dot products into logits: scale * dot + bias, `bias` null meaning 0.
inline void scale_and_bias(float* logits, int64_t count, float scale, const float* bias) {
  const Floats d;
  const Vector scales = hn::Set(d, scale);
  for (int64_t j = 0; j < count; j += kLanes) {
    const int64_t lanes = std::min(kLanes, count - j);
    const Vector dot = load_first(logits + j, lanes);
    const Vector offset = bias == nullptr ? hn::Zero(d) : load_first(bias + j, lanes);
    store_first(hn::MulAdd(scales, dot, offset), logits + j, lanes);
  }
}

}  // namespace attnlab::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // target toggle
