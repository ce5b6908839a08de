// Selection against a sorted reference: exact sets, ties to the lower key.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "core/kernels/selection/select.hpp"

namespace attnlab::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
using Keys = std::vector<int32_t>;

/// Candidates in the order in which they are chosen.
Keys ranked(const std::vector<float>& scores, std::span<const Range> candidates) {
  Keys keys;
  for (const Range& run : candidates) {
    for (int32_t key = run.begin; key < run.end; ++key) keys.push_back(key);
  }
  std::stable_sort(keys.begin(), keys.end(), [&](int32_t a, int32_t b) { return scores[a] > scores[b]; });
  return keys;
}

Keys first_of(Keys keys, int64_t count) {
  keys.resize(std::clamp<int64_t>(count, 0, std::ssize(keys)));
  std::sort(keys.begin(), keys.end());
  return keys;
}

struct Scores {
  std::string name;
  std::vector<float> scores;
  std::vector<Range> candidates;
};

std::vector<Scores> all_scores() {
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  std::vector<Scores> all;
  const auto add = [&](std::string name, int32_t n, auto draw) {
    std::vector<float> scores(n);
    for (int32_t j = 0; j < n; ++j) scores[j] = draw(j);
    all.push_back({name + " in one run", scores, {{0, n}}});
    all.push_back({name + " in runs",
                   scores,
                   {{0, n / 4}, {n / 4, n / 4}, {n / 3, n / 2}, {std::min(n / 2 + 1, n), n}}});
  };
  for (const int32_t n : {0, 1, 2, 40, 1000, 5000, 33000}) {
    const std::string size = std::to_string(n);
    add("normal " + size, n, [&](int32_t) { return normal(random); });
    add("ties " + size, n, [&](int32_t) { return static_cast<float>(random() % 5) - 2; });
    add("constant " + size, n, [&](int32_t) { return -1.5F; });
    add("masked " + size, n, [&](int32_t) { return random() % 3 == 0 ? normal(random) : -kInfinity; });
  }
  add("zeros of both signs", 999, [&](int32_t j) { return j % 2 == 0 ? -0.0F : 0.0F; });
  add("all masked", 300, [&](int32_t) { return -kInfinity; });
  add("ascending", 20000, [&](int32_t j) { return static_cast<float>(j); });
  add("descending", 20000, [&](int32_t j) { return -static_cast<float>(j); });
  // The best scores stand where a strided sample never looks.
  add("hidden from samples", 32768,
      [&](int32_t j) { return j % 32 == 0 ? normal(random) + 100 : normal(random); });
  add("shown to samples", 32768,
      [&](int32_t j) { return j % 32 == 0 ? normal(random) - 100 : normal(random); });
  add("wide", 4000,
      [&](int32_t) { return std::ldexp(normal(random), static_cast<int>(random() % 200) - 100); });
  add("nearly equal", 6000, [&](int32_t) { return 1 + 0x1p-23F * static_cast<float>(random() % 64); });
  return all;
}

TEST(TopK, EqualsSortedReference) {
  SelectScratch scratch;
  for (const auto& [name, scores, candidates] : all_scores()) {
    const Keys order = ranked(scores, candidates);
    const int64_t n = std::ssize(order);
    for (const int64_t k :
         {int64_t{-1}, int64_t{0}, int64_t{1}, int64_t{7}, n / 100, n / 10, n / 3, n / 2, n - 1, n, n + 5}) {
      const Keys expected = first_of(order, k);
      for (const KernelTable* table : all_tables()) {
        Keys chosen;
        top_k(scores.data(), candidates, k, scratch, chosen, *table);
        EXPECT_EQ(chosen, expected) << name << ", k " << k << ", " << table->target;
      }
    }
  }
}

TEST(TopK, AppendsAndReusesScratch) {
  SelectScratch scratch;
  std::mt19937 random(11);
  std::normal_distribution<float> normal;
  for (int repeat = 0; repeat < 300; ++repeat) {
    const auto n = static_cast<int32_t>(random() % 9000);
    std::vector<float> scores(n);
    for (float& s : scores) s = random() % 4 == 0 ? std::round(normal(random)) : normal(random);
    const std::vector<Range> candidates{{0, n}};
    const int64_t k = n == 0 ? 3 : random() % n;
    Keys expected = first_of(ranked(scores, candidates), k);
    expected.insert(expected.begin(), -7);
    Keys chosen{-7};
    top_k(scores.data(), candidates, k, scratch, chosen);
    ASSERT_EQ(chosen, expected) << "n " << n << ", k " << k;
  }
}

