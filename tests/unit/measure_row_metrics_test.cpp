// Metrics of rows computed by hand, and their summaries.
#include "core/measure/row_metrics.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "tests/unit/attention_test_support.hpp"

namespace attnlab::measure {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float nan_value = std::numeric_limits<float>::quiet_NaN();

/// One query over two keys with logits 0 and ln 3 (weights 1/4 and 3/4) and values (4, 0) and (0, 4): dense
/// attention gives (1, 3) with denominator 4.
class MeasureRowMetricsTest : public ::testing::Test {
 protected:
  MeasureRowMetricsTest() { selection_.reset(1); }

  /// Metrics of what a pipeline gave: its list (null: dense), output and softmax denominator.
  RowMetrics measured(const attention::RowList* list, const std::vector<float>& out, double denominator) {
    tile_ = attention::tile_of(problem_);
    if (list != nullptr) selection_.assign(0, 1) = *list;
    const auto lse = static_cast<float>(std::log(denominator));
    const auto exact_lse = static_cast<float>(std::log(exact_denominator_));
    attention::TileOutcome outcome;
    outcome.tile = &tile_;
    outcome.selection = list == nullptr ? nullptr : &selection_;
    outcome.out = out.data();
    outcome.lse = &lse;
    outcome.exact_out = exact_out_.data();
    outcome.exact_lse = &exact_lse;
    return measure_row(outcome, 0);
  }

