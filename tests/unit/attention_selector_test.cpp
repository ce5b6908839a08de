// From scores to keys: each selector against its definition, with priors, pages, groups and hidden keys.
#include "core/attention/selector.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "tests/unit/attention_test_support.hpp"

namespace attnlab::attention {
namespace {

using config::SelectorPlan;

constexpr float infinity = std::numeric_limits<float>::infinity();

/// Scores key j for head g of the group with channel g of the key, or a page with its largest key. Takes no
/// heed of visibility: that is the host's business.
struct ByChannel : attnlab::Scorer {
  int64_t page_size = 1;
  static void describe(attnlab::Description<ByChannel>& d) {
    d.id("by_channel").summary("Scores are what the keys hold.").selector("top_k");
    d.parameter("page_size", &ByChannel::page_size);
  }
  int64_t score_page_size() const { return page_size; }
  void score(const attnlab::Tile& tile, attnlab::Scores& out) const {
    for (int64_t row = 0; row < tile.row_count(); ++row) {
      auto scores = out.row(row);
      std::fill(scores.begin(), scores.end(), -infinity);
      for (int64_t j = 0; j < tile.key_count(); ++j) {
        float& score = scores[static_cast<size_t>(j / page_size)];
        score = std::max(score, tile.key(j)[static_cast<size_t>(row % tile.group())]);
        if (std::isnan(tile.key(j)[0])) score = tile.key(j)[0];
      }
    }
  }
};

ATTNLAB_STATIC_PLUGIN(methods, ByChannel);

class AttentionSelectorTest : public ::testing::Test {
 protected:
  static constexpr int64_t group = 2, queries = 4, keys = 21;

  /// Replaces the scores: `scores[g][j]` for head g.
  void score_with(const std::vector<std::vector<float>>& scores) {
    std::vector<float> key;
    for (size_t j = 0; j < keys; ++j) {
      for (const auto& head : scores) key.push_back(head[j]);
    }
    const data::Geometry g{1, group, 1, queries, keys, group, 1};
    problem_ = problem_of(g, std::vector<float>(group * queries * group), key, std::vector<float>(keys));
  }
  float score(int64_t row, int64_t key) const { return problem_.layer.key.row(0, 0, key)[row % group]; }

  /// The keys of each row after the stage.
  std::vector<std::vector<int32_t>> chosen(const SelectorPlan& plan, int64_t page_size = 1) {
    tile_ = tile_of(problem_);
    prior_.reset(tile_.rows());
    if (set_prior_) set_prior_(prior_);
    const plugin::Masker scorer = plugin::instance_of(catalog_, "by_channel", {{"page_size", {page_size}}});
    writer_.begin(tile_, false);
    Selector().run(scorer, plan, tile_, tile_.view(0, nullptr, nullptr), prior_, writer_);
    EXPECT_EQ(writer_.violation(), "");
    writer_.finish(prior_, RowWriter::Outcome::refines, out_);
    std::vector<std::vector<int32_t>> rows;
    for (int64_t row = 0; row < tile_.rows(); ++row) {
      const RowList& list = out_.list(row);
      std::vector<int32_t> all = list.ids;
      for (const Range& run : list.runs) {
        for (int32_t key = run.begin; key < run.end; ++key) all.push_back(key);
      }
      std::sort(all.begin(), all.end());
      rows.push_back(all);
    }
    return rows;
  }
  /// Visible keys that the prior does not hold, by descending score, then ascending key.
  std::vector<int32_t> ranked(int64_t row, const std::function<float(int32_t)>& score_of) const {
    std::vector<int32_t> order;
    const RowList& prior = prior_.list(row);
    for (int32_t key = 0; key < keys; ++key) {
      const bool active = std::binary_search(prior.ids.begin(), prior.ids.end(), key) ||
                          std::any_of(prior.runs.begin(), prior.runs.end(),
                                      [&](const Range& run) { return run.begin <= key && key < run.end; });
      if (visible(tile_, row, key) && !active) order.push_back(key);
    }
    std::stable_sort(order.begin(), order.end(),
                     [&](int32_t a, int32_t b) { return score_of(a) > score_of(b); });
    return order;
  }
  std::vector<int32_t> best(int64_t row, size_t count) const {
    std::vector<int32_t> order = ranked(row, [&](int32_t key) { return score(row, key); });
    order.resize(std::min(count, order.size()));
    std::sort(order.begin(), order.end());
    return order;
  }
  void random_scores(unsigned seed) {
    std::mt19937 random(seed);
    std::vector<std::vector<float>> scores(group, std::vector<float>(keys));
    for (auto& head : scores) {
      for (float& s : head) s = static_cast<float>(random() % 16) / 4 - 2;  // many ties
    }
    score_with(scores);
  }