TEST(TopP, IsTheSmallestPrefixThatReachesTheShare) {
  SelectScratch scratch;
  for (const Scores& input : all_scores()) {
    const auto& scores = input.scores;
    const auto& candidates = input.candidates;
    Keys order = ranked(scores, candidates);
    std::erase_if(order, [&](int32_t key) { return scores[key] == -kInfinity; });
    const double own_mass = log_sum_exp(scores.data(), candidates);
    for (const double outside :
         {0.0, 0.7}) {  // log of how much more mass than the candidates' `share` refers to
      for (const double share : {1e-9, 0.1, 0.5, 0.9, 0.999, 1.0}) {
        const std::string where =
            input.name + ", share " + std::to_string(share) + ", outside " + std::to_string(outside);
        Keys chosen;
        top_p(scores.data(), candidates, share, own_mass + outside, scratch, chosen);
        for (const KernelTable* table : all_tables()) {
          Keys again;
          top_p(scores.data(), candidates, share, own_mass + outside, scratch, again, *table);
          ASSERT_EQ(again, chosen) << where << ", " << table->target;
        }
        const int64_t size = std::ssize(chosen);
        ASSERT_EQ(chosen, first_of(order, size)) << where;
        if (order.empty()) continue;
        ASSERT_GE(size, 1) << where;
        long double before_last = 0;
        for (int64_t i = 0; i + 1 < size; ++i)
          before_last += std::exp(scores[order[i]] - (own_mass + outside));
        const long double sum = before_last + std::exp(scores[order[size - 1]] - (own_mass + outside));
        EXPECT_LT(before_last, share + 1e-12) << where;
        EXPECT_TRUE(size == std::ssize(order) || sum > share - 1e-12) << where;
      }
    }
  }
}

TEST(TopP, CountsTiesExactly) {
  SelectScratch scratch;
  const std::vector<float> scores(1000, 0.25F);
  const std::vector<Range> candidates{{0, 1000}};
  Keys chosen;
  top_p(scores.data(), candidates, 0.2505, 0.25 + std::log(1000.0), scratch, chosen);
  EXPECT_EQ(chosen, first_of(ranked(scores, candidates), 251));
}

TEST(TopP, TakesEverythingBelowTheShareButNoMaskedKey) {
  SelectScratch scratch;
  const std::vector<float> scores{-kInfinity, -2000, 1, -kInfinity, 0};  // exp(-2000) is 0 in double
  const std::vector<Range> candidates{{0, 5}};
  Keys chosen;
  top_p(scores.data(), candidates, 0.9, 50, scratch, chosen);
  EXPECT_EQ(chosen, (Keys{1, 2, 4}));
}

TEST(Threshold, KeepsScoresFromTheThresholdOn) {
  const std::vector<float> scores{0.5F, -0.0F, 0, -1, 3, -kInfinity};
  const std::vector<Range> candidates{{0, 2}, {2, 4}, {5, 6}};
  Keys chosen{9};
  threshold(scores.data(), candidates, 0, chosen);
  EXPECT_EQ(chosen, (Keys{9, 0, 1, 2}));
  chosen.clear();
  threshold(scores.data(), candidates, -kInfinity, chosen);
  EXPECT_EQ(chosen, (Keys{0, 1, 2, 3, 5}));
}

TEST(Threshold, EqualsAWalkOnEveryTarget) {
  for (const auto& [name, scores, candidates] : all_scores()) {
    Keys expected;
    for (const Range& run : candidates) {
      for (int32_t key = run.begin; key < run.end; ++key) {
        if (scores[key] >= -0.5F) expected.push_back(key);
      }
    }
    for (const KernelTable* table : all_tables()) {
      Keys chosen;
      threshold(scores.data(), candidates, -0.5F, chosen, *table);
      EXPECT_EQ(chosen, expected) << name << ", " << table->target;
    }
  }
}

TEST(LogSumExp, IsExactToDoubleAndTheSameOnEveryTarget) {
  for (const auto& [name, scores, candidates] : all_scores()) {
    long double sum = 0, largest = -kInfinity;
    for (const int32_t key : ranked(scores, candidates)) {
      largest = std::max<long double>(largest, scores[key]);
      if (scores[key] > -kInfinity) sum += std::exp(scores[key] - largest);
    }
    const auto expected = static_cast<double>(sum > 0 ? largest + std::log(sum) : -kInfinity);
    const double found = log_sum_exp(scores.data(), candidates);
    if (std::isinf(expected)) {
      EXPECT_EQ(found, expected) << name;
    } else {
      EXPECT_NEAR(found, expected, 1e-14 + 4e-16 * std::abs(expected)) << name;
    }
    for (const KernelTable* table : all_tables())
      EXPECT_EQ(log_sum_exp(scores.data(), candidates, *table), found) << name << ", " << table->target;
  }
}

