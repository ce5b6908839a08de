#include <gtest/gtest.h>
#include <attnlab/sampling.hpp>

#include <map>
#include <set>
#include <vector>

namespace {

using attnlab::Candidates;
using attnlab::Philox;
using attnlab::Range;

int64_t size_of(const std::vector<Range>& runs) {
  int64_t count = 0;
  for (Range run : runs) count += run.end - run.begin;
  return count;
}

std::vector<int32_t> keys_of(std::span<const Range> runs) {
  std::vector<int32_t> keys;
  for (Range run : runs) {
    for (int32_t key = run.begin; key < run.end; ++key) keys.push_back(key);
  }
  return keys;
}

std::vector<int32_t> draw(const std::vector<Range>& runs, int64_t count, uint64_t seed) {
  const int64_t total = size_of(runs);
  // Dirty scratch, as an arena hands it out.
  std::vector<uint64_t> seen(static_cast<size_t>((total + 63) / 64), ~uint64_t{0});
  std::vector<int32_t> ids(static_cast<size_t>(count), -1);
  Philox random(seed);
  attnlab::sample_without_replacement(random, {runs, total}, count, seen, ids);
  return ids;
}

TEST(SdkSampling, DrawsExactlyAsManyDistinctCandidatesInAscendingOrder) {
  const std::vector<Range> runs = {{3, 10}, {64, 65}, {100, 230}};
  const auto keys = keys_of(runs);
  for (int64_t count : {int64_t{0}, int64_t{1}, int64_t{17}, int64_t{137}, size_of(runs)}) {
    for (uint64_t seed = 0; seed < 20; ++seed) {
      const auto ids = draw(runs, count, seed);
      EXPECT_EQ(std::set<int32_t>(ids.begin(), ids.end()).size(), static_cast<size_t>(count));
      EXPECT_TRUE(std::is_sorted(ids.begin(), ids.end()));
      EXPECT_TRUE(std::includes(keys.begin(), keys.end(), ids.begin(), ids.end()));
    }
  }
}

TEST(SdkSampling, TakingAllReturnsTheCandidates) {
  const std::vector<Range> runs = {{0, 1}, {5, 70}, {128, 129}};
  EXPECT_EQ(draw(runs, size_of(runs), 7), keys_of(runs));
}

TEST(SdkSampling, EveryCandidateIsEquallyLikely) {
  const std::vector<Range> runs = {{2, 12}, {70, 100}};
  constexpr int trials = 20000, count = 13;
  std::vector<int> hits(128);
  for (uint64_t trial = 0; trial < trials; ++trial) {
    for (int32_t key : draw(runs, count, trial)) ++hits[static_cast<size_t>(key)];
  }
  const double p = count / 40.0, deviation = std::sqrt(trials * p * (1 - p));
  for (int32_t key : keys_of(runs))
    EXPECT_NEAR(hits[static_cast<size_t>(key)], trials * p, 4.5 * deviation) << key;
}

TEST(SdkSampling, EverySubsetIsEquallyLikely) {
  const std::vector<Range> runs = {{0, 2}, {4, 7}};  // 10 subsets of 2 keys
  constexpr int trials = 50000;
  std::map<std::vector<int32_t>, int> hits;
  for (uint64_t trial = 0; trial < trials; ++trial) ++hits[draw(runs, 2, trial)];
  EXPECT_EQ(hits.size(), 10u);
  for (const auto& [subset, n] : hits) EXPECT_NEAR(n, trials / 10.0, 4.5 * std::sqrt(trials * 0.09));
}

TEST(SdkSampling, WithinClipsRuns) {
  const std::vector<Range> runs = {{0, 4}, {6, 9}, {20, 30}};
  std::vector<Range> memory(3);
  auto part = attnlab::within({runs, 17}, {3, 22}, memory);
  EXPECT_EQ(keys_of(part.runs), (std::vector<int32_t>{3, 6, 7, 8, 20, 21}));
  EXPECT_EQ(part.count, 6);
  EXPECT_EQ(attnlab::within({runs, 17}, {10, 10}, memory).count, 0);
  EXPECT_EQ(attnlab::within({runs, 17}, {15, 5}, memory).count, 0) << "sinks and window may overlap";
}

TEST(SdkSampling, WithoutLeavesTheOthers) {
  const std::vector<Range> runs = {{0, 4}, {6, 7}, {20, 25}};
  const std::vector<int32_t> ids = {0, 3, 6, 22, 24};
  std::vector<Range> memory(runs.size() + ids.size());
  auto rest = attnlab::without({runs, 10}, ids, memory);
  EXPECT_EQ(keys_of(rest.runs), (std::vector<int32_t>{1, 2, 20, 21, 23}));
  EXPECT_EQ(rest.count, 5);
  for (Range run : rest.runs) EXPECT_LT(run.begin, run.end);
  EXPECT_EQ(keys_of(attnlab::without({runs, 10}, {}, memory).runs), keys_of(runs));
  EXPECT_EQ(attnlab::without({runs, 10}, keys_of(runs), memory).runs.size(), 0u);
}

TEST(SdkSampling, NormalQuantiles) {
  EXPECT_NEAR(attnlab::normal_quantile(0.5), 0, 1e-15);
  EXPECT_NEAR(attnlab::normal_quantile(0.975), 1.959963984540054, 1e-12);
  EXPECT_NEAR(attnlab::normal_quantile(0.2), -0.8416212335729143, 1e-12);
  EXPECT_NEAR(attnlab::normal_quantile(1e-10), -6.361340902404056, 1e-10);
  EXPECT_NEAR(0.5 * std::erfc(-attnlab::normal_quantile(1e-300) * std::sqrt(0.5)) / 1e-300, 1, 1e-10);
}

TEST(SdkSampling, ChiSquareQuantiles) {
  EXPECT_NEAR(attnlab::chi_square_quantile(0.95, 1), 3.841458820694124, 1e-11);
  EXPECT_NEAR(attnlab::chi_square_quantile(0.2, 2), 0.446287102628420, 1e-12);
  EXPECT_NEAR(attnlab::chi_square_quantile(0.2, 3), 1.005174013052349, 0.011);
  EXPECT_NEAR(attnlab::chi_square_quantile(0.95, 3), 7.814727903251179, 0.08);
  EXPECT_NEAR(attnlab::chi_square_quantile(0.2, 99), 86.9, 0.2);
  EXPECT_GE(attnlab::chi_square_quantile(1e-9, 3), 0);
}

}  // namespace
