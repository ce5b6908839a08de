// Shared by the tests of a layer's operations: inputs, comparisons with the double-precision reference, and
// runs on one and on several threads, which must have the same bits.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "core/base/parallel.hpp"
#include "core/kernels/layer/layer.hpp"
#include "core/kernels/layer/reference.hpp"
#include "core/kernels/table.hpp"

namespace attnlab::kernels::layer_test {

inline constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
inline constexpr float kInfinity = std::numeric_limits<float>::infinity();

using Floats = std::vector<float>;
using Doubles = std::vector<double>;

struct Shape {
  int64_t rows, width;
  std::string name() const { return std::to_string(rows) + " x " + std::to_string(width); }
};

/// Below and above the elements that are split over threads, and the rows that are summed at once.
inline const Shape kShapes[] = {{1, 1},     {64, 3},   {70, 17},   {3, 64}, {131, 65},
                                {131, 128}, {44, 384}, {17, 1000}, {0, 5}};

inline Floats normal(int64_t count, uint32_t seed, float deviation = 1, float mean = 0) {
  std::mt19937 random(seed);
  std::normal_distribution<float> distribution(mean, deviation);
  Floats values(count);
  for (float& value : values) value = distribution(random);
  return values;
}

/// Rows that are `stride` apart with NaN between them.
struct Rows {
  explicit Rows(const Shape& shape, uint32_t seed, float deviation = 1, float mean = 0)
      : stride(shape.width + 3), values(std::max<int64_t>(0, shape.rows * stride - 3), kNan) {
    const Floats dense = normal(shape.rows * shape.width, seed, deviation, mean);
    for (int64_t r = 0; r < shape.rows; ++r) {
      std::copy_n(dense.begin() + r * shape.width, shape.width, values.begin() + r * stride);
    }
  }

  const float* data() const { return values.data(); }
  float* row(int64_t r) { return values.data() + r * stride; }
  Floats gaps() const { return Floats(values.size(), kNan); }

  int64_t stride;
  Floats values;
};

/// Within absolute + relative |expected|; NaN where NaN is expected, gaps included.
inline void expect_near(const Floats& found, const Doubles& expected, double absolute, double relative,
                        const std::string& where) {
  ASSERT_EQ(found.size(), expected.size()) << where;
  for (size_t i = 0; i < found.size(); ++i) {
    const double bound = absolute + relative * std::abs(expected[i]);
    const bool near = found[i] == expected[i] || std::abs(found[i] - expected[i]) <= bound ||
                      (std::isnan(found[i]) && std::isnan(expected[i]));
    ASSERT_TRUE(near) << where << " element " << i << ": " << found[i] << ", not " << expected[i] << " +- "
                      << bound;
  }
}

inline bool same_bits(const Floats& a, const Floats& b) {
  return std::ranges::equal(
      a, b, [](float x, float y) { return std::bit_cast<uint32_t>(x) == std::bit_cast<uint32_t>(y); });
}

/// What `run` returns, all outputs, which must have the same bits with one and with three threads.
template <class Run>
std::vector<Floats> on_threads(const Run& run) {
  std::vector<Floats> results[2];
  for (const int threads : {1, 3}) {
    const base::ThreadLimit limit(threads);
    results[threads / 3] = run();
  }
  for (size_t i = 0; i < results[0].size(); ++i) {
    EXPECT_TRUE(same_bits(results[0][i], results[1][i])) << "output " << i << " depends on threads";
  }
  return results[0];
}

/// Those of the tables: builds with sanitizers compile fewer into the library than this file knows.
inline std::vector<SimdTarget> targets() {
  std::vector<SimdTarget> all;
  for (SimdTarget left = hwy::SupportedTargets(); left != 0; left &= left - 1) {
    const std::string name = hwy::TargetName(left & -left);
    if (std::ranges::find(all_tables(), name, &KernelTable::target) != all_tables().end()) {
      all.push_back(left & -left);
    }
  }
  return all;
}

/// The tests of a target.
class OnTarget : public testing::TestWithParam<SimdTarget> {
 protected:
  const LayerKernels& kernels() const { return layer_kernels(GetParam()); }
};

inline std::string target_name(const testing::TestParamInfo<SimdTarget>& instance) {
  return hwy::TargetName(instance.param);
}

}  // namespace attnlab::kernels::layer_test
