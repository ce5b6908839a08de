// Ranks, entropies and cuts of matrices whose figures are known.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "core/data/normals.hpp"
#include "core/measure/operators.hpp"
#include "core/measure/spectrum.hpp"

namespace attnlab::measure {
namespace {

using Elements = std::vector<double>;

Elements diagonal(const Elements& values) {
  const size_t n = values.size();
  Elements a(n * n, 0);
  for (size_t i = 0; i < n; ++i) a[i * n + i] = values[i];
  return a;
}

Elements normals(uint64_t key, int64_t count) {
  std::vector<float> values(static_cast<size_t>(count));
  data::fill_normals(key, 0, values);
  return {values.begin(), values.end()};
}

/// X [rows, rank] Y [columns, rank]^T with normal factors.
Elements product(int64_t rows, int64_t columns, int64_t rank) {
  const Elements x = normals(1, rows * rank), y = normals(2, columns * rank);
  Elements a(static_cast<size_t>(rows * columns), 0);
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      for (int64_t r = 0; r < rank; ++r)
        a[static_cast<size_t>(i * columns + j)] +=
            x[static_cast<size_t>(i * rank + r)] * y[static_cast<size_t>(j * rank + r)];
    }
  }
  return a;
}

int64_t rank_of(const MatrixView& a) {
  return numerical_rank(singular_values(a), a.rows, a.columns);
}

TEST(Spectrum, OfADiagonalIsItsElements) {
  const Elements a = diagonal({2, -4, 0, 1});
  const Elements s = singular_values({a.data(), 4, 4});
  ASSERT_EQ(s.size(), 4u);
  const Elements wanted = {4, 2, 1, 0};
  for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(s[i], wanted[i], 1e-14) << i;
  EXPECT_EQ(numerical_rank(s, 4, 4), 3);
  // p = 4/7, 2/7, 1/7.
  const double entropy = 4.0 / 7 * std::log(7.0 / 4) + 2.0 / 7 * std::log(7.0 / 2) + std::log(7.0) / 7;
  EXPECT_NEAR(effective_rank(s), std::exp(entropy), 1e-12);
  EXPECT_NEAR(participation_ratio(s), 49.0 / 21, 1e-12);
  EXPECT_NEAR(stable_rank(s), 21.0 / 16, 1e-12);
}

TEST(Spectrum, AllRanksOfTheIdentityAreItsSize) {
  const Elements a = diagonal(Elements(37, 0.25)), s = singular_values({a.data(), 37, 37});
  EXPECT_EQ(numerical_rank(s, 37, 37), 37);
  EXPECT_NEAR(effective_rank(s), 37, 1e-10);
  EXPECT_NEAR(participation_ratio(s), 37, 1e-10);
  EXPECT_NEAR(stable_rank(s), 37, 1e-10);
}

TEST(Spectrum, AllRanksOfOneDirectionAreOne) {
  const Elements a = product(40, 30, 1), s = singular_values({a.data(), 40, 30});
  EXPECT_EQ(s.size(), 30u);
  EXPECT_EQ(numerical_rank(s, 40, 30), 1);
  EXPECT_NEAR(effective_rank(s), 1, 1e-10);
  EXPECT_NEAR(participation_ratio(s), 1, 1e-12);
  EXPECT_NEAR(stable_rank(s), 1, 1e-12);
}

TEST(Spectrum, AZeroMatrixHasNoRank) {
  const Elements a(12, 0), s = singular_values({a.data(), 3, 4});
  EXPECT_EQ(numerical_rank(s, 3, 4), 0);
  EXPECT_EQ(effective_rank(s), 0);
  EXPECT_EQ(participation_ratio(s), 0);
  EXPECT_EQ(stable_rank(s), 0);
  EXPECT_EQ(numerical_rank({}, 0, 0), 0);
}

TEST(Spectrum, ProductsHaveTheRankOfTheirFactors) {
  for (const int64_t rank : {1, 5, 16, 64}) {
    const Elements a = product(200, 150, rank);
    EXPECT_EQ(rank_of({a.data(), 200, 150}), rank);
  }
}

