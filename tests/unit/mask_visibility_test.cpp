// Positions, valid lengths, hidden bias entries, clipping, densities and pictures.
#include "core/mask/visibility.hpp"

#include <limits>

#include "core/mask/density.hpp"
#include "tests/unit/mask_test_support.hpp"

namespace attnlab::mask {
namespace {

constexpr float lowest = std::numeric_limits<float>::lowest();
constexpr float infinity = std::numeric_limits<float>::infinity();

tensor::Tensor bias_of(tensor::Shape shape, const std::vector<float>& values) {
  auto tensor = tensor::Tensor::zeros(tensor::DType::f32, std::move(shape));
  std::ranges::copy(values, tensor.mutable_values<float>().begin());
  return tensor;
}

TEST(MaskVisibilityTest, RowsSitAtTheEndOfTheValidLength) {
  const Visibility visibility({2, 1, 3, 8}, true, {8, 5});
  // Rows of sequence 0 sit at positions 5, 6, 7; of sequence 1 at 2, 3, 4.
  EXPECT_EQ(visibility.visible_count(0, 0, 0), 6);
  EXPECT_EQ(visibility.visible_count(0, 0, 2), 8);
  EXPECT_EQ(visibility.visible_count(1, 0, 0), 3);
  EXPECT_EQ(visibility.visible_count(1, 0, 2), 5);
  EXPECT_TRUE(visibility.visible(1, 0, 0, 2));
  EXPECT_FALSE(visibility.visible(1, 0, 0, 3));
  EXPECT_FALSE(visibility.visible(0, 0, 2, 8));
  EXPECT_EQ(visibility.extents(), (Extents{2, 1}));
  EXPECT_EQ(Visibility({2, 1, 3, 8}, true, {5, 5}).extents(), (Extents{1, 1}));
}

TEST(MaskVisibilityTest, PaddingRowsSeeNothingWhenCausal) {
  const Visibility causal({1, 1, 4, 4}, true, {2});
  EXPECT_EQ(causal.visible_count(0, 0, 0), 0);
  EXPECT_EQ(causal.visible_count(0, 0, 1), 0);
  EXPECT_EQ(causal.visible_count(0, 0, 2), 1);
  const Visibility everywhere({1, 1, 4, 4}, false, {2});
  EXPECT_EQ(everywhere.visible_count(0, 0, 0), 2);
  EXPECT_FALSE(everywhere.hides_nothing());
  EXPECT_TRUE(Visibility({1, 1, 4, 4}, false).hides_nothing());
  EXPECT_TRUE(Visibility({1, 1, 1, 4}, true).hides_nothing());
  EXPECT_FALSE(Visibility({1, 1, 2, 4}, true).hides_nothing());
}

TEST(MaskVisibilityTest, BiasHidesFromHalfTheLowestFloat) {
  EXPECT_TRUE(hides(-infinity));
  EXPECT_TRUE(hides(lowest));
  EXPECT_FALSE(hides(lowest / 2));
  EXPECT_FALSE(hides(-1e30f));
  const Shape shape{1, 2, 2, 3};
  const Visibility visibility(
      shape, true, {}, bias_of({1, 2, 2, 3}, {-infinity, -5, 0, lowest, 0, -1, 0, 0, 0, 0, 0, -infinity}));
  EXPECT_EQ(visibility.visible_count(0, 0, 0), 1);
  EXPECT_EQ(visibility.visible_count(0, 0, 1), 2);
  EXPECT_EQ(visibility.visible_count(0, 1, 0), 2);
  EXPECT_EQ(visibility.visible_count(0, 1, 1), 2);
  EXPECT_FALSE(visibility.visible(0, 0, 0, 0));
  EXPECT_TRUE(visibility.visible(0, 0, 0, 1));
  EXPECT_FALSE(visibility.visible(0, 0, 0, 2));
  EXPECT_EQ(visibility.visible_count(0, 0, 1, 1, 2), 1);
  EXPECT_EQ(visibility.extents(), (Extents{1, 2}));
}

TEST(MaskVisibilityTest, ArgumentsAreChecked) {
  const Shape shape{2, 4, 2, 3};
  EXPECT_REFUSAL(Visibility(shape, true, {3}), "one for each sequence");
  EXPECT_REFUSAL(Visibility(shape, true, {3, 4}), "valid[1]");
  EXPECT_REFUSAL(Visibility(shape, true, {-1, 3}), "valid[0]");
  EXPECT_REFUSAL(Visibility(shape, true, {}, bias_of({1, 1, 2, 4}, {})), "bias");
  EXPECT_REFUSAL(Visibility(shape, true, {}, bias_of({1, 3, 2, 3}, {})), "divisor of 4");
  EXPECT_REFUSAL(clip(Mask::full({1, 1, 1, 1}), Visibility(shape)), "different shapes");
  EXPECT_REFUSAL(density(Mask::full({1, 1, 1, 1}), Visibility(shape)), "different shapes");
}

TEST(MaskDensityTest, CountsOnlyWhatIsVisible) {
  const Shape shape{1, 1, 3, 3};
  const Visibility causal(shape);
  const Mask first_two = Mask::sparse(shape, {}, {0, 2, 4, 6}, {0, 1, 0, 1, 0, 1});
  const Coverage all = coverage(first_two, causal);
  EXPECT_EQ(all.active, 5);
  EXPECT_EQ(all.visible, 6);
  EXPECT_DOUBLE_EQ(density(first_two.to_dense(), causal), 5.0 / 6);
  EXPECT_EQ(density(Mask::full(shape), causal), 1);
  EXPECT_EQ(density(Mask::empty(shape), causal), 0);
  const auto rows = row_coverage(first_two, causal, 0, 0);
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].density(), 1);
  EXPECT_DOUBLE_EQ(rows[2].density(), 2.0 / 3);
}

