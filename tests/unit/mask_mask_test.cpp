// Construction, content, rows and comparison of masks.
#include "core/mask/mask.hpp"

#include <cmath>
#include <limits>

#include "tests/unit/mask_test_support.hpp"

namespace attnlab::mask {
namespace {

constexpr float nan = std::numeric_limits<float>::quiet_NaN();
constexpr float infinity = std::numeric_limits<float>::infinity();

const Shape one_row{1, 1, 1, 4};

TEST(MaskTest, FullAndEmptyHoldNothingAndAnswerEverything) {
  const Shape shape{2, 4, 3, 5};
  const Mask full = Mask::full(shape), empty = Mask::empty(shape);
  EXPECT_TRUE(full.is_full());
  EXPECT_FALSE(full.is_empty());
  EXPECT_TRUE(empty.is_empty());
  EXPECT_FALSE(empty.is_full());
  EXPECT_EQ(full.active_count(), 2 * 4 * 3 * 5);
  EXPECT_EQ(empty.active_count(), 0);
  EXPECT_EQ(full.probability(1, 3, 2, 4), 1);
  EXPECT_EQ(empty.probability(1, 3, 2, 4), 0);
  EXPECT_EQ(keys_of(full.row(0, 0, 0)), (std::vector<int32_t>{0, 1, 2, 3, 4}));
  EXPECT_TRUE(keys_of(empty.row(0, 0, 0)).empty());
}

TEST(MaskTest, ContentIsRecognisedWhateverTheState) {
  const Mask ones = Mask::dense(one_row, {}, {1, 1, 1, 1});
  EXPECT_TRUE(ones.is_full());
  EXPECT_EQ(ones.state(), State::dense);
  EXPECT_EQ(ones.normalized().state(), State::full);
  EXPECT_TRUE(ones == Mask::full(one_row));
  const Mask zeros = Mask::dense(one_row, {}, {0, -0.0f, 0, 0});
  EXPECT_TRUE(zeros.is_empty());
  EXPECT_EQ(zeros.normalized().state(), State::empty);
  EXPECT_FALSE(std::signbit(zeros.probability()[1]));
  const Mask listed = Mask::sparse(one_row, {}, {0, 4}, {0, 1, 2, 3});
  EXPECT_TRUE(listed.is_full());
  EXPECT_EQ(listed.normalized().state(), State::full);
  EXPECT_TRUE(Mask::sparse(one_row, {}, {0, 0}, {}).is_empty());
  EXPECT_FALSE(Mask::sparse(one_row, {}, {0, 4}, {0, 1, 2, 3}, {0, 0, 0, 0.5f}).is_full());
  EXPECT_FALSE(Mask::dense(one_row, {}, {1, 1, 1, 0.5f}).is_full());
}

TEST(MaskTest, RowsAndProbabilitiesOfSparse) {
  const Shape shape{1, 1, 2, 6};
  const Mask mask = Mask::sparse(shape, {}, {0, 3, 4}, {0, 2, 5, 1}, {0, std::log(4.0f), 0, 0});
  EXPECT_EQ(mask.active_count(), 4);
  EXPECT_TRUE(mask.has_sampled());
  EXPECT_EQ(keys_of(mask.row(0, 0, 0)), (std::vector<int32_t>{0, 2, 5}));
  EXPECT_FLOAT_EQ(mask.probability(0, 0, 0, 2), 0.25f);
  EXPECT_EQ(mask.probability(0, 0, 0, 3), 0);
  EXPECT_EQ(mask.probability(0, 0, 1, 1), 1);
  EXPECT_EQ(mask.row(0, 0, 0).active_before(5), 2);
  EXPECT_EQ(mask.row(0, 0, 0).active_before(6), 3);
}

TEST(MaskTest, DeterministicSparseKeepsNoNumbers) {
  const Mask mask = Mask::sparse(one_row, {}, {0, 2}, {1, 3}, {0, -0.0f});
  EXPECT_TRUE(mask.log_weight().empty());
  EXPECT_FALSE(mask.has_sampled());
  // exp(-2^-26) rounds to 1 in float: deterministic.
  EXPECT_FALSE(Mask::sparse(one_row, {}, {0, 1}, {1}, {0x1p-26f}).has_sampled());
  EXPECT_TRUE(Mask::sparse(one_row, {}, {0, 1}, {1}, {0x1p-24f}).has_sampled());
}

TEST(MaskTest, BroadcastHeadsReadTheirGroup) {
  const Shape shape{2, 4, 1, 3};
  const Mask mask = Mask::sparse(shape, {1, 2}, {0, 1, 2}, {0, 2});
  EXPECT_EQ(mask.active_count(), 8);
  for (int64_t b : {0, 1}) {
    EXPECT_EQ(keys_of(mask.row(b, 0, 0)), std::vector<int32_t>{0});
    EXPECT_EQ(keys_of(mask.row(b, 1, 0)), std::vector<int32_t>{0});
    EXPECT_EQ(keys_of(mask.row(b, 2, 0)), std::vector<int32_t>{2});
    EXPECT_EQ(keys_of(mask.row(b, 3, 0)), std::vector<int32_t>{2});
  }
  const Mask expanded = mask.expanded({2, 4});
  EXPECT_EQ(expanded.extents(), (Extents{2, 4}));
  EXPECT_EQ(expanded.column().size(), 8u);
  EXPECT_TRUE(expanded == mask);
}

TEST(MaskTest, CopiesShareStorage) {
  const Mask mask = Mask::dense(one_row, {}, {1, 0, 0.5f, 0});
  const Mask copy = mask;
  EXPECT_EQ(copy.probability().data(), mask.probability().data());
  EXPECT_EQ(mask.to_dense().probability().data(), mask.probability().data());
}

TEST(MaskTest, FromIndicesSortsAndRefusesDuplicates) {
  const Shape shape{1, 2, 1, 9};
  const std::vector<std::vector<int32_t>> rows = {{7, 1, 4}, {}};
  const std::vector<std::vector<float>> weights = {{0.75f, 0, 0.25f}, {}};
  const Mask mask = Mask::from_indices(shape, {1, 2}, rows, weights);
  EXPECT_EQ(vector_of(mask.column()), (std::vector<int32_t>{1, 4, 7}));
  EXPECT_EQ(vector_of(mask.log_weight()), (std::vector<float>{0, 0.25f, 0.75f}));
  EXPECT_EQ(vector_of(mask.row_ptr()), (std::vector<int64_t>{0, 3, 3}));
  const std::vector<std::vector<int32_t>> twice = {{0}, {7, 1, 7}};
  EXPECT_REFUSAL(Mask::from_indices(shape, {1, 2}, twice), "row [0, 1, 0] entry 2");
  EXPECT_REFUSAL(Mask::from_indices(shape, {1, 2}, twice), "twice");
  const std::vector<std::vector<float>> short_weights = {{0, 0}, {}};
  EXPECT_REFUSAL(Mask::from_indices(shape, {1, 2}, rows, short_weights), "log_weights");
  EXPECT_REFUSAL(Mask::from_indices(shape, {1, 1}, rows), "2 elements");
}

TEST(MaskTest, ShapesAndExtentsAreChecked) {
  EXPECT_REFUSAL(Mask::full({0, 1, 1, 1}), "shape");
  EXPECT_REFUSAL(Mask::full({1, 1, -1, 1}), "shape");
  EXPECT_REFUSAL(Mask::empty({1, 1, 1, int64_t{1} << 31}), "shape");
  EXPECT_REFUSAL(Mask::empty({int64_t{1} << 31, int64_t{1} << 31, int64_t{1} << 31, 1}), "shape");
  EXPECT_REFUSAL(Mask::empty({1, 1 << 16, 1 << 15, 1}), "shape");
  const Shape shape{2, 4, 1, 1};
  EXPECT_REFUSAL(Mask::dense(shape, {1, 3}, {1, 1, 1}), "divisor of 4");
  EXPECT_REFUSAL(Mask::dense(shape, {3, 1}, {1, 1, 1}), "batch 1 or 2");
  EXPECT_REFUSAL(Mask::dense(shape, {1, 0}, {}), "divisor of 4");
}

TEST(MaskTest, DenseValuesAreChecked) {
  EXPECT_REFUSAL(Mask::dense(one_row, {}, {1, 1, 1}), "3 elements");
  const Shape shape{1, 1, 2, 2};
  for (float wrong : {-0.5f, 1.5f, nan, infinity}) {
    EXPECT_REFUSAL(Mask::dense(shape, {}, {1, 1, 1, wrong}), "row [0, 0, 1] key 1");
  }
  EXPECT_REFUSAL(Mask::dense(one_row, {}, {1, 0, 0.5f, 0}, {0, 0, 0.1f, 0}), "disagree");
  EXPECT_REFUSAL(Mask::dense(one_row, {}, {1, 0, 0.5f, 0}, {0, 0.1f, 0.6931472f, 0}), "key 1");
}

TEST(MaskTest, SparseArraysAreChecked) {
  const Shape shape{1, 1, 2, 4};
  EXPECT_REFUSAL(Mask::sparse(shape, {}, {0, 1}, {0}), "row_ptr");
  EXPECT_REFUSAL(Mask::sparse(shape, {}, {1, 1, 1}, {0}), "row_ptr[0]");
  EXPECT_REFUSAL(Mask::sparse(shape, {}, {0, 2, 1}, {0}), "row [0, 0, 1]");
  EXPECT_REFUSAL(Mask::sparse(shape, {}, {0, 1, 5}, {0}), "column");
  EXPECT_REFUSAL(Mask::sparse(shape, {}, {0, 1, 3}, {0, 3, 4}), "row [0, 0, 1] entry 1");
  EXPECT_REFUSAL(Mask::sparse(shape, {}, {0, 1, 2}, {-1, 3}), "row [0, 0, 0] entry 0");
  EXPECT_REFUSAL(Mask::sparse(shape, {}, {0, 0, 3}, {0, 3, 2}), "row [0, 0, 1] entry 2");
  EXPECT_REFUSAL(Mask::sparse(shape, {}, {0, 0, 3}, {0, 3, 2}), "not sorted");
  EXPECT_REFUSAL(Mask::sparse(shape, {}, {0, 0, 3}, {0, 2, 2}), "twice");
  for (float wrong : {-0.5f, nan, infinity}) {
    EXPECT_REFUSAL(Mask::sparse(shape, {}, {0, 1, 3}, {0, 1, 2}, {0, 0, wrong}), "row [0, 0, 1] entry 1");
  }
  EXPECT_REFUSAL(Mask::sparse(shape, {}, {0, 1, 2}, {0, 1}, {0}), "log_weight");
  for (float wrong : {0.0f, 1.5f, nan}) {
    EXPECT_REFUSAL(Mask::sparse(shape, {}, {0, 1, 2}, {0, 1}, {}, {1, wrong}), "row [0, 0, 1] entry 0");
  }
  EXPECT_REFUSAL(Mask::sparse(shape, {}, {0, 1, 2}, {0, 1}, {0, 1}, {1, 0.5f}), "disagree");
  // Equal columns in neighbouring rows are no duplicates.
  EXPECT_EQ(refusal([&] { Mask::sparse(shape, {}, {0, 1, 2}, {3, 3}); }), "");
}

TEST(MaskTest, FirstDifferenceNamesTheEntry) {
  const Shape shape{1, 2, 1, 3};
  const Mask a = Mask::dense(shape, {1, 2}, {1, 0, 0, 0, 0.5f, 0});
  const Mask b = Mask::sparse(shape, {1, 2}, {0, 1, 2}, {0, 1}, {}, {1, 0.625f});
  EXPECT_FALSE(first_difference(a, a.to_sparse()).has_value());
  EXPECT_FALSE(first_difference(a, b, 0.25f).has_value());
  const auto difference = first_difference(a, b);
  ASSERT_TRUE(difference.has_value());
  EXPECT_EQ(difference->head, 1);
  EXPECT_EQ(difference->key, 1);
  EXPECT_EQ(difference->probability_a, 0.5f);
  EXPECT_EQ(difference->probability_b, 0.625f);
  // A key that only one mask holds differs whatever the tolerance.
  EXPECT_TRUE(first_difference(a, Mask::empty(shape), 2).has_value());
  EXPECT_REFUSAL(first_difference(a, Mask::empty(one_row)), "different shapes");
}

TEST(MaskTest, TooLargeConversionsAreRefusedBeforeAllocation) {
  const Mask huge = Mask::full({1, 1, 1 << 30, 1 << 30});
  EXPECT_REFUSAL(huge.to_dense(), "too large");
  EXPECT_REFUSAL(huge.to_sparse(), "too large");
  EXPECT_TRUE(huge.is_full());
}

TEST(MaskDeathTest, IndicesOutsideTheShapeAreBugs) {
  EXPECT_DEATH(Mask::full(one_row).probability(0, 0, 0, 4), "outside");
  EXPECT_DEATH(Mask::full(one_row).row(0, 1, 0), "outside");
}

}  // namespace
}  // namespace attnlab::mask
