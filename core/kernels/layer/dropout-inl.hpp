// Dropout by Philox4x32-10, compiled once per SIMD target.
#if defined(ATTNLAB_KERNELS_LAYER_DROPOUT_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTNLAB_KERNELS_LAYER_DROPOUT_INL
#undef ATTNLAB_KERNELS_LAYER_DROPOUT_INL
#else
#define ATTNLAB_KERNELS_LAYER_DROPOUT_INL
#endif

#include <hwy/highway.h>
#include <attnlab/philox.hpp>

#include <algorithm>
#include <array>
#include <cstdint>

#include "core/kernels/layer/arguments.hpp"
#include "core/kernels/layer/sweep-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace attnlab::kernels::HWY_NAMESPACE {

/// Words of random numbers that are drawn at once.
#if HWY_TARGET == HWY_SCALAR
inline constexpr int64_t kDrawnWords = 4;

HWY_INLINE void draw_words(uint64_t key, uint64_t draw, uint32_t* to) {
  const Philox::Block words = Philox(key).at(draw);
  std::copy(words.begin(), words.end(), to);
}
#else
inline constexpr int64_t kDrawnWords = 2 * kLanes;

/// Draws [draw, draw + kDrawnWords / 4) of Philox(key), their words in order. A 64-bit lane holds one word of
/// one draw's counter in its low half, where MulEven finds it; what stands in the high half is ignored.
HWY_INLINE void draw_words(uint64_t key, uint64_t draw, uint32_t* to) {
  using Wide = hn::ScalableTag<uint64_t>;
  const Wide d;
  const hn::Repartition<uint32_t, Wide> halves;
  // Even lanes take the first half of the draws, odd lanes the second: interleaving at the end puts them in
  // order.
  constexpr uint64_t lanes = hn::MaxLanes(Wide());
  HWY_ALIGN static constexpr auto numbers = [] {
    std::array<uint64_t, lanes> result{};
    for (uint64_t lane = 0; lane < lanes; ++lane) result[lane] = lane / 2 + lane % 2 * (lanes / 2);
    return result;
  }();
  auto word0 = hn::Add(hn::Set(d, draw), hn::Load(d, numbers.data()));
  auto word1 = hn::ShiftRight<32>(word0);
  auto word2 = hn::Zero(d);
  auto word3 = hn::Zero(d);
  auto key0 = static_cast<uint32_t>(key);
  auto key1 = static_cast<uint32_t>(key >> 32);
  const auto multiplier0 = hn::Set(halves, 0xD2511F53U);
  const auto multiplier1 = hn::Set(halves, 0xCD9E8D57U);
#pragma GCC unroll 10
  for (int round = 0; round < 10; ++round) {
    const auto product0 = hn::MulEven(hn::BitCast(halves, word0), multiplier0);
    const auto product1 = hn::MulEven(hn::BitCast(halves, word2), multiplier1);
    word0 = hn::Xor(hn::Xor(hn::ShiftRight<32>(product1), word1), hn::Set(d, uint64_t{key0}));
    word2 = hn::Xor(hn::Xor(hn::ShiftRight<32>(product0), word3), hn::Set(d, uint64_t{key1}));
    word1 = product1;
    word3 = product0;
    key0 += 0x9E3779B9U;
    key1 += 0xBB67AE85U;
  }
  const auto pair = [&](auto low, auto high) HWY_ATTR {
    const auto shifted = hn::BitCast(halves, hn::ShiftLeft<32>(high));
    return hn::BitCast(d, hn::OddEven(shifted, hn::BitCast(halves, low)));
  };
  const auto words01 = pair(word0, word1);
  const auto words23 = pair(word2, word3);
  hn::StoreU(hn::BitCast(halves, hn::InterleaveLower(d, words01, words23)), halves, to);
  hn::StoreU(hn::BitCast(halves, hn::InterleaveUpper(d, words01, words23)), halves, to + kLanes);
}
#endif

void dropout_elements(const DropoutArguments& a) {
  const Floats d;
  const hn::RebindToUnsigned<Floats> du;
  if (a.p >= 1) {
    std::fill_n(a.out, a.count, 0.0F);
    return;
  }
  // A product with a power of two is exact, and an integer unless p is below 2^-9.
  const auto threshold = hn::Set(du, static_cast<uint32_t>(double{a.p} * 0x1p32));
  const Vector scale = hn::Set(d, static_cast<float>(1 / (1 - double{a.p})));
  const auto draw = static_cast<uint64_t>(a.first / 4);
  HWY_ALIGN uint32_t words[kDrawnWords];
  for (int64_t i = 0; i < a.count; i += kDrawnWords) {
    draw_words(a.key, draw + static_cast<uint64_t>(i / 4), words);
    const int64_t end = std::min(i + kDrawnWords, a.count);
    for (int64_t j = i; j < end; j += kLanes) {
      const int64_t lanes = std::min(kLanes, end - j);
      const auto dropped = hn::RebindMask(d, hn::Lt(hn::LoadU(du, words + (j - i)), threshold));
      const Vector x = hn::Mul(load_first(a.x + j, lanes), scale);
      store_first(hn::IfThenZeroElse(dropped, x), a.out + j, lanes);
    }
  }
}

}  // namespace attnlab::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // target toggle