  plugin::Catalog catalog_ = plugin::catalog_of(methods);
  SmallProblem problem_;
  Tile tile_;
  RowWriter writer_;
  Selection prior_, out_;
  std::function<void(Selection&)> set_prior_;
};

SelectorPlan top_k(plugin::Size size) {
  SelectorPlan plan;
  plan.heavy_size = size;
  return plan;
}
SelectorPlan top_p(double share, bool of_total) {
  SelectorPlan plan;
  plan.kind = SelectorPlan::Kind::top_p;
  plan.top_p = share;
  plan.of_total = of_total;
  return plan;
}
SelectorPlan threshold(double least) {
  SelectorPlan plan;
  plan.kind = SelectorPlan::Kind::threshold;
  plan.threshold = least;
  return plan;
}

void some_prior(Selection& prior) {
  RowList& list = prior.assign(2, 3);
  list.runs = {{3, 6}};
  list.ids = {0, 9};
}

TEST_F(AttentionSelectorTest, TopKTakesTheBestCandidatesAndTheLowerKeyOfATie) {
  for (unsigned seed = 0; seed < 20; ++seed) {
    random_scores(seed);
    set_prior_ = seed % 2 == 0 ? nullptr : std::function<void(Selection&)>(some_prior);
    if (seed % 3 == 2) hide_at_random(problem_, seed % 2 == 0 ? 1 : group, 0.3, seed);
    for (int64_t count : {1, 4, 100}) {
      const auto rows = chosen(top_k({false, count, 0}));
      for (int64_t row = 0; row < tile_.rows(); ++row) {
        ASSERT_EQ(rows[static_cast<size_t>(row)], best(row, static_cast<size_t>(count)))
            << seed << " row " << row;
      }
    }
  }
}

TEST_F(AttentionSelectorTest, AFractionIsOfTheVisibleKeys) {
  random_scores(1);
  set_prior_ = some_prior;
  const auto rows = chosen(top_k({true, 0, 0.25}));
  for (int64_t row = 0; row < tile_.rows(); ++row) {
    const auto count = static_cast<size_t>(std::max<int64_t>(1, tile_.visible_count(row) / 4));
    EXPECT_EQ(rows[static_cast<size_t>(row)], best(row, count));
  }
}

TEST_F(AttentionSelectorTest, TopPTakesTheFewestKeysThatReachTheShare) {
  for (unsigned seed = 0; seed < 20; ++seed) {
    random_scores(seed);
    set_prior_ = some_prior;
    if (seed % 2 == 1) hide_at_random(problem_, group, 0.3, seed);
    for (bool of_total : {false, true}) {
      const auto rows = chosen(top_p(0.6, of_total));
      for (int64_t row = 0; row < tile_.rows(); ++row) {
        const auto order = ranked(row, [&](int32_t key) { return score(row, key); });
        double total = 0, reached = 0;
        for (int32_t key = 0; key < keys; ++key) {
          const bool counts =
              of_total ? visible(tile_, row, key) : std::count(order.begin(), order.end(), key) > 0;
          if (counts) total += std::exp(score(row, key));
        }
        std::vector<int32_t> expected;
        for (int32_t key : order) {
          if (reached >= 0.6 * total) break;
          reached += std::exp(score(row, key));
          expected.push_back(key);
        }
        std::sort(expected.begin(), expected.end());
        ASSERT_EQ(rows[static_cast<size_t>(row)], expected)
            << seed << " row " << row << " total " << of_total;
      }
    }
  }
}

TEST_F(AttentionSelectorTest, AShareOfOneMeansAllCandidates) {
  random_scores(2);
  set_prior_ = some_prior;
  for (bool of_total : {false, true}) {
    const auto rows = chosen(top_p(1, of_total));
    for (int64_t row = 0; row < tile_.rows(); ++row)
      EXPECT_EQ(rows[static_cast<size_t>(row)], best(row, keys));
  }
}

TEST_F(AttentionSelectorTest, ThresholdTakesScoresThatReachIt) {
  random_scores(3);
  set_prior_ = some_prior;
  const auto rows = chosen(threshold(0.25));
  for (int64_t row = 0; row < tile_.rows(); ++row) {
    std::vector<int32_t> expected = best(row, keys);
    std::erase_if(expected, [&](int32_t key) { return score(row, key) < 0.25f; });
    EXPECT_EQ(rows[static_cast<size_t>(row)], expected);
  }
  for (const auto& row : chosen(threshold(100))) EXPECT_TRUE(row.empty());
}

/// scorer.hpp: "-inf excludes", whatever the selector and however many keys it could take.
TEST_F(AttentionSelectorTest, MinusInfinityExcludesAKey) {
  std::vector<float> scores(keys, 0.5f);
  scores[3] = scores[7] = -infinity;
  score_with({scores, scores});
  for (const SelectorPlan& plan : {top_k({false, 100, 0}), top_p(1, false), threshold(-1e300)}) {
    const auto rows = chosen(plan);
    for (int64_t row = 0; row < tile_.rows(); ++row) {
      std::vector<int32_t> expected = best(row, keys);
      std::erase_if(expected, [](int32_t key) { return key == 3 || key == 7; });
      ASSERT_EQ(rows[static_cast<size_t>(row)], expected) << "selector " << static_cast<int>(plan.kind);
    }
  }
}

TEST_F(AttentionSelectorTest, AGroupSharesOneListByItsReducedScores) {
  for (auto reduce : {SelectorPlan::Reduce::max, SelectorPlan::Reduce::mean}) {
    random_scores(4);
    SelectorPlan plan = top_k({false, 5, 0});
    plan.share = SelectorPlan::Share::kv_group;
    plan.reduce = reduce;
    const auto rows = chosen(plan);
    for (int64_t row = 0; row < tile_.rows(); row += group) {
      const auto reduced = [&](int32_t key) {
        return reduce == SelectorPlan::Reduce::max ? std::max(score(0, key), score(1, key))
                                                   : (score(0, key) + score(1, key)) / 2;
      };
      std::vector<int32_t> expected = ranked(row, reduced);
      expected.resize(5);
      std::sort(expected.begin(), expected.end());
      EXPECT_EQ(rows[static_cast<size_t>(row)], expected);
      EXPECT_EQ(rows[static_cast<size_t>(row) + 1], expected);
      EXPECT_EQ(out_.list_id(row), out_.list_id(row + 1)) << "one list, not two equal ones";
    }
  }
}

TEST_F(AttentionSelectorTest, AGroupWithDifferentPriorsOrVisibilityChoosesRowByRow) {
  random_scores(5);
  SelectorPlan plan = top_k({false, 4, 0});
  plan.share = SelectorPlan::Share::kv_group;
  const auto expect_rows = [&] {
    const auto rows = chosen(plan);
    for (int64_t row = 0; row < tile_.rows(); ++row) {
      // Heads that do not see a key have no say.
      const auto common = [&](int32_t key) {
        const int64_t other = row + (row % group == 0 ? 1 : -1);
        if (!visible(tile_, other, key)) return score(row, key);
        return plan.reduce == SelectorPlan::Reduce::max ? std::max(score(row, key), score(other, key))
                                                        : (score(row, key) + score(other, key)) / 2;
      };
      std::vector<int32_t> expected = ranked(row, common);
      expected.resize(4);
      std::sort(expected.begin(), expected.end());
      EXPECT_EQ(rows[static_cast<size_t>(row)], expected) << row;
    }
  };
  set_prior_ = [](Selection& prior) { prior.assign(2, 1).ids = {1, 4, 5, 8}; };
  expect_rows();
  set_prior_ = nullptr;
  hide_at_random(problem_, group, 0.3, 6);
  expect_rows();
  plan.reduce = SelectorPlan::Reduce::mean;
  expect_rows();
}

TEST_F(AttentionSelectorTest, PagesAreChosenWholeAndPagesOfThePriorSkipped) {
  constexpr int64_t page = 4;
  for (unsigned seed = 0; seed < 20; ++seed) {
    random_scores(seed);
    set_prior_ = [](Selection& prior) { prior.assign(0, 4).runs = {{4, 8}, {10, 11}}; };
    const auto rows = chosen(top_k({false, 11, 0}), page);  // 11 keys are two pages
    for (int64_t row = 0; row < tile_.rows(); ++row) {
      const auto page_score = [&](int32_t p) {
        float highest = -infinity;
        for (int64_t key = p * page; key < std::min<int64_t>(tile_.key_count(), (p + 1) * page); ++key) {
          highest = std::max(highest, score(row, key));
        }
        return highest;
      };
      std::vector<int32_t> pages;
      for (int32_t p = 0; p * page < tile_.visible_end(row); ++p) {
        if (!(row < 4 && p == 1)) pages.push_back(p);
      }
      std::stable_sort(pages.begin(), pages.end(),
                       [&](int32_t a, int32_t b) { return page_score(a) > page_score(b); });
      pages.resize(2);
      std::sort(pages.begin(), pages.end());
      std::vector<int32_t> expected;
      for (int32_t p : pages) {
        for (int64_t key = p * page; key < std::min<int64_t>(tile_.visible_end(row), (p + 1) * page); ++key) {
          expected.push_back(static_cast<int32_t>(key));
        }
      }
      ASSERT_EQ(rows[static_cast<size_t>(row)], expected) << seed << " row " << row;
    }
  }
}

TEST_F(AttentionSelectorTest, ABudgetBelowAPageStillTakesOne) {
  random_scores(6);
  for (const auto& row : chosen(top_k({false, 1, 0}), 4)) EXPECT_FALSE(row.empty());
}

TEST_F(AttentionSelectorTest, AScoreThatIsNanNamesThePlace) {
  random_scores(7);
  const_cast<float*>(problem_.layer.key.row(0, 0, 5))[0] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_REFUSED(chosen(top_k({false, 3, 0})),
                 "stage \"by_channel\"; layer 0, batch 0, KV head 0): it scored key 5 of query head 0");
}

TEST_F(AttentionSelectorTest, ScoresOfInvisibleKeysMayBeNan) {
  random_scores(8);
  const_cast<float*>(problem_.layer.key.row(0, 0, keys - 1))[0] = std::numeric_limits<float>::quiet_NaN();
  problem_.layer.valid = {keys - 1};
  EXPECT_EQ(chosen(top_k({false, 3, 0})).size(), static_cast<size_t>(queries * group));
}

/// Units of zero keys would divide by zero.
TEST_F(AttentionSelectorTest, ImpossiblePageSizesAreThePluginsFault) {
  for (int64_t size : {int64_t{0}, int64_t{-1}, INT64_MAX}) {
    const plugin::Masker scorer = plugin::instance_of(catalog_, "by_channel", {{"page_size", {size}}});
    EXPECT_THROW(static_cast<void>(scorer.page_size()), base::UserError) << size;
  }
}

}  // namespace
}  // namespace attnlab::attention
