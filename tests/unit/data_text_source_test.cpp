// Windows of text.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "core/base/utf8.hpp"
#include "core/data/token_source.hpp"
#include "tests/unit/data_test_support.hpp"

namespace attnlab::data {
namespace {

using base::UserError;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// Tokens 0, 1, 2, ...: a token says where it stands.
TextSource numbered(int64_t tokens, const TextOptions& options) {
  std::string alphabet;
  for (int64_t i = 0; i < tokens; ++i) base::append_character(alphabet, 0x4e00 + static_cast<uint32_t>(i));
  auto tokeniser = Tokeniser::characters(alphabet);
  auto ids = tokeniser.encode(alphabet);
  return {std::move(tokeniser), std::move(ids), options};
}

TEST(DataTextSource, SplitsTheTextWithoutOverlap) {
  const auto source = numbered(1000, {.training_fraction = 0.9, .block = 7});
  EXPECT_EQ(source.training_split().size(), 900u);
  EXPECT_EQ(source.validation_split().size(), 100u);
  EXPECT_EQ(source.training_split().back() + 1, source.validation_split().front());
  EXPECT_EQ(source.validation_split().back(), 999);
  EXPECT_EQ(source.vocabulary_size(), 1000);
  EXPECT_EQ(source.tokeniser()->vocabulary_size(), 1000);
  EXPECT_EQ(numbered(999, {.training_fraction = 0.5, .block = 7}).training_split().size(), 499u);
}

TEST(DataTextSource, TrainsOnWindowsOfItsSplitShiftedByOne) {
  const auto source = numbered(1000, {.training_fraction = 0.5, .block = 32});
  const TokenBatch batch = source.training(200, 3);
  EXPECT_EQ(batch.batch, 200);
  EXPECT_EQ(batch.tokens, 32);
  ASSERT_EQ(batch.inputs.size(), 6400u);
  ASSERT_EQ(batch.targets.size(), 6400u);
  for (size_t i = 0; i < batch.inputs.size(); ++i) {
    ASSERT_EQ(batch.inputs[i], batch.inputs[i - i % 32] + static_cast<int64_t>(i % 32));
    ASSERT_EQ(batch.targets[i], batch.inputs[i] + 1);
    ASSERT_LT(batch.targets[i], 500) << "a token of the validation split";
  }
}

TEST(DataTextSource, TrainingIsAFunctionOfSeedAndDraw) {
  const TextOptions options{.training_fraction = 0.8, .block = 16, .seed = 4};
  const auto source = numbered(2000, options), same = numbered(2000, options);
  const TokenBatch batch = source.training(6, 10);
  source.training(3, 9);
  expect_same(source.training(6, 10), batch);
  expect_same(same.training(6, 10), batch);
  EXPECT_NE(source.training(6, 11).inputs, batch.inputs);
  EXPECT_NE(numbered(2000, {.training_fraction = 0.8, .block = 16, .seed = 5}).training(6, 10).inputs,
            batch.inputs);
  auto larger = source.training(9, 10);
  larger.inputs.resize(batch.inputs.size());
  EXPECT_EQ(larger.inputs, batch.inputs);
}

/// Resuming a run of an older build must go on with the same windows.
TEST(DataTextSource, StartsNeverChange) {
  const auto source = numbered(1000, {.training_fraction = 0.9, .block = 1, .seed = 1});
  EXPECT_THAT(source.training(4, 0).inputs, ElementsAre(739, 609, 464, 716));
  EXPECT_THAT(source.training(4, 1).inputs, ElementsAre(109, 744, 67, 755));
}

TEST(DataTextSource, StartsAreUniform) {
  constexpr size_t starts = 50;
  const auto source = numbered(60, {.training_fraction = 0.9, .block = 4});  // 54 tokens train
  std::vector<int> count(starts);
  for (uint64_t draw = 0; draw < 500; ++draw) {
    const TokenBatch batch = source.training(10, draw);
    for (size_t row = 0; row < 10; ++row) ++count.at(static_cast<size_t>(batch.inputs[row * 4]));
  }
  constexpr double expected = 5000.0 / starts;
  double chi_square = 0;
  for (const int found : count) chi_square += (found - expected) * (found - expected) / expected;
  // 49 degrees of freedom: mean 49, standard deviation 9.9.
  EXPECT_LT(chi_square, 49 + 4 * 9.9);
  EXPECT_GT(chi_square, 49 - 4 * 9.9) << "more even than chance";
}

TEST(DataTextSource, TheSweepCountsEachTokenOnce) {
  for (const int64_t block : {1, 5, 9, 11, 98, 99}) {  // 99 targets: with and without a rest
    SCOPED_TRACE(block);
    const auto source = numbered(1000, {.training_fraction = 0.9, .block = block});
    const int64_t windows = source.evaluation_windows();
    EXPECT_EQ(windows, (99 + block - 1) / block);
    const TokenBatch sweep = source.evaluation(0, windows);
    ASSERT_EQ(sweep.targets.size(), static_cast<size_t>(windows * block));
    std::vector<int64_t> targets;
    for (size_t i = 0; i < sweep.targets.size(); ++i) {
      if (sweep.targets[i] == ignored_target) {
        EXPECT_EQ(sweep.inputs[i], 0);
        EXPECT_GE(i, 99u) << "padding stands at the end";
      } else {
        EXPECT_EQ(sweep.targets[i], sweep.inputs[i] + 1);
        targets.push_back(sweep.targets[i]);
      }
    }
    std::vector<int64_t> all(99);
    std::iota(all.begin(), all.end(), 901);
    EXPECT_EQ(targets, all);
  }
}

TEST(DataTextSource, TheSweepIsTheSameInAnyPortions) {
  const auto source = numbered(500, {.training_fraction = 0.5, .block = 24});
  const TokenBatch sweep = source.evaluation(0, source.evaluation_windows());
  std::vector<int64_t> inputs, targets;
  for (int64_t first = 0; first < source.evaluation_windows(); first += 4) {
    const TokenBatch part =
        source.evaluation(first, std::min<int64_t>(4, source.evaluation_windows() - first));
    inputs.insert(inputs.end(), part.inputs.begin(), part.inputs.end());
    targets.insert(targets.end(), part.targets.begin(), part.targets.end());
  }
  EXPECT_EQ(inputs, sweep.inputs);
  EXPECT_EQ(targets, sweep.targets);
}

TEST(DataTextSource, SaysHowManyTokensASplitNeeds) {
  // 20 tokens, 10 in each split: just enough for a block of 9.
  EXPECT_EQ(numbered(20, {.training_fraction = 0.5, .block = 9}).evaluation_windows(), 1);
  EXPECT_EQ(numbered(20, {.training_fraction = 0.5, .block = 9}).training(1, 0).inputs[0], 0);
  const UserError training = error_of([] { numbered(20, {.training_fraction = 0.5, .block = 10}); });
  EXPECT_THAT(training.summary(), HasSubstr("training split"));
  EXPECT_EQ(training.mistake().found, "10 tokens");
  EXPECT_THAT(training.mistake().allowed, HasSubstr("at least 11 tokens"));
  EXPECT_THAT(training.mistake().suggestion, HasSubstr("at most 9"));
  const UserError validation = error_of([] { numbered(100, {.training_fraction = 0.9, .block = 10}); });
  EXPECT_THAT(validation.summary(), HasSubstr("validation split"));
  EXPECT_EQ(validation.mistake().found, "10 tokens");
  EXPECT_EQ(mistake_of([] { numbered(1, {}); }).suggestion, "take a longer text");
}

TEST(DataTextSource, RefusesBadOptions) {
  for (const double bad : {0.0, 1.0, -0.5, 1.5, std::numeric_limits<double>::quiet_NaN()}) {
    const UserError error = error_of([&] { numbered(100, {.training_fraction = bad, .block = 4}); });
    EXPECT_THAT(error.summary(), HasSubstr("training_fraction"));
  }
  for (const int64_t bad : {int64_t{0}, int64_t{-1}, std::numeric_limits<int64_t>::max()}) {
    const UserError error = error_of([&] { numbered(100, {.block = bad}); });
    EXPECT_THAT(error.summary(), HasSubstr("bad block"));
    EXPECT_EQ(error.mistake().found, std::to_string(bad));
  }
}

}  // namespace
}  // namespace attnlab::data
