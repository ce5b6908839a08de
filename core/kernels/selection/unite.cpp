// The union of id lists, built once for each SIMD target.
#include "core/kernels/selection/unite.hpp"

#include <algorithm>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/selection/unite.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "core/kernels/simd/compress-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace attnlab::kernels::HWY_NAMESPACE {

/// Instead of merging lists, whose order no branch predictor knows, marks the members of each id of a block
/// in an array that stays in the first-level cache, and collects what was marked.
int64_t unite(std::span<const std::span<const int32_t>> lists, int32_t* ids, uint32_t* members) {
  const hn::CappedTag<uint32_t, kUnitePadding> d;
  const hn::RebindToSigned<decltype(d)> di;
  constexpr int64_t block = 4096;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  HWY_ALIGN uint32_t marks[block] = {};
  const int32_t* next[32];
  for (size_t l = 0; l < lists.size(); ++l) next[l] = lists[l].data();

  int64_t size = 0;
  for (;;) {
    int64_t begin = std::numeric_limits<int64_t>::max();
    for (size_t l = 0; l < lists.size(); ++l) {
      if (next[l] != lists[l].data() + lists[l].size()) begin = std::min<int64_t>(begin, *next[l]);
    }
    if (begin == std::numeric_limits<int64_t>::max()) return size;
    int64_t marked = 0;  // the last one
    for (size_t l = 0; l < lists.size(); ++l) {
      const int32_t* const end = lists[l].data() + lists[l].size();
      const int32_t* id = next[l];
      if (id == end) continue;
      for (; id != end && *id < begin + block; ++id) marks[*id - begin] |= uint32_t{1} << l;
      if (id != next[l]) marked = std::max<int64_t>(marked, id[-1] - begin);
      next[l] = id;
    }
    auto id = hn::Iota(di, static_cast<int32_t>(begin));
    for (int64_t i = 0; i <= marked; i += lanes) {
      const auto mark = hn::Load(d, marks + i);
      hn::Store(hn::Zero(d), d, marks + i);
      const auto found = lane_set(d, hn::Ne(mark, hn::Zero(d)));
      compress_store(d, mark, d, found, members + size);
      compress_store(di, id, d, found, ids + size);
      size += count(d, found);
      id = hn::Add(id, hn::Set(di, static_cast<int32_t>(lanes)));
    }
  }
}

const UniteKernels& unite_table() {
  static constexpr UniteKernels table{unite};
  return table;
}

}  // namespace attnlab::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attnlab::kernels {

HWY_EXPORT(unite_table);

const UniteKernels& unite_kernels(SimdTarget target) {
  return for_target(HWY_DISPATCH_TABLE(unite_table), target)();
}

}  // namespace attnlab::kernels
#endif  // HWY_ONCE