TEST(MaskDensityTest, RowsWithoutVisibleKeysCountNeither) {
  const Shape shape{1, 1, 3, 3};
  const Visibility padded(shape, true, {1});
  const Mask mask = Mask::full(shape).to_sparse();
  EXPECT_EQ(coverage(mask, padded).visible, 1);
  EXPECT_EQ(coverage(mask, padded).active, 1);
  EXPECT_EQ(row_coverage(mask, padded, 0, 0)[0].visible, 0);
  // Nothing at all is visible: nothing is left out.
  EXPECT_EQ(density(Mask::empty(shape), Visibility(shape, true, {0})), 1);
}

TEST(MaskDensityTest, BroadcastCountsEveryHeadAndSequence) {
  const Shape shape{2, 4, 1, 5};
  const Mask mask = Mask::sparse(shape, {1, 2}, {0, 1, 3}, {0, 0, 4});
  const Coverage total = coverage(mask, Visibility(shape, true, {5, 3}));
  EXPECT_EQ(total.active, 2 * 1 + 2 * 2 + 2 * 1 + 2 * 1);
  EXPECT_EQ(total.visible, 4 * 5 + 4 * 3);
}

TEST(MaskClipTest, RemovesTheInvisibleAndKeepsPairs) {
  const Shape shape{1, 1, 2, 4};
  const Visibility causal(shape);
  const Mask clipped_full = clip(Mask::full(shape), causal);
  EXPECT_EQ(clipped_full.state(), State::sparse);
  EXPECT_EQ(vector_of(clipped_full.column()), (std::vector<int32_t>{0, 1, 2, 0, 1, 2, 3}));
  EXPECT_EQ(clip(Mask::full(shape), Visibility(shape, false)).state(), State::full);
  const Mask future = Mask::sparse(shape, {}, {0, 1, 1}, {3});
  EXPECT_EQ(clip(future, causal).state(), State::empty);
  const Mask mixed = Mask::dense(shape, {}, {0, 0.3f, 0, 0.4f, 0, 0, 0, 1e-4f});
  EXPECT_EQ(plane(clip(mixed, causal)), (std::vector<float>{0, 0.3f, 0, 0, 0, 0, 0, 1e-4f}));
  EXPECT_EQ(clip(mixed, causal).state(), State::dense);
  EXPECT_REFUSAL(clip(Mask::full({1, 1, 1 << 20, 1 << 20}), Visibility({1, 1, 1 << 20, 1 << 20})),
                 "too large");
}

TEST(MaskPictureTest, CellsAverageTheirVisibleEntries) {
  const Shape shape{1, 1, 4, 5};
  // Positions 1 to 4 of 5 keys; cells hold rows {0,1}, {2,3} and keys {0,1}, {2,3,4}.
  const Visibility causal(shape);
  const Mask mask = Mask::sparse(shape, {}, {0, 2, 2, 4, 5}, {0, 4, 1, 3, 4}, {}, {1, 1, 0.5f, 0.25f, 1});
  const BlockDensity picture = block_density(mask, causal, 0, 0, 2, 2);
  EXPECT_EQ(picture.visible, (std::vector<double>{1, 1.0 / 6, 1, 5.0 / 6}));
  EXPECT_EQ(picture.inclusion, (std::vector<double>{0.25, 0, 0.125, 1.25 / 5}));
  const BlockDensity full = block_density(Mask::full(shape), causal, 0, 0, 2, 2);
  EXPECT_EQ(full.inclusion, std::vector<double>(4, 1.0));
  EXPECT_EQ(full.visible, picture.visible);
}

TEST(MaskPictureTest, FinerThanTheMaskIsTheMask) {
  const Shape shape{1, 1, 2, 3};
  const Mask mask = Mask::dense(shape, {}, {1, 0, 0.5f, 0, 0.25f, 0});
  const BlockDensity picture = block_density(mask, Visibility(shape, false), 0, 0, 100, 100);
  EXPECT_EQ(picture.rows, 2);
  EXPECT_EQ(picture.columns, 3);
  EXPECT_EQ(picture.inclusion, (std::vector<double>{1, 0, 0.5, 0, 0.25, 0}));
  EXPECT_EQ(block_density(mask, Visibility(shape, true), 0, 0, 2, 3).visible,
            (std::vector<double>{1, 1, 0, 1, 1, 1}));
}

}  // namespace
}  // namespace attnlab::mask
