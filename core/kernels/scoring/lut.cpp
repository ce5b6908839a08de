// Sums of table entries chosen by codes, built once for each SIMD target.
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "core/kernels/scoring/scoring.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/scoring/lut.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "core/kernels/simd/transpose-inl.hpp"
#include "core/kernels/simd/vector_math-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace attnlab::kernels::HWY_NAMESPACE {

// All ways add a key's entries one by one from 0, subspaces ascending.

/// One row, keys from `first_key` on, over subspaces [begin, end). Scores are taken as 0 when `begin` is 0.
template <class Code>
HWY_INLINE void add_row(const LutArguments<Code>& a, int64_t row, int64_t first_key, int64_t begin,
                        int64_t end) {
  const float* table = a.table + row * a.table_stride;
  float* scores = a.scores + row * a.scores_stride;
  int64_t j = first_key;
  for (; j + 4 <= a.keys; j += 4) {
    const Code* code0 = a.code + j * a.code_stride;
    const Code* code1 = code0 + a.code_stride;
    const Code* code2 = code1 + a.code_stride;
    const Code* code3 = code2 + a.code_stride;
    float sum0 = 0, sum1 = 0, sum2 = 0, sum3 = 0;
    if (begin > 0) sum0 = scores[j], sum1 = scores[j + 1], sum2 = scores[j + 2], sum3 = scores[j + 3];
    const float* entries = table + begin * a.entries;
    for (int64_t s = begin; s < end; ++s, entries += a.entries) {
      sum0 += entries[code0[s]];
      sum1 += entries[code1[s]];
      sum2 += entries[code2[s]];
      sum3 += entries[code3[s]];
    }
    scores[j] = sum0, scores[j + 1] = sum1, scores[j + 2] = sum2, scores[j + 3] = sum3;
  }
  for (; j < a.keys; ++j) {
    const Code* code = a.code + j * a.code_stride;
    float sum = begin == 0 ? 0.0F : scores[j];
    for (int64_t s = begin; s < end; ++s) sum += table[s * a.entries + code[s]];
    scores[j] = sum;
  }
}

#if HWY_TARGET == HWY_SCALAR

template <class Code>
void lut(const LutArguments<Code>& a) {
  for (int64_t r = 0; r < a.rows; ++r) add_row(a, r, 0, 0, a.subspaces);
}

#else

// Large tables: the entries of four rows lie side by side, so that one load serves all four.

inline constexpr int64_t kSharedRows = 4;
/// Floats of interleaved tables: what stays in a first-level cache, and room for one subspace of 4096
/// entries.
inline constexpr int64_t kTableCache = 8192, kTableCapacity = 16384;

using RowVector = hn::Vec<hn::Full128<float> >;

/// kRows rows from `first` on, over subspaces [begin, end), whose tables lie interleaved in `table`.
template <int64_t kRows, class Code>
HWY_NOINLINE void add_rows(const LutArguments<Code>& a, int64_t first, int64_t begin, int64_t end,
                           const float* HWY_RESTRICT table) {
  const hn::Full128<float> d;
  const int64_t step = a.entries * kSharedRows;
  int64_t j = 0;
  for (; j + 4 <= a.keys; j += 4) {
    float* scores[kSharedRows];
    for (int64_t r = 0; r < kSharedRows; ++r)
      scores[r] = a.scores + (first + std::min(r, kRows - 1)) * a.scores_stride + j;
    RowVector sum0 = hn::Zero(d), sum1 = sum0, sum2 = sum0, sum3 = sum0;
    if (begin > 0) {
      sum0 = hn::LoadU(d, scores[0]);
      sum1 = hn::LoadU(d, scores[1]);
      sum2 = hn::LoadU(d, scores[2]);
      sum3 = hn::LoadU(d, scores[3]);
      transpose_blocks(d, sum0, sum1, sum2, sum3);
    }
    const Code* code0 = a.code + j * a.code_stride;
    const Code* code1 = code0 + a.code_stride;
    const Code* code2 = code1 + a.code_stride;
    const Code* code3 = code2 + a.code_stride;
    const float* entries = table;
    for (int64_t s = begin; s < end; ++s, entries += step) {
      sum0 = hn::Add(sum0, hn::Load(d, entries + static_cast<size_t>(code0[s]) * kSharedRows));
      sum1 = hn::Add(sum1, hn::Load(d, entries + static_cast<size_t>(code1[s]) * kSharedRows));
      sum2 = hn::Add(sum2, hn::Load(d, entries + static_cast<size_t>(code2[s]) * kSharedRows));
      sum3 = hn::Add(sum3, hn::Load(d, entries + static_cast<size_t>(code3[s]) * kSharedRows));
    }
    transpose_blocks(d, sum0, sum1, sum2, sum3);
    hn::StoreU(sum0, d, scores[0]);
    if constexpr (kRows > 1) hn::StoreU(sum1, d, scores[1]);
    if constexpr (kRows > 2) hn::StoreU(sum2, d, scores[2]);
    if constexpr (kRows > 3) hn::StoreU(sum3, d, scores[3]);
  }
  for (int64_t r = 0; r < kRows; ++r) add_row(a, first + r, j, begin, end);
}