  attention::SmallProblem problem_ =
      attention::problem_of({1, 1, 1, 1, 2, 1, 2}, {1}, {0, std::log(3.0f)}, {4, 0, 0, 4});
  std::vector<float> exact_out_ = {1, 3};
  double exact_denominator_ = 4;
  attention::Tile tile_;
  attention::Selection selection_;
};

void expect_metrics(const RowMetrics& got, double density, double recall, double output_error,
                    double denominator_error, double entropy) {
  EXPECT_NEAR(got.density, density, 1e-6);
  EXPECT_NEAR(got.mass_recall, recall, 1e-6);
  EXPECT_NEAR(got.output_error, output_error, 1e-6);
  EXPECT_NEAR(got.denominator_error, denominator_error, 1e-6);
  EXPECT_NEAR(got.entropy, entropy, 1e-6);
}

double entropy_of(double p) {
  return -p * std::log(p) - (1 - p) * std::log(1 - p);
}

TEST_F(MeasureRowMetricsTest, DenseAttentionIsExact) {
  expect_metrics(measured(nullptr, {1, 3}, 4), 1, 1, 0, 0, entropy_of(0.25));
  attention::RowList all;
  all.runs = {{0, 2}};
  expect_metrics(measured(&all, {1, 3}, 4), 1, 1, 0, 0, entropy_of(0.25));
}

TEST_F(MeasureRowMetricsTest, OneKeyOfTwo) {
  attention::RowList heavy;
  heavy.ids = {1};
  expect_metrics(measured(&heavy, {0, 4}, 3), 0.5, 0.75, std::sqrt(2.0 / 10), 0.25, 0);
  attention::RowList light;
  light.runs = {{0, 1}};
  expect_metrics(measured(&light, {4, 0}, 1), 0.5, 0.25, std::sqrt(18.0 / 10), 0.75, 0);
}

TEST_F(MeasureRowMetricsTest, SampledKeysCountOnceButWeighInverselyToTheirProbability) {
  attention::RowList list;
  list.ids = {1};
  list.sampled = {0};
  list.log_weight = {std::log(2.0f)};  // p = 1/2: weights 2 and 3
  expect_metrics(measured(&list, {1.6f, 2.4f}, 5), 1, 1, std::sqrt(0.72 / 10), 0.25, entropy_of(0.4));
  attention::RowList alone;
  alone.sampled = {1};
  alone.log_weight = {std::log(2.0f)};
  expect_metrics(measured(&alone, {0, 4}, 6), 0.5, 0.75, std::sqrt(2.0 / 10), 0.5, 0);
}

TEST_F(MeasureRowMetricsTest, AnEmptyRowLosesEverything) {
  const attention::RowList none;
  expect_metrics(measured(&none, {0, 0}, 0), 0, 0, 1, 1, 0);
}

TEST_F(MeasureRowMetricsTest, ALearnedSinkIsInTheDenominatorButHoldsNoMassOfKeys) {
  problem_.layer.sink_logit = {std::log(4.0f)};
  exact_denominator_ = 8;
  exact_out_ = {0.5f, 1.5f};
  attention::RowList heavy;
  heavy.ids = {1};
  expect_metrics(measured(&heavy, {0, 12.0f / 7}, 7), 0.5, 0.75,
                 std::hypot(0.5, 12.0 / 7 - 1.5) / std::hypot(0.5, 1.5), 0.125, 0);
}

TEST_F(MeasureRowMetricsTest, HiddenKeysAreNeitherVisibleNorMass) {
  problem_.layer.bias = io::tensor_of<float>(tensor::DType::f32, {1, 1, 1, 2}, {-infinity, 0});
  exact_denominator_ = 3;
  exact_out_ = {0, 4};
  expect_metrics(measured(nullptr, {0, 4}, 3), 1, 1, 0, 0, 0);
}

TEST_F(MeasureRowMetricsTest, AgainstZeroTheErrorIsAbsolute) {
  exact_out_ = {0, 0};
  EXPECT_NEAR(measured(nullptr, {0.3f, 0.4f}, 4).output_error, 0.5, 1e-6);
}

TEST_F(MeasureRowMetricsTest, ARowThatSeesNothingIsNotMeasured) {
  problem_ = attention::problem_of({1, 1, 1, 2, 2, 1, 2}, {1, 1}, {0, 0}, {4, 0, 0, 4});
  problem_.layer.valid = {1};
  EXPECT_TRUE(std::isnan(measured(nullptr, {0, 0}, 1).density));
}

TEST(MeasureSummarise, OfNothingIsZeroRows) {
  EXPECT_EQ(summarise({}).rows, 0);
  const Summary none = summarise({nan_value, nan_value});
  EXPECT_EQ(none.rows, 0);
  EXPECT_EQ(none.mean, 0);
}

TEST(MeasureSummarise, LeavesNanOut) {
  const Summary s = summarise({3, nan_value, 1, 2});
  EXPECT_EQ(s.rows, 3);
  EXPECT_EQ(s.mean, 2);
  EXPECT_EQ(s.min, 1);
  EXPECT_EQ(s.max, 3);
  EXPECT_EQ(s.p05, 1);
  EXPECT_EQ(s.p95, 3);
}

TEST(MeasureSummarise, PercentilesAreNearestRank) {
  for (int n = 1; n <= 1000; ++n) {
    std::vector<float> values(static_cast<size_t>(n));
    // A permutation of 1 to n, so that a value is its own rank.
    for (int i = 0; i < n; ++i) values[static_cast<size_t>(i)] = static_cast<float>(i + 1);
    std::shuffle(values.begin(), values.end(), std::mt19937(static_cast<unsigned>(n)));
    const Summary s = summarise(values);
    ASSERT_EQ(s.p05, (5 * n + 99) / 100) << n;
    ASSERT_EQ(s.p95, (95 * n + 99) / 100) << n;
    ASSERT_NEAR(s.mean, (n + 1) / 2.0, 1e-9);
  }
}

TEST(MeasureRowTable, CollectsByHeadAndCountsEmptyRows) {
  RowTable table(2, 3, 2);
  for (int64_t b = 0; b < 2; ++b) {
    for (int64_t h = 0; h < 3; ++h) {
      for (int64_t q = 0; q < 2; ++q) {
        if (b == 1 && q == 0) continue;  // a row that nobody measured
        RowMetrics metrics;
        metrics.density = static_cast<float>(h);
        metrics.entropy = static_cast<float>(q);
        table.put(b, h, q, metrics, h == 2 && q == 1);
      }
    }
  }
  const Quality all = table.quality({});
  EXPECT_EQ(all.density.rows, 9);
  EXPECT_EQ(all.density.mean, 1);
  EXPECT_EQ(all.empty_rows, 2);
  EXPECT_NEAR(all.entropy.mean, 6.0 / 9, 1e-12);
  const Quality some = table.quality({0, 2});
  EXPECT_EQ(some.density.rows, 6);
  EXPECT_EQ(some.empty_rows, 2);
  EXPECT_EQ(table.quality({1}).empty_rows, 0);
  std::vector<RowMetrics> rows;
  int64_t empty_rows = 0;
  table.append({1}, rows, empty_rows);
  table.append({2}, rows, empty_rows);
  EXPECT_EQ(rows.size(), 6u);
  EXPECT_EQ(quality_of(rows, empty_rows).density.mean, 1.5);
  EXPECT_EQ(quality_of(rows, empty_rows).empty_rows, 2);
}

TEST(MeasureRowTable, MeasuredRowsWithoutVisibleKeysAreLeftOut) {
  RowTable table(1, 1, 2);
  RowMetrics unseen;
  unseen.density = nan_value;
  table.put(0, 0, 0, unseen, false);
  table.put(0, 0, 1, {0.5f, 1, 0, 0, 0}, false);
  EXPECT_EQ(table.quality({}).mass_recall.rows, 1);
  EXPECT_EQ(table.quality({}).mass_recall.mean, 1);
}

}  // namespace
}  // namespace attnlab::measure
