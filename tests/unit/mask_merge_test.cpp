// The union of masks under both rules.
#include "core/mask/merge.hpp"

#include "tests/unit/mask_test_support.hpp"

namespace attnlab::mask {
namespace {

const Shape row{1, 1, 1, 4};

TEST(MaskMergeTest, DeterministicAbsorbsSampled) {
  const Mask sink = Mask::sparse(row, {}, {0, 2}, {0, 1});
  const Mask sampled = Mask::sparse(row, {}, {0, 2}, {1, 3}, {}, {0.3f, 1e-4f});
  const Mask merged = merge(sink, sampled);
  EXPECT_EQ(merged.state(), State::sparse);
  EXPECT_EQ(plane(merged), (std::vector<float>{1, 1, 0, 1e-4f}));
  EXPECT_EQ(merged.row(0, 0, 0).at(3), sampled.row(0, 0, 0).at(3));
}

TEST(MaskMergeTest, TwoSamplingMasksAreRefusedWhereverTheirEntriesLie) {
  const Mask a = Mask::sparse(row, {}, {0, 1}, {0}, {0.5f});
  const Mask b = Mask::dense(row, {}, {0, 0, 0, 0.5f});
  EXPECT_REFUSAL(merge(a, b), "needs both masks' p at every key");
  EXPECT_REFUSAL(merge(a, a), "sampled entries");
  EXPECT_TRUE(merge(merge(a, b, MergeRule::reference_sum), Mask::full(row)).is_full());
}

TEST(MaskMergeTest, ReferenceSumAddsAndClamps) {
  const Mask a = Mask::dense(row, {}, {1, 0.25f, 0.7f, 0});
  const Mask b = Mask::sparse(row, {}, {0, 3}, {0, 1, 2}, {}, {0.5f, 0.25f, 0.6f});
  const Mask merged = merge(a, b, MergeRule::reference_sum);
  EXPECT_EQ(plane(merged), (std::vector<float>{1, 0.5f, 1, 0}));
  EXPECT_EQ(merged.state(), State::dense);
  EXPECT_FALSE(merged.row(0, 0, 0).at(2).sampled());
}

TEST(MaskMergeTest, FullAbsorbsAndEmptyIsNeutralByContent) {
  const Mask ones = Mask::dense(row, {}, {1, 1, 1, 1}), zeros = Mask::dense(row, {}, {0, 0, 0, 0});
  const Mask sampled = Mask::sparse(row, {}, {0, 1}, {2}, {0.5f});
  for (const MergeRule rule : {MergeRule::strict, MergeRule::reference_sum}) {
    EXPECT_EQ(merge(ones, sampled, rule).state(), State::full);
    EXPECT_TRUE(same_storage(merge(sampled, zeros, rule), sampled));
    EXPECT_EQ(merge(zeros, zeros, rule).state(), State::empty);
  }
  const Mask halves = merge(Mask::sparse(row, {}, {0, 2}, {0, 1}), Mask::sparse(row, {}, {0, 2}, {2, 3}));
  EXPECT_EQ(halves.state(), State::full);
}

TEST(MaskMergeTest, ExtentsBroadcastToTheirCommonRefinement) {
  const Shape shape{2, 6, 1, 8};
  const Mask per_pair = Mask::sparse(shape, {1, 3}, {0, 1, 2, 3}, {0, 1, 2});
  const Mask per_half = Mask::sparse(shape, {2, 2}, {0, 1, 2, 3, 4}, {4, 5, 6, 7});
  const Mask merged = merge(per_pair, per_half);
  EXPECT_EQ(merged.extents(), (Extents{2, 6}));
  EXPECT_EQ(keys_of(merged.row(0, 2, 0)), (std::vector<int32_t>{1, 4}));
  EXPECT_EQ(keys_of(merged.row(0, 3, 0)), (std::vector<int32_t>{1, 5}));
  EXPECT_EQ(keys_of(merged.row(1, 5, 0)), (std::vector<int32_t>{2, 7}));
}

TEST(MaskMergeTest, ShapesMustAgree) {
  EXPECT_REFUSAL(merge(Mask::full(row), Mask::full({1, 1, 1, 5})), "[1, 1, 1, 4] and [1, 1, 1, 5]");
}

}  // namespace
}  // namespace attnlab::mask
