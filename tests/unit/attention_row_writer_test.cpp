// What a masker may write, each rule it may break, and the normal form that comes out.
#include "core/attention/row_writer.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "tests/unit/attention_test_support.hpp"

namespace attnlab::attention {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float nan_value = std::numeric_limits<float>::quiet_NaN();

/// 4 queries of 2 heads over 12 keys: row r sees keys [0, 9 + r / 2).
class AttentionRowWriterTest : public ::testing::Test {
 protected:
  SmallProblem problem_ = random_problem({1, 2, 1, 4, 12, 3, 2}, 1);
  Tile tile_ = tile_of(problem_);
  RowWriter writer_;
  Selection prior_, out_;

  void begin(bool may_sample = true) {
    writer_.begin(tile_, may_sample);
    prior_.reset(tile_.rows());
  }
  attnlab_status ranges(int64_t row, int64_t rows, std::vector<attnlab_range> list) {
    return writer_.ranges(row, rows, static_cast<int64_t>(list.size()), list.data());
  }
  attnlab_status ids(int64_t row, int64_t rows, const std::vector<int32_t>& list, int32_t flags = 0) {
    int32_t* slots = nullptr;
    const auto n = static_cast<int64_t>(list.size());
    if (attnlab_status status = writer_.reserve(row, rows, n, false, &slots, nullptr); status != ATTNLAB_OK)
      return status;
    std::copy(list.begin(), list.end(), slots);
    return writer_.commit(n, flags);
  }
  attnlab_status weighted(int64_t row, int64_t rows, const std::vector<int32_t>& list,
                          const std::vector<float>& weights, int32_t flags = 0) {
    int32_t* slots = nullptr;
    float* log_weight = nullptr;
    const auto n = static_cast<int64_t>(list.size());
    if (attnlab_status status = writer_.reserve(row, rows, n, true, &slots, &log_weight);
        status != ATTNLAB_OK)
      return status;
    std::copy(list.begin(), list.end(), slots);
    std::copy(weights.begin(), weights.end(), log_weight);
    return writer_.commit(n, flags);
  }
  attnlab_status pages(int64_t row, int64_t rows, int64_t page_size, const std::vector<int32_t>& list) {
    return writer_.table().pages(&writer_, row, rows, page_size, static_cast<int64_t>(list.size()),
                                 list.data());
  }
  float* dense(int64_t row, int64_t rows) {
    float* probability = nullptr;
    writer_.table().dense(&writer_, row, rows, &probability);
    return probability;
  }
  const RowList& finish(int64_t row, bool refine = false) {
    writer_.finish(prior_, refine ? RowWriter::Outcome::refines : RowWriter::Outcome::adds, out_);
    EXPECT_EQ(writer_.violation(), "");
    return out_.list(row);
  }
  /// Runs `write` on a fresh tile and expects the host to refuse it, now or at the end, with these words.
  void expect_broken(const std::function<void()>& write, const std::string& words, bool may_sample = true) {
    begin(may_sample);
    write();
    writer_.finish(prior_, RowWriter::Outcome::adds, out_);
    EXPECT_NE(writer_.violation().find(words), std::string::npos)
        << "\"" << writer_.violation() << "\" for " << words;
  }
};

TEST_F(AttentionRowWriterTest, RangesAreClippedSortedAndUnited) {
  begin();
  EXPECT_EQ(ranges(0, 2, {{6, 12}, {0, 2}, {2, 3}, {4, 4}}), ATTNLAB_OK);
  EXPECT_EQ(ranges(0, 1, {{5, 7}}), ATTNLAB_OK);
  const RowList& row = finish(0);
  EXPECT_EQ(row.runs, (std::vector<Range>{{0, 3}, {5, 9}}));
  EXPECT_TRUE(row.ids.empty());
  EXPECT_EQ(out_.list(1).runs, (std::vector<Range>{{0, 3}, {6, 9}}));
  EXPECT_TRUE(out_.list(2).empty());
}

TEST_F(AttentionRowWriterTest, IdsInsideRunsAndTwiceAreAbsorbed) {
  begin();
  ids(0, 1, {1, 4, 8, 11});
  ids(0, 1, {0, 4, 5});
  ids(0, 1, {7, 5, 2}, ATTNLAB_UNSORTED);
  ranges(0, 1, {{4, 6}});
  const RowList& row = finish(0);
  EXPECT_EQ(row.runs, (std::vector<Range>{{4, 6}}));
  EXPECT_EQ(row.ids, (std::vector<int32_t>{0, 1, 2, 7, 8})) << "11 is not visible to row 0";
}

TEST_F(AttentionRowWriterTest, SampledKeysKeepTheirWeightUnlessDeterministic) {
  begin();
  weighted(0, 1, {1, 3, 5, 8}, {0.5f, 1.0f, 0.0f, 2.0f});
  ids(0, 1, {3});
  ranges(0, 1, {{8, 9}});
  const RowList& row = finish(0);
  EXPECT_EQ(row.sampled, std::vector<int32_t>{1});
  EXPECT_EQ(row.log_weight, std::vector<float>{0.5f});
  EXPECT_EQ(row.ids, (std::vector<int32_t>{3, 5})) << "a log weight of 0 means p = 1";
}

TEST_F(AttentionRowWriterTest, UnsortedWeightsMoveWithTheirIds) {
  begin();
  EXPECT_EQ(weighted(0, 1, {7, 1, 4}, {0.7f, 0.1f, 0.4f}, ATTNLAB_UNSORTED), ATTNLAB_OK);
  const RowList& row = finish(0);
  EXPECT_EQ(row.sampled, (std::vector<int32_t>{1, 4, 7}));
  EXPECT_EQ(row.log_weight, (std::vector<float>{0.1f, 0.4f, 0.7f}));
}

/// A sampler with strata commits once for each, in its own order: what several calls write is united.
TEST_F(AttentionRowWriterTest, SampledKeysOfSeveralCallsAreUnitedInAnyOrder) {
  begin();
  weighted(0, 1, {6, 8}, {0.6f, 0.8f});
  weighted(0, 1, {1, 7}, {0.1f, 0.7f});
  const RowList& row = finish(0);
  EXPECT_EQ(row.sampled, (std::vector<int32_t>{1, 6, 7, 8}));
  EXPECT_EQ(row.log_weight, (std::vector<float>{0.1f, 0.6f, 0.7f, 0.8f}));
}

TEST_F(AttentionRowWriterTest, AKeySampledTwiceIsBroken) {
  expect_broken(
      [&] {
        weighted(0, 1, {1, 7}, {1, 1}), weighted(0, 1, {7, 8}, {1, 1});
      },
      "sampled key 7 of row 0 twice");
}

TEST_F(AttentionRowWriterTest, CommittingFewerDropsTheRest) {
  begin();
  int32_t* slots = nullptr;
  ASSERT_EQ(writer_.reserve(2, 1, 5, false, &slots, nullptr), ATTNLAB_OK);
  for (int32_t i = 0; i < 5; ++i) slots[i] = i;
  EXPECT_EQ(writer_.commit(2, 0), ATTNLAB_OK);
  EXPECT_EQ(ids(2, 1, {9}), ATTNLAB_OK);
  EXPECT_EQ(finish(2).ids, (std::vector<int32_t>{0, 1, 9}));
}

TEST_F(AttentionRowWriterTest, PagesBecomeRunsThatEndWithTheSequence) {
  begin();
  EXPECT_EQ(pages(6, 2, 5, {2, 0}), ATTNLAB_OK);
  EXPECT_EQ(finish(6).runs, (std::vector<Range>{{0, 5}, {10, 12}}));
}

TEST_F(AttentionRowWriterTest, FullMeansEveryVisibleKey) {
  begin();
  EXPECT_EQ(writer_.full(0, tile_.rows()), ATTNLAB_OK);
  finish(0);
  for (int64_t row = 0; row < tile_.rows(); ++row) EXPECT_EQ(out_.list(row).size(), tile_.visible_count(row));
}

TEST_F(AttentionRowWriterTest, HiddenKeysAreCutOutOfEverything) {
  hide_at_random(problem_, 2, 0.4, 3);
  tile_ = tile_of(problem_);
  begin();
  writer_.full(0, 2);
  ids(2, 2, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11});
  weighted(4, 2, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, std::vector<float>(12, 1.0f));
  finish(0);
  for (int64_t row = 0; row < 6; ++row) {
    EXPECT_EQ(out_.list(row).size(), tile_.visible_count(row)) << row;
    for (int32_t id : out_.list(row).ids) EXPECT_TRUE(visible(tile_, row, id));
    for (int32_t id : out_.list(row).sampled) EXPECT_TRUE(visible(tile_, row, id));
  }
}

