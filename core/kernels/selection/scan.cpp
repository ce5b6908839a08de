// Passes over scores, built once for each SIMD target.
#include "core/kernels/selection/scan.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/selection/scan.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "core/kernels/selection/exp_double-inl.hpp"
#include "core/kernels/simd/compress-inl.hpp"
#include "core/kernels/simd/vector_math-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace attnlab::kernels::HWY_NAMESPACE {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

/// The first `count` floats, NaN elsewhere: they fail every comparison.
HWY_INLINE Vector load_or_nan(const float* from, int64_t count) {
  const Floats d;
  if (count >= kLanes) return hn::LoadU(d, from);
  return hn::IfThenElse(hn::FirstN(d, static_cast<size_t>(count)), load_first(from, count), hn::Set(d, kNaN));
}

/// Counts what is kept, and its extremes.
struct Keeper {
  int64_t count = 0;
  Vector smallest, largest;

  HWY_INLINE Keeper() : smallest(hn::Set(Floats(), kInfinity)), largest(hn::Set(Floats(), -kInfinity)) {}

  HWY_INLINE LaneSet<Floats> add(Vector values, hn::Mask<Floats> kept) {
    const Floats d;
    smallest = hn::Min(smallest, hn::IfThenElse(kept, values, hn::Set(d, kInfinity)));
    largest = hn::Max(largest, hn::IfThenElse(kept, values, hn::Set(d, -kInfinity)));
    return lane_set(d, kept);
  }
  HWY_INLINE Kept kept() const {
    const Floats d;
    return {count, hn::GetLane(hn::MinOfLanes(d, smallest)), hn::GetLane(hn::MaxOfLanes(d, largest))};
  }
};

template <bool kValues>
Kept keep_at_least(const float* scores, std::span<const Range> runs, float floor, int32_t* keys,
                   float* values) {
  const Floats d;
  const hn::RebindToSigned<Floats> di;
  Keeper keeper;
  for (const Range& run : runs) {
    auto key = hn::Iota(di, run.begin);
    for (int64_t begin = run.begin; begin < run.end; begin += kLanes) {
      const Vector score = load_or_nan(scores + begin, run.end - begin);
      const auto kept = keeper.add(score, hn::Ge(score, hn::Set(d, floor)));
      compress_store(di, key, d, kept, keys + keeper.count);
      if (kValues) compress_store(d, score, d, kept, values + keeper.count);
      keeper.count += kernels::HWY_NAMESPACE::count(d, kept);
      key = hn::Add(key, hn::Set(di, static_cast<int32_t>(kLanes)));
    }
  }
  return keeper.kept();
}

Kept at_least(const float* scores, std::span<const Range> runs, float floor, int32_t* keys, float* values) {
  return values == nullptr ? keep_at_least<false>(scores, runs, floor, keys, values)
                           : keep_at_least<true>(scores, runs, floor, keys, values);
}

int64_t count_at_least(const float* values, int64_t count, float floor) {
  const Floats d;
  const hn::RebindToSigned<Floats> di;
  auto sum = hn::Zero(di);  // minus how many, in each lane
  for (int64_t i = 0; i < count; i += kLanes) {
    const auto kept = hn::Ge(load_or_nan(values + i, count - i), hn::Set(d, floor));
    sum = hn::Add(sum, hn::BitCast(di, hn::VecFromMask(d, kept)));
  }
  return -int64_t{hn::GetLane(hn::SumOfLanes(di, sum))};
}

template <bool kUpper>
Kept keep_part(const float* values, int64_t count, float pivot, float* out) {
  const Floats d;
  const Vector bound = hn::Set(d, pivot);
  Keeper keeper;
  for (int64_t i = 0; i < count; i += kLanes) {
    const Vector value = load_or_nan(values + i, count - i);
    const auto kept = keeper.add(value, kUpper ? hn::Ge(value, bound) : hn::Lt(value, bound));
    compress_store(d, value, d, kept, out + keeper.count);
    keeper.count += kernels::HWY_NAMESPACE::count(d, kept);
  }
  return keeper.kept();
}

Kept part(const float* values, int64_t count, float pivot, bool upper, float* out) {
  return upper ? keep_part<true>(values, count, pivot, out) : keep_part<false>(values, count, pivot, out);
}

