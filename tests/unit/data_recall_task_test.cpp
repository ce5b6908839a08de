#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <span>

#include "core/data/recall_task.hpp"
#include "tests/unit/data_test_support.hpp"

namespace attnlab::data {
namespace {

using base::UserError;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const RecallOptions small_recall{.pairs = 5, .queries = 3, .keys = 12, .values = 7, .seed = 2};

std::vector<TokenBatch> recall_batches(const RecallTask& task) {
  return {task.training(64, 0), task.training(64, 1), task.evaluation(0, task.evaluation_windows())};
}

TEST(DataRecallTask, ADictionaryAnswersEverything) {
  const RecallTask task(small_recall);
  EXPECT_EQ(task.block(), 16);
  EXPECT_EQ(task.vocabulary_size(), 19);
  EXPECT_EQ(task.tokeniser(), nullptr);
  for (const TokenBatch& batch : recall_batches(task)) {
    ASSERT_EQ(batch.tokens, 16);
    int64_t asked = 0, right = 0;
    for (size_t row = 0; row < static_cast<size_t>(batch.batch); ++row) {
      std::map<int64_t, int64_t> dictionary;
      const int64_t* inputs = &batch.inputs[row * 16];
      for (size_t t = 0; t < 10; t += 2) dictionary[inputs[t]] = inputs[t + 1];
      for (size_t t = 0; t < 16; ++t) {
        const int64_t target = batch.targets[row * 16 + t];
        if (target == ignored_target) continue;
        ++asked;
        right += dictionary.at(inputs[t]) == target;
      }
    }
    EXPECT_EQ(asked, 3 * batch.batch);
    EXPECT_EQ(right, asked);
  }
}

TEST(DataRecallTask, WindowsHaveTheirForm) {
  const RecallTask task(small_recall);
  for (const TokenBatch& batch : recall_batches(task)) {
    for (size_t row = 0; row < static_cast<size_t>(batch.batch); ++row) {
      std::set<int64_t> keys, queries;
      for (size_t t = 0; t < 16; ++t) {
        const int64_t input = batch.inputs[row * 16 + t], target = batch.targets[row * 16 + t];
        const bool is_key = t % 2 == 0, is_query = is_key && t >= 10;
        EXPECT_EQ(input < 12, is_key);
        EXPECT_LT(input, 19);
        EXPECT_EQ(target != ignored_target, is_query);
        if (is_query) {
          EXPECT_EQ(batch.inputs[row * 16 + t + 1], target) << "the answer comes next";
          queries.insert(input);
        } else if (is_key) {
          keys.insert(input);
        }
      }
      EXPECT_EQ(keys.size(), 5u) << "distinct keys";
      EXPECT_EQ(queries.size(), 3u) << "distinct queries";
    }
  }
}

TEST(DataRecallTask, WindowsAreAFunctionOfSeedAndDraw) {
  const RecallTask task(small_recall), same(small_recall);
  RecallOptions reseeded = small_recall;
  reseeded.seed = 3;
  const RecallTask other(reseeded);
  const TokenBatch batch = task.training(8, 5);
  task.training(8, 6);
  expect_same(task.training(8, 5), batch);
  expect_same(same.training(8, 5), batch);
  EXPECT_NE(task.training(8, 6).inputs, batch.inputs);
  EXPECT_NE(other.training(8, 5).inputs, batch.inputs);
  EXPECT_NE(other.evaluation(0, 8).inputs, task.evaluation(0, 8).inputs);
  EXPECT_NE(task.training(8, 0).inputs, task.evaluation(0, 8).inputs);
  auto larger = task.training(11, 5);
  larger.inputs.resize(batch.inputs.size());
  EXPECT_EQ(larger.inputs, batch.inputs);
}

/// Resuming a run of an older build must go on with the same windows.
TEST(DataRecallTask, WindowsNeverChange) {
  const RecallTask task({.pairs = 2, .queries = 2, .keys = 8, .values = 8, .seed = 1});
  EXPECT_THAT(task.training(1, 3).inputs, ElementsAre(3, 8, 6, 13, 6, 13, 3, 8));
  EXPECT_THAT(task.evaluation(3, 1).inputs, ElementsAre(4, 15, 5, 13, 5, 13, 4, 15));
}

/// Windows of an evaluation and of two training batches, all different: nothing repeats a stream.
TEST(DataRecallTask, WindowsDiffer) {
  const RecallTask task({.pairs = 8, .queries = 8, .keys = 32, .values = 32});
  EXPECT_EQ(task.evaluation_windows(), 256);
  std::set<std::vector<int64_t>> windows;
  for (const TokenBatch& batch : recall_batches(task)) {
    for (auto row = batch.inputs.begin(); row != batch.inputs.end(); row += 32)
      windows.emplace(row, row + 32);
  }
  EXPECT_EQ(windows.size(), 64u + 64u + 256u);
}

TEST(DataRecallTask, TheSweepIsTheSameInAnyPortions) {
  RecallOptions options = small_recall;
  options.evaluation_windows = 10;
  const RecallTask task(options);
  const TokenBatch sweep = task.evaluation(0, 10);
  for (int64_t first : {0, 3, 9}) {
    const TokenBatch part = task.evaluation(first, 1);
    EXPECT_TRUE(std::equal(part.inputs.begin(), part.inputs.end(), sweep.inputs.begin() + first * 16));
    EXPECT_TRUE(std::equal(part.targets.begin(), part.targets.end(), sweep.targets.begin() + first * 16));
  }
}

TEST(DataRecallTask, KeysValuesAndQueriesAreUniform) {
  const RecallTask task(small_recall);
  std::vector<double> count(19), query_of_pair(5);
  constexpr int64_t windows = 6000;
  const TokenBatch batch = task.training(windows, 0);
  for (size_t row = 0; row < windows; ++row) {
    const auto begin = batch.inputs.begin() + static_cast<std::ptrdiff_t>(row) * 16;
    ++count[static_cast<size_t>(begin[0])];
    ++count[static_cast<size_t>(begin[1])];
    const auto pair = std::find(begin, begin + 10, begin[10]) - begin;
    ++query_of_pair.at(static_cast<size_t>(pair / 2));
  }
  const auto expect_uniform = [](std::span<const double> found) {
    const double expected = windows / static_cast<double>(found.size());
    // Four standard deviations of a count.
    for (const double n : found) EXPECT_NEAR(n, expected, 4 * std::sqrt(expected));
  };
  expect_uniform(std::span(count).first(12));
  expect_uniform(std::span(count).subspan(12));
  expect_uniform(query_of_pair);
}

TEST(DataRecallTask, TakesItsSmallestAndFullestForms) {
  const RecallTask smallest({.pairs = 1, .queries = 1, .keys = 1, .values = 2, .evaluation_windows = 1});
  EXPECT_EQ(smallest.block(), 4);
  EXPECT_THAT(smallest.evaluation(0, 1).targets, ElementsAre(-1, -1, ::testing::AnyOf(1, 2), -1));
  const RecallTask fullest({.pairs = 9, .queries = 9, .keys = 9, .values = 2});
  const TokenBatch batch = fullest.training(1, 0);
  EXPECT_EQ(std::set(batch.inputs.begin(), batch.inputs.begin() + 18).size(), 9u + 2u);
}

TEST(DataRecallTask, RefusesOptionsOutOfRange) {
  const auto expect_refused = [](const std::string& name, int64_t RecallOptions::*option, int64_t bad) {
    RecallOptions options = small_recall;
    options.*option = bad;
    const UserError error = error_of([&] { RecallTask task(options); });
    EXPECT_EQ(error.summary(), "recall: bad " + name);
    EXPECT_EQ(error.mistake().found, std::to_string(bad));
    EXPECT_THAT(error.mistake().allowed, HasSubstr("an integer from "));
  };
  const int64_t huge = std::numeric_limits<int64_t>::max();
  for (const int64_t bad : {int64_t{0}, int64_t{-1}, int64_t{13}, huge}) {
    expect_refused("pairs", &RecallOptions::pairs, bad);
  }
  for (const int64_t bad : {int64_t{0}, int64_t{6}, huge}) {
    expect_refused("queries", &RecallOptions::queries, bad);
  }
  for (const int64_t bad : {int64_t{0}, huge}) expect_refused("keys", &RecallOptions::keys, bad);
  for (const int64_t bad : {int64_t{0}, int64_t{1}, huge}) {
    expect_refused("values", &RecallOptions::values, bad);
  }
  for (const int64_t bad : {int64_t{0}, huge}) {
    expect_refused("evaluation_windows", &RecallOptions::evaluation_windows, bad);
  }
  RecallOptions options = small_recall;
  options.pairs = 13;
  EXPECT_THAT(mistake_of([&] { RecallTask task(options); }).allowed,
              HasSubstr("from 1 to 12, the number of"));
}

}  // namespace
}  // namespace attnlab::data
