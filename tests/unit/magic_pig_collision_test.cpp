// The collision probability of magic_pig against direct sums and against simulation.
#include "plugins/maskers/magic_pig/collision.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <random>

namespace magic_pig {
namespace {

/// ln P(Binomial(tables, s) >= min_tables), every term in long double.
long double direct_log(int64_t tables, int64_t bits, int64_t min_tables, long double cosine) {
  const long double hit = static_cast<long double>(bits) * std::log(std::acos(-cosine) / std::acos(-1.0L));
  if (hit == 0) return 0;
  const long double miss = std::log(-std::expm1(hit));
  std::vector<long double> terms;
  long double choose = 0;
  for (int64_t j = 0; j <= tables; ++j) {
    if (j > 0) choose += std::log(static_cast<long double>(tables - j + 1) / static_cast<long double>(j));
    if (j < min_tables) continue;
    terms.push_back(choose + static_cast<long double>(j) * hit + static_cast<long double>(tables - j) * miss);
  }
  const long double largest = *std::max_element(terms.begin(), terms.end());
  long double sum = 0;
  for (long double term : terms) sum += std::exp(term - largest);
  return largest + std::log(sum);
}

TEST(MagicPigCollision, IsTheBinomialTail) {
  for (int64_t tables : {1, 2, 16, 75, 512}) {
    for (int64_t bits : {1, 4, 10, 64}) {
      for (int64_t min_tables : {int64_t{1}, std::min<int64_t>(2, tables), (tables + 1) / 2, tables}) {
        const CollisionProbability collision(tables, bits, min_tables);
        double previous = -std::numeric_limits<double>::infinity();
        for (double cosine : {-0.999999, -0.9, -0.3, 0.0, 0.2, 0.7, 0.99, 0.9999, 0.9999999}) {
          const double ours = collision.log(cosine);
          const auto expected = static_cast<double>(direct_log(tables, bits, min_tables, cosine));
          // Relative to p where p is small, absolute in ln p where it is near 1.
          EXPECT_NEAR(ours, expected, 1e-9 * std::max(1.0, std::abs(expected)))
              << "L " << tables << " K " << bits << " m " << min_tables << " cosine " << cosine;
          EXPECT_GE(ours, previous - 1e-12) << "a closer key collides more often";
          previous = ours;
        }
      }
    }
  }
}

TEST(MagicPigCollision, TableIsCloseToIt) {
  for (int64_t tables : {1, 2, 32, 75, 150, 512, 1024}) {
    for (int64_t bits : {1, 4, 8, 10, 64}) {
      for (int64_t min_tables : {int64_t{1}, std::min<int64_t>(2, tables), (tables + 1) / 2, tables}) {
        const CollisionProbability exact(tables, bits, min_tables);
        const CollisionTable table(tables, bits, min_tables);
        for (int i = -1000; i <= 1000; ++i) {
          // Dense at both ends, where the angle changes fastest.
          const double cosine = std::sin(std::numbers::pi / 2 * i / 1000);
          const double expected = exact.log(cosine), found = table.log(cosine);
          const double error = std::abs(found - expected) / std::max(1.0, std::abs(expected));
          ASSERT_LT(error, 5e-7) << "L " << tables << " K " << bits << " m " << min_tables << " cosine "
                                 << cosine << ": " << found << ", not " << expected;
          ASSERT_LE(found, 0);
        }
        for (double cosine : {-1.0, 0.0, 1.0}) EXPECT_EQ(table.log(cosine), exact.log(cosine)) << cosine;
      }
    }
  }
}

TEST(MagicPigCollision, IsFiniteAtTheEndsOfItsRange) {
  for (int64_t min_tables : {1, 2, 256, 512}) {
    const CollisionProbability collision(512, 64, min_tables);
    for (double cosine : {-1.0, std::nextafter(-1.0, 0.0), 0.0, std::nextafter(1.0, 0.0)}) {
      EXPECT_TRUE(std::isfinite(static_cast<float>(collision.log(cosine)))) << min_tables << " " << cosine;
      EXPECT_LE(collision.log(cosine), 0);
    }
    EXPECT_EQ(collision.log(1), 0);
  }
  // The case that 1 - (1 - s)^L gets wrong: 64 * 2^-32, not 0.
  EXPECT_NEAR(CollisionProbability(64, 32, 1).log(0), std::log(64) - 32 * std::log(2), 1e-7);
}

TEST(MagicPigCollision, IsHowOftenHyperplanesAgree) {
  constexpr int64_t tables = 4, bits = 3, trials = 20000;
  constexpr double angle = 0.8;
  std::mt19937 random(5);
  std::normal_distribution<double> normal;
  std::vector<int64_t> at_least(tables + 1);
  for (int64_t trial = 0; trial < trials; ++trial) {
    int64_t hits = 0;
    for (int64_t t = 0; t < tables; ++t) {
      bool agree = true;
      for (int64_t b = 0; b < bits; ++b) {
        const double x = normal(random), y = normal(random);
        agree &= (x >= 0) == (x * std::cos(angle) + y * std::sin(angle) >= 0);
      }
      hits += agree ? 1 : 0;
    }
    for (int64_t m = 1; m <= hits; ++m) ++at_least[static_cast<size_t>(m)];
  }
  for (int64_t m = 1; m <= tables; ++m) {
    const double p = std::exp(CollisionProbability(tables, bits, m).log(std::cos(angle)));
    EXPECT_NEAR(static_cast<double>(at_least[static_cast<size_t>(m)]), trials * p,
                4 * std::sqrt(trials * p * (1 - p)))
        << m;
  }
}

}  // namespace
}  // namespace magic_pig
