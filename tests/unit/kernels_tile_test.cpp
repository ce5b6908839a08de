// Every SIMD target against the double-precision reference, over one case table.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "core/kernels/attention/reference.hpp"
#include "core/kernels/table.hpp"
#include "tests/unit/kernels_test_support.hpp"

namespace attnlab::kernels {
namespace {

using test::Case;
using test::kInfinity;
using test::kNan;
using test::Problem;

std::string target_name(const testing::TestParamInfo<const KernelTable*>& info) {
  return info.param->target;
}

/// `found` within `bound` of `expected`, where equal infinities are equal.
void expect_near(float found, double expected, double bound, const std::string& where) {
  if (std::isinf(expected)) {
    EXPECT_EQ(found, expected) << where;
  } else {
    EXPECT_NEAR(found, expected, bound) << where;
  }
}

class TileKernels : public testing::TestWithParam<std::tuple<const KernelTable*, Case>> {
 protected:
  const KernelTable& table() const { return *std::get<0>(GetParam()); }
  Problem problem{std::get<1>(GetParam())};

  /// A weight's relative error is its logit's error plus a few roundings; an output moves by twice that times
  /// the largest value (5 sigma).
  void expect_outputs_near(const std::vector<float>& out, const std::vector<float>& lse,
                           const std::vector<double>& wide, const std::vector<double>& wide_lse,
                           double logit_error) const {
    for (int64_t r = 0; r < problem.shape.rows; ++r) {
      const std::string row = "row " + std::to_string(r);
      const double lse_bound = logit_error + 2e-6 + 0x1p-23 * std::abs(wide_lse[r]);
      expect_near(lse[r], wide_lse[r], lse_bound, row);
      for (int64_t c = 0; c < problem.shape.value_dim; ++c) {
        const int64_t at = r * problem.value_stride + c;
        expect_near(out[at], wide[at], 5 * (2 * logit_error + 1e-6), row + " column " + std::to_string(c));
      }
    }
  }
};

TEST_P(TileKernels, LogitsEqualReference) {
  std::vector<float> logits;
  const LogitsArguments arguments = problem.logits_arguments(logits);
  std::vector<double> wide(logits.size());
  reference::logits(arguments, wide.data());
  table().logits(arguments);
  for (size_t i = 0; i < logits.size(); ++i) {
    expect_near(logits[i], wide[i], problem.logit_error(), "logit " + std::to_string(i));
  }
}

TEST_P(TileKernels, AttendEqualsReference) {
  problem.poison_inactive();
  std::vector<float> out, lse;
  const AttendArguments arguments = problem.attend_arguments(out, lse);
  std::vector<double> wide(out.size(), kNan), wide_lse(lse.size());
  reference::attend(arguments, wide.data(), wide_lse.data());
  table().attend(arguments);
  expect_outputs_near(out, lse, wide, wide_lse, problem.logit_error());
}

TEST_P(TileKernels, AttendLogitsEqualsReference) {
  std::vector<float> logits, out, lse;
  table().logits(problem.logits_arguments(logits));
  for (int64_t r = 0; r < problem.shape.rows; ++r) {  // inactive keys 100 above all others
    for (int64_t j = problem.key_end[r]; j < problem.shape.keys; ++j) {
      logits[r * problem.shape.keys + j] = std::abs(problem.shape.shift) + 110;
    }
  }
  const AttendLogitsArguments arguments = problem.attend_logits_arguments(logits, out, lse);
  std::vector<double> wide(out.size(), kNan), wide_lse(lse.size());
  reference::attend_logits(arguments, wide.data(), wide_lse.data());
  table().attend_logits(arguments);
  expect_outputs_near(out, lse, wide, wide_lse, 0);
}

INSTANTIATE_TEST_SUITE_P(Cases, TileKernels,
                         testing::Combine(testing::ValuesIn(all_tables()),
                                          testing::ValuesIn(test::all_cases())),
                         [](const auto& instance) {
                           return std::string(std::get<0>(instance.param)->target) + "_" +
                                  std::to_string(instance.index);
                         });

class TargetKernels : public testing::TestWithParam<const KernelTable*> {
 protected:
  const KernelTable& table() const { return *GetParam(); }