TEST_F(AttentionRowWriterTest, DenseRowsBecomeIdsAndSampledKeys) {
  begin();
  float* p = dense(0, 1);
  ASSERT_NE(p, nullptr);
  EXPECT_TRUE(std::all_of(p, p + tile_.key_count(), [](float v) { return v == 0; }));
  p[2] = 1;
  p[5] = 0.5f;
  p[11] = 1;
  p = dense(2, 1);  // closes the row before
  p[0] = 1;
  const RowList& row = finish(0);
  EXPECT_EQ(row.ids, std::vector<int32_t>{2});
  EXPECT_EQ(row.sampled, std::vector<int32_t>{5});
  EXPECT_EQ(row.log_weight, std::vector<float>{-std::log(0.5f)});
  EXPECT_EQ(out_.list(2).ids, std::vector<int32_t>{0});
}

TEST_F(AttentionRowWriterTest, AStageAddsToThePrior) {
  begin();
  RowList& prior = prior_.assign(0, 2);
  prior.runs = {{0, 2}};
  prior.sampled = {4, 6};
  prior.log_weight = {0.4f, 0.6f};
  ids(0, 1, {1, 3, 6});
  const RowList& added = finish(0);
  EXPECT_EQ(added.runs, (std::vector<Range>{{0, 2}}));
  EXPECT_EQ(added.ids, (std::vector<int32_t>{3, 6}));
  EXPECT_EQ(added.sampled, std::vector<int32_t>{4});
  EXPECT_EQ(added.log_weight, std::vector<float>{0.4f});
  EXPECT_EQ(out_.list(1).runs, (std::vector<Range>{{0, 2}}))
      << "a row that the stage leaves alone keeps its prior";
}

