// Rows of keys or values in memory: where they lie, how their elements become float. Compiled once per SIMD
// target.
#if defined(ATTNLAB_KERNELS_SIMD_ROWS_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTNLAB_KERNELS_SIMD_ROWS_INL
#undef ATTNLAB_KERNELS_SIMD_ROWS_INL
#else
#define ATTNLAB_KERNELS_SIMD_ROWS_INL
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "core/kernels/element.hpp"
#include "core/kernels/simd/vector_math-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace attnlab::kernels::HWY_NAMESPACE {

/// Rows at equal distances. Their addresses are known far ahead: a plain loop over them runs at the rate of
/// memory. Addresses that are loaded first halve that rate (measured on Zen 4).
template <class Element>
struct StridedRows {
  const Element* first;
  int64_t stride;

  HWY_INLINE const Element* operator[](int64_t i) const { return first + i * stride; }
  StridedRows from(int64_t i) const { return {first + i * stride, stride}; }
};

/// Rows anywhere.
template <class Element>
struct GatheredRows {
  const Element* const* at;

  HWY_INLINE const Element* operator[](int64_t i) const { return at[i]; }
};

/// Announces a cache line, to the second level: of misses of the first level a core has so few under way that
/// they do not cover the latency of memory, and loads need them.
HWY_INLINE void fetch_line(const void* line) {
  __builtin_prefetch(line, 0, 2);
}

/// Fetches rows cache line by cache line in the order of use while others are computed on. The order is what
/// counts: it is what hardware prefetchers continue.
template <class Element>
class Fetcher {
 public:
  Fetcher() = default;
  Fetcher(const Element* const* row, int64_t count, int64_t columns)
      : row_(row),
        last_(row + std::max<int64_t>(0, count)),
        bytes_(columns * static_cast<int64_t>(sizeof(Element))) {}

  HWY_INLINE void lines(int64_t count) {
    for (int64_t i = 0; i < count && row_ != last_; ++i) {
      fetch_line(reinterpret_cast<const std::byte*>(*row_) + at_);
      at_ += 64;
      if (at_ < bytes_) continue;
      at_ = 0;
      ++row_;
    }
  }
  /// To be called before `columns` columns of some row are read.
  HWY_INLINE void before(int64_t, int64_t, int64_t columns) {
    lines(columns * static_cast<int64_t>(sizeof(Element)) / 64);
  }

 private:
  const Element* const* row_ = nullptr;
  const Element* const* last_ = nullptr;
  int64_t bytes_ = 0;
  int64_t at_ = 0;
};

/// Fetches rows at equal distances, kStreamBytes ahead. Hardware prefetchers alone end at the border of a
/// page.
template <class Element>
class StridedFetcher {
 public:
  StridedFetcher() = default;
  StridedFetcher(StridedRows<Element> rows, int64_t columns)
      : rows_(rows),
        ahead_(std::max<int64_t>(1, kStreamBytes / (columns * static_cast<int64_t>(sizeof(Element))))) {}

  HWY_INLINE void before(int64_t row, int64_t column, int64_t columns) {
    if (ahead_ == 0) return;
    const auto* from = reinterpret_cast<const std::byte*>(rows_[row + ahead_] + column);
    for (int64_t at = 0; at < columns * static_cast<int64_t>(sizeof(Element)); at += 64)
      fetch_line(from + at);
  }

 private:
  static constexpr int64_t kStreamBytes = 8192;

  StridedRows<Element> rows_{};
  int64_t ahead_ = 0;
};

/// As many elements as a vector has floats.
template <class Element>
using Stored = std::conditional_t<std::is_same_v<Element, float>, float, uint16_t>;

template <class Element, class D>
HWY_INLINE hn::Vec<D> widen(Element, D d, hn::Vec<hn::Rebind<Stored<Element>, D>> stored) {
  if constexpr (std::is_same_v<Element, float>) {
    return stored;
  } else if constexpr (std::is_same_v<Element, BFloat16>) {
    const hn::Rebind<uint32_t, D> d32;
    return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(d32, stored)));
  } else {
    const hn::Rebind<hwy::float16_t, D> d16;
    return hn::PromoteTo(d, hn::BitCast(d16, stored));
  }
}

template <class Element>
HWY_INLINE const Stored<Element>* stored(const Element* from) {
  return reinterpret_cast<const Stored<Element>*>(from);
}

/// The first `count` <= kLanes elements at `from` as float, 0 elsewhere; reads nothing beyond them.
template <class Element>
HWY_INLINE Vector load_row(const Element* from, int64_t count) {
  if constexpr (std::is_same_v<Element, float>) {
    return load_first(from, count);
  } else {
    const hn::Rebind<Stored<Element>, Floats> d;
    if (count == kLanes) return widen(Element(), Floats(), hn::LoadU(d, stored(from)));
    HWY_ALIGN Stored<Element> lanes[kLanes] = {};
    std::memcpy(lanes, from, static_cast<size_t>(count) * sizeof(Element));
    return widen(Element(), Floats(), hn::LoadU(d, lanes));
  }
}

}  // namespace attnlab::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // target toggle