template <class Code>
void lut_in_memory(const LutArguments<Code>& a) {
  HWY_ALIGN float table[kTableCapacity];
  const int64_t width = a.entries * kSharedRows;
  const int64_t slab = std::max<int64_t>(1, kTableCache / std::max<int64_t>(1, width));
  for (int64_t first = 0; first < a.rows; first += kSharedRows) {
    const int64_t rows = std::min(kSharedRows, a.rows - first);
    if (rows == 1 || width > kTableCapacity || a.subspaces == 0) {
      for (int64_t r = 0; r < rows; ++r) add_row(a, first + r, 0, 0, a.subspaces);
      continue;
    }
    for (int64_t begin = 0; begin < a.subspaces; begin += slab) {
      const int64_t end = std::min(a.subspaces, begin + slab), count = (end - begin) * a.entries;
      for (int64_t r = 0; r < kSharedRows; ++r) {
        const float* from = a.table + (first + std::min(r, rows - 1)) * a.table_stride + begin * a.entries;
        for (int64_t e = 0; e < count; ++e) table[e * kSharedRows + r] = from[e];
      }
      if (rows == 4) add_rows<4>(a, first, begin, end, table);
      if (rows == 3) add_rows<3>(a, first, begin, end, table);
      if (rows == 2) add_rows<2>(a, first, begin, end, table);
    }
  }
}

// Small tables: a subspace's entries lie in registers, a lookup is a shuffle of kLanes keys.

#if HWY_TARGET <= HWY_AVX2 && HWY_ARCH_X86

using Ints = hn::RebindToSigned<Floats>;
using IntVector = hn::Vec<Ints>;

/// Registers of one table, at most.
inline constexpr int64_t kTableVectors = HWY_TARGET <= HWY_AVX3 ? 4 : 2;
inline constexpr int64_t kShuffleRows = 4;
/// Vectors of keys that are looked up together: kShuffleRows times as many sums stay in registers.
inline constexpr int64_t kKeyVectors = HWY_TARGET <= HWY_AVX3 ? 4 : 2;
inline constexpr int64_t kShuffleKeys = kKeyVectors * kLanes;
/// Codes of one key that are brought into planes at once.
inline constexpr int64_t kPlaneCodes = 64, kWordCodes = 4;

/// Entry index[l] of a table of kVectors vectors in lane l.
template <int64_t kVectors>
HWY_INLINE Vector look_up(const Vector (&table)[kVectors], IntVector index) {
  const Ints di;
  const auto within =
      hn::IndicesFromVec(Floats(), hn::And(index, hn::Set(di, static_cast<int32_t>(kLanes - 1))));
  if constexpr (kVectors == 1) {
    return hn::TableLookupLanes(table[0], within);
  } else {
    const auto odd = hn::RebindMask(Floats(), hn::TestBit(index, hn::Set(di, static_cast<int32_t>(kLanes))));
    const auto pair = [&](int64_t v) {
#if HWY_TARGET <= HWY_AVX3
      return Vector{_mm512_permutex2var_ps(table[v].raw, index.raw, table[v + 1].raw)};
#else
      return hn::IfThenElse(odd, hn::TableLookupLanes(table[v + 1], within),
                            hn::TableLookupLanes(table[v], within));
#endif
    };
    if constexpr (kVectors == 2) {
      return pair(0);
    } else {
      const auto upper =
          hn::RebindMask(Floats(), hn::TestBit(index, hn::Set(di, static_cast<int32_t>(2 * kLanes))));
      return hn::IfThenElse(upper, pair(2), pair(0));
    }
  }
}

