// Intervals and tests against values worked out by hand or known in closed form.
#include "core/measure/paired.hpp"

#include <gtest/gtest.h>
#include <attnlab/philox.hpp>

#include <cmath>

namespace attnlab::measure {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

TEST(Paired, IntervalOfThreeValues) {
  const std::vector<double> values = {1, 2, 3};
  const Estimate e = t_interval(values);
  EXPECT_EQ(e.count, 3);
  EXPECT_DOUBLE_EQ(e.mean, 2);
  EXPECT_DOUBLE_EQ(e.deviation, 1);
  // With 2 degrees of freedom the quantile p is (2p - 1) sqrt(2 / (4p (1 - p))): 4.303 and 2.920.
  EXPECT_NEAR(e.high, 2 + 0.95 * std::sqrt(2 / 0.0975) / std::sqrt(3), 1e-12);
  EXPECT_NEAR(e.low, 2 - 0.95 * std::sqrt(2 / 0.0975) / std::sqrt(3), 1e-12);
  EXPECT_NEAR(t_interval(values, 0.9).high, 2 + 0.9 * std::sqrt(2 / 0.19) / std::sqrt(3), 1e-12);
}

TEST(Paired, FewValuesHaveNoInterval) {
  EXPECT_TRUE(std::isnan(t_interval({}).mean));
  const std::vector<double> one = {7};
  EXPECT_EQ(t_interval(one).mean, 7);
  EXPECT_TRUE(std::isnan(t_interval(one).low));
  EXPECT_TRUE(std::isnan(t_interval(one).deviation));
  EXPECT_TRUE(std::isnan(paired_t_test(one).p));
}

TEST(Paired, TestOfThreeDifferences) {
  const std::vector<double> differences = {0.1, 0.2, 0.6};
  const PairedTest test = paired_t_test(differences);
  // Mean 0.3, squares 0.04 + 0.01 + 0.09: deviation sqrt(0.07).
  const double t = 0.3 / std::sqrt(0.07 / 3);
  EXPECT_NEAR(test.t, t, 1e-12);
  // With 2 degrees of freedom P(|T| > t) = 1 - t / sqrt(2 + t^2).
  EXPECT_NEAR(test.p, 1 - t / std::sqrt(2 + t * t), 1e-12);
  const std::vector<double> opposite = {-0.1, -0.2, -0.6};
  EXPECT_NEAR(paired_t_test(opposite).t, -t, 1e-12);
  EXPECT_NEAR(paired_t_test(opposite).p, test.p, 1e-12);
  // With 1 degree of freedom it is Cauchy's: P(|T| > t) = 1 - 2 atan(t) / pi.
  const std::vector<double> two = {1, 3};
  EXPECT_NEAR(paired_t_test(two).p, 1 - 2 * std::atan(2) / std::acos(-1.0), 1e-12);
}

TEST(Paired, DifferencesWithoutSpread) {
  const std::vector<double> none = {0, 0, 0}, same = {-0.5, -0.5};
  EXPECT_EQ(paired_t_test(none).p, 1);
  EXPECT_EQ(paired_t_test(same).p, 0);
  EXPECT_TRUE(std::isinf(paired_t_test(same).t));
}

TEST(Paired, HolmStepsDown) {
  const std::vector<double> p = {0.01, 0.04, kNone, 0.03, 0.9};
  const std::vector<double> adjusted = holm(p);
  EXPECT_DOUBLE_EQ(adjusted[0], 0.04);  // 4 x 0.01
  EXPECT_DOUBLE_EQ(adjusted[3], 0.09);  // 3 x 0.03
  EXPECT_DOUBLE_EQ(adjusted[1], 0.09);  // 2 x 0.04 is less than the step before
  EXPECT_DOUBLE_EQ(adjusted[4], 0.9);
  EXPECT_TRUE(std::isnan(adjusted[2]));
  EXPECT_DOUBLE_EQ(holm(std::vector<double>{0.6, 0.7})[1], 1);
  EXPECT_TRUE(holm({}).empty());
}

/// `count` normal values, each repeated `repeat` times.
std::vector<double> normals(int count, int repeat) {
  std::vector<double> values;
  Philox random(5);
  for (int i = 0; i < count; ++i) {
    const double value = random.normal();
    values.insert(values.end(), static_cast<size_t>(repeat), value);
  }
  return values;
}

TEST(Paired, BootstrapKnowsTheErrorOfIndependentValues) {
  const std::vector<double> values = normals(1000, 1), ones(1000, 1);
  const Estimate e = block_bootstrap(values, ones, 1), t = t_interval(values);
  EXPECT_NEAR(e.mean, t.mean, 1e-12);
  EXPECT_NEAR(e.deviation, t.deviation / std::sqrt(1000), 0.12 * e.deviation);
  EXPECT_NEAR(e.high - e.low, t.high - t.low, 0.12 * (t.high - t.low));
}

TEST(Paired, BootstrapSeesThatNeighboursAreAlike) {
  const std::vector<double> values = normals(200, 5), ones(1000, 1);
  const double naive = t_interval(values).deviation / std::sqrt(1000);
  // Runs of five: the true error is sqrt(5) = 2.24 times the naive one; blocks of ten see most of it.
  EXPECT_GT(block_bootstrap(values, ones, 1).deviation, 1.7 * naive);
}

TEST(Paired, BootstrapWeighsAndRepeats) {
  const std::vector<double> values = {1, 2, 3, 100}, weights = {1, 1, 2, 0};
  const Estimate e = block_bootstrap(values, weights, 9);
  EXPECT_DOUBLE_EQ(e.mean, 2.25);
  EXPECT_LE(e.high, 3);
  EXPECT_GE(e.low, 1);
  EXPECT_EQ(block_bootstrap(values, weights, 9).low, e.low);
  const std::vector<double> same = {4, 4, 4, 4};
  EXPECT_EQ(block_bootstrap(same, weights, 9).low, 4);
  EXPECT_TRUE(std::isnan(block_bootstrap({}, {}, 1).mean));
}

}  // namespace
}  // namespace attnlab::measure