TEST(Spectrum, AViewReadsItsBlockOnly) {
  Elements a = product(60, 60, 60);
  const MatrixView block = MatrixView(a.data(), 60, 60).lower_left(40, 25);
  EXPECT_EQ(block.rows, 20);
  EXPECT_EQ(block.columns, 25);
  EXPECT_EQ(block.at(0, 24), a[40 * 60 + 24]);
  const Elements before = singular_values(block);
  for (int64_t i = 0; i < 60; ++i) {
    for (int64_t j = 0; j < 60; ++j) {
      if (i < 40 || j >= 25) a[static_cast<size_t>(i * 60 + j)] = 1e9;
    }
  }
  EXPECT_EQ(singular_values(block), before);
}

TEST(RowFigures, UniformRowsHaveFullEntropy) {
  const Elements a(20 * 20, 0.05);
  const auto figures = row_figures({a.data(), 20, 20}, false);
  ASSERT_TRUE(figures);
  EXPECT_NEAR(figures->entropy, std::log(20), 1e-12);
  EXPECT_NEAR(figures->entropy_share, 1, 1e-12);
  EXPECT_NEAR(figures->top_mass, 0.1, 1e-12);
  EXPECT_EQ(figures->left_out, 0);
}

TEST(RowFigures, CausalRowsCountWhatTheySee) {
  // Row i spreads over its first i + 1 keys; the first row has no choice.
  Elements a(9, 0);
  for (int i = 0; i < 3; ++i) {
    for (int j = 0; j <= i; ++j) a[static_cast<size_t>(3 * i + j)] = 1.0 / (i + 1);
  }
  const auto figures = row_figures({a.data(), 3, 3}, true);
  ASSERT_TRUE(figures);
  EXPECT_NEAR(figures->entropy, (std::log(2) + std::log(3)) / 3, 1e-12);
  EXPECT_NEAR(figures->entropy_share, 1, 1e-12);
  EXPECT_NEAR(figures->top_mass, (1 + 1.0 / 2 + 1.0 / 3) / 3, 1e-12) << "one key is the least";
}

TEST(RowFigures, OneKeyHasNoEntropy) {
  const Elements a = diagonal(Elements(11, 1));
  const auto figures = row_figures({a.data(), 11, 11}, false);
  ASSERT_TRUE(figures);
  EXPECT_EQ(figures->entropy, 0);
  EXPECT_NEAR(figures->top_mass, 1, 1e-15);
}

TEST(RowFigures, AreOfProbabilitiesOnly) {
  Elements a(200 * 4, 0.25);
  const auto figures = [&](bool causal = false) { return row_figures({a.data(), 200, 4}, causal); };
  ASSERT_TRUE(figures());
  for (int j = 0; j < 8; ++j) a[static_cast<size_t>(j)] = 0;
  ASSERT_TRUE(figures()) << "two of 200 rows without weight are left out";
  EXPECT_EQ(figures()->left_out, 2);
  EXPECT_NEAR(figures()->entropy_share, 1, 1e-12);
  for (int j = 0; j < 12; ++j) a[static_cast<size_t>(j)] = 0;
  EXPECT_FALSE(figures()) << "three are too many";
  a.assign(a.size(), 0.25);
  a[5] = -0.25, a[6] = 0.75;
  EXPECT_FALSE(figures()) << "a negative weight";
  a = diagonal({1, 1});
  EXPECT_TRUE(row_figures({a.data(), 2, 2}, true));
  a[1] = 1e-9;
  EXPECT_FALSE(row_figures({a.data(), 2, 2}, true)) << "weight on a later key";
}