TEST_F(AttentionRowWriterTest, ARefiningStageReplacesDeterministicKeys) {
  begin();
  prior_.assign(0, 2).runs = {{0, 2}};
  ids(0, 1, {1, 3, 6});
  const RowList& refined = finish(0, true);
  EXPECT_TRUE(refined.runs.empty());
  EXPECT_EQ(refined.ids, (std::vector<int32_t>{1, 3, 6}));
  EXPECT_TRUE(out_.list(1).empty());
}

TEST_F(AttentionRowWriterTest, RowsOfAQueryShareAListExactlyWhenTheirKeysAreTheSame) {
  begin();
  ranges(0, 2, {{0, 2}});  // one list for the group
  ids(2, 2, {1});
  ids(3, 1, {4});          // and one more key for the second head
  ranges(4, 4, {{0, 2}});  // two queries: other visible keys, other lists
  finish(0);
  EXPECT_EQ(out_.list_id(0), out_.list_id(1));
  EXPECT_NE(out_.list_id(2), out_.list_id(3));
  EXPECT_EQ(out_.list_id(4), out_.list_id(5));
  EXPECT_NE(out_.list_id(5), out_.list_id(6));
  begin();
  prior_.assign(0, 1).ids = {3};
  ranges(0, 2, {{0, 2}});
  finish(0);
  EXPECT_NE(out_.list_id(0), out_.list_id(1)) << "their priors differ";
  EXPECT_EQ(out_.list(0).ids, std::vector<int32_t>{3});
  EXPECT_TRUE(out_.list(1).ids.empty());
}

TEST_F(AttentionRowWriterTest, RowsThatSeeDifferentKeysNeverShare) {
  hide_at_random(problem_, 2, 0.4, 3);
  tile_ = tile_of(problem_);
  ASSERT_FALSE(tile_.shared_visibility());
  begin();
  writer_.full(0, tile_.rows());
  finish(0);
  for (int64_t row = 1; row < tile_.rows(); ++row) EXPECT_NE(out_.list_id(row), out_.list_id(row - 1));
}

TEST_F(AttentionRowWriterTest, RowsOutsideTheTileAreBroken) {
  for (auto [row, rows] : {std::pair<int64_t, int64_t>{-1, 1},
                           {8, 1},
                           {7, 2},
                           {0, 9},
                           {0, 0},
                           {0, -1},
                           {INT64_MAX, 1},
                           {1, INT64_MAX}}) {
    expect_broken([&, row = row, rows = rows] { ranges(row, rows, {{0, 1}}); }, "of a tile of 8 rows");
    expect_broken([&, row = row, rows = rows] { ids(row, rows, {0}); }, "of a tile of 8 rows");
    expect_broken([&, row = row, rows = rows] { dense(row, rows); }, "of a tile of 8 rows");
    expect_broken([&, row = row, rows = rows] { pages(row, rows, 4, {0}); }, "of a tile of 8 rows");
    expect_broken([&, row = row, rows = rows] { writer_.full(row, rows); }, "of a tile of 8 rows");
  }
}