TEST(LogSumExp, IsStableAndIgnoresMaskedScores) {
  const std::vector<float> scores{1000, -kInfinity, 1000, -1e4F, -1e4F};
  const auto over = [&](std::vector<Range> candidates) { return log_sum_exp(scores.data(), candidates); };
  EXPECT_DOUBLE_EQ(over({{0, 5}}), 1000 + std::log(2.0));
  EXPECT_DOUBLE_EQ(over({{3, 5}}), -1e4 + std::log(2.0));
  EXPECT_EQ(over({{1, 2}}), -kInfinity);
  EXPECT_EQ(over({}), -kInfinity);
}

/// How often each key is drawn over a fine grid of starts, and the probability that its weight claims.
struct Draws {
  std::vector<double> frequency, probability;
  std::vector<size_t> sizes;
};

Draws draw(const std::vector<float>& scores, std::span<const Range> candidates, double expected,
           double temperature) {
  constexpr int grid = 4096;
  Draws draws{std::vector<double>(scores.size()), std::vector<double>(scores.size()), {}};
  SelectScratch scratch;
  for (int i = 0; i < grid; ++i) {
    Keys chosen;
    std::vector<float> log_weight;
    importance(scores.data(), candidates, expected, temperature, (i + 0.5) / grid, scratch, chosen,
               log_weight);
    EXPECT_TRUE(std::is_sorted(chosen.begin(), chosen.end()));
    draws.sizes.push_back(chosen.size());
    for (size_t k = 0; k < chosen.size(); ++k) {
      draws.frequency[static_cast<size_t>(chosen[k])] += 1.0 / grid;
      draws.probability[static_cast<size_t>(chosen[k])] = std::exp(-double{log_weight[k]});
    }
  }
  return draws;
}

TEST(Importance, DrawsEachKeyWithTheProbabilityItClaims) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal(0, 2);
  std::vector<float> scores(90);
  for (float& score : scores) score = normal(random);
  const std::vector<Range> candidates{{3, 40}, {50, 85}};
  for (double temperature : {0.5, 1.0, 3.0}) {
    for (double expected : {1.0, 7.0, 20.5}) {
      const Draws draws = draw(scores, candidates, expected, temperature);
      double sum = 0;
      for (size_t j = 0; j < scores.size(); ++j) {
        EXPECT_NEAR(draws.frequency[j], draws.probability[j], 2.0 / 4096) << j;
        sum += draws.probability[j];
        for (size_t other = 0; other < scores.size(); ++other) {
          // Proportional to exp(score / temperature) below 1.
          if (draws.probability[j] > 0.999 || draws.probability[other] > 0.999) continue;
          if (draws.probability[j] * draws.probability[other] == 0) continue;
          EXPECT_NEAR(std::log(draws.probability[j] / draws.probability[other]),
                      (double{scores[j]} - double{scores[other]}) / temperature, 1e-4);
        }
      }
      EXPECT_NEAR(sum, expected, 0.01) << "keys too unlikely for the grid are missing";
      for (size_t size : draws.sizes) EXPECT_NEAR(static_cast<double>(size), expected, 1.0);
    }
  }
}

TEST(Importance, KeepsTheHeaviestWhenTheOthersAreLostInRounding) {
  const Draws one = draw({0, 100, 0}, std::vector<Range>{{0, 3}}, 1, 1);
  EXPECT_EQ(one.frequency, (std::vector<double>{0, 1, 0}));
  EXPECT_EQ(one.probability[1], 1);
  const Draws two = draw({0, 100, 50, 0}, std::vector<Range>{{0, 4}}, 2, 1);
  EXPECT_EQ(two.frequency, (std::vector<double>{0, 1, 1, 0}));
}

TEST(Importance, TakesAllWhenTheyAreFew) {
  const std::vector<float> scores{1, -kInfinity, 2, 3};
  const Draws draws = draw(scores, std::vector<Range>{{0, 4}}, 3, 1);
  EXPECT_EQ(draws.frequency, (std::vector<double>{1, 0, 1, 1}));
  EXPECT_EQ(draws.probability, (std::vector<double>{1, 0, 1, 1}));
}

TEST(Importance, SurvivesInfiniteAndHugeScores) {
  const Draws two = draw({kInfinity, 1, kInfinity, -kInfinity}, std::vector<Range>{{0, 4}}, 1, 1);
  EXPECT_NEAR(two.frequency[0], 0.5, 1e-3);
  EXPECT_NEAR(two.frequency[2], 0.5, 1e-3);
  EXPECT_EQ(two.frequency[1], 0);
  const Draws far = draw({1e30F, -1e30F, 0}, std::vector<Range>{{0, 3}}, 2, 1);
  EXPECT_EQ(far.frequency[0], 1);
  EXPECT_NEAR(far.frequency[1] + far.frequency[2], 1, 1e-3);
  EXPECT_TRUE(draw({}, {}, 1, 1).frequency.empty());
}

}  // namespace
}  // namespace attnlab::kernels
