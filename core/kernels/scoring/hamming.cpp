// Distances of packed codes, built once for each SIMD target.
// This file alone is also built for CPUs that count bits in vectors: the counts are the same, at twice the
// speed.
#define HWY_WANT_AVX3_DL
#include <algorithm>
#include <cstdint>

#include "core/kernels/scoring/scoring.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/scoring/hamming.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "core/kernels/simd/vector_math-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace attnlab::kernels::HWY_NAMESPACE {

/// Keys whose codes are brought into planes, once for all rows.
inline constexpr int64_t kBlockKeys = 64;

#if HWY_TARGET == HWY_SCALAR

inline int64_t count_bits(uint64_t x) {
  return static_cast<int64_t>(hn::GetLane(hn::PopulationCount(hn::Set(hn::ScalableTag<uint64_t>(), x))));
}

void hamming(const HammingArguments& a) {
  for (int64_t r = 0; r < a.rows; ++r) {
    const uint64_t* query = a.query + r * a.query_stride;
    for (int64_t j = 0; j < a.keys; ++j) {
      const uint64_t* code = a.code + j * a.code_stride;
      int64_t distance = 0;
      for (int64_t w = 0; w < a.words; ++w) distance += count_bits(query[w] ^ code[w]);
      a.scores[r * a.scores_stride + j] = static_cast<float>(a.bits - 2 * distance);
    }
  }
}

#else

using Words = hn::ScalableTag<uint64_t>;
using Bytes = hn::Repartition<uint8_t, Words>;
inline constexpr int64_t kWordLanes = static_cast<int64_t>(hn::MaxLanes(Words()));
inline constexpr bool kCountsWords = HWY_TARGET == HWY_AVX3_DL;

/// planes[w * kBlockKeys + j] = word w of key j.
HWY_INLINE void split_words(const uint64_t* code, int64_t stride, int64_t words, int64_t keys,
                            uint64_t* planes) {
  const Words d;
  int64_t j = 0;
  if (words == 2 && stride == 2) {
    for (; j + kWordLanes <= keys; j += kWordLanes) {
      const auto low = hn::LoadU(d, code + 2 * j);
      const auto high = hn::LoadU(d, code + 2 * j + kWordLanes);
      hn::Store(hn::ConcatEven(d, high, low), d, planes + j);
      hn::Store(hn::ConcatOdd(d, high, low), d, planes + kBlockKeys + j);
    }
  }
  for (; j < keys; ++j) {
    for (int64_t w = 0; w < words; ++w) planes[w * kBlockKeys + j] = code[j * stride + w];
  }
}

/// Distances of kWordLanes keys.
HWY_INLINE hn::Vec<Words> distances(const uint64_t* query, const uint64_t* planes, int64_t stride,
                                    int64_t words) {
  const Words d;
  const Bytes db;
  auto sum = hn::Zero(d);
  // A byte holds the counts of 31 words.
  constexpr int64_t byte_words = 31;
  for (int64_t begin = 0; begin < words; begin += byte_words) {
    const int64_t end = std::min(words, begin + byte_words);
    auto bytes = hn::Zero(db);
    for (int64_t w = begin; w < end; ++w) {
      const auto differing = hn::Xor(hn::Set(d, query[w]), hn::LoadU(d, planes + w * stride));
      if constexpr (kCountsWords) {
        sum = hn::Add(sum, hn::PopulationCount(differing));
      } else {
        bytes = hn::Add(bytes, hn::PopulationCount(hn::BitCast(db, differing)));
      }
    }
    if constexpr (!kCountsWords) sum = hn::Add(sum, hn::SumsOf8(bytes));
  }
  return sum;
}

/// scores[j] = bits - 2 distance_j of one row; `keys` <= kBlockKeys. Reads the planes of whole vectors.
HWY_INLINE void score_row(const uint64_t* query, const uint64_t* planes, int64_t stride, int64_t words,
                          int64_t bits, int64_t keys, float* scores) {
  const Floats d;
  const hn::RebindToSigned<Floats> di;
  const hn::RebindToUnsigned<Floats> du;
  const auto all = hn::Set(di, static_cast<int32_t>(bits));
  for (int64_t j = 0; j < keys; j += kLanes) {
    const auto low = distances(query, planes + j, stride, words);
    const auto high = distances(query, planes + j + kWordLanes, stride, words);
    // The low halves of the 64-bit counts.
    const auto count = hn::BitCast(di, hn::ConcatEven(du, hn::BitCast(du, high), hn::BitCast(du, low)));
    const auto score = hn::Sub(all, hn::Add(count, count));
    store_first(hn::ConvertTo(d, score), scores + j, std::min(kLanes, keys - j));
  }
}

template <int64_t kWords>
HWY_INLINE void hamming_of(const HammingArguments& a) {
  const int64_t words = kWords > 0 ? kWords : a.words;
  HWY_ALIGN uint64_t planes[(kWords > 0 ? kWords : kMaxHammingWords) * kBlockKeys];
  for (int64_t begin = 0; begin < a.keys; begin += kBlockKeys) {
    const int64_t keys = std::min(kBlockKeys, a.keys - begin);
    const uint64_t* code = a.code + begin * a.code_stride;
    const bool in_place = words == 1 && a.code_stride == 1 && keys == kBlockKeys;
    if (!in_place) split_words(code, a.code_stride, words, keys, planes);
    for (int64_t r = 0; r < a.rows; ++r) {
      score_row(a.query + r * a.query_stride, in_place ? code : planes, kBlockKeys, words, a.bits, keys,
                a.scores + r * a.scores_stride + begin);
    }
  }
}

void hamming(const HammingArguments& a) {
  switch (a.words) {
    case 1:
      return hamming_of<1>(a);
    case 2:
      return hamming_of<2>(a);
    case 4:
      return hamming_of<4>(a);
    default:
      return hamming_of<0>(a);
  }
}

#endif

const HammingKernels& hamming_table() {
  static constexpr HammingKernels table{hamming};
  return table;
}

}  // namespace attnlab::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attnlab::kernels {

HWY_EXPORT(hamming_table);

const HammingKernels& hamming_kernels(SimdTarget target) {
  if (target == HWY_AVX3) target |= hwy::SupportedTargets() & HWY_AVX3_DL;
  return for_target(HWY_DISPATCH_TABLE(hamming_table), target)();
}

}  // namespace attnlab::kernels
#endif  // HWY_ONCE
