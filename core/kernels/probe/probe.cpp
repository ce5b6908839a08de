// The probes, built once for each SIMD target that the compiler knows and chosen at run time.
#include "core/kernels/probe/probe.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/probe/probe.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "core/kernels/simd/register_tile-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace attnlab::kernels::HWY_NAMESPACE {

double multiply_adds(int64_t steps, float& seed) {
  // As many sums as the register tile of the matrix products has: latencies overlap, nothing is spilled.
  constexpr int64_t kSums = kTileRows * kTileVectors;
  const Floats d;
  // Both depend on the argument: the compiler cannot compute the recurrence x -> x * factor + summand
  // beforehand. It has a fixed point, so that no operand becomes subnormal or infinite.
  const Vector factor = hn::Set(d, 0.5F + seed * 1e-9F);
  const Vector summand = hn::Set(d, 0.5F - seed * 1e-9F);
  Vector sum[kSums];
  for (int64_t i = 0; i < kSums; ++i) sum[i] = hn::Set(d, seed + static_cast<float>(i));
  for (int64_t step = 0; step < steps; ++step) {
#pragma GCC unroll 24
    for (int64_t i = 0; i < kSums; ++i) sum[i] = hn::MulAdd(sum[i], factor, summand);
  }
  for (int64_t i = 1; i < kSums; ++i) sum[0] = hn::Add(sum[0], sum[i]);
  seed = hn::GetLane(hn::SumOfLanes(d, sum[0]));
  return 2.0 * static_cast<double>(steps * kSums * kLanes);
}

float read(const float* from, int64_t count) {
  constexpr int64_t kSums = 8;
  const Floats d;
  Vector sum[kSums];
  for (auto& s : sum) s = hn::Zero(d);
  int64_t i = 0;
  for (; i + kSums * kLanes <= count; i += kSums * kLanes) {
#pragma GCC unroll 8
    for (int64_t s = 0; s < kSums; ++s) sum[s] = hn::Add(sum[s], hn::LoadU(d, from + i + s * kLanes));
  }
  for (; i < count; i += kLanes) {
    sum[0] = hn::Add(sum[0], load_first(from + i, HWY_MIN(kLanes, count - i)));
  }
  for (int64_t s = 1; s < kSums; ++s) sum[0] = hn::Add(sum[0], sum[s]);
  return hn::GetLane(hn::SumOfLanes(d, sum[0]));
}

const ProbeKernels& probe_table() {
  static constexpr ProbeKernels table{multiply_adds, read};
  return table;
}

}  // namespace attnlab::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attnlab::kernels {

HWY_EXPORT(probe_table);

const ProbeKernels& probe_kernels(SimdTarget target) {
  return for_target(HWY_DISPATCH_TABLE(probe_table), target)();
}

}  // namespace attnlab::kernels
#endif  // HWY_ONCE