TEST(HankelRank, IsWhatCrossesACut) {
  // The lower part of a product of rank 3: full rank, and three numbers to carry.
  const int64_t n = 64;
  Elements a = product(n, n, 3);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = i + 1; j < n; ++j) a[static_cast<size_t>(i * n + j)] = 0;
  }
  const MatrixView view(a.data(), n, n);
  EXPECT_GE(rank_of(view), n - 4);
  EXPECT_EQ(hankel_rank(view, hankel_cuts(n)), 3);
  const std::vector<int64_t> ends = {1, 63};
  EXPECT_EQ(hankel_rank(view, ends), 1);
  EXPECT_EQ(hankel_rank(view, {}), 0);
  const Elements identity = diagonal(Elements(8, 1));
  EXPECT_EQ(hankel_rank({identity.data(), 8, 8}, hankel_cuts(8)), 0) << "nothing crosses";
}

TEST(HankelRank, CutsAreAllOrSixtyThree) {
  EXPECT_EQ(hankel_cuts(1), std::vector<int64_t>());
  EXPECT_EQ(hankel_cuts(4), (std::vector<int64_t>{1, 2, 3}));
  EXPECT_EQ(hankel_cuts(512).size(), 511u);
  const std::vector<int64_t> cuts = hankel_cuts(1024);
  EXPECT_EQ(cuts.size(), 63u);
  EXPECT_EQ(cuts.front(), 16);
  EXPECT_EQ(cuts.back(), 1008);
}

TEST(SampleFigure, IsMeanAndDeviationOfTheSamples) {
  const SampleFigure figure = sample_figure({1, 2, 6});
  EXPECT_DOUBLE_EQ(figure.mean, 3);
  EXPECT_DOUBLE_EQ(figure.deviation, std::sqrt(7.0));
  EXPECT_EQ(figure.samples, 3);
  EXPECT_EQ(sample_figure({4}).deviation, 0);
  EXPECT_EQ(sample_figure({}).samples, 0);
  EXPECT_TRUE(std::isnan(sample_figure({}).mean));
}

/// Seconds of a forward at 10, 100 and 1000 tokens.
OperatorScaling line(const std::string& name, const std::string& scheme, const Elements& prefill) {
  OperatorScaling scaling{name, scheme, {}, {}};
  int64_t tokens = 10;
  for (const double seconds : prefill) {
    scaling.points.push_back({.tokens = tokens, .prefill = {seconds}});
    tokens *= 10;
  }
  return scaling;
}

TEST(Crossovers, LieWhereLinesBetweenLogarithmsMeet) {
  // 1 to 100 seconds a token against 10 throughout: they meet half-way, and before that the other is below.
  const std::vector<OperatorScaling> lines = {line("flat", "linear", {100, 1000, 10000}),
                                              line("first softmax", "softmax", {10, 1000, 100000}),
                                              line("low", "linear", {1, 1, 1})};
  const std::vector<Crossover> found = crossovers(lines);
  ASSERT_EQ(found.size(), 2u) << "nothing was decoded";
  EXPECT_EQ(found[0].name, "flat");
  EXPECT_EQ(found[0].against, "first softmax");
  EXPECT_EQ(found[0].kind, Crossover::Kind::at);
  EXPECT_NEAR(found[0].tokens, 100, 1e-9);
  EXPECT_NEAR(found[0].value, 10, 1e-9);
  EXPECT_EQ(found[1].kind, Crossover::Kind::everywhere);
  EXPECT_EQ(found[1].first, 10);
  EXPECT_EQ(found[1].last, 1000);
}

TEST(Crossovers, AreTheLastOnesAtCommonLengths) {
  // Below, above, below again; the other operator stopped early.
  std::vector<OperatorScaling> lines = {line("softmax", "softmax", {2, 2, 8}), line("a", "linear", {1, 4, 2}),
                                        line("slow", "linear", {1, 4})};
  std::vector<Crossover> found = crossovers(lines);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].kind, Crossover::Kind::at);
  EXPECT_NEAR(found[0].tokens, std::pow(10, 2 + 1.0 / 3), 1e-6);
  EXPECT_EQ(found[1].kind, Crossover::Kind::never);
  EXPECT_EQ(found[1].last, 100);
  lines.erase(lines.begin());
  EXPECT_EQ(crossovers(lines).at(0).against, "a") << "without softmax the first is compared with";
  EXPECT_TRUE(crossovers({}).empty());
}

}  // namespace
}  // namespace attnlab::measure