TEST_F(AttentionRowWriterTest, IllegalRangesAndPagesAreBroken) {
  expect_broken([&] { ranges(0, 1, {{0, 1}, {-1, 3}}); }, "the range [-1, 3)");
  expect_broken([&] { ranges(0, 1, {{0, 13}}); }, "the range [0, 13) for row 0 of 12 keys");
  expect_broken([&] { ranges(0, 1, {{5, 4}}); }, "the range [5, 4)");
  expect_broken([&] { pages(0, 1, 0, {0}); }, "pages of 0 keys");
  expect_broken([&] { pages(0, 1, -4, {0}); }, "pages of -4 keys");
  expect_broken([&] { pages(0, 1, 4, {3}); }, "page 3");
  expect_broken([&] { pages(0, 1, 4, {-1}); }, "page -1");
  expect_broken([&] { pages(0, 1, INT64_MAX, {2}); }, "page");
}

TEST_F(AttentionRowWriterTest, NegativeCountsAreBroken) {
  begin();
  const attnlab_range range{0, 1};
  EXPECT_EQ(writer_.ranges(0, 1, -1, &range), ATTNLAB_CONTRACT);
  begin();
  const int32_t page = 0;
  EXPECT_EQ(writer_.table().pages(&writer_, 0, 1, 4, -1, &page), ATTNLAB_CONTRACT);
}

TEST_F(AttentionRowWriterTest, IllegalIdsAreBroken) {
  expect_broken([&] { ids(0, 1, {0, 12}); }, "key 12 for row 0 of 12 keys");
  expect_broken([&] { ids(0, 1, {-1}); }, "key -1");
  expect_broken([&] { ids(0, 1, {3, 2}); }, "key 2 after key 3");
  expect_broken([&] { ids(0, 1, {3, 3}); }, "key 3 after key 3");
  expect_broken([&] { ids(0, 1, {3, 1, 3}, ATTNLAB_UNSORTED); }, "key 3 after key 3");
}

TEST_F(AttentionRowWriterTest, IllegalWeightsAreBroken) {
  for (float weight : {-0.5f, infinity, -infinity, nan_value}) {
    expect_broken([&] { weighted(0, 1, {2}, {weight}); }, "log weight");
  }
  for (float p : {-0.5f, 1.5f, infinity, nan_value}) {
    expect_broken([&] { dense(0, 1)[3] = p; }, "inclusion probability");
  }
}

TEST_F(AttentionRowWriterTest, SamplingWithoutSayingSoIsBroken) {
  expect_broken([&] { weighted(0, 1, {2}, {1}); }, "did not declare that it samples", false);
  expect_broken([&] { dense(0, 1)[3] = 0.5f; }, "did not declare that it samples", false);
  begin(false);
  dense(0, 1)[3] = 1;
  EXPECT_EQ(finish(0).ids, std::vector<int32_t>{3}) << "a plane of zeros and ones samples nothing";
}

TEST_F(AttentionRowWriterTest, ReserveAndCommitComeInPairs) {
  int32_t* slots = nullptr;
  expect_broken([&] { writer_.commit(0, 0); }, "had not reserved");
  expect_broken([&] { writer_.reserve(0, 1, 3, false, &slots, nullptr); }, "without committing");
  expect_broken(
      [&] {
        writer_.reserve(0, 1, 3, false, &slots, nullptr), ranges(0, 1, {{0, 1}});
      },
      "wrote again before");
  expect_broken([&] { writer_.reserve(0, 1, 3, false, &slots, nullptr), writer_.commit(4, 0); },
                "4 of 3 reserved");
  expect_broken([&] { writer_.reserve(0, 1, 3, false, &slots, nullptr), writer_.commit(-1, 0); },
                "-1 of 3 reserved");
  expect_broken([&] { writer_.reserve(0, 1, 13, false, &slots, nullptr); }, "13 ids of 12 keys");
  expect_broken([&] { writer_.reserve(0, 1, -1, false, &slots, nullptr); }, "-1 ids");
  expect_broken([&] { ids(0, 1, {0}), writer_.commit(0, 0); }, "had not reserved");
}

TEST_F(AttentionRowWriterTest, TheFirstBrokenRuleStaysAndEndsTheStage) {
  begin();
  EXPECT_EQ(ids(0, 1, {99}), ATTNLAB_CONTRACT);
  const std::string first = writer_.violation();
  EXPECT_EQ(ranges(0, 1, {{0, 1}}), ATTNLAB_CONTRACT);
  EXPECT_EQ(ids(0, 1, {98}), ATTNLAB_CONTRACT);
  EXPECT_EQ(writer_.commit(0, 0), ATTNLAB_CONTRACT);
  EXPECT_EQ(writer_.violation(), first);
  begin();
  EXPECT_EQ(writer_.violation(), "") << "the next tile starts clean";
  EXPECT_EQ(ids(0, 1, {3}), ATTNLAB_OK);
  EXPECT_EQ(finish(0).ids, std::vector<int32_t>{3});
}

}  // namespace
}  // namespace attnlab::attention