/// kRows rows from `first` on for kShuffleKeys keys from `key` on, over subspaces [begin, end); planes[w][j]
/// holds the codes begin + 4 w ... of key j. The last vector of a table has `last` entries.
template <int64_t kRows, int64_t kVectors>
HWY_INLINE void shuffle_rows(const LutArguments<uint8_t>& a, int64_t first, int64_t key, int64_t keys,
                             int64_t begin, int64_t end, const int32_t* planes, int64_t last) {
  const Floats d;
  const Ints di;
  const auto present = hn::FirstN(d, static_cast<size_t>(last));
  Vector sum[kRows][kKeyVectors];
#pragma GCC unroll 8
  for (int64_t r = 0; r < kRows; ++r) {
    const float* scores = a.scores + (first + r) * a.scores_stride + key;
#pragma GCC unroll 8
    for (int64_t v = 0; v < kKeyVectors; ++v) {
      const int64_t left = std::clamp<int64_t>(keys - v * kLanes, 0, kLanes);
      sum[r][v] = begin == 0 ? hn::Zero(d) : load_first(scores + v * kLanes, left);
    }
  }
  for (int64_t s = begin; s < end; ++s) {
    const int64_t word = (s - begin) / kWordCodes;
    const int shift = static_cast<int>((s - begin) % kWordCodes) * 8;
    IntVector index[kKeyVectors];
#pragma GCC unroll 8
    for (int64_t v = 0; v < kKeyVectors; ++v) {
      index[v] = hn::And(hn::ShiftRightSame(hn::Load(di, planes + word * kShuffleKeys + v * kLanes), shift),
                         hn::Set(di, 255));
    }
#pragma GCC unroll 8
    for (int64_t r = 0; r < kRows; ++r) {
      const float* from = a.table + (first + r) * a.table_stride + s * a.entries;
      Vector table[kVectors];
#pragma GCC unroll 8
      for (int64_t t = 0; t + 1 < kVectors; ++t) table[t] = hn::LoadU(d, from + t * kLanes);
      table[kVectors - 1] = hn::MaskedLoad(present, d, from + (kVectors - 1) * kLanes);
#pragma GCC unroll 8
      for (int64_t v = 0; v < kKeyVectors; ++v) sum[r][v] = hn::Add(sum[r][v], look_up(table, index[v]));
    }
  }
#pragma GCC unroll 8
  for (int64_t r = 0; r < kRows; ++r) {
    float* scores = a.scores + (first + r) * a.scores_stride + key;
#pragma GCC unroll 8
    for (int64_t v = 0; v < kKeyVectors; ++v) {
      const int64_t left = std::clamp<int64_t>(keys - v * kLanes, 0, kLanes);
      if (left > 0) store_first(sum[r][v], scores + v * kLanes, left);
    }
  }
}

/// planes[w][j] = codes begin + 4 w ... of key j, as the bytes of one integer.
HWY_INLINE void split_codes(const uint8_t* code, int64_t stride, int64_t keys, int64_t codes,
                            int32_t* planes) {
  for (int64_t w = 0; w * kWordCodes < codes; ++w) {
    const int64_t bytes = std::min(kWordCodes, codes - w * kWordCodes);
    const uint8_t* from = code + w * kWordCodes;
    int32_t* to = planes + w * kShuffleKeys;
    for (int64_t j = keys; j < kShuffleKeys; ++j) to[j] = 0;
    const auto copy = [&](auto size) {
      for (int64_t j = 0; j < keys; ++j) {
        int32_t word = 0;
        std::memcpy(&word, from + j * stride, size);
        to[j] = word;
      }
    };
    if (bytes == 4) copy(std::integral_constant<size_t, 4>());
    if (bytes == 3) copy(std::integral_constant<size_t, 3>());
    if (bytes == 2) copy(std::integral_constant<size_t, 2>());
    if (bytes == 1) copy(std::integral_constant<size_t, 1>());
  }
}

template <int64_t kVectors>
void lut_in_registers(const LutArguments<uint8_t>& a) {
  HWY_ALIGN int32_t planes[kPlaneCodes / kWordCodes * kShuffleKeys];
  const int64_t last = a.entries - (kVectors - 1) * kLanes;
  for (int64_t key = 0; key < a.keys; key += kShuffleKeys) {
    const int64_t keys = std::min(kShuffleKeys, a.keys - key);
    for (int64_t begin = 0; begin < a.subspaces; begin += kPlaneCodes) {
      const int64_t end = std::min(a.subspaces, begin + kPlaneCodes);
      split_codes(a.code + key * a.code_stride + begin, a.code_stride, keys, end - begin, planes);
      int64_t r = 0;
      for (; r + kShuffleRows <= a.rows; r += kShuffleRows)
        shuffle_rows<kShuffleRows, kVectors>(a, r, key, keys, begin, end, planes, last);
      for (; r < a.rows; ++r) shuffle_rows<1, kVectors>(a, r, key, keys, begin, end, planes, last);
    }
  }
}

#endif

template <class Code>
void lut(const LutArguments<Code>& a) {
#if HWY_TARGET <= HWY_AVX2 && HWY_ARCH_X86
  if constexpr (sizeof(Code) == 1) {
    if (a.subspaces > 0 && a.entries <= kTableVectors * kLanes) {
      if (a.entries <= kLanes) return lut_in_registers<1>(a);
      if (a.entries <= 2 * kLanes) return lut_in_registers<2>(a);
      // All but the last vector are loaded whole.
      if constexpr (kTableVectors > 2) {
        if (a.entries > 3 * kLanes) return lut_in_registers<4>(a);
      }
    }
  }
#endif
  lut_in_memory(a);
}

#endif

const LutKernels& lut_table() {
  static constexpr LutKernels table{lut<uint8_t>, lut<int32_t>};
  return table;
}

}  // namespace attnlab::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attnlab::kernels {

HWY_EXPORT(lut_table);

const LutKernels& lut_kernels(SimdTarget target) {
  return for_target(HWY_DISPATCH_TABLE(lut_table), target)();
}

}  // namespace attnlab::kernels
#endif  // HWY_ONCE