int64_t take(const int32_t* keys, const float* values, int64_t count, float boundary, int64_t ties,
             int32_t* out) {
  const Floats d;
  const hn::RebindToSigned<Floats> di;
  int64_t taken = 0, i = 0;
  const auto rest = [&](int64_t end, float floor) HWY_ATTR {
    for (; i < end; i += kLanes) {
      const auto kept = lane_set(d, hn::Ge(load_or_nan(values + i, end - i), hn::Set(d, floor)));
      compress_store(di, hn::LoadU(di, keys + i), d, kept, out + taken);
      taken += kernels::HWY_NAMESPACE::count(d, kept);
    }
  };
  // Up to the key with which the ties are used up, all from the boundary on; then only what exceeds it.
  int64_t last = 0;
  for (; last < count && ties > 0; last += kLanes) {
    const auto tie = hn::Eq(load_or_nan(values + last, count - last), hn::Set(d, boundary));
    const auto equal = static_cast<int64_t>(hn::CountTrue(d, tie));
    if (equal > ties) break;
    ties -= equal;
  }
  last = std::min(last, count);
  rest(last, boundary);
  for (; last < count && ties > 0; ++last) {
    out[taken] = keys[last];
    taken += values[last] >= boundary ? 1 : 0;
    ties -= values[last] == boundary ? 1 : 0;
  }
  i = last;
  rest(count, std::nextafter(boundary, kInfinity) > boundary ? std::nextafter(boundary, kInfinity) : kNaN);
  return taken;
}

float largest(const float* scores, std::span<const Range> runs) {
  const Floats d;
  Vector result = hn::Set(d, -kInfinity);
  for (const Range& run : runs) {
    int64_t i = run.begin;
    for (; i + kLanes <= run.end; i += kLanes) result = hn::Max(result, hn::LoadU(d, scores + i));
    for (; i < run.end; ++i) result = hn::Max(result, hn::Set(d, scores[i]));
  }
  return hn::GetLane(hn::MaxOfLanes(d, result));
}

/// One accumulator per lane of a block of scores, whatever the vectors.
constexpr int64_t kSumLanes = 16;
constexpr int64_t kDoubleLanes = static_cast<int64_t>(hn::MaxLanes(Doubles()));
constexpr int64_t kSumVectors = kSumLanes / kDoubleLanes;

HWY_INLINE void add_masses(const float* scores, float floor, double shift,
                           hn::Vec<Doubles> (&sum)[kSumVectors]) {
  const Doubles d;
  const hn::Rebind<float, Doubles> df;
#pragma GCC unroll 16
  for (int64_t v = 0; v < kSumVectors; ++v) {
    const auto score = hn::PromoteTo(d, hn::LoadU(df, scores + v * kDoubleLanes));
    const auto mass = exp_double(hn::Sub(score, hn::Set(d, shift)));
    sum[v] = hn::Add(sum[v], hn::IfThenElseZero(hn::Ge(score, hn::Set(d, double{floor})), mass));
  }
}

double mass_at_least(const float* scores, std::span<const Range> runs, float floor, double shift) {
  const Doubles d;
  hn::Vec<Doubles> sum[kSumVectors];
  for (auto& lanes : sum) lanes = hn::Zero(d);
  for (const Range& run : runs) {
    int64_t i = run.begin;
    for (; i + kSumLanes <= run.end; i += kSumLanes) add_masses(scores + i, floor, shift, sum);
    if (i == run.end) continue;
    float last[kSumLanes];
    std::fill(std::copy(scores + i, scores + run.end, last), last + kSumLanes, kNaN);
    add_masses(last, floor, shift, sum);
  }
  HWY_ALIGN double lanes[kSumLanes];
  for (int64_t v = 0; v < kSumVectors; ++v) hn::Store(sum[v], d, lanes + v * kDoubleLanes);
  for (int64_t half = kSumLanes / 2; half > 0; half /= 2) {
    for (int64_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  }
  return lanes[0];
}

const ScanKernels& scan_table() {
  static constexpr ScanKernels table{at_least, count_at_least, part, take, largest, mass_at_least};
  return table;
}

}  // namespace attnlab::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attnlab::kernels {

HWY_EXPORT(scan_table);

const ScanKernels& scan_kernels(SimdTarget target) {
  return for_target(HWY_DISPATCH_TABLE(scan_table), target)();
}

}  // namespace attnlab::kernels
#endif  // HWY_ONCE