  /// attend_logits of one row over all `logits`; `value` is [keys, value_dim]. Returns the log sum exp.
  float attend_row(const std::vector<float>& logits, const std::vector<float>& value, int64_t value_dim,
                   float* out) {
    const int64_t key_end = std::ssize(logits);
    float lse = 0;
    table().attend_logits({.logits = logits.data(),
                           .rows = 1,
                           .key_end = &key_end,
                           .value = value.data(),
                           .value_stride = value_dim,
                           .value_dim = value_dim,
                           .out = out,
                           .lse = &lse});
    return lse;
  }
};

// The second key weighs exp(x) / (1 + exp(x)): for x << 0 the relative error is that of exp and a division.
TEST_P(TargetKernels, ExponentialIsAccurate) {
  for (int i = 0; i < 20000; ++i) {
    const float x = -0.00434F * static_cast<float>(i);
    float weight = 0;
    attend_row({0, x}, {0, 1}, 1, &weight);
    const double expected = 1 / (1 + std::exp(-double{x}));
    ASSERT_NEAR(weight, expected, 4 * 0x1p-23 * expected) << x;
  }
  for (const float x : {-88.0F, -105.0F, -1e4F, -3e38F, -kInfinity}) {
    float weight = kNan;
    EXPECT_EQ(attend_row({0, x}, {0, 1}, 1, &weight), 0);
    EXPECT_EQ(weight, 0) << x;
  }
}

TEST_P(TargetKernels, LongRowsKeepTheirPrecision) {
  constexpr int64_t keys = 131072;
  constexpr int64_t value_dim = 32;
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  std::vector<float> logits(keys), value(keys * value_dim);
  for (float& l : logits) l = normal(random);
  for (float& v : value) v = normal(random);
  for (const float mean : {0.0F, 1.0F}) {
    for (float& v : value) v += mean;
    std::vector<float> out(value_dim);
    std::vector<double> wide(value_dim);
    const float lse = attend_row(logits, value, value_dim, out.data());
    double wide_lse = 0;
    const int64_t key_end = keys;
    reference::attend_logits({.logits = logits.data(),
                              .rows = 1,
                              .key_end = &key_end,
                              .value = value.data(),
                              .value_stride = value_dim,
                              .value_dim = value_dim},
                             wide.data(), &wide_lse);
    EXPECT_NEAR(lse, wide_lse, 1e-6 * wide_lse);
    double largest = 0;
    for (const double w : wide) largest = std::max(largest, std::abs(w));
    for (int64_t c = 0; c < value_dim; ++c) EXPECT_NEAR(out[c], wide[c], 2e-6 * largest) << c;
  }
}

TEST_P(TargetKernels, RowsWithoutActiveKeysAreZero) {
  std::vector<float> out{kNan, kNan}, value{1, 2, 3, 4};
  EXPECT_EQ(attend_row({}, value, 2, out.data()), -kInfinity);
  EXPECT_EQ(out, (std::vector<float>{0, 0}));
  out = {kNan, kNan};
  EXPECT_EQ(attend_row({-kInfinity, -kInfinity}, value, 2, out.data()), -kInfinity);
  EXPECT_EQ(out, (std::vector<float>{0, 0}));

  const float query[2] = {1, 1};
  const float sink[2] = {2.5F, -kInfinity};
  float lse[2] = {kNan, kNan};
  out = {kNan, kNan};
  table().attend({.query = query,
                  .query_stride = 1,
                  .rows = 2,
                  .head_dim = 1,
                  .value_dim = 1,
                  .sink_logit = sink,
                  .out = out.data(),
                  .out_stride = 1,
                  .lse = lse});
  EXPECT_EQ(out, (std::vector<float>{0, 0}));
  EXPECT_EQ(lse[0], 2.5F);
  EXPECT_EQ(lse[1], -kInfinity);
}

// A block whose logits are all -inf before the first active one must not leave NaN behind.
TEST_P(TargetKernels, MaskedBlocksMayComeFirst) {
  std::vector<float> logits(300, -kInfinity), value(300, 7);
  logits[299] = -5;
  float out = kNan;
  EXPECT_EQ(attend_row(logits, value, 1, &out), -5);
  EXPECT_EQ(out, 7);
}

INSTANTIATE_TEST_SUITE_P(Targets, TargetKernels, testing::ValuesIn(all_tables()), target_name);

TEST(KernelTables, BestIsFirstAndNamesDiffer) {
  const auto tables = all_tables();
  ASSERT_FALSE(tables.empty());
  EXPECT_EQ(&best_table(), tables.front());
  for (size_t i = 1; i < tables.size(); ++i) EXPECT_STRNE(tables[i]->target, tables[i - 1]->target);
}

}  // namespace
}  // namespace attnlab::kernels
