// Left-packing of 32-bit lanes, compiled once per SIMD target.
#if defined(ATTNLAB_KERNELS_SIMD_COMPRESS_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTNLAB_KERNELS_SIMD_COMPRESS_INL
#undef ATTNLAB_KERNELS_SIMD_COMPRESS_INL
#else
#define ATTNLAB_KERNELS_SIMD_COMPRESS_INL
#endif

#include <hwy/highway.h>

#include <array>
#include <cstddef>
#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace attnlab::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// A mask of 32-bit lanes in the form that compress_store takes.
#if HWY_TARGET <= HWY_AVX3 || HWY_TARGET == HWY_SCALAR
template <class D>
using LaneSet = hn::Mask<D>;

template <class D>
HWY_INLINE LaneSet<D> lane_set(D, hn::Mask<D> mask) {
  return mask;
}

template <class D>
HWY_INLINE int64_t count(D d, LaneSet<D> lanes) {
  return static_cast<int64_t>(hn::CountTrue(d, lanes));
}

/// Writes the lanes of the set, in order, from `to` on, and undefined values behind them: a whole vector in
/// all. Not Highway's CompressStore: on AVX-512 that is an instruction that some processors microcode.
template <class D, class DMask>
HWY_INLINE void compress_store(D d, hn::Vec<D> values, DMask, LaneSet<DMask> lanes, hn::TFromD<D>* to) {
  hn::StoreU(hn::Compress(values, hn::RebindMask(d, lanes)), d, to);
}

#else
template <class D>
using LaneSet = uint32_t;

template <class D>
HWY_INLINE LaneSet<D> lane_set(D d, hn::Mask<D> mask) {
  uint8_t bits[8] = {};
  hn::StoreMaskBits(d, mask, bits);
  return bits[0];
}

template <class D>
HWY_INLINE int64_t count(D, LaneSet<D> lanes) {
  return static_cast<int64_t>(hwy::PopCount(lanes));
}

/// For each set of lanes their numbers, ascending. Highway 1.0.3 has such tables as automatic variables,
/// which g++ copies to the stack each time.
template <size_t kLanes>
inline constexpr auto kLaneNumbers = [] {
  std::array<std::array<uint8_t, kLanes>, size_t{1} << kLanes> table{};
  for (size_t set = 0; set < table.size(); ++set) {
    size_t n = 0;
    for (size_t lane = 0; lane < kLanes; ++lane) {
      if ((set >> lane & 1) != 0) table[set][n++] = static_cast<uint8_t>(lane);
    }
  }
  return table;
}();

/// Writes the lanes of the set, in order, from `to` on, and undefined values behind them: a whole vector in
/// all.
template <class D, class DMask>
HWY_INLINE void compress_store(D d, hn::Vec<D> values, DMask, LaneSet<DMask> lanes, hn::TFromD<D>* to) {
  static_assert(hn::MaxLanes(D()) <= 8);
  const hn::RebindToSigned<D> di;
  const hn::Rebind<uint8_t, D> d8;
  const auto numbers = hn::PromoteTo(di, hn::LoadU(d8, kLaneNumbers<hn::MaxLanes(D())>[lanes].data()));
  hn::StoreU(hn::TableLookupLanes(values, hn::IndicesFromVec(d, numbers)), d, to);
}
#endif

}  // namespace attnlab::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // target toggle
